//! A plan as JSON for programs: the saved form, with every recipient of a document named.

use serde_json::{Value, json};

use crate::keys::Recipient;
use crate::plan::{Party, Plan};

/// Renders `plan`: as saved, but each document's `before` and `after` list `role`, `name` and `recipient`; the recipient
/// of an identity that is still to be minted is null.
///
/// # Errors
/// None in practice: every part of a plan has a JSON form.
pub fn plan_json(plan: &Plan) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(plan)?;
    for (document, planned) in value["documents"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .zip(&plan.documents)
    {
        let before = planned.before.iter().map(|r| named(plan, r)).collect();
        let after = planned.after.iter().map(|p| party(plan, p)).collect();
        document["before"] = Value::Array(before);
        document["after"] = Value::Array(after);
    }
    Ok(value)
}

fn party(plan: &Plan, party: &Party) -> Value {
    let (role, name, recipient) = match party {
        Party::Identity(id) => {
            let known = plan.identity(id).and_then(|i| i.recipient.as_ref());
            ("identity", id.as_str(), known)
        }
        Party::Operator { name, recipient } => ("operator", name.as_str(), Some(recipient)),
        Party::Recovery { recipient } => ("recovery", "recovery", Some(recipient)),
    };
    json!({ "role": role, "name": name, "recipient": recipient })
}

/// A recipient of now: one that leaves, one that the plan knows, or an unknown one (its name is null).
fn named(plan: &Plan, recipient: &Recipient) -> Value {
    if let Some(retiring) = plan.retiring.iter().find(|r| r.recipient == *recipient) {
        return json!({ "role": "retiring", "name": retiring.id, "recipient": recipient });
    }
    let live = plan
        .identities
        .iter()
        .find(|i| i.recipient.as_ref() == Some(recipient));
    if let Some(identity) = live {
        return json!({ "role": "identity", "name": identity.id, "recipient": recipient });
    }
    let always = plan.always.iter().find(|p| match p {
        Party::Operator { recipient: r, .. } | Party::Recovery { recipient: r } => r == recipient,
        Party::Identity(_) => false,
    });
    let left = plan
        .departed
        .iter()
        .find(|d| d.recipient.as_ref() == Some(recipient));
    match (always, left) {
        (Some(known), _) => party(plan, known),
        (None, Some(left)) => {
            json!({ "role": "departed", "name": left.name, "recipient": recipient })
        }
        (None, None) => json!({ "role": "unknown", "name": null, "recipient": recipient }),
    }
}
