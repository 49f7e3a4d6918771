//! What a SOPS document tells without being opened: clear values that look like secrets, and versions.

use crate::evidence::Sources;
use crate::sops::Document;
use crate::sops::leaves::LeafContent;

/// Ends of names under which secrets stand.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "secretkey",
    "privatekey",
    "accesskey",
    "credentials",
    "clientsecret",
];
/// Beginnings of values that are secrets under any name.
///
/// Source: the issuers' documentation: GitHub, GitLab, Slack, AWS, PEM, age.
const SECRET_SHAPES: [&str; 10] = [
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "-----BEGIN",
    "AGE-SECRET-KEY-",
];
/// A shorter value is a word, not a secret.
const SHORTEST: usize = 6;

/// The clear leaves of a document that look like secrets, by their keys.
///
/// # Secrets
/// Values are looked at where they stand and leave nothing behind; keys stand in the clear in every document.
pub(super) fn clear_secrets(document: &Document) -> Vec<String> {
    let leaves = document.leaves();
    let looks = leaves
        .iter()
        .filter(|leaf| !leaf.is_comment)
        .filter(|leaf| {
            let LeafContent::Clear(bytes) = &leaf.content else {
                return false;
            };
            let name = leaf.key.last().map_or("", String::as_str);
            std::str::from_utf8(bytes.expose()).is_ok_and(|value| looks_like_secret(name, value))
        });
    looks.map(|leaf| leaf.key.join(".")).collect()
}

/// Whether a clear value looks like a secret, by its name or by its own shape.
pub fn looks_like_secret(name: &str, value: &str) -> bool {
    let value = value.trim();
    if SECRET_SHAPES.iter().any(|shape| value.starts_with(shape)) {
        return !value.starts_with("-----BEGIN CERTIFICATE")
            && !value.starts_with("-----BEGIN PUBLIC KEY");
    }
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    let is_named = SECRET_NAMES.iter().any(|end| name.ends_with(end));
    let is_reference = value.contains("${")
        || value.contains("{{")
        || value.starts_with("$(")
        || value.starts_with('/');
    let is_word = matches!(
        value.to_ascii_lowercase().as_str(),
        "changeme" | "example" | "password" | "secret"
    ) || value.len() < SHORTEST
        || value.chars().any(char::is_whitespace)
        || value.parse::<f64>().is_ok_and(|_| value.len() < 12);
    is_named && !is_reference && !is_word
}

/// A version of sops, as numbers that compare.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let text = text.trim().trim_start_matches('v');
    let mut parts = text.splitn(3, '.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    Some((
        parts.next()??,
        parts.next()??,
        parts.next().flatten().unwrap_or(0),
    ))
}

/// The first sops that knows this kind of recipient.
///
/// Source: sops, CHANGELOG: 3.7.0 (age), 3.10.0 (SSH keys for age), 3.12.0 (post-quantum recipients).
fn needs(recipient: &str) -> ((u32, u32, u32), &'static str) {
    if recipient.starts_with("age1pq1") {
        ((3, 12, 0), "3.12.0, for post-quantum recipients")
    } else if recipient.starts_with("ssh-") {
        ((3, 10, 0), "3.10.0, for SSH recipients")
    } else {
        ((3, 7, 0), "3.7.0, for age recipients")
    }
}

/// The oldest sops that a file of the repository pins for readers, with that file.
pub(super) fn pinned_sops(sources: &Sources) -> Option<(String, String)> {
    let pins = sources
        .texts
        .iter()
        .filter(|(path, _)| path.file_name().contains("Dockerfile"));
    let pins = pins.flat_map(|(path, text)| {
        let names = [
            "SOPS_VERSION=",
            "sops/releases/download/v",
            "getsops/sops:v",
            "mozilla/sops:v",
        ];
        let found = text.lines().flat_map(move |line| {
            names
                .into_iter()
                .filter_map(move |name| line.split_once(name))
                .map(|(_, after)| {
                    let end =
                        after.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | 'v' | '"'));
                    after[..end.unwrap_or(after.len())]
                        .trim_matches('"')
                        .to_owned()
                })
        });
        found.filter_map(move |text| Some((version(&text)?, text, path.as_str().to_owned())))
    });
    pins.min().map(|(_, text, file)| (text, file))
}

/// Why sops is too old for a document: the one that wrote it, or the one that its readers have; empty if neither is.
pub(super) fn too_old(document: &Document, pinned: Option<&(String, String)>) -> String {
    // As written: of kinds, too, that only a later sops knows.
    let entries = document.key_groups().iter().flat_map(|group| &group.age);
    let wanted = entries.map(|entry| needs(&entry.text));
    let Some((wanted, why)) = wanted.max_by_key(|(version, _)| *version) else {
        return String::new();
    };
    // What we write ourselves carries the version whose format it is, whoever the recipients are.
    let own = version(crate::sops::metadata::VERSION);
    let writer = version(document.version());
    if writer.is_some_and(|writer| writer < wanted && Some(writer) != own) {
        return format!(
            "sops {} wrote it; its readers need {why}",
            document.version()
        );
    }
    match pinned {
        Some((text, file)) if version(text).is_some_and(|v| v < wanted) => {
            format!("{file} pins sops {text}; its readers need {why}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_shapes_of_secrets() {
        for (name, value) in [
            ("password", "hunter22"),
            ("DB_PASSWORD", "correct-horse"),
            ("client_secret", "abcdef0123"),
            ("note", "ghp_0123456789"),
            ("key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ] {
            assert!(looks_like_secret(name, value), "{name} {value}");
        }
        for (name, value) in [
            ("name", "cloudflare-api-token"),
            ("secretName", "database"),
            ("password", "${DB_PASSWORD}"),
            ("password_file", "/run/secrets/x"),
            ("token", "true"),
            ("passwordLength", "20"),
            ("password", "changeme"),
            ("ca", "-----BEGIN CERTIFICATE-----"),
        ] {
            assert!(!looks_like_secret(name, value), "{name} {value}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("3.9.4") < version("3.10.0"));
        assert_eq!(version("v3.11"), Some((3, 11, 0)));
        assert_eq!(version("unknown"), None);
    }
}
