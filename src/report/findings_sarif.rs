//! Findings as SARIF 2.1.0.
//!
//! Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0, Plus Errata 01.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::policy::{Finding, Policy};

/// Where a finding about the repository as a whole is shown: services that show findings ask for a place.
const WHOLE: &str = ".sops.yaml";

/// One run of `policies`, with a result for each finding.
pub fn findings_sarif(findings: &[Finding], policies: &[Policy], version: &str) -> Value {
    let rules: Vec<Value> = policies
        .iter()
        .map(|policy| {
            json!({
                "id": policy.name,
                "shortDescription": { "text": policy.name.replace('-', " ") },
                "help": { "text": format!("docs/policies.md, section {}", policy.name) },
                "defaultConfiguration": { "level": policy.severity },
            })
        })
        .collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| result(finding, policies))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "cofferdam", "version": version, "rules": rules } },
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, policies: &[Policy]) -> Value {
    let file = finding.file.as_deref().unwrap_or(WHOLE);
    let mut location = json!({ "artifactLocation": { "uri": uri(file) } });
    if let Some(line) = finding.line.or(finding.file.is_none().then_some(1)) {
        location["region"] = json!({ "startLine": line });
    }
    let mut result = json!({
        "ruleId": finding.policy,
        "level": finding.severity,
        "message": { "text": format!("{}. Remedy: {}", finding.message, finding.remedy) },
        "locations": [{ "physicalLocation": location }],
        "partialFingerprints": { "cofferdamFinding/v1": fingerprint(finding) },
    });
    if let Some(at) = policies.iter().position(|p| p.name == finding.policy) {
        result["ruleIndex"] = json!(at);
    }
    result
}

/// The same finding has the same fingerprint wherever its line moves to.
fn fingerprint(finding: &Finding) -> String {
    let file = finding.file.as_deref().unwrap_or_default();
    let text = format!("{}\0{file}\0{}", finding.policy, finding.message);
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A path as a relative URI reference.
///
/// Source: RFC 3986, section 2: what is not unreserved is percent-encoded.
fn uri(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
