//! Lists of known hosts: is this key the host's? Pure; strict: what is not known is not accepted.
//!
//! Source: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". libssh2's own reader knows neither `@revoked` nor wildcards.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// What the lists say of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    Unknown,
    /// Another key of that kind is known.
    Changed,
    Revoked,
    /// Only an authority is known, whose certificate would have to be shown.
    Authority,
}

/// A host's name as lists have it.
pub(super) fn listed_name(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// Judges a host's key, in SSH's wire form. A host on another port is also known by its name alone, as for `ssh`.
pub(super) fn judge(lists: &[String], host: &str, port: u16, key: &[u8]) -> Verdict {
    let verdict = judge_name(lists, &listed_name(host, port), key);
    if port == 22 || verdict == Verdict::Revoked {
        return verdict;
    }
    match (verdict, judge_name(lists, host, key)) {
        (_, Verdict::Revoked) => Verdict::Revoked,
        (Verdict::Unknown, Verdict::Known) => Verdict::Known,
        _ => verdict,
    }
}

fn judge_name(lists: &[String], name: &str, key: &[u8]) -> Verdict {
    let kind = kind_of(key);
    let mut verdict = Verdict::Unknown;
    for entry in entries(lists, name) {
        verdict = match entry.marker {
            Some("@revoked") if entry.key == key => return Verdict::Revoked,
            None if entry.key == key => Verdict::Known,
            None if verdict != Verdict::Known && kind_of(&entry.key) == kind => Verdict::Changed,
            Some("@cert-authority") if verdict == Verdict::Unknown => Verdict::Authority,
            _ => verdict,
        };
    }
    verdict
}

/// The kinds of the keys that are known for a host, such as `ssh-ed25519`.
pub(super) fn kinds(lists: &[String], host: &str, port: u16) -> Vec<String> {
    let mut kinds = Vec::new();
    for name in [listed_name(host, port), host.to_owned()] {
        for entry in entries(lists, &name) {
            let kind = kind_of(&entry.key).unwrap_or_default();
            if entry.marker.is_none() && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    kinds
}

/// What a key in wire form says it is; none if it is none.
pub(super) fn kind_of(key: &[u8]) -> Option<String> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let name = std::str::from_utf8(rest.get(..length)?).ok()?;
    name.is_ascii().then(|| name.to_owned())
}

/// The line that makes a key known.
pub(super) fn line_for(name: &str, key: &[u8]) -> String {
    let kind = kind_of(key).unwrap_or_default();
    // It came from the other side, and is to be pasted into a shell.
    let kind: String = kind
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-.@".contains(*c))
        .collect();
    format!("{name} {kind} {}", STANDARD.encode(key))
}

struct Entry<'a> {
    marker: Option<&'a str>,
    key: Vec<u8>,
}

/// The entries that name a host. Lines that make no sense are passed over, as `ssh` does.
fn entries<'a>(lists: &'a [String], name: &str) -> impl Iterator<Item = Entry<'a>> {
    let name = name.to_ascii_lowercase();
    lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(move |line| {
            let mut words = line.split_ascii_whitespace();
            let mut first = words.next().filter(|word| !word.starts_with('#'))?;
            let mut marker = None;
            if first.starts_with('@') {
                marker = Some(first);
                first = words.next()?;
            }
            let kind = words.next()?;
            let key = STANDARD.decode(words.next()?).ok()?;
            let is_whole = kind_of(&key).as_deref() == Some(kind);
            (is_whole && names(first, &name)).then_some(Entry { marker, key })
        })
}

/// Whether a line's first word names the host, hashed or as a list of patterns.
fn names(word: &str, name: &str) -> bool {
    if let Some(hashed) = word.strip_prefix("|1|") {
        return hashed
            .split_once('|')
            .and_then(|(salt, hash)| {
                Some((STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?))
            })
            .and_then(|(salt, hash)| {
                let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
                mac.update(name.as_bytes());
                mac.verify_slice(&hash).ok()
            })
            .is_some();
    }
    let mut found = false;
    for pattern in word.split(',') {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(pattern, name) => return false,
            Some(_) => {}
            None => found |= fits(&pattern, name),
        }
    }
    found
}

/// Whether a pattern with `*` and `?` fits the whole of `text`.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and what it took up to now.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}
