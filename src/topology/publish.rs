//! What happens between the rewrite and the retirement.

/// The `[publish]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether the run commits; true by default.
    pub commit: bool,
    /// The remote that coordinates operators; none: the commit is the publication.
    pub remote: Option<String>,
    /// Whether the run pushes to `remote`; only with a remote.
    pub push: bool,
    /// Commands run after the commit, by a shell.
    pub run: Vec<String>,
    /// Commands that succeed once every reader runs the new revision.
    pub ready: Vec<String>,
    /// Hosts and clusters that go first.
    pub canary: Vec<String>,
    /// Hosts, clusters and zones in the order in which they go; the rest follow.
    pub order: Vec<String>,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            commit: true,
            remote: None,
            push: false,
            run: Vec::new(),
            ready: Vec::new(),
            canary: Vec::new(),
            order: Vec::new(),
        }
    }
}
