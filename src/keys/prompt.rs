//! Questions that only a person can answer; the keystore's terminal does, tests do.

use secrecy::SecretString;

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum PromptError {
    /// There is nobody to ask.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The person asked broke off.
    #[error("cancelled")]
    Cancelled,
}

/// Somebody who can be asked. Calls come one at a time.
pub trait Prompt: Send + Sync {
    /// Shows a message, such as "touch your token".
    fn message(&self, text: &str);

    /// Asks for one of two answers; true is `yes`. Without `no` there is but one way on.
    ///
    /// # Errors
    /// See [`PromptError`].
    fn confirm(&self, text: &str, yes: &str, no: Option<&str>) -> Result<bool, PromptError>;

    /// Asks for a line that may be seen.
    ///
    /// # Errors
    /// See [`PromptError`].
    fn public(&self, text: &str) -> Result<String, PromptError>;

    /// Asks for a passphrase or PIN, unseen.
    ///
    /// # Errors
    /// See [`PromptError`].
    fn secret(&self, text: &str) -> Result<SecretString, PromptError>;
}

/// Nobody: every question fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompt;

impl Prompt for NoPrompt {
    fn message(&self, _text: &str) {}

    fn confirm(&self, _text: &str, _yes: &str, _no: Option<&str>) -> Result<bool, PromptError> {
        Err(PromptError::NoTerminal)
    }

    fn public(&self, _text: &str) -> Result<String, PromptError> {
        Err(PromptError::NoTerminal)
    }

    fn secret(&self, _text: &str) -> Result<SecretString, PromptError> {
        Err(PromptError::NoTerminal)
    }
}
