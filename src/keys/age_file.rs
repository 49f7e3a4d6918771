//! One armored age file in memory: what all opening goes through.

use std::cell::RefCell;
use std::io::{BufReader, Cursor, Read};

use age::armor::ArmoredReader;
use age_core::format::{FileKey, Stanza};

use crate::keys::wrap::UnwrapError;
use crate::secret::SecretBytes;

/// Opens `armored` with `key`; none if it does not open the header.
///
/// # Errors
/// [`UnwrapError::Malformed`] if the text is no armored age file, or is damaged behind a header that did open.
pub(super) fn open(
    armored: &str,
    key: &dyn age::Identity,
) -> Result<Option<SecretBytes>, UnwrapError> {
    let decryptor = decryptor(armored)?;
    let mut reader = match decryptor.decrypt(std::iter::once(key)) {
        Ok(reader) => reader,
        Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
        Err(error) => return Err(malformed(&error)),
    };
    // The payload is a data key or a key file; room for either, so that no grown buffer is left behind unwiped.
    let mut plain = SecretBytes::new(Vec::with_capacity(armored.len()));
    reader
        .read_to_end(plain.expose_mut())
        .map_err(|error| malformed(&error))?;
    Ok(Some(plain))
}

/// The stanzas of the header of `armored`, in order.
///
/// # Errors
/// [`UnwrapError::Malformed`] if the text is no armored age file.
pub(super) fn stanzas(armored: &str) -> Result<Vec<Stanza>, UnwrapError> {
    struct Collector(RefCell<Vec<Stanza>>);
    impl age::Identity for Collector {
        fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
            self.0.borrow_mut().push(Stanza {
                tag: stanza.tag.clone(),
                args: stanza.args.clone(),
                body: stanza.body.clone(),
            });
            None
        }
    }
    let collector = Collector(RefCell::default());
    // It matches nothing by construction: the outcome says nothing.
    let _ = decryptor(armored)?.decrypt(std::iter::once(&collector as _));
    Ok(collector.0.into_inner())
}

type ArmoredText = ArmoredReader<BufReader<Cursor<Vec<u8>>>>;

fn decryptor(armored: &str) -> Result<age::Decryptor<ArmoredText>, UnwrapError> {
    let text = armored.trim();
    if !text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(UnwrapError::Malformed {
            reason: "it is not armored".to_owned(),
        });
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(b'\n');
    age::Decryptor::new_buffered(ArmoredReader::new(Cursor::new(bytes)))
        .map_err(|error| malformed(&error))
}

fn malformed(error: &dyn std::fmt::Display) -> UnwrapError {
    UnwrapError::Malformed {
        reason: plain_message(error),
    }
}

/// The message of an error of the age library, without the isolate characters of its translations, in one line.
pub(super) fn plain_message(error: &dyn std::fmt::Display) -> String {
    let text: String = error
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '\u{2066}'..='\u{2069}'))
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
