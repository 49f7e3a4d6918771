//! A runbook as a page for people: the very commands that `runbook run` runs.

use std::fmt::Write;

use jiff::SignedDuration;

use crate::runbook::{Action, Command, Runbook};

/// Renders a runbook as Markdown; ends in a newline.
///
/// Every command stands in a fenced `sh` block of its own, and every question in a line that begins with `**Confirm:**`.
pub fn markdown(runbook: &Runbook) -> String {
    let mut text = format!("# {}\n", runbook.title);
    if let Some(about) = &runbook.about {
        let _ = write!(text, "\n{about}\n");
    }
    let _ = write!(text, "\nRun it: `{}`\n", call(runbook));
    if !runbook.parameters.is_empty() {
        text.push('\n');
        for parameter in &runbook.parameters {
            let _ = write!(text, "- `{}`: {}", parameter.name, parameter.about);
            if let Some(default) = &parameter.default {
                let _ = write!(text, " (else `{default}`)");
            }
            text.push('\n');
        }
    }
    for (number, step) in (1..).zip(&runbook.steps) {
        let _ = write!(text, "\n## {number}. {}\n", step.name);
        if let Some(about) = &step.text {
            let _ = write!(text, "\n{about}\n");
        }
        match &step.action {
            Action::Run { command, allow } => {
                block(&mut text, command);
                if allow != &[0] {
                    let codes: Vec<String> = allow.iter().map(u8::to_string).collect();
                    let _ = write!(text, "\nExit codes {} count as done.\n", codes.join(", "));
                }
            }
            Action::Confirm { question, by_hand } => {
                let _ = write!(text, "\n**Confirm:** {question}\n");
                if *by_hand {
                    let _ = write!(
                        text,
                        "\n`--yes` does not answer this; `--confirm {}` does.\n",
                        step.name
                    );
                }
            }
            Action::WaitUntil {
                command,
                every,
                timeout,
            } => {
                let _ = write!(
                    text,
                    "\nWait until this succeeds; try it every {}, for at most {}:\n",
                    span(*every),
                    span(*timeout)
                );
                block(&mut text, command);
            }
        }
        if step.again {
            text.push_str("\nDone again whenever the runbook is continued.\n");
        }
    }
    text
}

/// The command that runs it.
pub fn call(runbook: &Runbook) -> String {
    let mut call = format!("cofferdam runbook run {}", runbook.name);
    for parameter in &runbook.parameters {
        if parameter.default.is_none() {
            let _ = write!(
                call,
                " --set {}={}",
                parameter.name,
                parameter.name.to_uppercase()
            );
        }
    }
    call
}

fn block(text: &mut String, command: &Command) {
    let _ = write!(text, "\n```sh\n{}\n```\n", command.shown());
}

/// A duration in its largest whole unit.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (number, unit) = match seconds {
        s if s % 86_400 == 0 => (s / 86_400, "day"),
        s if s % 3_600 == 0 => (s / 3_600, "hour"),
        s if s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}
