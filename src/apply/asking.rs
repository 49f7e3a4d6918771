//! Asking one reader: challenges for what it must open, and for what it must not.

use crate::apply::ApplyError;
use crate::fleet::{Challenge, Target};
use crate::journal::guards;
use crate::keys::Recipient;
use crate::ledger::ReceiptKind;
use crate::plan::Party;
use crate::topology::Gate;

/// One question to a reader.
#[derive(Debug, Clone)]
pub struct Asked {
    recipient: Recipient,
    /// The id of an identity that it must hold; none: it must not open this.
    must_open: Option<String>,
    /// What is wrong if the answer is; the reader's name stands before it.
    complaint: String,
}

/// What a reader showed.
#[derive(Debug, Default)]
pub struct Shown {
    /// The ids that it was asked for and must hold, each with how it showed that.
    pub kinds: Vec<(String, ReceiptKind)>,
    /// What is wrong, one text each, the reader's name first.
    pub failures: Vec<String>,
    /// Whether one of these is that it opens what it must not.
    pub holds_too_much: bool,
    /// Whether one of these is that it was only read back, where that does not suffice.
    pub is_weak: bool,
}

impl Asked {
    /// It must hold the identity `id`.
    pub fn must(id: &str, recipient: &Recipient) -> Self {
        Self {
            recipient: recipient.clone(),
            must_open: Some(id.to_owned()),
            complaint: format!("cannot open what is wrapped to {id}"),
        }
    }

    /// It must not hold the identity `id`, somebody else's or an old one.
    pub fn must_not(id: &str, recipient: &Recipient) -> Self {
        let complaint = format!("opens what is wrapped to {id}, which it must not hold");
        Self::none_of_its(recipient, complaint)
    }

    /// It must not hold an operator's identity, or recovery's; none for what stands in the plan by id.
    pub fn party(party: &Party) -> Option<Self> {
        match party {
            Party::Operator { recipient, .. } | Party::Recovery { recipient } => {
                let complaint = format!("holds the identity of {}", party.label());
                Some(Self::none_of_its(recipient, complaint))
            }
            Party::Identity(_) => None,
        }
    }

    /// It must not hold what has left.
    pub fn gone(recipient: &Recipient) -> Self {
        Self::none_of_its(recipient, format!("still opens {}", recipient.short()))
    }

    fn none_of_its(recipient: &Recipient, complaint: String) -> Self {
        Self {
            recipient: recipient.clone(),
            must_open: None,
            complaint,
        }
    }
}

/// Asks one reader all at once; `run` names this asking, so that no answer serves for another. `gate` says which receipt
/// suffices.
///
/// # Errors
/// A wrap that cannot be made; the reader cannot be asked, or answers wrongly.
pub fn ask(
    target: &dyn Target,
    run: &str,
    asked: &[Asked],
    gate: &Gate,
) -> Result<Shown, ApplyError> {
    let name = target.name();
    let challenges = asked
        .iter()
        .map(|one| Challenge::new(name, run, &one.recipient))
        .collect::<Result<Vec<_>, _>>()?;
    let receipts = target
        .prove_all(&challenges)
        .map_err(ApplyError::target(name))?;
    let mut shown = Shown::default();
    for (one, receipt) in asked.iter().zip(receipts) {
        let must = one.must_open.is_some();
        if let Some(id) = &one.must_open {
            shown.kinds.push((id.clone(), receipt.kind));
        }
        if !guards::answers_well(must, receipt.opened, receipt.everywhere) {
            shown.holds_too_much |= !must;
            let found = match (receipt.lacking.as_slice(), receipt.copies.as_slice()) {
                (lacking, _) if must && !lacking.is_empty() => {
                    format!(" (it is not in {})", lacking.join(", "))
                }
                (_, []) => String::new(),
                (_, copies) => format!(" (found in {})", copies.join(", ")),
            };
            shown
                .failures
                .push(format!("{name} {}{found}", one.complaint));
        } else if must && receipt.kind == ReceiptKind::ReadBack && !gate.takes_read_back(name) {
            shown.is_weak = true;
        }
    }
    if shown.is_weak {
        shown.failures.push(format!(
            "{name} was only read back, and [gate] asks for receipt = \"unwrapped\""
        ));
    }
    Ok(shown)
}
