//! Finding SOPS documents by content, whatever their names.

use crate::sops::metadata::Metadata;
use crate::sops::store::{self, Store};

/// Whether these bytes are a SOPS document in any format: the metadata parses, version and MAC are set.
///
/// Cheap for files that are none: the words that every document holds are searched first.
pub fn looks_encrypted(bytes: &[u8]) -> bool {
    store_of(bytes).is_some()
}

/// The format of the SOPS document that these bytes are; none if they are none.
///
/// A binary document is told from a JSON one by the file's name only; both are JSON here.
pub fn store_of(bytes: &[u8]) -> Option<Store> {
    // Longest, and so rarest, first.
    for word in [
        b"ENC[AES256_GCM,".as_slice(),
        b"lastmodified",
        b"sops",
        b"mac",
    ] {
        if !contains(bytes, word) {
            return None;
        }
    }
    let candidates: &[Store] = if first_mark(bytes) == Some(b'{') {
        &[Store::Json, Store::Yaml]
    } else if has_line_start(bytes, b"sops_mac=") {
        &[Store::Dotenv]
    } else if has_line_start(bytes, b"[sops]") {
        &[Store::Ini]
    } else {
        &[Store::Yaml]
    };
    let is = |store: &Store| is_encrypted(*store, bytes);
    candidates.iter().copied().find(|s| is(s))
}

/// Whether these bytes are a SOPS document of this format.
pub fn is_encrypted(store: Store, bytes: &[u8]) -> bool {
    let parsed = store::parse(store, bytes).ok();
    let metadata = parsed.and_then(|p| Metadata::read(p.metadata.as_ref()?).ok());
    metadata.is_some_and(|m| m.is_encrypted())
}

fn first_mark(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|b| !b.is_ascii_whitespace())
}

fn has_line_start(bytes: &[u8], word: &[u8]) -> bool {
    bytes
        .split(|b| *b == b'\n')
        .any(|line| line.starts_with(word))
}

/// Searches by the first byte, which the standard library finds fast.
fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let Some((first, rest)) = word.split_first() else {
        return true;
    };
    let mut at = 0;
    while let Some(i) = bytes
        .get(at..)
        .and_then(|b| b.iter().position(|x| x == first))
    {
        let next = at + i + 1;
        if bytes.get(next..next + rest.len()) == Some(rest) {
            return true;
        }
        at = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_documents_and_nothing_else() {
        let metadata = "sops_age__list_0__map_recipient=age1x\nsops_lastmodified=2026-01-02T03:04:05Z\nsops_version=3.11.0\n";
        let mac = "sops_mac=ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\n";
        assert_eq!(
            store_of(format!("A=1\n{metadata}{mac}").as_bytes()),
            Some(Store::Dotenv)
        );
        assert!(!looks_encrypted(format!("A=1\n{metadata}").as_bytes()));
        assert!(!looks_encrypted(
            format!("# sops_lastmodified ENC[AES256_GCM, mac\n{mac}").as_bytes()
        ));
        assert!(!looks_encrypted(b""));
    }
}
