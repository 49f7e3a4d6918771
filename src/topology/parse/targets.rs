//! Hosts, clusters, `[gate]` and `[publish]`.

use super::Reader;
use super::section::Section;
use crate::topology::problem::quoted;
use crate::topology::{
    Cluster, ClusterTarget, Container, Gate, Glob, Host, HostTarget, NamespacedName, Publish,
    SecretEntry, Suffices, Transport,
};

/// Where sops looks for a system's identities by custom.
const IDENTITY_FILE: &str = "/etc/sops/age/keys.txt";
/// The entry that Flux's documentation names.
const ENTRY: &str = "age.agekey";

impl<'f> Reader<'f> {
    pub(super) fn host(&mut self, name: String, section: &Section<'f>) -> Host {
        let zone = self.zone_of("host", &name, section);
        let (ssh, local) = self.target(section, "ssh", "ssh = \"root@server\"");
        let target = match (ssh, local) {
            (_, Some(local)) => HostTarget::Local(local),
            (ssh, None) => HostTarget::Ssh(ssh.unwrap_or_default()),
        };
        let identity_file = section.path("identity_file");
        if let Some(file) = &identity_file
            && (!file.starts_with('/') || file.ends_with('/') || has_parent(file))
        {
            let message = format!(
                "{}: identity_file must be an absolute path of a file",
                section.title()
            );
            let hint = format!("write: identity_file = \"{IDENTITY_FILE}\"");
            self.findings
                .add(section.key_place("identity_file"), message, Some(hint));
        }
        let transports = [("ssh", Transport::Openssh), ("libssh2", Transport::Libssh2)];
        Host {
            adopt: self.adopt("host", &name, section),
            zone,
            target,
            identity_file: identity_file.unwrap_or_else(|| IDENTITY_FILE.to_owned()),
            transport: section.word("transport", &transports),
            clones: self.clones(section),
            after_ship: self.commands(section, "after_ship"),
            reader: self.container(section),
            cofferdam: self.program(section),
            name,
        }
    }

    pub(super) fn cluster(&mut self, name: String, section: &Section<'f>) -> Cluster {
        let zone = self.zone_of("cluster", &name, section);
        let (context, local) = self.target(section, "context", "context = \"name\"");
        let target = match (context, local) {
            (_, Some(local)) => ClusterTarget::Local(local),
            (context, None) => ClusterTarget::Context(context.unwrap_or_default()),
        };
        let example =
            "{ namespace = \"flux-system\", name = \"sops-age\", entry = \"age.agekey\" }";
        let secrets = section.tables("secrets", example);
        if secrets.as_ref().is_none_or(Vec::is_empty)
            && (secrets.is_some() || !section.has("secrets"))
        {
            let message = format!("{} names no Secret", section.title());
            let hint = format!("add secrets = [{example}]");
            self.findings
                .add(section.key_place("secrets"), message, Some(hint));
        }
        let mut entries: Vec<SecretEntry> = Vec::new();
        for secret in secrets.unwrap_or_default() {
            let entry = SecretEntry {
                namespace: self.object_name(&secret, "namespace", None),
                name: self.object_name(&secret, "name", None),
                entry: self.object_name(&secret, "entry", Some(ENTRY)),
            };
            secret.finish();
            if entries.contains(&entry) {
                let message = format!("{}: the same entry twice", secret.title());
                self.findings
                    .add(secret.place(), message, Some("remove one".to_owned()));
            }
            entries.push(entry);
        }
        Cluster {
            adopt: self.adopt("cluster", &name, section),
            name,
            zone,
            target,
            secrets: entries,
            kustomizations: self.kustomizations(section),
        }
    }

    pub(super) fn gate(&mut self, section: &Section<'f>) -> Gate {
        let words = [
            ("read-back", Suffices::ReadBack),
            ("unwrapped", Suffices::Unwrapped),
        ];
        let receipt = section.word("receipt", &words);
        let gate = Gate {
            receipt: receipt.unwrap_or_default(),
            except: self.mentions(section, "except", "gate", "except"),
        };
        section.finish();
        let is_weak = match receipt {
            Some(receipt) => receipt == Suffices::ReadBack,
            None => !section.has("receipt"),
        };
        if is_weak && !gate.except.is_empty() {
            let message = "[gate]: except says nothing where read-back suffices".to_owned();
            let hint = "add receipt = \"unwrapped\", or remove it".to_owned();
            self.findings
                .add(section.key_place("except"), message, Some(hint));
        }
        gate
    }

    pub(super) fn publish(&mut self, section: &Section<'f>) -> Publish {
        let default = Publish::default();
        let publish = Publish {
            commit: section.boolean("commit").unwrap_or(default.commit),
            remote: section.path("remote"),
            push: section.boolean("push").unwrap_or(default.push),
            run: self.commands(section, "run"),
            ready: self.commands(section, "ready"),
            canary: self.mentions(section, "canary", "publish", "canary"),
            order: self.mentions(section, "order", "publish", "order"),
        };
        section.finish();
        if publish.push && publish.remote.is_none() && !section.has("remote") {
            let message = "[publish]: push = true without a remote".to_owned();
            let hint = "add remote = \"origin\"".to_owned();
            self.findings
                .add(section.key_place("push"), message, Some(hint));
        }
        if publish.push && !publish.commit {
            let message = "[publish]: push = true with commit = false".to_owned();
            let hint = "what is pushed is the run's commit: remove one of them".to_owned();
            self.findings
                .add(section.key_place("push"), message, Some(hint));
        }
        publish
    }

    fn zone_of(&mut self, kind: &'static str, name: &str, section: &Section<'f>) -> String {
        let zone = self.mention(section, "zone", kind, name);
        if zone.is_none() && !section.has("zone") {
            let message = format!("{} is in no zone", section.title());
            let hint = "add zone = \"…\"".to_owned();
            self.findings.add(section.place(), message, Some(hint));
        }
        zone.unwrap_or_default()
    }

    /// Reads the address or `local`, of which there must be exactly one.
    fn target(
        &self,
        section: &Section<'f>,
        key: &'static str,
        example: &str,
    ) -> (Option<String>, Option<String>) {
        let address = section.path(key);
        let local = section.path("local");
        let (has_address, has_local) = (section.has(key), section.has("local"));
        if has_address == has_local {
            let (at, what) = if has_local {
                (section.key_place("local"), format!("both {key} and local"))
            } else {
                (section.place(), format!("neither {key} nor local"))
            };
            let hint = format!("keep one: {example}, or local = \"./some/dir\" for a directory");
            self.findings
                .add(at, format!("{} has {what}", section.title()), Some(hint));
        }
        if let Some(address) = &address
            && key == "ssh"
            && address.contains(char::is_whitespace)
        {
            let message = format!(
                "{}: ssh holds a blank: it is an address, not a command",
                section.title()
            );
            let hint = "put options into ~/.ssh/config and name the alias".to_owned();
            self.findings
                .add(section.key_place(key), message, Some(hint));
        }
        (address, local)
    }

    /// The container that reads in the host's place: `docker:NAME`, or `docker:NAME:PATH` with the file's path inside.
    fn container(&self, section: &Section<'f>) -> Option<Container> {
        let (text, at) = section.string("reader")?;
        let container = Container::parse(&text);
        if container.is_none() {
            let message = format!("{}: reader names no container", section.title());
            let hint =
                "write: reader = \"docker:NAME\", or \"docker:NAME:/path/of/the/file/inside\"";
            self.findings.add(at, message, Some(hint.to_owned()));
        } else if section.has("local") {
            let message = format!(
                "{}: a reader in a container, of a host that is a directory",
                section.title()
            );
            let hint = "remove `reader`: only a host by ssh has containers".to_owned();
            self.findings.add(at, message, Some(hint));
        }
        container
    }

    /// Where `cofferdam` stands on the host, if not on the PATH of its login.
    fn program(&self, section: &Section<'f>) -> Option<String> {
        let path = section.path("cofferdam")?;
        if !path.starts_with('/') || path.ends_with('/') || has_parent(&path) {
            let message = format!(
                "{}: cofferdam must be the absolute path of a program",
                section.title()
            );
            let hint = "write: cofferdam = \"/usr/local/bin/cofferdam\"".to_owned();
            self.findings
                .add(section.key_place("cofferdam"), message, Some(hint));
        }
        Some(path)
    }

    /// Flux Kustomizations as `namespace/name`.
    fn kustomizations(&self, section: &Section<'f>) -> Vec<NamespacedName> {
        let texts = section.strings("kustomizations").unwrap_or_default();
        if !texts.is_empty() && section.has("local") {
            let message = format!(
                "{}: kustomizations of a cluster that is a directory: nothing reconciles them",
                section.title()
            );
            let hint = "remove `kustomizations`: only a cluster with a context has Flux".to_owned();
            self.findings
                .add(section.key_place("kustomizations"), message, Some(hint));
        }
        let mut names: Vec<NamespacedName> = Vec::new();
        for (text, at) in texts {
            let hint = || Some("write: kustomizations = [\"flux-system/apps\"]".to_owned());
            match NamespacedName::parse(&text) {
                None => {
                    let message = format!(
                        "{}: {} is no Kustomization's namespace and name",
                        section.title(),
                        quoted(&text)
                    );
                    self.findings.add(at, message, hint());
                }
                Some(name) if names.contains(&name) => {
                    let message = format!("{}: {name} is there twice", section.title());
                    self.findings
                        .add(at, message, Some("remove one".to_owned()));
                }
                Some(name) => names.push(name),
            }
        }
        names
    }

    fn clones(&self, section: &Section<'f>) -> Vec<String> {
        let clones = section.strings("clones").unwrap_or_default();
        for (clone, at) in &clones {
            if !clone.starts_with('/') || has_parent(clone) {
                let message = format!("{}: a clone must be an absolute path", section.title());
                let hint = "write: clones = [\"/etc/komodo/stacks/*\"]".to_owned();
                self.findings.add(at.clone(), message, Some(hint));
            }
            let parts = clone.split('/').filter(|part| !matches!(*part, "" | "."));
            if let Some(error) = parts.filter_map(|part| Glob::parse(part).err()).next() {
                let message = format!("{}: clones holds no glob: {error}", section.title());
                let hint = "write: clones = [\"/etc/komodo/stacks/*\"]".to_owned();
                self.findings.add(at.clone(), message, Some(hint));
            }
        }
        clones.into_iter().map(|(clone, _)| clone).collect()
    }

    fn commands(&self, section: &Section<'f>, key: &'static str) -> Vec<String> {
        let commands = section.strings(key).unwrap_or_default();
        for (command, at) in &commands {
            if command.trim().is_empty() || command.contains('\0') {
                let message = format!("{}: {key} holds an empty command", section.title());
                self.findings
                    .add(at.clone(), message, Some("remove it".to_owned()));
            }
        }
        commands.into_iter().map(|(command, _)| command).collect()
    }

    /// A name of a Kubernetes object or entry: it becomes a path's component for directory clusters.
    fn object_name(
        &self,
        section: &Section<'f>,
        key: &'static str,
        default: Option<&str>,
    ) -> String {
        let Some((text, at)) = section.string(key) else {
            if default.is_none() && !section.has(key) {
                let message = format!("{}: {key} is missing", section.title());
                let hint = format!("add {key} = \"…\"");
                self.findings.add(section.place(), message, Some(hint));
            }
            return default.unwrap_or_default().to_owned();
        };
        let is_name = text.len() <= 253
            && !matches!(text.as_str(), "." | "..")
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !is_name {
            let message = format!("{}: {key} is no name of Kubernetes", section.title());
            let hint = "letters, digits, '-', '_' and '.'".to_owned();
            self.findings.add(at, message, Some(hint));
        }
        text
    }
}

fn has_parent(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
