//! What any way to a host does: connect, then run commands one after another over that connection.

use std::fmt::Debug;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::problem::SshProblem;

/// A way to one host; connecting is its only duty.
pub(super) trait Transport: Debug + Send + Sync {
    /// Makes a connection, within the time that connecting may take.
    fn connect(&self) -> Result<Arc<dyn Link>, SshProblem>;
}

/// A connection to a host, which ends with the last reference to it.
pub(super) trait Link: Debug + Send + Sync {
    /// Whether the connection still stands, as far as can be told without asking the host.
    fn stands(&self) -> bool;

    /// The digest of the SSH host key that was shown, as `ssh-keygen -l` prints it; none if this transport does not tell.
    fn host_key(&self) -> Option<String> {
        None
    }

    /// Runs `command` in the login's shell with `input` as its stdin, within the time that one step may take.
    ///
    /// # Errors
    /// [`SshProblem::TimedOut`]; or the way itself is out of order. A connection that is lost meanwhile is no error here:
    /// the command may have come to its end before.
    ///
    /// # Secrets
    /// `input` may hold identities; it is wiped on drop.
    fn call(&self, command: &str, input: Zeroizing<Vec<u8>>) -> Result<Called, SshProblem>;
}

/// What a command left.
///
/// # Secrets
/// The output may hold identities; it is wiped on drop.
pub(super) struct Called {
    pub(super) output: Zeroizing<Vec<u8>>,
    pub(super) errors: Zeroizing<Vec<u8>>,
    /// Why there is no exit code, if it was the connection that ended.
    pub(super) lost: Option<SshProblem>,
}
