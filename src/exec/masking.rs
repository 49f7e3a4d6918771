//! Replacing values in a stream, however it is cut into chunks.

use zeroize::{Zeroize, Zeroizing};

use crate::exec::patterns::Patterns;

/// What stands for a value.
pub const MASK: &[u8] = b"[masked]";

/// Masks one stream. What may be the beginning of a value is held back until more is known.
///
/// # Secrets
/// What is held back is wiped on drop.
#[derive(Debug)]
pub struct Masker<'p> {
    patterns: &'p Patterns,
    held: Zeroizing<Vec<u8>>,
    /// How many of the bytes held were found to belong to a value whose mask is written already.
    covered: usize,
}

impl<'p> Masker<'p> {
    /// A masker at the beginning of a stream.
    pub fn new(patterns: &'p Patterns) -> Self {
        Self {
            patterns,
            held: Zeroizing::new(Vec::new()),
            covered: 0,
        }
    }

    /// Takes the next bytes and adds to `out` what can be told.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(chunk);
        self.write(false, out);
    }

    /// Adds the rest: the stream has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.write(true, out);
    }

    fn write(&mut self, is_end: bool, out: &mut Vec<u8>) {
        let text = self.held.as_slice();
        // Up to where a value reaches that was found so far, and up to where everything is written.
        let (mut covered, mut at) = (self.covered, 0);
        while at < text.len() {
            let found = self.patterns.at(&text[at..]);
            if found.may_go_on && !is_end {
                break;
            }
            if found.length > 0 {
                // Values that overlap, or follow one another, become one mask only if they overlap.
                if at >= covered {
                    out.extend_from_slice(MASK);
                }
                covered = covered.max(at + found.length);
            } else if at >= covered {
                out.push(text[at]);
            }
            at += 1;
        }
        self.covered = covered.saturating_sub(at);
        let rest = text.len() - at;
        self.held.copy_within(at.., 0);
        self.held[rest..].zeroize();
        self.held.truncate(rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(values: &[&[u8]], chunks: &[&[u8]]) -> String {
        let patterns = Patterns::of(values.iter().copied());
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        for chunk in chunks {
            masker.push(chunk, &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_masked_whole_wherever_the_cuts_are() {
        let values: [&[u8]; 3] = [b"hunter2-hunter2", b"hunter2-hunter2-long", b"long-overlap"];
        let text = b"a hunter2-hunter2 b hunter2-hunter2-long-overlap c hunter2-hunter2hunter2-hunter2. hunter2-h";
        let expected = "a [masked] b [masked] c [masked][masked]. hunter2-h";
        assert_eq!(masked(&values, &[text]), expected);
        for cut in 0..text.len() {
            let (front, back) = text.split_at(cut);
            assert_eq!(masked(&values, &[front, back]), expected, "{cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(masked(&values, &bytes), expected);
    }

    #[test]
    fn what_cannot_be_a_value_is_not_held_back() {
        let patterns = Patterns::of([b"hunter2-hunter2".as_slice()]);
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        masker.push(b"Password: ", &mut out);
        assert_eq!(out, b"Password: ");
        masker.push(b"hunt", &mut out);
        assert_eq!(out, b"Password: ");
        masker.push(b"ing", &mut out);
        assert_eq!(out, b"Password: hunting");
    }

    #[test]
    fn a_long_run_of_one_letter_is_not_held_for_good() {
        let patterns = Patterns::of([b"aaaaaaaa".as_slice()]);
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        for _ in 0..100 {
            masker.push(&[b'a'; 100], &mut out);
            assert!(masker.held.len() < 8);
        }
        masker.push(b"b", &mut out);
        assert_eq!(out, b"[masked]b");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing_and_no_value_is_left(
            text in "[ab]{0,60}",
            values in prop::collection::vec("[ab]{8,12}", 1..4),
            cuts in prop::collection::vec(1_usize..9, 1..9),
        ) {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            let whole = masked(&values, &[text.as_bytes()]);
            let mut chunks = Vec::new();
            let (mut rest, mut cut) = (text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (front, back) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                chunks.push(front);
                rest = back;
            }
            prop_assert_eq!(&masked(&values, &chunks), &whole);
            for value in values {
                prop_assert!(!whole.contains(std::str::from_utf8(value).unwrap()));
            }
        }
    }
}
