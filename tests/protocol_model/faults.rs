//! Planted faults: one wrong turn each, for the rule that forbids it.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Minted and adopted identities are not sealed.
    NothingSealed,
    /// An operator's recipient may be one that readers hold.
    TwoRoles,
    /// Retirement does not ask who can open on our side.
    NoPossession,
    /// A recipient leaves, and the data key stays.
    OldDataKey,
    /// A late document is given to whoever its place names.
    WidensByPlace,
    /// A resume moves staged bytes over whatever it finds.
    OverwritesEdits,
    /// What was committed is not looked at.
    PublishUnverified,
    /// Retirement does not look at clones.
    ClonesIgnored,
    /// Retirement looks neither at the remote's branch nor for late documents.
    NoLookAtTip,
    /// No ref is held.
    NoLease,
    /// A lease whose answer was lost is not remembered once it is found.
    HoldForgotten,
    /// `ship` does not ask the remote first.
    ShipsUnasked,
    /// Targets take whatever an older clone brings.
    LowerGeneration,
    /// Undo leaves minted identities with their readers.
    UndoKeepsIdentities,
    /// Undo puts kept bytes over whatever it finds.
    UndoForgetsEdits,
    /// Undo forgets what was staged, and moved into place.
    UndoLeavesDocuments,
    /// Undo does not look who has the commit.
    UndoBlind,
    /// Undo by a further commit does not wait for readers.
    UndoDoesNotWait,
    /// A revocation waits for grace.
    RevokeWaits,
    /// A revocation leaves the host in the topology.
    RevokeServesTheRevoked,
    /// A run without a reader keeps nothing for it.
    KeepsNothingWithout,
    /// The rewrite does not wait for the gate.
    RewriteBeforeGate,
    /// Retirement asks nobody at all.
    RetireBeforeProof,
    /// Retirement goes by the gate's receipts.
    NotAskedAgain,
}
