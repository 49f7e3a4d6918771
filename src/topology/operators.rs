//! Operators and recovery in the text of a topology, whether all of it holds or not: of earlier versions, and without one of them.

use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use crate::keys::Recipient;

/// Operators and recovery of a text: each recipient with its holder, `operator laptop` or `recovery`. What cannot be read is
/// left out: an earlier version may have had mistakes.
pub fn parties_in(text: &str) -> Vec<(String, Recipient)> {
    let Ok(document) = text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    let mut parties = Vec::new();
    let mut add = |name: &str, section: &Item| {
        let recipients = section.as_table_like().and_then(|t| t.get("recipients"));
        let recipients = recipients.and_then(Item::as_array).into_iter().flatten();
        for recipient in recipients.filter_map(|v| Recipient::parse(v.as_str()?).ok()) {
            parties.push((name.to_owned(), recipient));
        }
    };
    if let Some(recovery) = document.get("recovery") {
        add("recovery", recovery);
    }
    let operators = document.get("operators").and_then(Item::as_table_like);
    for (name, section) in operators.into_iter().flat_map(TableLike::iter) {
        add(&format!("operator {name}"), section);
    }
    parties
}

/// The text of a topology without these recipients of operators and recovery. An operator that has none left goes with its
/// section and its comments; all else stays as it is written. None if the text is no TOML.
pub fn without_recipients(text: &str, recipients: &[Recipient]) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let is_gone = |value: &Value| {
        let recipient = value.as_str().and_then(|text| Recipient::parse(text).ok());
        recipient.is_some_and(|r| recipients.contains(&r))
    };
    let take = |section: &mut Item| -> bool {
        let array = section
            .as_table_like_mut()
            .and_then(|t| t.get_mut("recipients"));
        let Some(array) = array.and_then(Item::as_array_mut) else {
            return false;
        };
        if !array.iter().any(is_gone) {
            return false;
        }
        array.retain(|value| !is_gone(value));
        tidy(array);
        array.is_empty()
    };
    if let Some(recovery) = document.get_mut("recovery") {
        take(recovery);
    }
    if let Some(operators) = document
        .get_mut("operators")
        .and_then(Item::as_table_like_mut)
    {
        let mut emptied = Vec::new();
        for (name, section) in operators.iter_mut() {
            if take(section) {
                emptied.push(name.get().to_owned());
            }
        }
        for name in emptied {
            operators.remove(&name);
        }
    }
    Some(document.to_string())
}

/// The first of a list on one line has no blank before it.
fn tidy(array: &mut Array) {
    if let Some(first) = array.get_mut(0) {
        let prefix = first.decor().prefix().and_then(|p| p.as_str());
        if prefix == Some(" ") {
            first.decor_mut().set_prefix("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Identity;

    #[test]
    fn parties_are_read_and_taken_out() {
        let [recovery, one, two, desk] = [(); 4].map(|()| Identity::mint().recipient().unwrap());
        let text = format!(
            "version = 1   # one\n[recovery]\nrecipients = [\"{recovery}\"]\n\n[operators.laptop]   # mine\nrecipients = [\"{one}\", \"{two}\"]\n\n\
             # hers\n[operators.desk]\nrecipients = [\"{desk}\"]\n\n[zones.lan]\nmax_age = \"nonsense\"\n"
        );
        let parties = parties_in(&text);
        let names: Vec<&str> = parties.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "recovery",
                "operator laptop",
                "operator laptop",
                "operator desk"
            ]
        );
        assert_eq!(parties[3].1, desk);
        assert!(parties_in("a = ").is_empty());

        let left = without_recipients(&text, &[one.clone(), desk]).unwrap();
        assert_eq!(
            left,
            format!(
                "version = 1   # one\n[recovery]\nrecipients = [\"{recovery}\"]\n\n[operators.laptop]   # mine\nrecipients = [\"{two}\"]\n\n\
                 [zones.lan]\nmax_age = \"nonsense\"\n"
            )
        );
        assert_eq!(without_recipients(&left, &[one]).unwrap(), left);
    }
}
