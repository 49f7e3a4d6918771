//! Text that may hold a secret while it is scanned or printed: wiped when it grows and when it is dropped.

use std::ops::Range;

use zeroize::Zeroize;

use crate::secret::{Secret, SecretBytes};

/// A growing octet buffer that leaves no copy of its content in freed memory.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty buffer with room for `capacity` octets.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(super) fn push(&mut self, octet: u8) {
        self.reserve(1);
        self.0.push(octet);
    }

    pub(super) fn extend(&mut self, octets: &[u8]) {
        self.reserve(octets.len());
        self.0.extend_from_slice(octets);
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands the content over.
    pub(super) fn into_secret(mut self) -> SecretBytes {
        Secret::new(std::mem::take(&mut self.0))
    }

    fn reserve(&mut self, more: usize) {
        let needed = self.0.len() + more;
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity() * 2).max(64));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Decoded text of a scalar: a stretch of the source where it stands there unchanged, else a buffer.
pub(super) enum Text<'a> {
    /// Stands in the source as it is.
    Source(&'a [u8]),
    /// Put together while scanning.
    Made(Buffer),
}

impl Text<'_> {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Text::Source(text) => text,
            Text::Made(text) => text.as_slice(),
        }
    }
}

/// Puts a [`Text`] together out of stretches of the source and other octets.
pub(super) struct TextBuilder<'a> {
    source: &'a [u8],
    stretch: Range<usize>,
    made: Option<Buffer>,
}

impl<'a> TextBuilder<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Self {
            source,
            stretch: 0..0,
            made: None,
        }
    }

    /// Appends the octets of the source in `range`.
    pub(super) fn push_source(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if let Some(made) = &mut self.made {
            made.extend(&self.source[range]);
        } else if self.stretch.is_empty() {
            self.stretch = range;
        } else if self.stretch.end == range.start {
            self.stretch.end = range.end;
        } else {
            let stretch = range;
            self.push(&self.source[stretch]);
        }
    }

    /// Appends other octets.
    pub(super) fn push(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        let made = self.made.get_or_insert_with(|| {
            let mut buffer = Buffer::with_capacity(self.stretch.len() + octets.len() + 64);
            buffer.extend(&self.source[self.stretch.clone()]);
            buffer
        });
        made.extend(octets);
    }

    pub(super) fn finish(self) -> Text<'a> {
        match self.made {
            Some(made) => Text::Made(made),
            None => Text::Source(&self.source[self.stretch]),
        }
    }
}
