//! Replacing bytes of a source, everything else untouched.

use std::ops::Range;

/// A replacement of bytes of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The bytes to replace.
    pub range: Range<usize>,
    /// What takes their place.
    pub text: Vec<u8>,
}

/// Two splices overlap or reach outside the source.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("two edits of the same bytes")]
pub struct SpliceError;

/// Applies `splices`, in any order, to `source`. Insertions at one place keep their order.
///
/// # Errors
/// [`SpliceError`] if two overlap or one reaches outside.
pub fn apply(source: &[u8], mut splices: Vec<Splice>) -> Result<Vec<u8>, SpliceError> {
    splices.sort_by_key(|s| (s.range.start, s.range.end));
    let grown: usize = splices.iter().map(|s| s.text.len()).sum();
    let mut out = Vec::with_capacity(source.len() + grown);
    let mut at = 0;
    for splice in &splices {
        let before = source.get(at..splice.range.start).ok_or(SpliceError)?;
        if splice.range.end > source.len() || splice.range.end < splice.range.start {
            return Err(SpliceError);
        }
        out.extend_from_slice(before);
        out.extend_from_slice(&splice.text);
        at = splice.range.end;
    }
    out.extend_from_slice(source.get(at..).ok_or(SpliceError)?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splice(range: Range<usize>, text: &str) -> Splice {
        Splice {
            range,
            text: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn replaces_in_any_order_and_keeps_the_rest() {
        let out = apply(b"abcdef", vec![splice(4..5, "X"), splice(0..2, "")]).unwrap();
        assert_eq!(out, b"cdXf");
    }

    #[test]
    fn refuses_overlaps_and_places_outside() {
        assert!(apply(b"abc", vec![splice(0..2, ""), splice(1..3, "")]).is_err());
        assert!(apply(b"abc", vec![splice(2..4, "")]).is_err());
    }
}
