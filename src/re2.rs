//! RE2 syntax, as SOPS reads it, for Rust's `regex`.

/// Compiles.
///
/// # Errors
/// As regex.
pub fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::Regex::new(pattern)
}
