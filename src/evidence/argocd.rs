//! Argo CD with KSOPS: documents that its repo-server decrypts.
//!
//! Only recognised, in doubt: the repo-server reads one key file (`keys.txt`), and which Secret it is mounted from stands
//! in the Helm values or the Deployment, in no form that could be relied on.
//!
//! Source: viaduct-ai/kustomize-sops README (`kind: ksops`, `files`, `secretFrom[].files`, `.envs`, `.binaryFiles`).

use serde_yaml::Value;

use crate::evidence::{Evidence, Origin, Reader, Sources, parent_text, yaml};
use crate::repo_path::{RepoPath, resolve};

const DOUBT: &str = "Argo CD's KSOPS decrypts it; declare the cluster whose Secret holds the repo-server's identity before a split";

pub(super) fn gather(sources: &Sources, evidence: &mut Evidence) {
    let texts = sources
        .texts
        .iter()
        .filter(|(_, t)| t.contains("kind: ksops"));
    for (file, text) in texts {
        let folder = RepoPath::new(parent_text(file)).ok();
        for (line, value) in yaml::documents(text).0 {
            if yaml::text_at(&value, &["kind"]) != Some("ksops") {
                continue;
            }
            for entry in files(&value) {
                let path = entry.rsplit_once('=').map_or(entry, |(_, p)| p);
                let Ok(path) = resolve(folder.as_ref(), path) else {
                    continue;
                };
                if sources.documents.contains_key(&path) && !evidence.is_claimed(&path) {
                    let origin = Origin::new(file, yaml::line_of(text, line, entry));
                    evidence.read_in_doubt(&path, Reader::Operator, origin, DOUBT);
                }
            }
        }
    }
}

fn files(value: &Value) -> Vec<&str> {
    let mut found = yaml::texts(value.get("files"));
    let sources = value.get("secretFrom").and_then(Value::as_sequence);
    for source in sources.into_iter().flatten() {
        for field in ["files", "envs", "binaryFiles"] {
            found.extend(yaml::texts(source.get(field)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};

    #[test]
    fn generators_name_their_documents() {
        let generator = "apiVersion: viaduct.ai/v1\nkind: ksops\nfiles:\n  - ./a.enc.yaml\nsecretFrom:\n  - envs: [b.env]\n    files: [c=d/c.yaml]\n";
        let sources = sources(&[
            ("app/gen.yaml", generator),
            ("app/a.enc.yaml", "a: ENC[x]"),
            ("app/b.env", "A=ENC[x]"),
            ("app/d/c.yaml", "a: ENC[x]"),
            ("app/e.yaml", "a: ENC[x]"),
        ]);
        let mut evidence = Evidence::default();
        gather(&sources, &mut evidence);
        assert_eq!(evidence.readings.len(), 3);
        let reading = &evidence.readings[&path("app/b.env")][0];
        assert_eq!(reading.origin.to_string(), "app/gen.yaml:6");
        assert!(reading.doubt.is_some());
    }
}
