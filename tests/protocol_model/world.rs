//! One state of the world: commits, clones, the remote, readers. All of it is durable but [`Work`], what a running command
//! has in memory.

/// A set of recipients, by their place in the cast.
pub type Bits = u32;

/// The documents of a repository, by their place in the scenario.
pub const DOCUMENTS: usize = 4;

/// The bytes of one document: whom its data key is wrapped to, which data key, which edits its values hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Doc {
    pub to: Bits,
    /// The data keys of one document are numbered; no number comes twice.
    pub key: u8,
    /// A bit for each edit.
    pub value: u8,
}

pub type Docs = [Option<Doc>; DOCUMENTS];

/// A tree of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tree {
    pub docs: Docs,
    /// An entry of the [`Mind`](crate::mind::Mind).
    pub ledger: u16,
    /// The identities of which there is a sealed copy for operators and recovery.
    pub sealed: Bits,
    /// Whether `cofferdam.toml` is the one without the revoked reader.
    pub struck: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    Start,
    Run,
    Record,
    Back,
    Others,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commit {
    pub parent: Option<u8>,
    pub tree: Tree,
    pub by: By,
}

/// What stands behind the ref of a run. Renewing it keeps the name, for a renewed lease is held by the same clone; each time
/// that the ref changes hands it gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    pub name: u8,
    pub run: u8,
    pub desk: u8,
    pub journal: u32,
    pub ledger: u16,
    pub sealed: Bits,
    pub struck: bool,
}

/// Where a running command is in the executor's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    Start,
    Mint,
    Acquire,
    Ship,
    Shipping,
    Prove,
    Rewrite,
    Replace,
    Publish,
    Push,
    Await,
    Retire,
    Taking,
    Retired,
    Record,
    PushRecord,
    PushAgain,
    Release,
    Undo,
    Docs,
    Uncommit,
    Seen,
    TakeBack,
    TakingBack,
    Own,
    BackDocs,
    BackCommit,
    BackPush,
    BackAwait,
    BackLook,
    BackTaking,
    BackRecord,
    BackPushRecord,
}

/// What a running command has in memory; a kill forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Work {
    pub at: At,
    /// Readers that failed in this call.
    pub failed: u8,
    /// Readers still to be served in this phase.
    pub todo: u8,
    pub late: u8,
}

/// An unfinished run of one clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// An entry of the [`Mind`](crate::mind::Mind).
    pub journal: u32,
    pub number: u8,
    /// The copy of the ledger from before the run.
    pub kept: u16,
    /// The staged bytes, and those that they replace.
    pub after: Docs,
    pub before: Docs,
    /// The ledger and the sealed identities behind the ref that the run was taken over from, and its name.
    pub inherited: Option<(u16, Bits, u8)>,
    pub work: Option<Work>,
}

/// One operator's clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Desk {
    pub head: u8,
    /// The remote's branch as it was seen last.
    pub seen: u8,
    pub tree: Tree,
    pub run: Option<Run>,
    /// Edits that people saved here, by document: nothing of the kind may be lost.
    pub saved: [u8; DOCUMENTS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reader {
    pub held: Bits,
    /// The generation that wrote here last: its number and run; 0: none.
    pub mark: (u8, u8),
    /// The commit that it has deployed.
    pub has: u8,
    pub snapshot: Option<(Bits, (u8, u8), u8)>,
    /// Restored from the snapshot, and not yet served again.
    pub restored: bool,
    /// Restored, and pulled since: what it lacks since then is nobody's doing.
    pub excused: bool,
}

/// How often each of these may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    pub runs: u8,
    pub edits: u8,
    pub commits: u8,
    pub reverts: u8,
    pub lates: u8,
    pub snapshots: u8,
    pub hooks: u8,
    pub ships: u8,
    pub takeovers: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub commits: Vec<Commit>,
    pub desks: Vec<Desk>,
    pub readers: Vec<Reader>,
    /// The remote's branch; none: there is no remote, and HEAD of the only clone is what is published.
    pub tip: Option<u8>,
    pub lease: Option<Lease>,
    /// How often the ref changed hands, and the run and clone that had it last.
    pub hands: (u8, u8, u8),
    pub runs: u8,
    /// Whether grace is over.
    pub late_hour: bool,
    /// What somebody did that the protocol forbids, seen as it happened.
    pub wrong: Option<&'static str>,
    pub left: Left,
}

impl World {
    pub fn published(&self) -> u8 {
        self.tip.unwrap_or(self.desks[0].head)
    }

    pub fn commit(&self, at: u8) -> &Commit {
        &self.commits[usize::from(at)]
    }

    /// Whether `old` is `new` or one of the commits that it stands on.
    pub fn stands_on(&self, new: u8, old: u8) -> bool {
        let mut at = Some(new);
        while let Some(commit) = at {
            if commit == old {
                return true;
            }
            at = self.commit(commit).parent;
        }
        false
    }

    /// Adds a commit; one that is there already is that one.
    pub fn add(&mut self, commit: Commit) -> u8 {
        if let Some(at) = self.commits.iter().position(|c| *c == commit) {
            return at as u8;
        }
        self.commits.push(commit);
        (self.commits.len() - 1) as u8
    }

    /// The first number that no data key of a document has, but the one in the slot that is about to be overwritten.
    pub fn fresh_key(&self, document: usize, desk: usize) -> u8 {
        let mut taken = 0u32;
        let mut take = |doc: &Option<Doc>| taken |= doc.map_or(0, |d| 1 << d.key);
        self.commits
            .iter()
            .for_each(|c| take(&c.tree.docs[document]));
        for (n, one) in self.desks.iter().enumerate() {
            take(&one.tree.docs[document]);
            if let Some(run) = &one.run {
                take(&run.before[document]);
                if n != desk {
                    take(&run.after[document]);
                }
            }
        }
        taken.trailing_ones() as u8
    }
}
