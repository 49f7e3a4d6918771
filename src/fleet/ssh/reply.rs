//! What a script answered, cut out of whatever else a login prints by a nonce that only this call knows.

use std::ops::Range;

use zeroize::Zeroizing;

/// The answer of a script that ran to its end.
///
/// # Secrets
/// Parts may hold identities; wiped on drop.
pub(super) struct Reply {
    output: Zeroizing<Vec<u8>>,
    parts: Vec<Range<usize>>,
    word: String,
    rest: String,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// The script never began.
    NotBegun,
    /// It began and did not end.
    BrokenOff,
}

impl Reply {
    /// Finds the answer in all that was printed.
    pub(super) fn find(output: Zeroizing<Vec<u8>>, nonce: &str) -> Result<Self, NoReply> {
        let begin = format!("\n{nonce} begin\n");
        let next = format!("\n{nonce} next\n");
        let end = format!("\n{nonce} end ");
        let start = position(&output, begin.as_bytes(), 0).ok_or(NoReply::NotBegun)? + begin.len();
        let stop = position(&output, end.as_bytes(), start - 1).ok_or(NoReply::BrokenOff)?;
        // A logout may print noise behind the last line; a message may have several.
        let told = String::from_utf8_lossy(&output[stop + end.len()..]);
        let mut told = told.trim_end().splitn(2, ' ');
        let mut word = told.next().unwrap_or_default().to_owned();
        let mut rest = told.next().unwrap_or_default().to_owned();
        if let Some((first, _)) = word.split_once('\n') {
            word = first.to_owned();
            rest.clear();
        }
        let mut parts = Vec::new();
        // An empty payload: the begin's line break is the end's, too.
        let mut from = start.min(stop);
        while let Some(at) = position(&output[..stop], next.as_bytes(), from.saturating_sub(1)) {
            parts.push(from..at.max(from));
            from = at + next.len();
        }
        parts.push(from.min(stop)..stop);
        Ok(Self {
            output,
            parts,
            word,
            rest,
        })
    }

    /// The word that says how it ended.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// What it said about it.
    pub(super) fn rest(&self) -> &str {
        &self.rest
    }

    /// The text before the first part.
    pub(super) fn head(&self) -> String {
        String::from_utf8_lossy(&self.output[self.parts[0].clone()]).into_owned()
    }

    /// The parts, octet for octet.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts[1..]
            .iter()
            .map(|part| &self.output[part.clone()])
    }
}

fn position(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?
        .windows(wanted.len())
        .position(|window| window == wanted)
        .map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &[u8]) -> Result<Reply, NoReply> {
        Reply::find(Zeroizing::new(text.to_vec()), "n0")
    }

    #[test]
    fn noise_around_and_raw_octets_inside() {
        let reply = find(
            b"Welcome!\n\nn0 begin\na 1\nb 2\n\nn0 next\n\xff\x00\n\nn0 next\n\nn0 end ok\nbye\n",
        )
        .unwrap();
        assert_eq!((reply.word(), reply.head().as_str()), ("ok", "a 1\nb 2\n"));
        assert_eq!(reply.parts().collect::<Vec<_>>(), [&b"\xff\x00\n"[..], b""]);
        let empty = find(b"\nn0 begin\n\nn0 end loose 755 /a b\n").unwrap();
        assert_eq!(
            (empty.word(), empty.rest(), empty.head().as_str()),
            ("loose", "755 /a b", "")
        );
    }

    #[test]
    fn the_beginning_and_the_end_are_both_needed() {
        assert_eq!(find(b"no such account\n").err(), Some(NoReply::NotBegun));
        assert_eq!(find(b"\nn0 begin\na\n").err(), Some(NoReply::BrokenOff));
        assert_eq!(
            find(b"\nn1 begin\n\nn1 end ok\n").err(),
            Some(NoReply::NotBegun)
        );
    }
}
