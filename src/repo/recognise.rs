//! Tells a SOPS document from other files by what it holds, cheaply: most files of a repository are none.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::keys::Identity;
use crate::sops::store::{Store, detect};

// The MAC is encrypted in every document, whatever its leaves are.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"ENC\[AES256_GCM,").ok());
static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("lastmodified").ok());

/// What speaks for a document in a file that is looked at piece by piece.
#[derive(Debug, Default)]
pub struct Signs {
    token: bool,
    date: bool,
    metadata: bool,
    nul: bool,
}

impl Signs {
    /// Looks at one more piece; `closely` if the file is too large to ask [`recognise`].
    pub fn see(&mut self, piece: &[u8], closely: bool) {
        self.token = self.token || is_match(&TOKEN, piece);
        self.date = self.date || is_match(&DATE, piece);
        if closely {
            self.metadata = self.metadata
                || is_yaml(piece)
                || is_match(&JSON_KEY, piece)
                || is_dotenv(piece)
                || is_ini(piece);
            self.nul = self.nul || piece.contains(&0);
        }
    }

    /// Notes a piece that is nothing but zeros.
    pub fn see_nul(&mut self) {
        self.nul = true;
    }

    /// Whether [`recognise`] has to be asked: without these it knows no document.
    pub fn are_enough(&self) -> bool {
        self.token && self.date
    }

    /// Whether what was looked at closely is text with a line that metadata have: archives and prose that hold documents are none.
    pub fn is_a_document_likely(&self) -> bool {
        self.metadata && !self.nul
    }
}

/// The store of the SOPS document in `source`; none if it is no SOPS document.
///
/// The name in `path` decides between stores that the content allows, as it does for sops.
pub fn recognise(path: &str, source: &[u8]) -> Option<Store> {
    if !is_match(&TOKEN, source) || !is_match(&DATE, source) {
        return None;
    }
    let named = by_name(path);
    // A damaged document under a usual name still counts, so that opening it says what is wrong.
    let holds = match named {
        Store::Yaml => is_yaml(source),
        Store::Json => is_json(source),
        Store::Dotenv => is_dotenv(source),
        Store::Ini => is_ini(source),
        Store::Binary => false,
    };
    if holds {
        return Some(named);
    }
    // Under any other name it must be whole: prose may quote a document.
    match detect::store_of(source)? {
        Store::Json if named == Store::Binary && is_binary(source) => Some(Store::Binary),
        Store::Yaml if named == Store::Binary && !is_yaml(source) => None,
        store => Some(store),
    }
}

/// The line, from 1, on which an age identity stands in the clear: one whose checksum holds, not a placeholder.
///
/// # Secrets
/// It is looked at where it stands, and read in wiped memory; only the line leaves.
pub fn identity_line(source: &[u8]) -> Option<usize> {
    static IDENTITY: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{58,}").ok());
    let pattern = IDENTITY.as_ref()?;
    let is_whole = |found: &regex::bytes::Match<'_>| {
        let text = std::str::from_utf8(found.as_bytes()).unwrap_or_default();
        // A post-quantum one cannot be read here; its shape is enough to be warned of it.
        text.starts_with("AGE-SECRET-KEY-PQ-") || Identity::parse(text).is_ok()
    };
    let found = pattern.find_iter(source).find(is_whole)?;
    let before = source.get(..found.start()).unwrap_or_default();
    Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
}

/// The store that a file's name stands for.
///
/// Source: sops 3.11, `cmd/sops/formats/formats.go`, `FormatForPath`.
pub fn by_name(path: &str) -> Store {
    if path.ends_with(".yaml") || path.ends_with(".yml") {
        Store::Yaml
    } else if path.ends_with(".json") {
        Store::Json
    } else if path.ends_with(".env") {
        Store::Dotenv
    } else if path.ends_with(".ini") {
        Store::Ini
    } else {
        Store::Binary
    }
}

fn is_yaml(source: &[u8]) -> bool {
    static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?m)^(?:"sops"|'sops'|sops)[ \t]*:|^\{.*"?sops"?[ \t]*:"#).ok()
    });
    is_match(&LINE, source)
}

static JSON_KEY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#""sops"[ \t\r\n]*:"#).ok());

fn is_json(source: &[u8]) -> bool {
    let first = source.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'{') && is_match(&JSON_KEY, source)
}

/// The JSON wrapper of the binary store holds one leaf, `data`.
fn is_binary(source: &[u8]) -> bool {
    type Keys = HashMap<String, serde::de::IgnoredAny>;
    serde_json::from_slice::<Keys>(source).is_ok_and(|keys| {
        keys.keys()
            .all(|key| matches!(key.as_str(), "data" | "sops"))
    })
}

fn is_dotenv(source: &[u8]) -> bool {
    static LINE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?m)^sops_mac=ENC\[AES256_GCM,").ok());
    is_match(&LINE, source)
}

fn is_ini(source: &[u8]) -> bool {
    static LINE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?m)^[ \t]*\[sops\][ \t]*\r?$").ok());
    is_match(&LINE, source)
}

fn is_match(pattern: &LazyLock<Option<Regex>>, source: &[u8]) -> bool {
    pattern
        .as_ref()
        .is_some_and(|pattern| pattern.is_match(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "2026-01-02T03:04:05Z";
    const MAC: &str = "ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]";

    #[test]
    fn an_identity_is_told_from_a_placeholder() {
        use secrecy::ExposeSecret;
        let identity = Identity::mint().to_text();
        let text = format!("# key\nk={}\n", identity.expose_secret());
        assert_eq!(identity_line(text.as_bytes()), Some(2));
        let placeholder = format!("AGE-SECRET-KEY-1{}\n", "Q".repeat(58));
        assert_eq!(identity_line(placeholder.as_bytes()), None);
        assert_eq!(identity_line(b"AGE-SECRET-KEY-1...\n"), None);
        let post_quantum = format!("AGE-SECRET-KEY-PQ-1{}\n", "Q7".repeat(29));
        assert_eq!(identity_line(post_quantum.as_bytes()), Some(1));
        let after = format!("{placeholder}{text}");
        assert_eq!(identity_line(after.as_bytes()), Some(3));
    }

    #[test]
    fn knows_documents_by_content() {
        let yaml = format!(
            "a: b\nsops:\n    age:\n        - recipient: age1x\n          enc: x\n    lastmodified: \"{DATE}\"\n    mac: {MAC}\n    version: 3.11.0\n"
        );
        let json = format!(
            r#"{{"data": "x", "sops": {{"age": [{{"recipient": "age1x", "enc": "x"}}], "lastmodified": "{DATE}", "mac": "{MAC}", "version": "3.11.0"}}}}"#
        );
        let other = json.replace("data\"", "key\"").replace("3.11.0", "3.9.0");
        let dotenv = format!(
            "A=b\nsops_age__list_0__map_recipient=age1x\nsops_age__list_0__map_enc=x\nsops_lastmodified={DATE}\nsops_mac={MAC}\nsops_version=3.11.0\n"
        );
        let ini = format!(
            "[a]\nb = c\n\n[sops]\nage__list_0__map_recipient = age1x\nage__list_0__map_enc = x\nlastmodified = {DATE}\nmac = {MAC}\nversion = 3.11.0\n"
        );
        for (path, source, store) in [
            ("a.yaml", &yaml, Some(Store::Yaml)),
            ("a.yml", &yaml, Some(Store::Yaml)),
            ("a.json", &json, Some(Store::Json)),
            ("a.crt", &json, Some(Store::Binary)),
            ("a.tfstate", &other, Some(Store::Json)),
            (
                "a.yaml",
                &format!("<<<<<<< ours\n{yaml}"),
                Some(Store::Yaml),
            ),
            ("README.md", &format!("# How\n```\n{dotenv}```\n"), None),
            (".env", &dotenv, Some(Store::Dotenv)),
            ("settings.conf", &dotenv, Some(Store::Dotenv)),
            ("a.ini", &ini, Some(Store::Ini)),
            ("README.md", &format!("# How\n```\n{yaml}```\n"), None),
            ("a.sh", &format!("grep '{MAC}' # lastmodified sops"), None),
            ("a.yaml", &"a: b\n".to_owned(), None),
        ] {
            assert_eq!(recognise(path, source.as_bytes()), store, "{path}");
        }
    }
}
