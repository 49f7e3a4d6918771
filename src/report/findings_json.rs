//! Findings as JSON.

use serde_json::{Value, json};

use crate::policy::Finding;

/// `{"findings": [{"policy", "severity", "file", "line", "message", "remedy"}]}`; `file` and `line` may be null.
pub fn findings_json(findings: &[Finding]) -> Value {
    json!({ "findings": findings })
}
