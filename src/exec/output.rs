//! Output on its way through the masker.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads what the child prints and prints it masked"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::{Zeroize, Zeroizing};

use crate::exec::masking::Masker;
use crate::exec::patterns::Patterns;

/// How far a stream is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether something was read and is not yet written.
    pub is_writing: AtomicBool,
    /// Bytes read.
    pub read: AtomicUsize,
}

/// What becomes of a stream of the program's.
#[derive(Debug, Clone, Default)]
pub enum Output {
    /// It is ours: nothing is read.
    #[default]
    Own,
    /// It is printed masked.
    Masked(Arc<Patterns>),
    /// It is kept until the program has ended.
    Collected(Collector),
}

/// All that a program printed.
///
/// # Secrets
/// Wiped on drop.
#[derive(Debug, Clone, Default)]
pub struct Collector(Arc<Mutex<Zeroizing<Vec<u8>>>>);

impl Collector {
    /// What was printed so far; nothing is left behind.
    pub fn take(&self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() + bytes.len() > LONGEST {
            return Err(io::Error::other("too long to be kept"));
        }
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The longest text that is kept.
const LONGEST: usize = 64 << 20;

/// One of our own streams, to write to without a buffer.
pub(super) fn own_stream(is_error: bool) -> io::Result<File> {
    let fd = if is_error {
        io::stderr().as_fd().try_clone_to_owned()
    } else {
        io::stdout().as_fd().try_clone_to_owned()
    };
    fd.map(File::from)
}

/// Copies a stream on a thread of its own, masked if there are patterns, until it ends or nobody reads what we write.
/// `done` is closed then.
pub(super) fn pump(
    from: OwnedFd,
    mut to: impl Write + Send + 'static,
    patterns: Option<Arc<Patterns>>,
    done: UnixStream,
) -> io::Result<Arc<Progress>> {
    let progress = Arc::new(Progress::default());
    let shared = Arc::clone(&progress);
    std::thread::Builder::new()
        .name("output".to_owned())
        .stack_size(256 << 10)
        .spawn(move || {
            let mut from = File::from(from);
            // Whatever goes wrong ends the stream, as it would for the child without us.
            let none = Patterns::none();
            let patterns = patterns.as_deref().unwrap_or(&none);
            let _ = copy_telling(&mut from, &mut to, patterns, &shared);
            drop(from);
            drop(done);
        })?;
    Ok(progress)
}

/// Copies all of a stream, masked.
///
/// # Errors
/// The system's.
pub fn copy(from: &mut impl Read, to: &mut impl Write, patterns: &Patterns) -> io::Result<()> {
    copy_telling(from, to, patterns, &Progress::default())
}

fn copy_telling(
    from: &mut impl Read,
    to: &mut impl Write,
    patterns: &Patterns,
    progress: &Progress,
) -> io::Result<()> {
    let mut masker = Masker::new(patterns);
    let mut chunk = Zeroizing::new(vec![0; 64 << 10]);
    let mut out = Vec::new();
    loop {
        let length = match from.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        progress.is_writing.store(true, Ordering::SeqCst);
        progress.read.fetch_add(length, Ordering::SeqCst);
        if length == 0 {
            masker.finish(&mut out);
        } else {
            masker.push(&chunk[..length], &mut out);
        }
        to.write_all(&out)?;
        to.flush()?;
        out.clear();
        chunk[..length].zeroize();
        progress.is_writing.store(false, Ordering::SeqCst);
        if length == 0 {
            return Ok(());
        }
    }
}
