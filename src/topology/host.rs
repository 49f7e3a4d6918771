//! Hosts and clusters: who holds a zone's identity and how each is reached.

/// A machine that holds an identity.
#[derive(Debug, Clone)]
pub struct Host {
    /// A host name: a simple word, dots allowed.
    pub name: String,
    /// Its zone; it exists.
    pub zone: String,
    /// How it is reached.
    pub target: HostTarget,
    /// The absolute path of its identity file, `/etc/sops/age/keys.txt` by default.
    pub identity_file: String,
    /// Which SSH program reaches it; none: the default.
    pub transport: Option<Transport>,
    /// Globs of absolute folders that hold what it has deployed; retirement waits for these.
    pub clones: Vec<String>,
    /// Commands run on the host after an identity was delivered.
    pub after_ship: Vec<String>,
    /// The container that reads the identity file in the host's place: `docker:periphery`.
    pub reader: Option<String>,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostTarget {
    /// `user@host` or an alias of the SSH configuration; never starts with `-`.
    Ssh(String),
    /// A directory that stands for the host's root; relative to the folder of `cofferdam.toml`, or absolute.
    Local(String),
}

/// Which SSH program reaches a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The `ssh` program.
    Openssh,
    /// The library.
    Libssh2,
}

/// A Kubernetes cluster that holds an identity in Secrets.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// A simple word.
    pub name: String,
    /// Its zone; it exists.
    pub zone: String,
    /// How it is reached.
    pub target: ClusterTarget,
    /// Where its identity stands today; at least one.
    pub secrets: Vec<SecretEntry>,
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterTarget {
    /// A context of the kubeconfig; never starts with `-`.
    Context(String),
    /// A directory of `<namespace>/<secret>/<entry>`; relative to the folder of `cofferdam.toml`, or absolute.
    Local(String),
}

/// One entry of a Secret; its three parts are safe as names of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretEntry {
    /// The namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// The key in its data; `age.agekey` by default.
    pub entry: String,
}

/// Whoever holds a zone's identity.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// A machine.
    Host(&'a Host),
    /// A cluster.
    Cluster(&'a Cluster),
}

impl<'a> Reader<'a> {
    /// The name of the host or cluster.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Host(host) => &host.name,
            Self::Cluster(cluster) => &cluster.name,
        }
    }

    /// The name of its zone.
    pub fn zone(&self) -> &'a str {
        match self {
            Self::Host(host) => &host.zone,
            Self::Cluster(cluster) => &cluster.zone,
        }
    }
}
