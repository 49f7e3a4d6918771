//! Hosts and clusters: who holds a zone's identity and how each is reached.

use std::fmt;

use crate::keys::Recipient;

/// A machine that holds an identity.
#[derive(Debug, Clone)]
pub struct Host {
    /// A host name: a simple word, dots allowed.
    pub name: String,
    /// Its zone; it exists.
    pub zone: String,
    /// The recipient of an identity of its own that it holds already; only in a zone where each host has one.
    pub adopt: Option<Recipient>,
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
    /// The container that reads the identity file in the host's place; only on a host by SSH.
    pub reader: Option<Container>,
    /// The absolute path of a `cofferdam` on it; none: whatever is on the PATH of its login.
    pub cofferdam: Option<String>,
}

/// A container in which an identity file is read: `docker:NAME`, with the file's path inside if that is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// A name that Docker allows.
    pub name: String,
    /// The absolute path of the file inside; none: where Docker says that it is mounted.
    pub file: Option<String>,
}

impl Container {
    /// Reads `docker:NAME` and `docker:NAME:PATH`.
    ///
    /// Source: moby, `daemon/names/names.go` (`RestrictedNameChars`).
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("docker:")?;
        let (name, file) = match rest.split_once(':') {
            Some((name, file)) => (name, Some(file)),
            None => (rest, None),
        };
        let is_name = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        let is_file = |file: &str| {
            file.starts_with('/')
                && !file.ends_with('/')
                && !file.contains(['\n', '\0'])
                && file.split('/').all(|part| part != "..")
        };
        (is_name && file.is_none_or(is_file)).then(|| Self {
            name: name.to_owned(),
            file: file.map(str::to_owned),
        })
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker:{}", self.name)?;
        self.file
            .as_ref()
            .map_or(Ok(()), |file| write!(f, ":{file}"))
    }
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
    /// The recipient of an identity of its own that it holds already; only in a zone where each reader has one.
    pub adopt: Option<Recipient>,
    /// How it is reached.
    pub target: ClusterTarget,
    /// Where its identity stands today; at least one.
    pub secrets: Vec<SecretEntry>,
    /// Flux Kustomizations that decrypt what it reads; retirement waits for these. Only of a cluster with a context.
    pub kustomizations: Vec<NamespacedName>,
}

/// An object's namespace and name; both are names of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl NamespacedName {
    /// Reads `namespace/name`.
    ///
    /// Source: RFC 1123 as Kubernetes has it for names: lower-case letters, digits, `-` and `.`, 253 octets at most.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let is_name = |part: &str| {
            let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.len() <= 253
                && part.starts_with(is_edge)
                && part.ends_with(is_edge)
                && part.chars().all(|c| is_edge(c) || "-.".contains(c))
        };
        (is_name(namespace) && is_name(name)).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
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

    /// The name with its kind: `host kasm`, `cluster homelab`.
    pub fn title(&self) -> String {
        match self {
            Self::Host(host) => format!("host {}", host.name),
            Self::Cluster(cluster) => format!("cluster {}", cluster.name),
        }
    }

    /// The recipient of its own that it adopts.
    pub fn adopt(&self) -> Option<&'a Recipient> {
        match self {
            Self::Host(host) => host.adopt.as_ref(),
            Self::Cluster(cluster) => cluster.adopt.as_ref(),
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
