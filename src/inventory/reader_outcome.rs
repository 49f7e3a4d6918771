//! What came of one reader when many were worked on side by side.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// What was done at one reader, and how long it took; or why it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReaderOutcome {
    /// The reader's name in the topology.
    pub reader: String,
    /// What was done there, for people; empty if nothing was.
    pub done: String,
    /// How long it took, in JSON as whole milliseconds.
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    pub took: Duration,
    /// What went wrong there, on one line; the rest of `done` stands.
    pub error: Option<String>,
}

fn milliseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
