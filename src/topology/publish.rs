//! What happens between the rewrite and the retirement.

use crate::topology::Topology;

/// The `[publish]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether the run commits; true by default.
    pub commit: bool,
    /// The remote that coordinates operators; none: the commit is the publication.
    pub remote: Option<String>,
    /// Whether the run pushes to `remote`; only with a remote.
    pub push: bool,
    /// Commands run after the commit, by a shell; with waves once for each.
    pub run: Vec<String>,
    /// Commands that succeed once every reader runs the new revision; with waves, every reader of the wave.
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

/// Readers that go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// `canary`, an entry of `order`, `rest`; `all` where there is one wave only.
    pub name: String,
    /// Hosts and clusters, in the topology's order; at least one.
    pub readers: Vec<String>,
}

impl Topology {
    /// The waves in which readers take a new revision: the canaries, each entry of `order`, the rest. Every reader is in
    /// exactly one, the first that names it.
    pub fn waves(&self) -> Vec<Wave> {
        let mut left: Vec<(&str, &str)> = self
            .hosts
            .iter()
            .map(|host| (host.name.as_str(), host.zone.as_str()))
            .chain(
                self.clusters
                    .iter()
                    .map(|c| (c.name.as_str(), c.zone.as_str())),
            )
            .collect();
        let mut waves = Vec::new();
        let mut take = |name: &str, belongs: &dyn Fn(&(&str, &str)) -> bool| {
            let (now, later): (Vec<_>, Vec<_>) = left.iter().copied().partition(belongs);
            left = later;
            if !now.is_empty() {
                waves.push(Wave {
                    name: name.to_owned(),
                    readers: now.into_iter().map(|(n, _)| n.to_owned()).collect(),
                });
            }
        };
        let publish = &self.publish;
        take("canary", &|(name, _)| {
            publish.canary.iter().any(|c| c == name)
        });
        for entry in &publish.order {
            take(entry, &|(name, zone)| name == entry || zone == entry);
        }
        let first = if publish.canary.is_empty() && publish.order.is_empty() {
            "all"
        } else {
            "rest"
        };
        take(first, &|_| true);
        waves
    }
}
