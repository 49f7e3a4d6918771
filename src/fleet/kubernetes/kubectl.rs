//! The `kubectl` program: which one, with what options, and its calls.

#![expect(clippy::disallowed_methods, reason = "edge: starts kubectl")]

use std::process::Command;
use std::time::Duration;

use zeroize::Zeroizing;

use super::problem::{KubeProblem, classify, of_flux};
use crate::command_words;
use crate::fleet::ssh::call;
use crate::topology::NamespacedName;

/// Who we are to the server; entries that are ours stand under this name in `managedFields`.
pub(super) const MANAGER: &str = "cofferdam";

/// The program that reaches clusters, shared by all of them.
#[derive(Debug)]
pub struct KubectlProgram {
    words: Vec<String>,
    patience: Duration,
}

/// A Secret's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A kind of object that Flux's controllers work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FluxKind {
    Kustomization,
    GitRepository,
}

impl FluxKind {
    /// By its full name: `kustomizations` alone may be another group's.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Kustomization => "kustomizations.kustomize.toolkit.fluxcd.io",
            Self::GitRepository => "gitrepositories.source.toolkit.fluxcd.io",
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Kustomization => "Kustomization",
            Self::GitRepository => "GitRepository",
        }
    }
}

fn address(name: &NamespacedName) -> Address {
    Address {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}

impl KubectlProgram {
    /// `kubectl`, or what `COFFERDAM_KUBECTL` names: a program with options. None if that cannot be split into words.
    pub fn of_process() -> Option<Self> {
        let text = std::env::var("COFFERDAM_KUBECTL").unwrap_or_default();
        if text.trim().is_empty() {
            return Some(Self::new(vec!["kubectl".to_owned()]));
        }
        command_words::split(&text)
            .filter(|words| !words.is_empty())
            .map(Self::new)
    }

    /// This program with these options.
    pub fn new(words: Vec<String>) -> Self {
        Self {
            words,
            patience: Duration::from_secs(45),
        }
    }

    /// The same with another limit for one call.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The Secret as JSON.
    ///
    /// # Secrets
    /// The text holds all of the Secret's values; it is wiped on drop.
    pub(super) fn get(
        &self,
        context: &str,
        at: &Address,
    ) -> Result<Zeroizing<Vec<u8>>, KubeProblem> {
        let args = ["get", &format!("secrets/{}", at.name)];
        let mut command = self.command(context, at, &args);
        command.args(["--output=json", "--show-managed-fields"]);
        self.run(command, Zeroizing::default(), "get", context, at)
    }

    /// Server-side apply of a manifest, under our own name, never by force.
    pub(super) fn apply(
        &self,
        context: &str,
        at: &Address,
        manifest: Zeroizing<Vec<u8>>,
    ) -> Result<(), KubeProblem> {
        let mut command = self.command(context, at, &["apply", "--server-side"]);
        // The manifest is ours and has four members: nothing to validate, and a schema less to fetch.
        command.args(["--validate=false", "--output=name", "--filename=-"]);
        command.arg(format!("--field-manager={MANAGER}"));
        self.run(command, manifest, "patch", context, at)
            .map(|_| ())
    }

    /// A JSON patch, under our own name.
    pub(super) fn patch(
        &self,
        context: &str,
        at: &Address,
        patch: Zeroizing<Vec<u8>>,
    ) -> Result<(), KubeProblem> {
        let args = ["patch", &format!("secrets/{}", at.name)];
        let mut command = self.command(context, at, &args);
        // By a file: `--patch` would show the values to everybody who lists processes.
        command.args(["--type=json", "--patch-file=/dev/stdin", "--output=name"]);
        command.arg(format!("--field-manager={MANAGER}"));
        self.run(command, patch, "patch", context, at).map(|_| ())
    }

    /// An object of Flux's as JSON.
    pub(super) fn get_object(
        &self,
        context: &str,
        kind: FluxKind,
        name: &NamespacedName,
    ) -> Result<Zeroizing<Vec<u8>>, KubeProblem> {
        let resource = format!("{}/{}", kind.resource(), name.name);
        let mut command = self.command(context, &address(name), &["get", &resource]);
        command.arg("--output=json");
        self.run_for(command, "get", context, kind, name)
    }

    /// Asks the controller of an object for a turn.
    ///
    /// Source: fluxcd/pkg `apis/meta/annotations.go` (`ReconcileRequestAnnotation`).
    pub(super) fn request(
        &self,
        context: &str,
        kind: FluxKind,
        name: &NamespacedName,
        at: &str,
    ) -> Result<(), KubeProblem> {
        let resource = format!("{}/{}", kind.resource(), name.name);
        let mut command = self.command(context, &address(name), &["annotate", &resource]);
        command.arg(format!("reconcile.fluxcd.io/requestedAt={at}"));
        command.args(["--overwrite", "--output=name"]);
        command.arg(format!("--field-manager={MANAGER}"));
        self.run_for(command, "patch", context, kind, name)
            .map(|_| ())
    }

    /// Runs a call about an object of Flux's, in whose words the failure is told.
    fn run_for(
        &self,
        command: Command,
        verb: &'static str,
        context: &str,
        kind: FluxKind,
        name: &NamespacedName,
    ) -> Result<Zeroizing<Vec<u8>>, KubeProblem> {
        self.run(command, Zeroizing::default(), verb, context, &address(name))
            .map_err(|problem| of_flux(problem, kind, name))
    }

    fn command(&self, context: &str, at: &Address, args: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .arg(format!("--context={context}"))
            .arg(format!("--namespace={}", at.namespace))
            .arg(format!(
                "--request-timeout={}s",
                self.patience.as_secs().max(1)
            ))
            // A user's file of default options must not change what these calls mean.
            .env("KUBECTL_KUBERC", "false")
            .args(args);
        command
    }

    fn run(
        &self,
        mut command: Command,
        input: Zeroizing<Vec<u8>>,
        verb: &'static str,
        context: &str,
        at: &Address,
    ) -> Result<Zeroizing<Vec<u8>>, KubeProblem> {
        let patience = self.patience + Duration::from_secs(5);
        let ended =
            call::run(&mut command, input, patience).map_err(|source| KubeProblem::NoProgram {
                program: self.words[0].clone(),
                source,
            })?;
        match ended.status {
            None => Err(KubeProblem::TimedOut { patience }),
            Some(status) if status.success() => Ok(ended.output),
            Some(_) => Err(classify(
                &ended.errors,
                verb,
                context,
                &at.namespace,
                &at.name,
            )),
        }
    }
}
