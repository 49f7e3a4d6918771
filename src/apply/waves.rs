//! Readers take the new revision, and lose old identities, in waves: the operator's commands for one wave, then evidence that
//! it runs the new revision, then the next. Where the topology orders nothing, there is one wave.

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use std::process::{Command, Stdio};

use crate::apply::{ApplyError, Run, clones, reconciled};
use crate::journal::Step;
use crate::journal::guards::{self, Waiting};
use crate::plan::PlannedReader;
use crate::topology::Wave;

impl Run<'_> {
    /// The waves of this run's readers.
    pub(super) fn waves(&self) -> Vec<Wave> {
        let mut waves = self.work.topology.waves();
        for wave in &mut waves {
            wave.readers
                .retain(|name| self.plan().readers.iter().any(|r| r.name == *name));
        }
        waves.retain(|wave| !wave.readers.is_empty());
        // Readers that left the topology go last.
        let left: Vec<String> = self
            .plan()
            .readers
            .iter()
            .filter(|r| !waves.iter().any(|wave| wave.readers.contains(&r.name)))
            .map(|r| r.name.clone())
            .collect();
        match waves.last_mut() {
            Some(last) => last.readers.extend(left),
            None => waves.push(Wave {
                name: "all".to_owned(),
                readers: left,
            }),
        }
        waves
    }

    /// Runs the commands of `[publish]` for each wave, once the one before it runs the new revision.
    pub(super) fn run_commands(&mut self) -> Result<(), ApplyError> {
        let waves = self.waves();
        let several = waves.len() > 1;
        for (n, wave) in waves.iter().enumerate() {
            for index in 0..self.work.topology.publish.run.len() {
                let step = Step::Run {
                    index,
                    wave: several.then(|| wave.name.clone()),
                };
                if !self.is_done(&step) {
                    self.step(step, |run| run.command(index, wave))?;
                }
            }
            let step = Step::Ready {
                wave: wave.name.clone(),
            };
            if n + 1 < waves.len() && !self.is_done(&step) {
                self.step(step, |run| {
                    if !run.await_wave(wave)? {
                        run.ask_ready(wave)?;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn command(&self, index: usize, wave: &Wave) -> Result<(), ApplyError> {
        let command = &self.work.topology.publish.run[index];
        self.work.observer.phase("run", command);
        self.shell(command, wave, "failed")
    }

    /// Runs a command of the operator's in the repository's root; its output goes to standard error. It is told for whom.
    fn shell(&self, command: &str, wave: &Wave, failing: &str) -> Result<(), ApplyError> {
        let status = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.work.root)
            .env("COFFERDAM_WAVE", &wave.name)
            .env("COFFERDAM_READERS", wave.readers.join(" "))
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status();
        let outcome = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("{failing} ({status})"),
            Err(error) => format!("could not be run ({error})"),
        };
        Err(ApplyError::Command {
            command: command.to_owned(),
            outcome,
        })
    }

    /// Waits for evidence that readers hold the new documents: clones, commands, the operator's word, a zone's grace.
    pub(super) fn await_readers(&mut self) -> Result<(), ApplyError> {
        for wave in self.waves() {
            self.await_wave(&wave)?;
        }
        self.grace()
    }

    /// Looks at declared clones and Kustomizations again, of one wave's readers or of all, where a retirement goes on: a reader
    /// restored from a snapshot meanwhile runs an old revision, and documents that came late were rewritten since. The
    /// operator's word was given and stays so.
    pub(super) fn await_clones(&mut self, wave: Option<&Wave>) -> Result<(), ApplyError> {
        let losing = self.plan().readers.iter().filter(|r| {
            let in_wave = wave.is_none_or(|wave| wave.readers.contains(&r.name));
            in_wave && !r.loses.is_empty()
        });
        let losing: Vec<PlannedReader> = losing.cloned().collect();
        let stale = self.not_taken(&losing)?;
        match guards::waiting(stale.len(), 0, false, true) {
            Waiting::Clones => Err(ApplyError::NotTaken { readers: stale }),
            Waiting::Nothing | Waiting::Word => Ok(()),
        }
    }

    /// What declared clones and Kustomizations of `readers` lack yet. Clusters that show more than that are remembered.
    fn not_taken(&mut self, readers: &[PlannedReader]) -> Result<Vec<String>, ApplyError> {
        let readers: Vec<&PlannedReader> = readers.iter().collect();
        let mut stale = clones::not_taken(&self.work, self.progress(), &readers)?;
        let shown = reconciled::look(&self.work, self.progress(), &readers)?;
        stale.extend(shown.missing);
        self.reconciled.extend(shown.reconciled);
        Ok(stale)
    }

    /// Whether a reader is locked out if it lacks the new documents once identities leave: on the way back those that leave
    /// are the ones that this run minted.
    fn is_awaited(&self, reader: &PlannedReader) -> bool {
        if self.progress().undo.is_some() {
            let minted = self.minted_by_plan();
            reader.needs.iter().any(|id| minted.contains(id))
        } else {
            !reader.loses.is_empty()
        }
    }

    /// Whether there was anybody to wait for.
    fn await_wave(&mut self, wave: &Wave) -> Result<bool, ApplyError> {
        let readers: Vec<PlannedReader> = self
            .plan()
            .readers
            .iter()
            .filter(|r| wave.readers.contains(&r.name) && self.is_awaited(r))
            .cloned()
            .collect();
        if readers.is_empty() {
            return Ok(false);
        }
        let stale = self.not_taken(&readers)?;
        if guards::waiting(stale.len(), 0, false, false) == Waiting::Clones {
            return Err(ApplyError::NotTaken { readers: stale });
        }
        self.ask_ready(wave)?;
        let unseen: Vec<String> = readers
            .iter()
            .filter(|r| !r.declares_clones)
            .map(|r| r.name.clone())
            .collect();
        let vouched = !self.work.topology.publish.ready.is_empty();
        let word = |yes| guards::waiting(0, unseen.len(), vouched, yes) == Waiting::Word;
        if word(self.progress().options.yes) && !self.work.observer.confirm_taken(&unseen) {
            return Err(ApplyError::NotTaken {
                readers: unseen
                    .iter()
                    .map(|r| format!("{r} (nobody said so yet)"))
                    .collect(),
            });
        }
        Ok(true)
    }

    /// Asks the operator's commands whether a wave's readers run the new revision.
    pub(super) fn ask_ready(&self, wave: &Wave) -> Result<(), ApplyError> {
        for command in &self.work.topology.publish.ready {
            self.shell(command, wave, "says that readers are not there yet")?;
        }
        Ok(())
    }
}
