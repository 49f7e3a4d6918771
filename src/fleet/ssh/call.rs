//! One call of a program: input by a pipe, output bounded and wiped, an end by a deadline.

#![expect(clippy::disallowed_methods, reason = "edge: starts ssh")]

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use zeroize::{Zeroize, Zeroizing};

/// More than any identity file and its noise; a buffer of this size never grows, so no unwiped copy is left behind.
pub(super) const OUTPUT_LIMIT: usize = 1 << 20;
/// How long pipes may stay open once the program has ended: something it started may hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a child is looked after: the longer it runs, the less often, for there may be many.
const POLL: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(25)];

/// What a program left.
///
/// # Secrets
/// The output may hold identities; it is wiped on drop.
pub(in crate::fleet) struct Ended {
    /// How it ended; none if it was killed at its deadline.
    pub(in crate::fleet) status: Option<ExitStatus>,
    pub(in crate::fleet) output: Zeroizing<Vec<u8>>,
    pub(in crate::fleet) errors: Zeroizing<Vec<u8>>,
}

/// Runs `command` to its end, or kills it when `patience` is over.
pub(in crate::fleet) fn run(
    command: &mut Command,
    input: Zeroizing<Vec<u8>>,
    patience: Duration,
) -> io::Result<Ended> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A thread of its own: a program that does not read must not stop us. It ends with the pipe.
        std::thread::spawn(move || {
            // A reader that went away shows in how the program ended.
            let _ = stdin.write_all(&input);
        });
    }
    let output = child.stdout.take().map(collect);
    let errors = child.stderr.take().map(collect);
    let status = wait(&mut child, patience)?;
    if status.is_none() {
        kill(&mut child);
    }
    let drained = Instant::now() + DRAIN;
    Ok(Ended {
        status,
        output: received(output, drained),
        errors: received(errors, drained),
    })
}

/// Waits for the end of `child`; none if it is still running when `patience` is over.
pub(in crate::fleet) fn wait(
    child: &mut Child,
    patience: Duration,
) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let waited = begun.elapsed();
        let Some(left) = patience.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        std::thread::sleep(pause(waited).min(left));
    }
}

/// How long to do nothing while something is waited for, after so long a time.
pub(super) fn pause(waited: Duration) -> Duration {
    (waited / 8).clamp(POLL[0], POLL[1])
}

/// Kills a child and takes it off the process table.
pub(in crate::fleet) fn kill(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a pipe to its end in a thread of its own.
pub(in crate::fleet) fn collect(
    mut pipe: impl Read + Send + 'static,
) -> Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Zeroizing::new(Vec::with_capacity(OUTPUT_LIMIT));
        let mut chunk = Zeroizing::new([0u8; 8192]);
        loop {
            match pipe.read(chunk.as_mut_slice()) {
                Ok(0) => break,
                // The rest is read and dropped, so that the writer is not stuck.
                Ok(length) => {
                    let room = (OUTPUT_LIMIT - all.len()).min(length);
                    all.extend_from_slice(&chunk[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            chunk.zeroize();
        }
        // Nobody waits any more: the text is wiped here.
        let _ = sender.send(all);
    });
    receiver
}

fn received(
    receiver: Option<Receiver<Zeroizing<Vec<u8>>>>,
    deadline: Instant,
) -> Zeroizing<Vec<u8>> {
    receiver
        .and_then(|receiver| {
            let left = deadline.saturating_duration_since(Instant::now());
            receiver.recv_timeout(left).ok()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let input = Zeroizing::new(vec![b'x'; 200_000]);
        let mut command = Command::new("sh");
        let ended = run(
            command.args(["-c", "cat; echo no >&2; exit 3"]),
            input,
            Duration::from_secs(20),
        )
        .unwrap();
        assert_eq!(ended.status.unwrap().code(), Some(3));
        assert_eq!(ended.output.len(), 200_000);
        assert_eq!(ended.errors.as_slice(), b"no\n");
    }

    #[test]
    fn the_deadline_ends_it() {
        let begun = Instant::now();
        let mut command = Command::new("sleep");
        let ended = run(
            command.arg("30"),
            Zeroizing::default(),
            Duration::from_millis(50),
        )
        .unwrap();
        assert!(ended.status.is_none());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
