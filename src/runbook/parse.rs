//! A runbook's TOML → [`Runbook`], or all its mistakes at once.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use toml_edit::Document;

use crate::runbook::fill::{self, mentions};
use crate::runbook::{Action, Command, Parameter, Runbook, Step};
use crate::topology::TopologyProblem;
use crate::topology::closest::closest;
use crate::topology::parse::is_simple_word;
use crate::topology::parse::section::{Findings, Section};
use crate::topology::problem::quoted;

/// Parses the text of the runbook `name`, from `file_name`.
///
/// # Errors
/// All mistakes, in the order of their places; never an empty list.
pub fn parse(text: &str, name: &str, file_name: &str) -> Result<Runbook, Vec<TopologyProblem>> {
    let findings = Findings::new(text, file_name);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            let message = error.message().lines().next().unwrap_or_default();
            findings.add(at, format!("not TOML: {message}"), None);
            return Err(findings.into_problems());
        }
    };
    let root = Section::new(
        &findings,
        document.as_table(),
        0..0,
        "the runbook".to_owned(),
    );
    let runbook = Reader {
        findings: &findings,
    }
    .runbook(&root, name);
    let problems = findings.into_problems();
    if problems.is_empty() {
        Ok(runbook)
    } else {
        Err(problems)
    }
}

struct Reader<'f> {
    findings: &'f Findings<'f>,
}

impl<'f> Reader<'f> {
    fn runbook(&self, root: &Section<'f>, name: &str) -> Runbook {
        self.version(root);
        let title = self.needed(root, "title", root.string("title"));
        let about = root.text("about").map(|(text, _)| text);
        let parameters = self.parameters(root);
        let sections = root
            .tables("steps", "{ name = \"…\", run = [\"…\"] }")
            .unwrap_or_default();
        if sections.is_empty() && root.is_list_or_absent("steps") {
            let hint = "add [[steps]] with a name and one of run, confirm, wait_until";
            self.findings.add(
                root.key_place("steps"),
                "the runbook has no step".to_owned(),
                Some(hint.to_owned()),
            );
        }
        let mut steps: Vec<Step> = Vec::new();
        for section in &sections {
            let step = self.step(section);
            if !step.name.is_empty() && steps.iter().any(|other| other.name == step.name) {
                let message = format!("two steps are called {}", quoted(&step.name));
                let hint = "a step's name is how a run is continued; make it unique".to_owned();
                self.findings
                    .add(section.key_place("name"), message, Some(hint));
            }
            self.check_mentions(section, &step, &parameters);
            steps.push(step);
        }
        root.finish();
        self.check_used(root, &parameters, &steps);
        Runbook {
            name: name.to_owned(),
            title,
            about,
            parameters,
            steps,
        }
    }

    fn version(&self, root: &Section<'f>) {
        let hint = Some("write: version = 1".to_owned());
        match root.integer("version") {
            Some((1, _)) => {}
            Some((other, at)) => {
                let message = format!("version {other} is not known to this cofferdam");
                self.findings.add(at, message, hint);
            }
            None if root.has("version") => {}
            None => self
                .findings
                .add(0..0, "version is missing".to_owned(), hint),
        }
    }

    /// A text that must be there.
    fn needed(
        &self,
        section: &Section<'f>,
        key: &'static str,
        found: Option<(String, std::ops::Range<usize>)>,
    ) -> String {
        if found.is_none() && !section.has(key) {
            let message = format!("{}: {key} is missing", section.title());
            let hint = format!("add {key} = \"…\"");
            self.findings.add(section.place(), message, Some(hint));
        }
        found.map(|(text, _)| text).unwrap_or_default()
    }

    fn parameters(&self, root: &Section<'f>) -> Vec<Parameter> {
        let Some(table) = root.table("parameters") else {
            return Vec::new();
        };
        let mut parameters = Vec::new();
        for (name, at) in table.names() {
            if !fill::is_parameter_name(&name) {
                let message = format!("the parameter name {} is not usable", quoted(&name));
                let hint = "use small letters, digits and '_', beginning with a letter";
                self.findings.add(at, message, Some(hint.to_owned()));
            }
            let Some(section) = table.entry(&name, format!("parameter {name}")) else {
                continue;
            };
            let about = self.needed(&section, "about", section.string("about"));
            let default = section.string("default").map(|(text, at)| {
                if let Err(error) = fill::check_value(&name, &text) {
                    self.findings.add(at, error.to_string(), None);
                }
                text
            });
            section.finish();
            parameters.push(Parameter {
                name,
                about,
                default,
            });
        }
        parameters
    }

    fn step(&self, section: &Section<'f>) -> Step {
        let name = self.needed(section, "name", section.string("name"));
        if !name.is_empty() && !is_simple_word(&name, false) {
            let message = format!("the step name {} is not a simple word", quoted(&name));
            let hint = "use letters, digits, '-' and '_', beginning with a letter or digit";
            self.findings
                .add(section.key_place("name"), message, Some(hint.to_owned()));
        }
        let text = section.text("text").map(|(text, _)| text);
        let again = section.boolean("again").unwrap_or(false);
        let action = self.action(section, &name);
        section.finish();
        Step {
            name,
            text,
            action,
            again,
        }
    }

    fn action(&self, section: &Section<'f>, name: &str) -> Action {
        let kinds = ["run", "confirm", "wait_until"];
        let given: Vec<&str> = kinds.into_iter().filter(|k| section.has(k)).collect();
        let run = self.command(section, "run");
        let confirm = section.string("confirm").map(|(text, _)| text);
        let wait = self.command(section, "wait_until");
        let allow = self.allow(section);
        let by_hand = section.boolean("by_hand");
        let every = section.duration("every");
        let timeout = section.duration("timeout");
        let hint = |text: &str| Some(text.to_owned());
        if given.len() != 1 {
            let message = match given.as_slice() {
                [] => format!("step {} does nothing", quoted(name)),
                many => format!("step {} has {}", quoted(name), many.join(" and ")),
            };
            let hint = hint("give a step one of run, confirm and wait_until");
            self.findings.add(section.place(), message, hint);
        }
        let only = given.first().copied().unwrap_or_default();
        for (key, belongs) in [
            ("allow", "run"),
            ("by_hand", "confirm"),
            ("every", "wait_until"),
            ("timeout", "wait_until"),
        ] {
            if section.has(key) && !only.is_empty() && only != belongs {
                let message = format!("{key} says nothing about a step with {only}");
                let hint = hint(&format!("{key} belongs to {belongs}"));
                self.findings.add(section.key_place(key), message, hint);
            }
        }
        match (run, confirm, wait) {
            (Some(command), _, _) => Action::Run { command, allow },
            (_, Some(question), _) => Action::Confirm {
                question,
                by_hand: by_hand.unwrap_or(false),
            },
            (_, _, command) => {
                if command.is_some() && !section.has("timeout") {
                    let message = format!("step {} would wait for good", quoted(name));
                    let hint = hint("add timeout = \"10 minutes\"");
                    self.findings
                        .add(section.key_place("wait_until"), message, hint);
                }
                Action::WaitUntil {
                    command: command.unwrap_or_else(|| Command::Shell(String::new())),
                    every: every.unwrap_or(SignedDuration::from_secs(10)),
                    timeout: timeout.unwrap_or(SignedDuration::from_secs(60)),
                }
            }
        }
    }

    fn allow(&self, section: &Section<'f>) -> Vec<u8> {
        let Some(codes) = section.integers("allow") else {
            return vec![0];
        };
        let mut allow = Vec::new();
        for (code, at) in codes {
            match u8::try_from(code) {
                Ok(code) => allow.push(code),
                Err(_) => self.findings.add(
                    at,
                    format!("{code} is no exit code"),
                    Some("exit codes go from 0 to 255".to_owned()),
                ),
            }
        }
        if allow.is_empty() {
            let message = "allow lets no exit code count as done".to_owned();
            self.findings.add(
                section.key_place("allow"),
                message,
                Some("write: allow = [0]".to_owned()),
            );
        }
        allow
    }

    /// A list of words, or a text for the shell.
    fn command(&self, section: &Section<'f>, key: &'static str) -> Option<Command> {
        if !section.has(key) {
            // Noted as known, so that its misspellings are told.
            let _ = section.text(key);
            return None;
        }
        if !section.is_list_or_absent(key) {
            return section.text(key).map(|(text, _)| Command::Shell(text));
        }
        let words = section.strings(key)?;
        let first = words.first().map(|(word, _)| word.as_str());
        if first.is_none_or(|word| word.trim().is_empty() || word.starts_with('-')) {
            let message = format!("{}: {key} names no program", section.title());
            let hint = format!("write: {key} = [\"cofferdam\", \"status\"]");
            self.findings
                .add(section.key_place(key), message, Some(hint));
        }
        for (word, at) in &words {
            if word.contains(['\0', '\n']) {
                let message = format!("{}: a word of {key} holds a line break", section.title());
                let hint = "write a script as one string: it is given to sh -c".to_owned();
                self.findings.add(at.clone(), message, Some(hint));
            }
        }
        Some(Command::Words(
            words.into_iter().map(|(word, _)| word).collect(),
        ))
    }

    fn check_mentions(&self, section: &Section<'f>, step: &Step, parameters: &[Parameter]) {
        let known = || parameters.iter().map(|p| p.name.as_str());
        for (key, text) in fill::texts(step) {
            for name in mentions(text) {
                if known().any(|k| k == name) {
                    continue;
                }
                let message = format!(
                    "step {} has no parameter {{{{{name}}}}}",
                    quoted(&step.name)
                );
                let hint = match closest(&name, known()) {
                    Some(near) => format!("did you mean {{{{{near}}}}}?"),
                    None => format!("add [parameters.{name}] with about = \"…\""),
                };
                self.findings
                    .add(section.key_place(key), message, Some(hint));
            }
        }
    }

    fn check_used(&self, root: &Section<'f>, parameters: &[Parameter], steps: &[Step]) {
        let used: BTreeSet<String> = steps
            .iter()
            .flat_map(fill::texts)
            .flat_map(|(_, text)| mentions(text))
            .collect();
        for parameter in parameters {
            if !used.contains(&parameter.name) {
                let message = format!("no step uses the parameter {}", quoted(&parameter.name));
                let hint = format!(
                    "write {{{{{}}}}} where it belongs, or remove it",
                    parameter.name
                );
                self.findings
                    .add(root.key_place("parameters"), message, Some(hint));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
title = "Take a look"
about = """
Why and when.
"""

[parameters.host]
about = "a host of cofferdam.toml"

[[steps]]
name = "look"
text = "At {{host}}."
run = ["cofferdam", "status"]
allow = [0, 3]

[[steps]]
name = "reach"
wait_until = "ssh {{host}} true"
every = "5 seconds"
timeout = "1 minute"
again = true

[[steps]]
name = "paper"
confirm = "Is the paper back in the safe?"
by_hand = true
"#;

    fn problems(text: &str) -> Vec<String> {
        let problems = parse(text, "x", "x.toml").err().unwrap_or_default();
        problems
            .into_iter()
            .map(|p| format!("{p} ({})", p.hint.as_deref().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn reads_each_kind_of_step() {
        let runbook = parse(GOOD, "look", "look.toml").unwrap();
        assert_eq!(runbook.about.as_deref(), Some("Why and when."));
        let names: Vec<&str> = runbook.steps.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["look", "reach", "paper"]);
        assert!(matches!(&runbook.steps[0].action, Action::Run { allow, .. } if *allow == [0, 3]));
        let Action::WaitUntil {
            command,
            every,
            timeout,
        } = &runbook.steps[1].action
        else {
            panic!();
        };
        assert_eq!(command.shown(), "ssh {{host}} true");
        assert_eq!((every.as_secs(), timeout.as_secs()), (5, 60));
        assert!(runbook.steps[1].again);
        assert!(matches!(
            runbook.steps[2].action,
            Action::Confirm { by_hand: true, .. }
        ));
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_place() {
        let text = r#"version = 2
titel = "x"
[parameters.Host]
about = "no"
[parameters.unused]
about = "no"
[[steps]]
name = "a b"
run = []
confirm = "both?"
timeout = "1 minute"
[[steps]]
name = "wait"
wait_until = "test -e {{hots}}"
[[steps]]
name = "wait"
run = ["true"]
allow = [256]
[[steps]]
"#;
        let found = problems(text);
        let expected = [
            "x.toml:1:1: the runbook: title is missing",
            "x.toml:1:11: version 2 is not known",
            "x.toml:2:1: the runbook: unknown key \"titel\" (did you mean title?)",
            "x.toml:3:13: the parameter name \"Host\" is not usable",
            "no step uses the parameter \"unused\"",
            "the step name \"a b\" is not a simple word",
            "run names no program",
            "step \"a b\" has run and confirm",
            "timeout says nothing about a step with run",
            "x.toml:14:1: step \"wait\" has no parameter {{hots}}",
            "x.toml:14:1: step \"wait\" would wait for good",
            "x.toml:16:1: two steps are called \"wait\"",
            "x.toml:18:10: 256 is no exit code",
            "step \"\" does nothing",
        ];
        for wanted in expected {
            assert!(
                found.iter().any(|line| line.contains(wanted)),
                "{wanted}\n{}",
                found.join("\n")
            );
        }
    }

    #[test]
    fn what_is_no_toml_is_told_by_place() {
        assert!(
            problems("version = 1\ntitle = ")
                .iter()
                .any(|p| p.starts_with("x.toml:2:"))
        );
        assert_eq!(problems("version = 1\ntitle = \"x\"\nsteps = 3\n").len(), 1);
    }
}
