//! Readers that nobody declared (protocol rule 23): what else, by the repository's own files, uses an identity.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, Reader, Sources};
use crate::repo_path::RepoPath;
use crate::topology::Topology;

/// One use that the topology does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// By which it is dismissed: `ci:.github/workflows/deploy.yml`.
    pub name: String,
    /// What it is, and where that is written.
    pub text: String,
    /// Whether a run stops until it is declared or dismissed by name: it is locked out for sure.
    pub stops: bool,
}

/// What a job that decrypts mentions.
const NEEDLES: [&str; 7] = [
    "SOPS_AGE_KEY",
    "SOPS_AGE_SSH_PRIVATE_KEY",
    "AGE-SECRET-KEY-",
    "SOPS_AGE_RECIPIENTS",
    "sops -d",
    "sops --decrypt",
    "sops decrypt",
];

/// Where other programs keep what they run on a change, as beginnings of paths.
const CI: [&str; 14] = [
    ".github/workflows/",
    ".gitlab-ci.y",
    ".gitlab/ci/",
    ".woodpecker.y",
    ".woodpecker/",
    ".forgejo/workflows/",
    ".gitea/workflows/",
    ".drone.y",
    ".circleci/",
    ".buildkite/",
    "azure-pipelines.y",
    "bitbucket-pipelines.y",
    ".travis.y",
    "Jenkinsfile",
];

/// Every use that `topology` neither declares nor dismisses. `revoked` are readers that were taken out on purpose.
pub fn undeclared(
    sources: &Sources,
    evidence: &Evidence,
    topology: &Topology,
    revoked: &[&str],
) -> Vec<Use> {
    let mut uses = jobs(sources);
    uses.extend(kustomizations(evidence, topology));
    uses.extend(repo_servers(sources, topology));
    uses.extend(hosts(evidence, topology, revoked));
    uses.retain(|one| !topology.dismissed.iter().any(|d| d.name == one.name));
    uses
}

fn jobs(sources: &Sources) -> Vec<Use> {
    let is_job = |path: &RepoPath| CI.iter().any(|ci| path.as_str().starts_with(ci));
    let texts = sources.texts.iter().filter(|(path, _)| is_job(path));
    texts
        .filter_map(|(path, text)| {
            let (needle, line) = mention(text, &NEEDLES)?;
            Some(Use {
                name: format!("ci:{path}"),
                text: format!(
                    "a job that mentions {needle} (line {line}) and may need an identity of its own"
                ),
                stops: false,
            })
        })
        .collect()
}

/// Kustomizations that decrypt by another Secret than any cluster declares: nothing new is delivered there.
fn kustomizations(evidence: &Evidence, topology: &Topology) -> Vec<Use> {
    let declared = |namespace: &str, name: &str| {
        let mut secrets = topology.clusters.iter().flat_map(|c| &c.secrets);
        secrets.any(|s| s.namespace == namespace && s.name == name)
    };
    let mut uses: Vec<Use> = Vec::new();
    for decryption in &evidence.decryptions {
        let (namespace, secret) = (&decryption.namespace, &decryption.secret);
        let name = format!("kustomization:{}", decryption.origin.file);
        if declared(namespace, secret) || uses.iter().any(|u| u.name == name) {
            continue;
        }
        uses.push(Use {
            name,
            text: format!(
                "decrypts by the Secret {namespace}/{secret} (line {}), which no cluster of cofferdam.toml has among its `secrets`",
                decryption.origin.line
            ),
            stops: true,
        });
    }
    uses
}

/// Argo CD's repo-server with identities of its own, mounted from a Secret that no cluster declares.
fn repo_servers(sources: &Sources, topology: &Topology) -> Vec<Use> {
    let is_yaml =
        |path: &RepoPath| path.as_str().ends_with(".yaml") || path.as_str().ends_with(".yml");
    let texts = sources
        .texts
        .iter()
        .filter(|(path, _)| is_yaml(path) && !sources.documents.contains_key(*path));
    texts
        .filter(|(_, text)| text.contains("repo-server") || text.contains("repoServer"))
        .filter_map(|(path, text)| {
            let (needle, line) = mention(text, &["SOPS_AGE_KEY", "ksops", "sops-age"])?;
            let mut secrets = topology.clusters.iter().flat_map(|c| &c.secrets);
            let is_declared = secrets.any(|secret| text.contains(&secret.name));
            (!is_declared).then(|| Use {
                name: format!("argocd:{path}"),
                text: format!("Argo CD's repo-server, with {needle} (line {line}), reads identities from a Secret that no cluster declares"),
                stops: false,
            })
        })
        .collect()
}

/// Hosts that deploy documents, by other tools' files, and are no reader of the topology.
fn hosts(evidence: &Evidence, topology: &Topology, revoked: &[&str]) -> Vec<Use> {
    let mut found: BTreeMap<&str, (usize, &RepoPath, String)> = BTreeMap::new();
    for (document, readings) in &evidence.readings {
        for reading in readings.iter().filter(|r| r.doubt.is_none()) {
            let Reader::Host(host) = &reading.reader else {
                continue;
            };
            let is_guessed = evidence.hosts.get(host).is_none_or(|h| h.guessed);
            let is_known = topology.host(host).is_some() || revoked.contains(&host.as_str());
            if !is_guessed && !is_known {
                let one = found
                    .entry(host)
                    .or_insert_with(|| (0, document, reading.origin.to_string()));
                one.0 += 1;
            }
        }
    }
    let uses = found.into_iter().map(|(host, (count, document, origin))| {
        let more = match count - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Use {
            name: format!("host:{host}"),
            text: format!("deploys {document}{more} ({origin}) and is no host of cofferdam.toml"),
            stops: true,
        }
    });
    uses.collect()
}

/// The first of `needles` that a text mentions outside of comments, and its line from 1.
fn mention<'n>(text: &str, needles: &[&'n str]) -> Option<(&'n str, usize)> {
    text.lines().zip(1..).find_map(|(line, number)| {
        let line = line.trim_start();
        let needle = needles.iter().find(|needle| line.contains(**needle))?;
        (!line.starts_with('#')).then_some((*needle, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::sources;
    use crate::topology;

    const TOPOLOGY: &str = r#"version = 1
[recovery]
recipients = ["age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"]
[operators.laptop]
recipients = ["age12c9kanc9dldzlz2wxyeu9ap8m5syar5a64dz7nkhcu3u36txsscsmfymuj"]
[zones.lan]
files = [{ paths = ["docker/**/*.env"] }]
[zones.k8s]
files = [{ paths = ["apps/**/*.yaml"] }]
[hosts.kasm]
zone = "lan"
ssh = "root@kasm"
[clusters.minipcs]
zone = "k8s"
context = "minipcs"
secrets = [{ namespace = "flux-system", name = "sops-age" }]
"#;

    const WORKFLOW: &str = "on: push\njobs:\n  # SOPS_AGE_KEY once\n  a:\n    env:\n      SOPS_AGE_KEY: ${{ secrets.KEY }}\n";

    fn kustomization(name: &str, secret: &str) -> String {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  path: ./apps\n  decryption: {{provider: sops, secretRef: {{name: {secret}}}}}\n"
        )
    }

    const KOMODO: &str = "[[server]]\nname = \"kasm\"\n[[server]]\nname = \"nvr\"\n[[stack]]\nname = \"a\"\n[stack.config]\nserver_id = \"kasm\"\nrun_directory = \"docker/a\"\nfile_paths = [\"compose.yaml\"]\n[[stack]]\nname = \"b\"\n[stack.config]\nserver_id = \"nvr\"\nrun_directory = \"docker/b\"\nfile_paths = [\"compose.yaml\"]\n";

    fn told(topology: &str, revoked: &[&str]) -> Vec<(String, bool)> {
        let compose = "services:\n  x:\n    env_file: .env\n";
        let own = kustomization("own", "sops-age");
        let other = kustomization("other", "age-key");
        let mut sources = sources(&[
            (".github/workflows/deploy.yml", WORKFLOW),
            (".github/workflows/test.yml", "jobs: {}\n"),
            (".gitlab-ci.yml", "x:\n  script: [sops -d a.env]\n"),
            ("docs/ci.yml", WORKFLOW),
            ("clusters/minipcs/own.yaml", &own),
            ("clusters/minipcs/other.yaml", &other),
            (
                "argocd/values.yaml",
                "repoServer:\n  env:\n    - {name: SOPS_AGE_KEY_FILE, value: /k}\n",
            ),
            ("komodo/main.toml", KOMODO),
            ("docker/a/compose.yaml", compose),
            ("docker/b/compose.yaml", compose),
            ("docker/a/.sops.env", "A=ENC[x]"),
            ("docker/b/.sops.env", "A=ENC[x]"),
        ]);
        let evidence = Evidence::gather(&mut sources);
        let topology = topology::parse(topology, "cofferdam.toml").unwrap();
        let uses = undeclared(&sources, &evidence, &topology, revoked);
        uses.into_iter().map(|u| (u.name, u.stops)).collect()
    }

    #[test]
    fn what_nobody_declared_is_found_and_what_is_locked_out_for_sure_stops() {
        let uses = told(TOPOLOGY, &[]);
        let expected = [
            ("ci:.github/workflows/deploy.yml", false),
            ("ci:.gitlab-ci.yml", false),
            ("kustomization:clusters/minipcs/other.yaml", true),
            ("argocd:argocd/values.yaml", false),
            ("host:nvr", true),
        ];
        assert_eq!(uses, expected.map(|(name, stops)| (name.to_owned(), stops)));
        assert!(
            !told(TOPOLOGY, &["nvr"])
                .iter()
                .any(|(name, _)| name == "host:nvr")
        );
    }

    #[test]
    fn what_is_declared_or_dismissed_is_not_told() {
        let declared = TOPOLOGY.replace(
            "name = \"sops-age\" }",
            "name = \"sops-age\" }, { namespace = \"flux-system\", name = \"age-key\" }",
        ) + "[hosts.nvr]\nzone = \"lan\"\nssh = \"nvr\"\n\
             [[dismissed]]\nuse = \"ci:.github/workflows/deploy.yml\"\nbecause = \"it has a key of its own\"\n\
             [[dismissed]]\nuse = \"ci:.gitlab-ci.yml\"\nbecause = \"switched off\"\n";
        let uses = told(&declared, &[]);
        assert_eq!(uses, [("argocd:argocd/values.yaml".to_owned(), false)]);
        let unexplained = format!("{TOPOLOGY}[[dismissed]]\nuse = \"ci:x\"\n");
        let problems = topology::parse(&unexplained, "cofferdam.toml").unwrap_err();
        assert!(problems[0].message.contains("because"), "{problems:?}");
    }
}
