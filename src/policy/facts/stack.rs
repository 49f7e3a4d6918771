//! Facts about Komodo's stacks.

use crate::evidence::stacks::stacks;
use crate::policy::facts::{Material, Record, facts, number};

facts! {
    /// A stack of Komodo.
    Stack StackFacts {
        /// Its name.
        name: String,
        /// The server that runs it.
        server: String,
        /// The SOPS documents that it needs.
        documents: Vec<String>,
        /// Those of them whose change alone has Komodo deploy nothing: no `config_files` entry names them.
        unwatched_documents: Vec<String>,
        /// What runs before a deployment; empty: nothing.
        pre_deploy: String,
        /// The line of it.
        pre_deploy_line: i64,
        /// Whether what runs before a deployment writes decrypted files, by its own words or by those of a script here.
        pre_deploy_writes_plaintext: bool,
        /// What compose is run by; empty: nothing.
        wrapper: String,
        /// The line of it.
        wrapper_line: i64,
        /// The commands of compose that are wrapped.
        wrapped_commands: Vec<String>,
        /// Decrypted files that Komodo is told to read, store and show.
        tracked_plaintext: Vec<String>,
        /// Whether a push deploys.
        has_webhook: bool,
    }
}

pub(super) fn records(material: &Material<'_>) -> Vec<Record> {
    let record = |stack: crate::evidence::stacks::Stack| {
        let unwatched = stack.documents.difference(&stack.watched);
        let texts = |path: &crate::repo_path::RepoPath| path.as_str().to_owned();
        let facts = StackFacts {
            unwatched_documents: unwatched.map(texts).collect(),
            documents: stack.documents.iter().map(texts).collect(),
            name: stack.name,
            server: stack.server,
            pre_deploy: stack.pre_deploy,
            pre_deploy_line: number(stack.pre_deploy_line),
            pre_deploy_writes_plaintext: stack.writes_plaintext,
            wrapper: stack.wrapper,
            wrapper_line: number(stack.wrapper_line),
            wrapped_commands: stack.wrapped,
            tracked_plaintext: stack.tracked_plaintext,
            has_webhook: stack.has_webhook,
        };
        facts.record(
            Some(stack.origin.file.as_str().to_owned()),
            Some(stack.origin.line),
        )
    };
    stacks(material.sources).into_iter().map(record).collect()
}
