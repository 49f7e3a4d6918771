//! Where identities come from: the places where sops looks, sealed identities, and the terminal for passphrases.
//!
//! An edge: it reads files, the environment and the terminal, and runs key commands. What it finds goes to
//! [`crate::keys`]; what is wrong goes back as values, which the command line prints.

pub mod host_places;
mod key_source;
pub mod lookup;
pub mod permissions;
pub mod sealed;
pub mod surroundings;
mod terminal;

pub use host_places::{HostPlace, PlaceKind, host_places};
pub use lookup::{Lookup, Outcome, Source, look_up, look_up_file};
pub use sealed::{seal, sealed_file_name, unseal, unseal_many};
pub use surroundings::Surroundings;
pub use terminal::TerminalPrompt;
