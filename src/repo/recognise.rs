//! Tells a SOPS document from other files by what it holds, cheaply: most files of a repository are none.

use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::sops::store::Store;

/// The store of the SOPS document in `source`; none if it is no SOPS document.
///
/// The name in `path` decides between stores that the content allows, as it does for sops.
pub(super) fn recognise(path: &str, source: &[u8]) -> Option<Store> {
    // The MAC is encrypted in every document, whatever its leaves are.
    static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"ENC\[AES256_GCM,").ok());
    static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("lastmodified").ok());
    if !is_match(&TOKEN, source) || !is_match(&DATE, source) {
        return None;
    }
    let by_name = by_name(path);
    let holds = match by_name {
        Store::Yaml => is_yaml(source),
        Store::Json | Store::Binary => is_json(source),
        Store::Dotenv => is_dotenv(source),
        Store::Ini => is_ini(source),
    };
    if holds {
        return Some(by_name);
    }
    // Written with --input-type under another name.
    if is_json(source) {
        Some(Store::Json)
    } else if is_dotenv(source) {
        Some(Store::Dotenv)
    } else if is_ini(source) {
        Some(Store::Ini)
    } else if by_name != Store::Binary && is_yaml(source) {
        Some(Store::Yaml)
    } else {
        None
    }
}

/// Source: sops 3.11, `cmd/sops/formats/formats.go`, `FormatForPath`.
fn by_name(path: &str) -> Store {
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

fn is_json(source: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Document {
        sops: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        #[serde(rename = "mac")]
        _mac: String,
    }
    let first = source.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'{')
        && serde_json::from_slice::<Document>(source).is_ok_and(|document| {
            let Metadata { _mac } = document.sops;
            true
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

    const MAC: &str = "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]";

    #[test]
    fn knows_documents_by_content() {
        let yaml = format!("a: b\nsops:\n    lastmodified: x\n    mac: {MAC}\n");
        let json = format!(r#"{{"data": "x", "sops": {{"lastmodified": "x", "mac": "{MAC}"}}}}"#);
        let dotenv = format!("A=b\nsops_lastmodified=x\nsops_mac={MAC}\n");
        let ini = format!("[a]\nb = c\n\n[sops]\nlastmodified = x\nmac = {MAC}\n");
        for (path, source, store) in [
            ("a.yaml", &yaml, Some(Store::Yaml)),
            ("a.yml", &yaml, Some(Store::Yaml)),
            ("a.json", &json, Some(Store::Json)),
            ("a.crt", &json, Some(Store::Binary)),
            (".env", &dotenv, Some(Store::Dotenv)),
            ("settings.conf", &dotenv, Some(Store::Dotenv)),
            ("a.ini", &ini, Some(Store::Ini)),
            ("README.md", &yaml, None),
            ("a.sh", &format!("grep '{MAC}' # lastmodified"), None),
            ("a.yaml", &"a: b\n".to_owned(), None),
        ] {
            assert_eq!(recognise(path, source.as_bytes()), store, "{path}");
        }
    }
}
