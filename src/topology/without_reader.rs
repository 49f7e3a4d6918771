//! `cofferdam.toml` without one host or cluster: its section goes with its comments, everything else stays as it is written.

use toml_edit::{DocumentMut, Item, Table, Value};

/// Why a reader could not be taken out of a topology's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    /// Not TOML.
    #[error("cofferdam.toml is not TOML")]
    NotToml,
    /// Neither a host nor a cluster.
    #[error("cofferdam.toml has no host and no cluster {0}")]
    Absent(String),
}

/// A topology's text without a reader, and what it said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// The text that is left.
    pub text: String,
    /// The section's lines, without its heading.
    pub section: String,
}

/// The text of a topology without `[hosts.NAME]` or `[clusters.NAME]`, and without the name where other sections list it: a
/// file set's `hosts`, the `canary` and `order` of `[publish]`, the `except` of `[gate]`. Zones and their globs stay.
///
/// # Errors
/// See [`RemovalError`].
pub fn without_reader(text: &str, name: &str) -> Result<Without, RemovalError> {
    let mut document: DocumentMut = text.parse().map_err(|_| RemovalError::NotToml)?;
    let mut found = None;
    for section in ["hosts", "clusters"] {
        if let Some(readers) = document.get_mut(section).and_then(Item::as_table_like_mut) {
            found = found.or(readers.remove(name));
            if readers.is_empty() {
                document.remove(section);
            }
        }
    }
    let Some(section) = found else {
        return Err(RemovalError::Absent(name.to_owned()));
    };
    forget(document.as_table_mut(), name);
    Ok(Without {
        text: document.to_string(),
        section: section.to_string().trim().to_owned(),
    })
}

fn forget(table: &mut Table, name: &str) {
    let mut emptied = Vec::new();
    for (key, item) in table.iter_mut() {
        let is_list = matches!(key.get(), "hosts" | "order" | "canary" | "except");
        match item {
            Item::Value(Value::String(one)) if key.get() == "canary" && one.value() == name => {
                emptied.push(key.get().to_owned());
            }
            Item::Value(value) => forget_in(value, is_list, name),
            Item::Table(below) => forget(below, name),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|t| forget(t, name)),
            Item::None => {}
        }
    }
    for key in emptied {
        table.remove(&key);
    }
}

fn forget_in(value: &mut Value, is_list: bool, name: &str) {
    match value {
        Value::Array(array) => {
            if is_list {
                array.retain(|item| item.as_str() != Some(name));
            }
            array
                .iter_mut()
                .for_each(|item| forget_in(item, false, name));
        }
        Value::InlineTable(table) => {
            for (key, below) in table.iter_mut() {
                forget_in(below, key.get() == "hosts", name);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# top\nversion = 1\n\n[zones.lan]   # the zone\nfiles = [{ paths = [\"docker/{kasm,nvr}/*.env\"], hosts = [\"kasm\", \"nvr\"] }]\n\n[hosts.kasm]  # stays\nzone = \"lan\"\n\n# the recorder\n[hosts.nvr]\nzone = \"lan\"   # gone\n\n[publish]\norder = [\"nvr\", \"lan\"]\n";

    #[test]
    fn the_section_goes_with_its_comments_and_nothing_else() {
        let after = without_reader(TEXT, "nvr").unwrap();
        assert_eq!(
            after.text,
            "# top\nversion = 1\n\n[zones.lan]   # the zone\nfiles = [{ paths = [\"docker/{kasm,nvr}/*.env\"], hosts = [\"kasm\"] }]\n\n[hosts.kasm]  # stays\nzone = \"lan\"\n\n[publish]\norder = [ \"lan\"]\n"
        );
        assert_eq!(after.section, "zone = \"lan\"   # gone");
        assert!(without_reader(TEXT, "lan").is_err());
        assert!(without_reader("a = ", "nvr").is_err());
    }
}
