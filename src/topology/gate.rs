//! What lets a run through the gate: which receipt of its readers suffices before documents are rewritten.

/// The `[gate]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// What readers have to show.
    pub receipt: Suffices,
    /// Readers of which being read back suffices all the same.
    pub except: Vec<String>,
}

/// The weakest receipt that opens the gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Suffices {
    /// What the reader holds was read back, and opens the challenge here.
    #[default]
    ReadBack,
    /// The reader opened the challenge itself.
    Unwrapped,
}

impl Gate {
    /// Whether it suffices that what `reader` holds was read back.
    pub fn takes_read_back(&self, reader: &str) -> bool {
        self.receipt == Suffices::ReadBack || self.except.iter().any(|name| name == reader)
    }
}
