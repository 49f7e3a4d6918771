//! A digest of what a program gets, by which compose can tell that a container needs new values.
//!
//! It stands in labels, where anybody may read it, so it is a MAC under a key of the host's own: a bare hash of a short
//! value is found by trying.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::exec::Named;
use crate::secret::SecretBytes;

/// How many bytes a key has.
pub const KEY_LENGTH: usize = 32;

/// How many bytes of the MAC are kept.
const LENGTH: usize = 16;

/// The digest of variables and files, each with the folder that it belongs to; their order does not matter.
///
/// Shape: 32 lower-case hexadecimal digits.
pub fn digest<'a>(
    key: &SecretBytes,
    parts: impl IntoIterator<Item = (&'a Path, &'a Named)>,
) -> String {
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(folder, part)| (*folder, part.name.as_str()));
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(b"cofferdam digest 1\n");
    for (folder, part) in parts {
        for field in [
            folder.as_os_str().as_bytes(),
            part.name.as_bytes(),
            part.value.expose(),
        ] {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field);
        }
    }
    let mut text = String::with_capacity(2 * LENGTH);
    for byte in mac.finalize().into_bytes().iter().take(LENGTH) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, value: &str) -> Named {
        Named {
            name: name.to_owned(),
            origin: String::new(),
            value: SecretBytes::from_slice(value.as_bytes()),
        }
    }

    #[test]
    fn what_matters_changes_it_and_nothing_else() {
        let key = SecretBytes::new(vec![1; KEY_LENGTH]);
        let (a, b) = (named("a", "one"), named("b", "two"));
        let (x, y) = (Path::new("/x"), Path::new("/y"));
        let first = digest(&key, [(x, &a), (x, &b)]);
        assert_eq!(first.len(), 32);
        assert_eq!(first, digest(&key, [(x, &b), (x, &a)]));
        let others = [
            digest(&key, [(x, &a)]),
            digest(&key, [(x, &a), (y, &b)]),
            digest(&key, [(x, &a), (x, &named("b", "twa"))]),
            digest(&key, [(x, &a), (x, &named("c", "two"))]),
            digest(&key, [(x, &named("a", "on")), (x, &named("b", "etwo"))]),
            digest(&SecretBytes::new(vec![2; KEY_LENGTH]), [(x, &a), (x, &b)]),
        ];
        for (n, other) in others.iter().enumerate() {
            assert_ne!(&first, other, "{n}");
        }
    }
}
