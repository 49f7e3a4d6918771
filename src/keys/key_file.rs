//! The text of an age key file: one identity a line, as `age-keygen` writes it and `sops` reads it.
//!
//! Pure: who reads and writes the file is the keystore or the fleet. Lines that are not ours stay byte for byte.

use std::fmt;

use secrecy::ExposeSecret;
use zeroize::Zeroize;

use crate::keys::{Identity, IdentityError, Recipient};
use crate::secret::Secret;

/// A key file that parsed.
///
/// # Secrets
/// Holds the whole text and the identities in it; both are wiped on drop.
pub struct KeyFile {
    text: Secret<String>,
    lines: Vec<Line>,
}

/// One line: where it is in the text (its end includes the line break) and what it says.
struct Line {
    start: usize,
    end: usize,
    entry: Entry,
}

enum Entry {
    /// Empty, or a comment.
    Other,
    Identity(Identity),
    /// An identity of a kind that is not supported yet; kept, not used.
    Unsupported,
}

/// Why a text is no key file. Names lines by number, never by content.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum KeyFileError {
    /// The text is not UTF-8.
    #[error("the key file is not UTF-8")]
    NotUtf8,
    /// The key file is encrypted itself.
    #[error("the key file is encrypted")]
    Encrypted,
    /// The file is an SSH private key, which belongs into another place.
    #[error("the file is an SSH private key, not an age key file")]
    SshKey,
    /// A line is no identity; sops refuses the whole file then, and so do we.
    #[error("line {line} of the key file: {reason}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl KeyFile {
    /// Parses the bytes of a key file: one identity a line; lines that are empty or begin with `#` are skipped, nothing
    /// is trimmed, `\r\n` may end a line. A file without any identity is fine here.
    ///
    /// Source: `age.ParseIdentities` of filippo.io/age, as sops calls it.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        if is_encrypted(bytes) {
            return Err(KeyFileError::Encrypted);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFileError::NotUtf8)?;
        let mut lines = Vec::new();
        let mut start = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let content = line.strip_suffix('\n').unwrap_or(line);
            let content = content.strip_suffix('\r').unwrap_or(content);
            let entry = parse_line(content).map_err(|reason| match reason {
                LineError::Ssh => KeyFileError::SshKey,
                LineError::Damaged(reason) => KeyFileError::Line {
                    line: index + 1,
                    reason,
                },
            })?;
            let end = start + line.len();
            lines.push(Line { start, end, entry });
            start = end;
        }
        Ok(Self {
            text: Secret::new(text.to_owned()),
            lines,
        })
    }

    /// An empty key file.
    pub fn empty() -> Self {
        Self {
            text: Secret::new(String::new()),
            lines: Vec::new(),
        }
    }

    /// The identities, in order; handles that share the secrets.
    pub fn identities(&self) -> Vec<Identity> {
        self.found().map(Identity::share).collect()
    }

    /// The recipients of the identities that know theirs, in order.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.found().filter_map(Identity::recipient).collect()
    }

    /// Whether the identity of `recipient` is in the file.
    pub fn holds(&self, recipient: &Recipient) -> bool {
        self.found().any(|i| i.recipient_ref() == Some(recipient))
    }

    /// The numbers, from 1, of lines that hold an identity of a kind that is not supported yet.
    pub fn unsupported_lines(&self) -> Vec<usize> {
        (1..)
            .zip(&self.lines)
            .filter(|(_, line)| matches!(line.entry, Entry::Unsupported))
            .map(|(number, _)| number)
            .collect()
    }

    /// The text, unchanged.
    pub fn text(&self) -> &Secret<String> {
        &self.text
    }

    /// The text with `identity` behind all that is there, under comment lines: each of `comments` (without `# `; say
    /// `created: …` or `cofferdam: …`), then `# public key: …` as `age-keygen` writes it. What is there stays byte for
    /// byte, but for a final line break where it lacks. Already there: unchanged.
    pub fn with_identity(&self, comments: &[&str], identity: &Identity) -> Secret<String> {
        let old = self.text.expose();
        if identity.recipient_ref().is_some_and(|r| self.holds(r)) {
            return self.text.duplicate();
        }
        let line_break = if old.contains("\r\n") { "\r\n" } else { "\n" };
        let secret = identity.to_text();
        let secret = secret.expose_secret();
        // Room for all of it, so that no grown buffer is left behind unwiped.
        let comments_length: usize = comments.iter().map(|c| c.len() + 4).sum();
        let mut text = String::with_capacity(old.len() + secret.len() + comments_length + 1024);
        text.push_str(old);
        if !old.is_empty() && !old.ends_with('\n') {
            text.push_str(line_break);
        }
        for comment in comments {
            text.push_str("# ");
            // A comment of two lines would turn its second into an entry.
            text.extend(
                comment
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c }),
            );
            text.push_str(line_break);
        }
        if let Some(recipient) = identity.recipient_ref() {
            text.push_str("# public key: ");
            text.push_str(recipient.as_str());
            text.push_str(line_break);
        }
        text.push_str(secret);
        text.push_str(line_break);
        Secret::new(text)
    }

    /// The text without the identity of `recipient` and without the comment lines right above it that belong to it:
    /// `# created:`, its own `# public key:`, and ours, `# cofferdam…`. All other lines stay byte for byte.
    pub fn without(&self, recipient: &Recipient) -> Secret<String> {
        let mut dropped = vec![false; self.lines.len()];
        for (at, line) in self.lines.iter().enumerate() {
            let Entry::Identity(identity) = &line.entry else {
                continue;
            };
            if identity.recipient_ref() != Some(recipient) {
                continue;
            }
            dropped[at] = true;
            for above in (0..at).rev() {
                if dropped[above] || !self.belongs_to(above, recipient) {
                    break;
                }
                dropped[above] = true;
            }
        }
        let old = self.text.expose();
        let mut text = String::with_capacity(old.len());
        for (line, dropped) in self.lines.iter().zip(dropped) {
            if !dropped {
                text.push_str(&old[line.start..line.end]);
            }
        }
        Secret::new(text)
    }

    fn found(&self) -> impl Iterator<Item = &Identity> {
        self.lines.iter().filter_map(|line| match &line.entry {
            Entry::Identity(identity) => Some(identity),
            Entry::Other | Entry::Unsupported => None,
        })
    }

    fn belongs_to(&self, line: usize, recipient: &Recipient) -> bool {
        let line = &self.lines[line];
        let content = self.text.expose()[line.start..line.end].trim_end_matches(['\r', '\n']);
        match content.strip_prefix("# public key: ") {
            Some(key) => Recipient::parse(key).is_ok_and(|key| &key == recipient),
            None => content.starts_with("# created: ") || content.starts_with("# cofferdam"),
        }
    }
}

/// Whether `bytes` are an age file, armored or not, rather than a key file.
pub fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/")
        || bytes
            .trim_ascii_start()
            .starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

enum LineError {
    Ssh,
    Damaged(String),
}

fn parse_line(content: &str) -> Result<Entry, LineError> {
    if content.is_empty() || content.starts_with('#') {
        return Ok(Entry::Other);
    }
    if content.contains("PRIVATE KEY-----") {
        return Err(LineError::Ssh);
    }
    match Identity::parse(content) {
        Ok(identity) => Ok(Entry::Identity(identity)),
        Err(IdentityError::PostQuantum) => Ok(Entry::Unsupported),
        Err(_) if content.trim() != content => Err(LineError::Damaged(
            "white space before or after the identity".to_owned(),
        )),
        Err(error) => Err(LineError::Damaged(error.to_string())),
    }
}

impl Zeroize for KeyFile {
    fn zeroize(&mut self) {
        self.text.expose_mut().zeroize();
        self.lines.clear();
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.found()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(identity: &Identity) -> String {
        identity.to_text().expose_secret().to_owned()
    }

    #[test]
    fn comments_blank_lines_and_crlf_are_fine() {
        let (a, b) = (Identity::mint(), Identity::mint());
        let text = format!("# note\r\n\r\n{}\r\n\n{}", line(&a), line(&b));
        let file = KeyFile::parse(text.as_bytes()).unwrap();
        assert_eq!(
            file.recipients(),
            [a.recipient().unwrap(), b.recipient().unwrap()]
        );
        assert_eq!(file.text().expose(), &text);
        assert!(KeyFile::parse(b"").unwrap().identities().is_empty());
    }

    #[test]
    fn damage_is_named_by_line_and_not_by_content() {
        let good = line(&Identity::mint());
        for bad in [
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\t# mine"),
            good.to_lowercase(),
            good[..60].to_owned(),
            format!("{good}Q"),
            "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa".to_owned(),
            "hunter2".to_owned(),
        ] {
            let error = KeyFile::parse(format!("# one\n{good}\n{bad}\n").as_bytes()).unwrap_err();
            assert!(
                matches!(&error, KeyFileError::Line { line: 3, .. }),
                "{error}"
            );
            let text = format!("{error} {error:?}");
            assert!(!text.contains("SECRET-KEY-1") && !text.contains("hunter2"));
        }
        let ssh = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n";
        assert_eq!(KeyFile::parse(ssh).unwrap_err(), KeyFileError::SshKey);
        assert_eq!(
            KeyFile::parse(b"age-encryption.org/v1\n-> scrypt").unwrap_err(),
            KeyFileError::Encrypted
        );
        assert_eq!(
            KeyFile::parse(b"\xff\n").unwrap_err(),
            KeyFileError::NotUtf8
        );
    }

    #[test]
    fn a_post_quantum_identity_beside_others_is_kept_and_told() {
        let a = Identity::mint();
        let text = format!("AGE-SECRET-KEY-PQ-1QQQQ\n{}\n", line(&a));
        let file = KeyFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.identities().len(), 1);
        assert_eq!(file.unsupported_lines(), [1]);
        let left = file.without(&a.recipient().unwrap());
        assert_eq!(left.expose(), "AGE-SECRET-KEY-PQ-1QQQQ\n");
    }

    #[test]
    fn adds_beside_the_others_and_takes_away_only_its_own() {
        let (old, new) = (Identity::mint(), Identity::mint());
        let before = format!(
            "# created: 2024-01-01T00:00:00Z\n# public key: {}\n{}\n# host key, ask Bob\n",
            old.recipient().unwrap(),
            line(&old)
        );
        let file = KeyFile::parse(before.as_bytes()).unwrap();
        let both = file.with_identity(
            &["created: 2026-11-23T20:00:00Z", "cofferdam: zone lan\nx"],
            &new,
        );
        assert_eq!(
            both.expose(),
            &format!(
                "{before}# created: 2026-11-23T20:00:00Z\n# cofferdam: zone lan x\n# public key: {}\n{}\n",
                new.recipient().unwrap(),
                line(&new)
            )
        );
        let both = KeyFile::parse(both.expose().as_bytes()).unwrap();
        assert_eq!(both.without(&new.recipient().unwrap()).expose(), &before);
        assert_eq!(both.with_identity(&[], &new).expose(), both.text().expose());
        let left = both.without(&old.recipient().unwrap());
        assert!(
            left.expose()
                .starts_with("# host key, ask Bob\n# created: 2026")
        );
        let left = KeyFile::parse(left.expose().as_bytes()).unwrap();
        assert_eq!(left.recipients(), [new.recipient().unwrap()]);
    }

    #[test]
    fn a_comment_about_another_key_stays() {
        let (a, b) = (Identity::mint(), Identity::mint());
        let text = format!(
            "# created: x\n# public key: {}\n{}\n",
            b.recipient().unwrap(),
            line(&a)
        );
        let file = KeyFile::parse(text.as_bytes()).unwrap();
        let left = file.without(&a.recipient().unwrap());
        assert_eq!(
            left.expose(),
            &format!("# created: x\n# public key: {}\n", b.recipient().unwrap())
        );
    }

    #[test]
    fn a_missing_final_line_break_does_not_join_two_identities() {
        let (a, b) = (Identity::mint(), Identity::mint());
        let file = KeyFile::parse(line(&a).as_bytes()).unwrap();
        let both = KeyFile::parse(file.with_identity(&[], &b).expose().as_bytes()).unwrap();
        assert_eq!(both.identities().len(), 2);
        let crlf = KeyFile::parse(format!("{}\r\n", line(&a)).as_bytes()).unwrap();
        assert!(crlf.with_identity(&[], &b).expose().ends_with("\r\n"));
    }

    #[test]
    fn debug_prints_no_secret() {
        let a = Identity::mint();
        let file = KeyFile::parse(line(&a).as_bytes()).unwrap();
        assert!(!format!("{file:?}").contains("SECRET"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_and_never_a_panic(bytes: Vec<u8>, text in "(#|\r|\n|AGE-SECRET-KEY-1|[A-Z]){0,40}") {
            let _ = KeyFile::parse(&bytes);
            if let Ok(file) = KeyFile::parse(text.as_bytes()) {
                prop_assert_eq!(file.text().expose(), &text);
            }
        }

        #[test]
        fn adding_and_taking_away_is_the_identity(text in "((# ?[a-z: ]{0,12})?\r?\n){0,6}") {
            let new = Identity::mint();
            let file = KeyFile::parse(text.as_bytes()).unwrap();
            let with = file.with_identity(&[], &new);
            let back = KeyFile::parse(with.expose().as_bytes()).unwrap();
            // A trailing foreign "# created: …" cannot be told from ours.
            if !text.contains("# created: ") && !text.contains("# cofferdam") {
                let back = back.without(&new.recipient().unwrap());
                prop_assert_eq!(back.expose(), &text);
            }
        }
    }
}
