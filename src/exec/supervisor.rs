//! Staying beside the program: signals reach it, its output is masked, its exit code becomes ours, nothing is left.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: looks after the program that was started"
)]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
    SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::exec::child::{self, ChildError, Task};
use crate::exec::guard::Guard;
use crate::exec::hardening;
use crate::exec::output::{self, Output, Progress};

/// How long output may be silent, once the program has ended, while something that it left behind could still print.
const SILENCE: Duration = Duration::from_millis(300);

/// What becomes of its output, and how long the program may take to end.
#[derive(Debug, Default)]
pub struct Manners {
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// How long after a signal to end it may go on; none: as long as it takes.
    pub grace: Option<Duration>,
}

/// Ready to look after one program: from here on a signal to us waits for it instead of ending us.
#[derive(Debug)]
pub struct Supervisor {
    signals: SignalDelivery<UnixStream, SignalOnly>,
    guard: Guard,
    /// Whether a terminal sends signals to the program itself.
    shares_terminal: bool,
    /// The last signal to end.
    told: Option<u8>,
}

impl Supervisor {
    /// Takes over the signals and starts the guard.
    ///
    /// # Errors
    /// [`ChildError::System`].
    pub fn new() -> Result<Self, ChildError> {
        let shares_terminal =
            io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        let ignored = ignored_signals();
        let wanted = [
            SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
        ];
        // A terminal stops us and the program; then we must stop, too.
        let stop = (!shares_terminal).then_some(SIGTSTP);
        let taken = wanted
            .into_iter()
            .chain(stop)
            .filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let (read, write) =
            UnixStream::pair().map_err(|e| ChildError::system("make a pipe for signals", e))?;
        let signals = SignalDelivery::with_pipe(read, write, SignalOnly, taken)
            .map_err(|e| ChildError::system("take over signals", e))?;
        // Orphans of the program come to us, also where we are not process 1. Refused by old kernels only.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Ok(Self {
            signals,
            guard: Guard::start(!shares_terminal),
            shares_terminal,
            told: None,
        })
    }

    /// The guard, to be told what it guards.
    pub fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// The last signal to end that came, HUP, INT, QUIT or TERM.
    pub fn was_told(&self) -> Option<u8> {
        self.told
    }

    /// Runs the program to its end; gives the exit code, which is 128 + n after signal n.
    ///
    /// # Errors
    /// It could not be started, or the system refused to tell what became of it.
    pub fn run(&mut self, task: Task, manners: &Manners) -> Result<u8, ChildError> {
        let command = task.to_command(&task.command);
        let child = self.start(command, &task.command, manners)?;
        // Copies of the values that are not needed any more.
        drop(task);
        self.see_to_end(child, manners)
    }

    /// Runs another command before the program, in the same environment, without input; as [`Self::run`].
    ///
    /// # Errors
    /// As there.
    pub fn ask(
        &mut self,
        task: &Task,
        words: &[OsString],
        manners: &Manners,
    ) -> Result<u8, ChildError> {
        let mut command = task.to_command(words);
        command.stdin(Stdio::null());
        let child = self.start(command, words, manners)?;
        self.see_to_end(child, manners)
    }

    fn start(
        &self,
        mut command: Command,
        words: &[OsString],
        manners: &Manners,
    ) -> Result<Child, ChildError> {
        if !self.shares_terminal {
            command.process_group(self.guard.group());
        }
        if !matches!(manners.stdout, Output::Own) {
            command.stdout(Stdio::piped());
        }
        if !matches!(manners.stderr, Output::Own) {
            command.stderr(Stdio::piped());
        }
        command.spawn().map_err(|e| child::failure(words, e))
    }

    fn see_to_end(&mut self, mut child: Child, manners: &Manners) -> Result<u8, ChildError> {
        let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            return Err(ChildError::system("name the process", Errno::SRCH));
        };
        self.guard.watch(pid);
        // The program is on its way, and we stay.
        hardening::lock();
        let (streams, done) = read_streams(&mut child, manners)
            .map_err(|e| ChildError::system("read the output", e))?;
        let target = Target {
            pid,
            is_group: !self.shares_terminal,
        };
        let code = self.until_ended(target, manners.grace)?;
        self.until_printed(&streams, &done);
        Ok(code)
    }

    fn until_ended(&mut self, target: Target, grace: Option<Duration>) -> Result<u8, ChildError> {
        let mut deadline: Option<Instant> = None;
        let mut was_told = false;
        loop {
            // Also before the first wait: it may be over already.
            if let Some(code) = reap(target.pid)? {
                return Ok(code);
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            wait(&[self.signals.get_read()], left);
            if deadline.is_some_and(|d| d <= Instant::now()) {
                target.send(Signal::KILL);
                deadline = None;
            }
            for number in self.signals.pending() {
                if matches!(number, SIGTERM | SIGINT | SIGHUP | SIGQUIT) {
                    self.told = u8::try_from(number).ok();
                }
                let from_terminal =
                    self.shares_terminal && matches!(number, SIGINT | SIGQUIT | SIGWINCH);
                if number == SIGCHLD || from_terminal {
                    continue;
                }
                if number == SIGTERM && was_told {
                    target.send(Signal::KILL);
                } else if let Some(signal) = Signal::from_named_raw(number) {
                    target.send(signal);
                }
                if matches!(number, SIGTERM | SIGINT | SIGHUP | SIGQUIT) {
                    was_told |= number == SIGTERM;
                    deadline = deadline.or_else(|| grace.map(|grace| Instant::now() + grace));
                }
            }
        }
    }

    /// Waits until the output of a program that has ended is written. What it left behind may hold its streams open: that
    /// is waited for as long as it prints.
    fn until_printed(&mut self, streams: &[Arc<Progress>], done: &UnixStream) {
        let read = || -> usize {
            let counts = streams.iter().map(|s| s.read.load(Ordering::SeqCst));
            counts.sum()
        };
        let mut last = (read(), Instant::now());
        while !streams.is_empty() {
            let ready = wait(&[done, self.signals.get_read()], Some(SILENCE / 6));
            if ready.first() == Some(&true) {
                return;
            }
            let is_ending = |signal| matches!(signal, SIGTERM | SIGINT | SIGHUP | SIGQUIT);
            if self.signals.pending().any(is_ending) {
                return;
            }
            let now = read();
            let writing = streams.iter().any(|s| s.is_writing.load(Ordering::SeqCst));
            if now != last.0 || writing {
                last = (now, Instant::now());
            } else if last.1.elapsed() > SILENCE {
                return;
            }
        }
    }
}

/// Whom signals go to.
#[derive(Debug, Clone, Copy)]
struct Target {
    pid: Pid,
    /// The program leads what it starts, in a group of its own.
    is_group: bool,
}

impl Target {
    fn send(self, signal: Signal) {
        // Gone already is as good.
        let _ = match self.is_group {
            true => rustix::process::getpgid(Some(self.pid))
                .and_then(|group| rustix::process::kill_process_group(group, signal)),
            false => rustix::process::kill_process(self.pid, signal),
        };
    }
}

/// Starts a thread for each stream that is not the program's own; the other end of the socket is closed when all have ended.
fn read_streams(
    child: &mut Child,
    manners: &Manners,
) -> io::Result<(Vec<Arc<Progress>>, UnixStream)> {
    let (done, ends) = UnixStream::pair()?;
    let mut streams = Vec::new();
    let out = child.stdout.take().map(OwnedFd::from);
    let err = child.stderr.take().map(OwnedFd::from);
    for (stream, output, is_error) in [(out, &manners.stdout, false), (err, &manners.stderr, true)]
    {
        let Some(stream) = stream else {
            continue;
        };
        let done = ends.try_clone()?;
        streams.push(match output {
            Output::Own => continue,
            Output::Masked(patterns) => {
                let to = output::own_stream(is_error)?;
                output::pump(stream, to, Some(Arc::clone(patterns)), done)?
            }
            Output::Collected(collector) => output::pump(stream, collector.clone(), None, done)?,
        });
    }
    Ok((streams, done))
}

/// Reaps whatever has ended; the exit code if `pid` was among it.
fn reap(pid: Pid) -> Result<Option<u8>, ChildError> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => code = code.or(Some(code_of(status))),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(code),
            Err(Errno::CHILD) if code.is_some() => return Ok(code),
            Err(error) => return Err(ChildError::system("wait for the program", error)),
        }
    }
}

fn code_of(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 125,
    };
    u8::try_from(code & 0xff).unwrap_or(125)
}

/// Waits until one of the sockets has something to read or has ended, or the time is up; which ones.
fn wait(sockets: &[&UnixStream], time: Option<Duration>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::new(*socket, PollFlags::IN))
        .collect();
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    // Interrupted: whoever asked looks again.
    let _ = rustix::event::poll(&mut polled, time.as_ref());
    polled.iter().map(|p| !p.revents().is_empty()).collect()
}

/// The signals that whoever started us wants ignored, as a mask; ours to leave alone, and the program inherits them.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
