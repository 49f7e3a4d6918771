//! What can go wrong on the way to a cluster, and what to do about it.

use std::time::Duration;

use super::kubectl::FluxKind;
use crate::keys::key_file::KeyFileError;
use crate::topology::NamespacedName;

/// A cluster that did not do what it was asked by `kubectl`.
#[derive(Debug, thiserror::Error)]
#[error("{cluster} (context {context})")]
pub struct KubeError {
    /// The cluster's name in the topology.
    pub cluster: String,
    /// As in `cofferdam.toml`.
    pub context: String,
    /// What is wrong.
    pub source: KubeProblem,
}

/// What is wrong; each text says what to do. None holds a value of a Secret.
#[derive(Debug, thiserror::Error)]
pub enum KubeProblem {
    /// The program is not there.
    #[error("cannot start {program} (install kubectl, or name it in COFFERDAM_KUBECTL)")]
    NoProgram {
        /// Its name.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kubeconfig does not know the context.
    #[error(
        "the kubeconfig has no such context (kubectl config get-contexts lists them; KUBECONFIG names another file)"
    )]
    NoContext,
    /// No connection, or it broke off.
    #[error("it cannot be reached: {said} (try: kubectl --context {context} get --raw /version)")]
    Unreachable {
        /// The context.
        context: String,
        /// What kubectl said last.
        said: String,
    },
    /// It took too long.
    #[error("no answer within {} seconds; the call was ended, and repeating it is safe", .patience.as_secs())]
    TimedOut {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The credentials are refused.
    #[error(
        "it refuses the kubeconfig's credentials (log in again, then: kubectl --context {context} auth whoami)"
    )]
    Unauthorized {
        /// The context.
        context: String,
    },
    /// The credentials are good, the right is missing.
    #[error(
        "the login may not {verb} Secret {secret} (ask for a Role with verbs get and patch, resourceNames [\"{name}\"])"
    )]
    Forbidden {
        /// `get` or `patch`.
        verb: &'static str,
        /// `namespace/name`.
        secret: String,
        /// The Secret's name.
        name: String,
    },
    /// The Secret is not there; making it would hide a mistyped name.
    #[error(
        "there is no Secret {secret} (if the name is right: kubectl --context {context} --namespace {namespace} create secret generic {name})"
    )]
    Missing {
        /// The context.
        context: String,
        /// `namespace/name`.
        secret: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A Secret for something else.
    #[error("Secret {secret} is of type {kind}; identities belong into one of type Opaque")]
    WrongType {
        /// `namespace/name`.
        secret: String,
        /// Its type.
        kind: String,
    },
    /// A Secret that nobody can change.
    #[error(
        "Secret {secret} is immutable (make a new one, let the Kustomizations name it, and correct cofferdam.toml)"
    )]
    Immutable {
        /// `namespace/name`.
        secret: String,
    },
    /// An entry whose value is no text of base64.
    #[error("entry {entry} of Secret {secret} is not base64")]
    NotBase64 {
        /// `namespace/name`.
        secret: String,
        /// The key in its data.
        entry: String,
    },
    /// An entry that its readers cannot parse. One such entry makes Flux refuse all of them.
    #[error(
        "entry {entry} of Secret {secret} is no identity file (one such entry makes Flux refuse the whole Secret: mend or remove it)"
    )]
    Malformed {
        /// `namespace/name`.
        secret: String,
        /// The key in its data.
        entry: String,
        /// What is wrong, by line number.
        source: KeyFileError,
    },
    /// Another field manager has the entry, with another value.
    #[error(
        "entry {entry} of Secret {secret} belongs to {managers}, with another value; it was left alone"
    )]
    Conflict {
        /// `namespace/name`.
        secret: String,
        /// The key in its data.
        entry: String,
        /// The field managers.
        managers: String,
    },
    /// Somebody else's write came first; nothing was written.
    #[error("Secret {secret} changed while it was worked on (try again)")]
    Overtaken {
        /// `namespace/name`.
        secret: String,
    },
    /// Somebody changes the Secret all the time.
    #[error("Secret {secret} changed {tries} times while it was worked on (try again)")]
    Busy {
        /// `namespace/name`.
        secret: String,
        /// How often it was tried.
        tries: u32,
    },
    /// An identity that was taken away is there again.
    #[error(
        "entry {entry} of Secret {secret} holds the withdrawn identity again: {managers} puts it back (remove it where that takes it from)"
    )]
    PutBack {
        /// `namespace/name`.
        secret: String,
        /// The key in its data.
        entry: String,
        /// The field managers of the entry.
        managers: String,
    },
    /// Another manager applies the entry; removed, it would come back.
    #[error(
        "entry {entry} of Secret {secret} is applied by {managers}, which would put it back (remove it where that takes it from)"
    )]
    Applied {
        /// `namespace/name`.
        secret: String,
        /// The key in its data.
        entry: String,
        /// The field managers that apply it.
        managers: String,
    },
    /// What was written is not there.
    #[error(
        "entry {entry} of Secret {secret} is gone right after it was written: something else manages this Secret ({managers})"
    )]
    Vanished {
        /// `namespace/name`.
        secret: String,
        /// The key in its data.
        entry: String,
        /// The field managers of the Secret's data.
        managers: String,
    },
    /// The server refused, and none of the above says why.
    #[error("it refused to {verb} Secret {secret}: {said}")]
    Refused {
        /// `get` or `patch`.
        verb: &'static str,
        /// `namespace/name`.
        secret: String,
        /// What kubectl said last.
        said: String,
    },
    /// The credentials are good, the right to look at Flux's objects is missing.
    #[error(
        "the login may not {verb} {kind} {name} (docs/kubernetes.md has the Role that allows it)"
    )]
    FluxForbidden {
        /// `get` or `patch`.
        verb: &'static str,
        /// The object's kind.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
    },
    /// There is no such object of Flux's, or the server has no Flux.
    #[error(
        "there is no {kind} {name} (kubectl --context {context} get {resource} --all-namespaces lists them; correct `kustomizations`)"
    )]
    FluxMissing {
        /// The context.
        context: String,
        /// The object's kind.
        kind: &'static str,
        /// The full name of the kind.
        resource: &'static str,
        /// `namespace/name`.
        name: String,
    },
    /// The server refused, and none of the above says why.
    #[error("it refused to {verb} {kind} {name}: {said}")]
    FluxRefused {
        /// `get` or `patch`.
        verb: &'static str,
        /// The object's kind.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
        /// What kubectl said last.
        said: String,
    },
    /// What kubectl printed is no Kustomization.
    #[error("the answer for Kustomization {name} is none")]
    NoKustomization {
        /// `namespace/name`.
        name: String,
    },
    /// What kubectl printed is no Secret.
    #[error("the answer for Secret {secret} is no Secret: {what}")]
    Nonsense {
        /// `namespace/name`.
        secret: String,
        /// What is wrong with it; never its text.
        what: String,
    },
}

/// What kubectl's last words mean.
pub(super) fn classify(
    errors: &[u8],
    verb: &'static str,
    context: &str,
    namespace: &str,
    name: &str,
) -> KubeProblem {
    let text = String::from_utf8_lossy(errors);
    let secret = format!("{namespace}/{name}");
    let context = context.to_owned();
    let said = last_words(&text);
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["context was not found", "context \"", "no context exists"])
        && has(&["does not exist", "not found", "no context exists"])
        && !has(&["Error from server"])
    {
        KubeProblem::NoContext
    } else if has(&["(Unauthorized)", "must be logged in", "provide credentials"]) {
        KubeProblem::Unauthorized { context }
    } else if has(&["(Forbidden)"]) {
        let name = name.to_owned();
        KubeProblem::Forbidden { verb, secret, name }
    } else if has(&["the server doesn't have a resource type"])
        || (has(&["(NotFound)"])
            && has(&[
                &format!("secrets \"{name}\" not found"),
                &format!(".fluxcd.io \"{name}\" not found"),
                &format!("namespaces \"{namespace}\" not found"),
            ]))
    {
        KubeProblem::Missing {
            context,
            secret,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    } else if has(&["the object has been modified"]) {
        KubeProblem::Overtaken { secret }
    } else if has(&[
        "Unable to connect to the server",
        "The connection to the server",
        "couldn't get current server API group list",
        "unexpected EOF",
        "connection refused",
        "connection reset",
        "i/o timeout",
        "Client.Timeout",
        "context deadline exceeded",
    ]) {
        KubeProblem::Unreachable { context, said }
    } else {
        KubeProblem::Refused { verb, secret, said }
    }
}

/// The same failure about an object of Flux's.
pub(super) fn of_flux(problem: KubeProblem, kind: FluxKind, name: &NamespacedName) -> KubeProblem {
    let named = name.to_string();
    let missing = |context: String| KubeProblem::FluxMissing {
        context,
        kind: kind.word(),
        resource: kind.resource(),
        name: name.to_string(),
    };
    match problem {
        KubeProblem::Forbidden { verb, .. } => KubeProblem::FluxForbidden {
            verb,
            kind: kind.word(),
            name: named,
        },
        KubeProblem::Missing { context, .. } => missing(context),
        KubeProblem::Refused { verb, said, .. } => KubeProblem::FluxRefused {
            verb,
            kind: kind.word(),
            name: named,
            said,
        },
        other => other,
    }
}

/// The last line that says something, fit for a terminal and without anything that might be a value: what follows
/// `Invalid value`, and every long word of the letters that base64 and identities are made of.
pub(super) fn last_words(text: &str) -> String {
    // Of a refused apply the first line says what; advice about --force-conflicts follows.
    let text = text
        .split_once("Please review the fields above")
        .map_or(text, |(before, _)| before);
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or("it said nothing");
    let line = line
        .split_once("Invalid value")
        .map_or(line, |(before, _)| before);
    let mut said = String::new();
    let mut word = String::new();
    let mut flush = |word: &mut String| {
        said.push_str(if word.len() > LONGEST_WORD {
            "…"
        } else {
            word
        });
        word.clear();
    };
    for c in line.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if c.is_ascii_alphanumeric() || "+/=_".contains(c) {
            word.push(c);
        } else {
            flush(&mut word);
            word.push(c);
            flush(&mut word);
        }
    }
    flush(&mut word);
    if said.to_ascii_uppercase().contains("AGE-SECRET-KEY") {
        return "it quoted an identity, which is not repeated here".to_owned();
    }
    said.chars().take(200).collect()
}

/// No word of an error message of Kubernetes is longer; half an identity is.
const LONGEST_WORD: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_told_apart() {
        let of =
            |text: &str| classify(text.as_bytes(), "get", "minipcs", "flux-system", "sops-age");
        for text in [
            "error: context \"nope\" does not exist",
            "Error in configuration: context was not found for specified context: nope",
        ] {
            assert!(matches!(of(text), KubeProblem::NoContext), "{text}");
        }
        assert!(matches!(
            of("error: You must be logged in to the server (Unauthorized)"),
            KubeProblem::Unauthorized { .. }
        ));
        assert!(matches!(
            of(
                "Error from server (Forbidden): secrets \"sops-age\" is forbidden: User \"u\" cannot get resource"
            ),
            KubeProblem::Forbidden { verb: "get", .. }
        ));
        assert!(matches!(
            of("Error from server (NotFound): secrets \"sops-age\" not found"),
            KubeProblem::Missing { .. }
        ));
        assert!(matches!(
            of("E1125 x\nThe connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"),
            KubeProblem::Unreachable { said, .. } if said.starts_with("The connection")
        ));
        assert!(matches!(
            of("Error from server (InternalError): etcd is sad"),
            KubeProblem::Refused { .. }
        ));
    }

    #[test]
    fn values_are_not_repeated() {
        let word = "QUdFLVNFQ1JFVC1LRVktMVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFR";
        let said = last_words(&format!("Error: \"{word}\" is bad"));
        assert_eq!(said, "Error: \"…\" is bad");
        assert!(!last_words("data: Invalid value: \"hunter2\": no").contains("hunter2"));
        let said = last_words("bad line AGE-SECRET-KEY-1QQQ here");
        assert!(!said.contains("1QQQ"), "{said}");
        assert_eq!(last_words("\n \n"), "it said nothing");
        let refused = "error: Apply failed with 1 conflict: conflict with \"x\"\nPlease review the fields above--they\nSee https://kubernetes.io/";
        assert!(last_words(refused).starts_with("error: Apply failed"));
    }
}
