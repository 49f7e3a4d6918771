//! What a file holds, as far as it has to be known: small ones whole, of large ones no more than a window at a time (edge).
//!
//! A repository may hold a dump or a disk's image beside its secrets. To hold it whole in memory to find that it is no
//! document would end the process.

#![expect(clippy::disallowed_methods, reason = "edge: reads files")]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use zeroize::Zeroizing;

use crate::repo::recognise::{Signs, identity_line};

/// The largest document that is opened, in bytes. To open it takes a multiple of that in memory.
pub const LARGEST: u64 = 64 << 20;
/// Up to this a file is read whole without a look before.
const SMALL: u64 = 4 << 20;
/// Up to this all of a file is looked at; of larger ones the beginning and the end.
const ALL: u64 = 256 << 20;
/// How much of the beginning and of the end that is. SOPS writes its metadata last.
const END: u64 = 8 << 20;
/// How much is held at a time.
const WINDOW: usize = 1 << 20;
/// How much of a window is looked at again with the next, so that nothing is cut: the longest identity is shorter.
const OVERLAP: usize = 4096;
static ZEROS: [u8; OVERLAP + WINDOW] = [0; OVERLAP + WINDOW];

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// All of it; it may be a document.
    Whole(Vec<u8>),
    /// It is no document; the line of the first age identity in the clear, if one was seen.
    Other(Option<usize>),
    /// It may be a document, but is larger than [`LARGEST`].
    TooLarge,
}

/// Why a file that is [`Content::TooLarge`] was not read; for people.
pub fn too_large() -> String {
    format!("it is larger than {} MiB", LARGEST >> 20)
}

/// Looks into a regular file.
///
/// # Errors
/// The system's.
pub fn of(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size <= SMALL {
        return rest(&mut file);
    }
    let mut look = Look {
        is_too_large: size > LARGEST,
        ..Look::default()
    };
    look.at(&mut file, 0, if size <= ALL { size } else { END })?;
    let identity = look.identity;
    if size > ALL && !look.signs.are_enough() {
        look.at(&mut file, size - END, END)?;
    }
    if look.is_too_large {
        let is_likely = look.signs.are_enough() && look.signs.is_a_document_likely();
        return Ok(if is_likely {
            Content::TooLarge
        } else {
            Content::Other(identity)
        });
    }
    if !look.signs.are_enough() {
        return Ok(Content::Other(identity));
    }
    file.seek(SeekFrom::Start(0))?;
    rest(&mut file)
}

/// All of a file that is to be a document.
///
/// # Errors
/// The system's; one of kind `FileTooLarge` above [`LARGEST`].
pub fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let refused = || io::Error::new(io::ErrorKind::FileTooLarge, too_large());
    // A link's target counts, and what is no regular file has no size.
    if file.metadata()?.len() > LARGEST {
        return Err(refused());
    }
    match rest(&mut file)? {
        Content::Whole(bytes) => Ok(bytes),
        Content::Other(_) | Content::TooLarge => Err(refused()),
    }
}

/// Reads to the end: the file may have grown since its size was asked for.
fn rest(file: &mut File) -> io::Result<Content> {
    let size = file.metadata()?.len().min(LARGEST);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > LARGEST {
        Content::TooLarge
    } else {
        Content::Whole(bytes)
    })
}

/// What was seen of a file so far.
#[derive(Default)]
struct Look {
    is_too_large: bool,
    signs: Signs,
    identity: Option<usize>,
    lines: usize,
}

impl Look {
    /// Looks at `length` bytes from `from`, window by window.
    fn at(&mut self, file: &mut File, from: u64, length: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(from))?;
        let mut left = file.take(length);
        let mut window = Zeroizing::new(vec![0; OVERLAP + WINDOW]);
        let mut kept = 0;
        loop {
            let mut filled = kept;
            while filled < window.len() {
                match left.read(&mut window[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if filled == kept {
                return Ok(());
            }
            self.window(&window[..filled]);
            let next = filled.saturating_sub(OVERLAP);
            self.lines += window[..next].iter().filter(|byte| **byte == b'\n').count();
            window.copy_within(next..filled, 0);
            kept = filled - next;
        }
    }

    fn window(&mut self, window: &[u8]) {
        // Holes and zeroed blocks are most of what makes images large.
        if *window == ZEROS[..window.len()] {
            self.signs.see_nul();
            return;
        }
        self.signs.see(window, self.is_too_large);
        if self.identity.is_none() {
            self.identity = identity_line(window).map(|line| self.lines + line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::keys::Identity;

    const END_OF_DOCUMENT: &[u8] = b"\nsops_lastmodified=2026-01-02T03:04:05Z\nsops_mac=ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n";

    /// A file of these parts, each at its offset; holes or `fill` between.
    fn file(size: u64, fill: Option<u8>, parts: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        match fill {
            None => file.as_file().set_len(size).unwrap(),
            Some(byte) => {
                let line = [[byte; 1023].as_slice(), b"\n"].concat();
                for _ in 0..size / 1024 {
                    file.write_all(&line).unwrap();
                }
            }
        }
        for (at, part) in parts {
            file.as_file().seek(SeekFrom::Start(*at)).unwrap();
            file.as_file().write_all(part).unwrap();
        }
        file
    }

    #[test]
    fn a_document_is_read_wherever_its_metadata_stand() {
        for at in [0, (1 << 20) - 30, (1 << 20) + 4070, (6 << 20) - 200] {
            let file = file(6 << 20, Some(b'a'), &[(at, END_OF_DOCUMENT)]);
            assert!(
                matches!(of(file.path()).unwrap(), Content::Whole(bytes) if bytes.len() == 6 << 20),
                "{at}"
            );
        }
        let plain = file(6 << 20, Some(b'a'), &[(9, b"ENC[AES256_GCM,")]);
        assert!(matches!(of(plain.path()).unwrap(), Content::Other(None)));
        let small = file(1024, None, &[]);
        assert!(matches!(of(small.path()).unwrap(), Content::Whole(_)));
    }

    #[test]
    fn what_is_too_large_is_told_from_what_is_no_document() {
        let size = LARGEST + (1 << 20);
        let document = file(size, Some(b'a'), &[(size - 200, END_OF_DOCUMENT)]);
        assert!(matches!(of(document.path()).unwrap(), Content::TooLarge));
        // An archive that holds documents is none.
        let archive = file(size, None, &[(size - 200, END_OF_DOCUMENT)]);
        assert!(matches!(of(archive.path()).unwrap(), Content::Other(None)));
        for at in [0, (1 << 40) - 200] {
            let lines = vec![b'a'; 9 << 20];
            let parts: [(u64, &[u8]); 3] = [
                (0, &lines),
                ((1 << 40) - (9 << 20), &lines),
                (at, END_OF_DOCUMENT),
            ];
            let huge = file(1 << 40, None, &parts);
            assert!(
                matches!(of(huge.path()).unwrap(), Content::TooLarge),
                "{at}"
            );
            let refused = whole(huge.path()).unwrap_err();
            assert_eq!(refused.to_string(), "it is larger than 64 MiB");
        }
        let hole = file(1 << 40, None, &[]);
        assert!(matches!(of(hole.path()).unwrap(), Content::Other(None)));
    }

    #[test]
    fn an_identity_is_told_by_its_line_across_windows() {
        let identity = Identity::mint().to_text();
        let line = format!("\n{}\n", identity.expose_secret());
        for at in [5 << 10, (1 << 20) + 4096 - 40, 5 << 20] {
            let file = file(6 << 20, Some(b'a'), &[(at, line.as_bytes())]);
            let bytes = std::fs::read(file.path()).unwrap();
            let told = identity_line(&bytes);
            assert!(told.is_some());
            assert!(
                matches!(of(file.path()).unwrap(), Content::Other(line) if line == told),
                "{at}"
            );
        }
    }
}
