//! Values → text for people. One rendering a file; nothing here reads or writes anything.

pub mod exposure_text;
pub mod findings_github;
pub mod findings_json;
pub mod findings_sarif;
pub mod findings_text;
pub mod outcome_text;
pub mod plan_json;
pub mod plan_text;
pub mod status_text;
pub mod table;
pub mod why_text;
