//! age key material as types: who may read (recipients), what opens (identities), and the key of one document.
//!
//! Nothing here reads files, the environment or a terminal: the keystore edge finds identities and asks for
//! passphrases; this module parses, wraps and unwraps.

mod age_file;
mod attempt;
pub mod data_key;
pub mod identity;
pub mod identity_set;
pub mod key_file;
pub mod late_source;
pub mod plugin;
pub mod prompt;
pub mod recipient;
pub mod ssh_key;
pub mod wrap;

pub use data_key::DataKey;
pub use identity::{Identity, IdentityError};
pub use identity_set::{IdentitySet, LabelledWrap};
pub use key_file::{KeyFile, KeyFileError};
pub use late_source::LateSource;
pub use plugin::PluginHost;
pub use prompt::{NoPrompt, Prompt, PromptError};
pub use recipient::Recipient;
pub use ssh_key::{LockedSshKey, SshKey};
