//! Edits of other tools' files that take plaintext off disks: what to change, as text; nothing is read or written here.

pub mod komodo;
pub mod stack;

pub use komodo::{Migrated, MigrationError, migrated};
pub use stack::{Leak, Stack};
