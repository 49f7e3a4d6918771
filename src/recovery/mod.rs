//! The recovery kit: what it holds, and the proof that it opens what it should.
//!
//! Pure: reads no file and asks nobody. The command line brings texts, documents and sealed identities as values.

pub mod drill;
pub mod kit;

pub use drill::{Drill, Rehearsal};
pub use kit::{KitError, typed_identity};
