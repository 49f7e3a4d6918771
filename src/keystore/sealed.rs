//! Identities sealed to operators and to recovery: a key file, age-encrypted to one recipient each, safe in git.

use secrecy::ExposeSecret;

use crate::keys::wrap::{UnwrapError, WrapError, wrap};
use crate::keys::{Identity, IdentitySet, KeyFile, KeyFileError, LabelledWrap, Recipient};
use crate::secret::SecretBytes;

/// Why a sealed identity could not be had.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// The file is no age file, or an identity that could open it failed.
    #[error("a sealed identity cannot be opened")]
    Unwrap(#[source] UnwrapError),
    /// What was sealed is no key file.
    #[error("what was sealed is not a key file")]
    Content(#[source] KeyFileError),
    /// What was sealed holds another number of identities than one.
    #[error("what was sealed holds {count} identities, not one")]
    Count {
        /// How many.
        count: usize,
    },
    /// The bytes are no text.
    #[error("the sealed file is not armored text")]
    NotText,
}

/// The name of the file of the identity `id` sealed to `recipient`: `<id>.<first 8 hex of its SHA-256>.age`. The comment
/// of an SSH recipient does not count.
pub fn sealed_file_name(id: &str, recipient: &Recipient) -> String {
    format!("{id}.{}.age", recipient.seal_mark())
}

/// Seals `identity` to `recipient`: an armored age file that holds a key file, which `age -d` opens as well.
///
/// # Errors
/// [`WrapError`] if the recipient's plugin fails, or the identity is an SSH key whose file is under a passphrase: what
/// was sealed could not be opened without it.
pub fn seal(identity: &Identity, recipient: &Recipient) -> Result<Vec<u8>, WrapError> {
    if identity.is_ssh() && Identity::parse(identity.to_text().expose_secret()).is_err() {
        return Err(WrapError::Failed {
            recipient: recipient.clone(),
            reason: "an SSH key under a passphrase cannot be sealed".to_owned(),
        });
    }
    let text = KeyFile::empty().with_identity(&[], identity);
    wrap(text.expose().as_bytes(), recipient).map(String::into_bytes)
}

/// Opens the first of `files`, all of one sealed identity, that `identities` open; none if they open none.
///
/// # Errors
/// See [`UnsealError`]; only if none opens.
pub fn unseal(files: &[&[u8]], identities: &IdentitySet) -> Result<Option<Identity>, UnsealError> {
    unseal_many(&[files.to_vec()], identities)
        .pop()
        .unwrap_or(Ok(None))
}

/// Opens many sealed identities at once, each from its own files, in order: a plugin runs and asks once for all.
pub fn unseal_many(
    sealed: &[Vec<&[u8]>],
    identities: &IdentitySet,
) -> Vec<Result<Option<Identity>, UnsealError>> {
    let groups: Vec<Vec<LabelledWrap<'_>>> = sealed
        .iter()
        .map(|files| {
            let texts = files
                .iter()
                .filter_map(|file| std::str::from_utf8(file).ok());
            texts.map(|text| (None, text)).collect()
        })
        .collect();
    let opened = identities.unwrap_all(&groups);
    sealed
        .iter()
        .zip(&groups)
        .zip(opened)
        .map(|((files, texts), opened)| match opened {
            Ok(Some(plain)) => identity_in(&plain).map(Some),
            Ok(None) if texts.is_empty() && !files.is_empty() => Err(UnsealError::NotText),
            Ok(None) => Ok(None),
            Err(error) => Err(UnsealError::Unwrap(error)),
        })
        .collect()
}

fn identity_in(plain: &SecretBytes) -> Result<Identity, UnsealError> {
    // An SSH key is sealed as its own file's text.
    if plain.expose().starts_with(b"# public key: ssh-") {
        let text = std::str::from_utf8(plain.expose()).map_err(|_| UnsealError::NotText)?;
        let (_, key) = text.split_once('\n').unwrap_or_default();
        return Identity::parse(key).map_err(|_| UnsealError::Content(KeyFileError::SshKey));
    }
    let mut found = KeyFile::parse(plain.expose())
        .map_err(UnsealError::Content)?
        .identities();
    match (found.pop(), found.len()) {
        (Some(identity), 0) => Ok(identity),
        (last, rest) => Err(UnsealError::Count {
            count: rest + usize::from(last.is_some()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_recipient_only() {
        let (zone, operator, recovery) = (Identity::mint(), Identity::mint(), Identity::mint());
        let to = |identity: &Identity| seal(&zone, &identity.recipient().unwrap()).unwrap();
        let files = [to(&operator), to(&recovery)];
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        for holder in [operator, recovery] {
            let opened = unseal(&files, &IdentitySet::new(vec![holder]))
                .unwrap()
                .unwrap();
            assert_eq!(
                opened.to_text().expose_secret(),
                zone.to_text().expose_secret()
            );
        }
        let stranger = IdentitySet::new(vec![Identity::mint()]);
        assert!(unseal(&files, &stranger).unwrap().is_none());
        assert!(unseal(&[], &stranger).unwrap().is_none());
        assert!(matches!(
            unseal(&[b"\xff"], &stranger),
            Err(UnsealError::NotText)
        ));
        assert!(matches!(
            unseal(&[b"x"], &stranger),
            Err(UnsealError::Unwrap(_))
        ));
    }

    #[test]
    fn a_damaged_file_does_not_hide_a_good_one() {
        let (zone, operator) = (Identity::mint(), Identity::mint());
        let good = seal(&zone, &operator.recipient().unwrap()).unwrap();
        let set = IdentitySet::new(vec![operator]);
        assert!(unseal(&[b"damaged", &good], &set).unwrap().is_some());
    }

    #[test]
    fn what_holds_no_identity_or_two_is_refused() {
        let operator = Identity::mint();
        let to = operator.recipient().unwrap();
        let set = IdentitySet::new(vec![operator]);
        let two = KeyFile::parse(
            KeyFile::empty()
                .with_identity(&[], &Identity::mint())
                .expose()
                .as_bytes(),
        )
        .unwrap()
        .with_identity(&[], &Identity::mint());
        for (content, count) in [(two.expose().as_str(), 2), ("# nothing\n", 0)] {
            let file = wrap(content.as_bytes(), &to).unwrap();
            match unseal(&[file.as_bytes()], &set) {
                Err(UnsealError::Count { count: found }) => assert_eq!(found, count),
                other => panic!("{other:?}"),
            }
        }
        let file = wrap(b"hunter2", &to).unwrap();
        let error = unseal(&[file.as_bytes()], &set).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn the_name_tells_the_recipient_by_digest() {
        let text = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
        let recipient = Recipient::parse(text).unwrap();
        let name = sealed_file_name("lan-2", &recipient);
        let digest: String = Sha256::digest(text)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(name, format!("lan-2.{}.age", &digest[..8]));
    }
}
