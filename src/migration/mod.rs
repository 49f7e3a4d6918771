//! Edits of other tools' files that take plaintext off disks: what to change, as text; nothing is read or written here.

pub mod komodo;

pub use komodo::{Leak, Migrated, MigrationError, Stack, migrated};
