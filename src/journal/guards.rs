//! What a run decides at its turning points, as functions of values.
//!
//! The executor looks at files, commits and readers, and asks here; `tests/protocol_model` asks the same functions in
//! every state that its actors can reach. Nothing is read or written here.

use jiff::{SignedDuration, Timestamp};

use crate::inventory::Digest;
use crate::journal::{Progress, Staged, Step};
use crate::ledger::State;
use crate::plan::Goal;

/// Where a file stands between its two states (protocol rule 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds its new bytes.
    Done,
    /// Its new bytes lie staged and it holds the bytes that they replace.
    Staged,
    /// New bytes must be made from what it holds.
    Open,
}

/// Tells where a file stands that holds `now`, of which `staged` is recorded and `kept` lies in the journal's folder.
pub fn standing(now: Option<Digest>, staged: Option<Staged>, kept: Option<Digest>) -> Standing {
    match staged {
        Some(staged) if now == Some(staged.after) => Standing::Done,
        Some(staged) if now == staged.before && kept == Some(staged.after) => Standing::Staged,
        _ => Standing::Open,
    }
}

/// Whether a reader answered a challenge as it should: opened, by every way that it reads, what is wrapped to its own
/// identity (`must_open`); not opened, by any, what is wrapped to another's.
pub fn answers_well(must_open: bool, opened: bool, everywhere: bool) -> bool {
    if must_open {
        opened && everywhere
    } else {
        !opened
    }
}

/// Whether it stops a run that a reader did not answer: not where the run goes on without it, or changes nothing for it.
pub fn silence_stops(without: bool, concerned: bool) -> bool {
    concerned && !without
}

/// Whether a run may still go on without a reader: once documents are rewritten it has proven that it opens them.
pub fn may_go_on_without(progress: &Progress) -> bool {
    !progress.started.contains(&Step::Stage)
}

/// Whether a file is published as it was verified (protocol rule 11): `blob` is what the commit holds of it, `tree` what lies
/// in the work tree. Of what was staged the staged bytes count, not what a hook may have made of them since.
pub fn is_published(blob: Option<Digest>, tree: Option<Digest>, staged: Option<Staged>) -> bool {
    match staged {
        Some(staged) if blob == Some(staged.after) => true,
        // Removed by somebody, and published so.
        Some(_) => blob.is_none() && tree.is_none(),
        None => blob == tree,
    }
}

/// When a zone's grace ends, if retirement has to wait for that: what somebody else may hold is given no time (protocol
/// rule 16). `since` is when old identities began to retire.
pub fn grace_until(
    goal: Goal,
    since: Timestamp,
    grace: Option<SignedDuration>,
) -> Option<Timestamp> {
    let grace = grace.filter(|_| goal != Goal::Revoke)?;
    Some(since.checked_add(grace).unwrap_or(Timestamp::MAX))
}

/// Whether a document that came late may send a run back to its rewrite once more, which it did `late` times.
pub fn may_go_back(late: usize) -> bool {
    late < 3
}

/// Whether possession is proven on our side (protocol rule 3): some operator's identity opens the rewritten documents, and
/// no recovery identity is `unread`, one that was never read back. Names that the operator waived count as proven.
pub fn is_possessed(operator: bool, unread: usize) -> bool {
    operator && unread == 0
}

/// What retirement still waits for (protocol rule 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: readers hold the new documents as far as anybody can tell.
    Nothing,
    /// A declared clone that holds other bytes, or cannot be looked at. No word of the operator's stands in for it.
    Clones,
    /// Somebody's word for readers that declare no clone.
    Word,
}

/// Tells what retirement waits for: `stale` declared clones are not there yet, `unseen` readers declare none,
/// `ready` says that commands of the topology vouched for all, `word` that the operator did.
pub fn waiting(stale: usize, unseen: usize, ready: bool, word: bool) -> Waiting {
    if stale > 0 {
        Waiting::Clones
    } else if unseen > 0 && !ready && !word {
        Waiting::Word
    } else {
        Waiting::Nothing
    }
}

/// Whether an identity may be taken from a reader that holds what `holds` says: only beside everything that it `needs`.
/// Asked at the moment of taking: a reader restored from a snapshot since its last proof may hold the old one alone.
pub fn may_take<'a, R: 'a>(
    needs: impl IntoIterator<Item = &'a R>,
    holds: impl Fn(&R) -> bool,
) -> bool {
    needs.into_iter().all(holds)
}

/// The way back from where a run is (protocol rule 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack {
    /// None: old identities have begun to leave.
    None,
    /// Byte for byte.
    PutBack,
    /// By a further commit with today's values.
    ByCommit,
}

/// Whether there may be a way back at all; asked before anything is looked at.
pub fn has_way_back(progress: &Progress) -> bool {
    !progress.retirement_begun() || progress.undo.is_some()
}

/// Tells the way back. `published` says whether anybody else has seen the run's commit; one that was on its way by a further
/// commit stays so.
pub fn way_back(progress: &Progress, published: bool) -> WayBack {
    if !has_way_back(progress) {
        WayBack::None
    } else if progress.undo == Some(true) || published {
        WayBack::ByCommit
    } else {
        WayBack::PutBack
    }
}

/// Whether an identity in this state can no longer be given documents again: an undo would need it (protocol rule 15).
pub fn bars_way_back(state: State) -> bool {
    matches!(state, State::Retired | State::Compromised)
}

/// What puts a document back so that it opens for whom it opened at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutBack {
    /// The bytes from before the run.
    Kept,
    /// It is wrapped as at first already.
    Stay,
    /// What it holds now, wrapped to the recipients of the start.
    Rewrap,
}

/// Tells what puts a document back. `kept_fits` says whether it holds the run's bytes, and those that they replaced are kept
/// and wrapped as at first (what was staged a second time replaced somebody's edit, wrapped to recipients that leave);
/// `now_fits` whether what it holds now is wrapped as at first.
pub fn put_back(kept_fits: bool, now_fits: bool) -> PutBack {
    if kept_fits {
        PutBack::Kept
    } else if now_fits {
        PutBack::Stay
    } else {
        PutBack::Rewrap
    }
}

/// Whether a document wrapped to `recipients` still needs one of `gone` (protocol rule 13).
pub fn needs_what_leaves<'a, R: PartialEq + 'a>(
    recipients: impl IntoIterator<Item = &'a R>,
    gone: &[R],
) -> bool {
    recipients.into_iter().any(|r| gone.contains(r))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_after_or_neither() {
        let (before, after, other) = (Digest::of(b"b"), Digest::of(b"a"), Digest::of(b"o"));
        let staged = Some(Staged {
            before: Some(before),
            after,
        });
        assert_eq!(standing(Some(after), staged, None), Standing::Done);
        assert_eq!(
            standing(Some(before), staged, Some(after)),
            Standing::Staged
        );
        // Staged bytes that are gone, or are others, are made again.
        assert_eq!(standing(Some(before), staged, None), Standing::Open);
        assert_eq!(standing(Some(before), staged, Some(other)), Standing::Open);
        assert_eq!(standing(Some(other), staged, Some(after)), Standing::Open);
        assert_eq!(standing(Some(before), None, None), Standing::Open);
    }

    #[test]
    fn the_operators_word_does_not_stand_in_for_a_clone() {
        assert_eq!(waiting(1, 1, true, true), Waiting::Clones);
        assert_eq!(waiting(0, 1, false, false), Waiting::Word);
        assert_eq!(waiting(0, 1, false, true), Waiting::Nothing);
        assert_eq!(waiting(0, 0, false, false), Waiting::Nothing);
    }

    #[test]
    fn what_was_staged_is_published_by_its_staged_bytes_alone() {
        let (staged, hooked) = (Digest::of(b"s"), Digest::of(b"h"));
        let wanted = Some(Staged {
            before: None,
            after: staged,
        });
        assert!(is_published(Some(staged), Some(hooked), wanted));
        // A hook that changed commit and work tree alike.
        assert!(!is_published(Some(hooked), Some(hooked), wanted));
        assert!(!is_published(None, Some(staged), wanted));
        assert!(is_published(None, None, wanted));
        assert!(is_published(Some(hooked), Some(hooked), None));
        assert!(!is_published(Some(hooked), None, None) && !is_published(None, Some(staged), None));
    }

    #[test]
    fn a_revocation_gives_no_grace() {
        let (since, grace) = (Timestamp::UNIX_EPOCH, Some(SignedDuration::from_secs(9)));
        assert!(grace_until(Goal::Rotate, since, grace).is_some_and(|until| until > since));
        assert_eq!(grace_until(Goal::Revoke, since, grace), None);
        assert_eq!(grace_until(Goal::Rotate, since, None), None);
    }
}
