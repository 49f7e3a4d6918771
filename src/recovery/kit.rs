//! What a kit holds when a person types it from paper.

use zeroize::Zeroizing;

use crate::keys::{Identity, IdentityError};

/// Why a typed text is no kit.
///
/// # Secrets
/// Holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KitError {
    /// Nothing was typed.
    #[error("nothing was typed")]
    Empty,
    /// Something else than one identity.
    #[error("what was typed is no age identity")]
    Identity(#[source] IdentityError),
}

/// Reads an identity as a person types it from paper: in groups, in lines, in small letters.
///
/// # Errors
/// [`KitError`]; a mistyped letter is always noticed, for an identity carries a checksum.
///
/// # Secrets
/// The normalized copy is wiped; `text` is the caller's to wipe.
pub fn typed_identity(text: &str) -> Result<Identity, KitError> {
    // Room for every letter from the start: a string that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(text.len()));
    let content = text.lines().filter(|l| !l.trim_start().starts_with('#'));
    for letter in content.flat_map(str::chars) {
        if !letter.is_whitespace() {
            line.push(letter.to_ascii_uppercase());
        }
    }
    if line.is_empty() {
        return Err(KitError::Empty);
    }
    Identity::parse(&line).map_err(KitError::Identity)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn paper_is_read_in_groups_and_small_letters() {
        let identity = Identity::mint();
        let text = identity.to_text();
        let text = text.expose_secret().to_lowercase();
        let (first, rest) = text.split_at(40);
        let paper = format!("# recovery\n {} {}\n{rest} \n", &first[..20], &first[20..]);
        let read = typed_identity(&paper).unwrap();
        assert_eq!(read.recipient(), identity.recipient());
    }

    #[test]
    fn a_mistyped_letter_is_noticed_and_not_repeated() {
        let text = Identity::mint().to_text();
        let mut wrong: Vec<char> = text.expose_secret().chars().collect();
        wrong[30] = if wrong[30] == 'Q' { 'P' } else { 'Q' };
        let wrong: String = wrong.into_iter().collect();
        let error = typed_identity(&wrong).err().unwrap();
        assert_eq!(error, KitError::Identity(IdentityError::Damaged));
        assert!(!format!("{error:?}").contains(&wrong[20..30]));
        assert_eq!(typed_identity(" \n").err(), Some(KitError::Empty));
    }
}
