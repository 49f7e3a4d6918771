//! The way through another host: octets are carried between a channel there and a socket here, by a thread of its own.
//!
//! What travels is encrypted once more, to the host behind.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ssh2::Channel;

use super::dial::Wire;

/// How long to rest when nothing came; longer the longer it is quiet.
const RESTS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(8)];

/// Starts to carry; gives the near end. It ends when either side does, and takes `wire` along.
pub(super) fn lay(
    wire: Wire,
    channel: Channel,
    is_lost: Arc<AtomicBool>,
) -> std::io::Result<UnixStream> {
    let (near, far) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    std::thread::spawn(move || {
        // Whatever ends it, the other end sees the socket close.
        let _ = carry(channel, &far);
        is_lost.store(true, Ordering::SeqCst);
        let _ = far.shutdown(Shutdown::Both);
        // After its channel, which is of it.
        drop(wire);
    });
    Ok(near)
}

fn carry(mut channel: Channel, mut socket: &UnixStream) -> std::io::Result<()> {
    let (mut out, mut back) = (Flow::new(), Flow::new());
    let mut rest = RESTS[0];
    loop {
        let moved = out.step(&mut socket, &mut channel)? | back.step(&mut channel, &mut socket)?;
        if out.is_over() {
            // The near side has ended.
            let _ = channel.send_eof();
            return Ok(());
        }
        if back.is_over() {
            return Ok(());
        }
        if moved {
            rest = RESTS[0];
        } else {
            std::thread::sleep(rest);
            rest = (rest * 2).min(RESTS[1]);
        }
    }
}

/// What is on its way in one direction.
struct Flow {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    ended: bool,
}

impl Flow {
    fn new() -> Self {
        Self {
            buffer: vec![0; 32 << 10],
            from: 0,
            to: 0,
            ended: false,
        }
    }

    /// Moves what can be moved; whether that was anything.
    fn step(&mut self, source: &mut impl Read, sink: &mut impl Write) -> std::io::Result<bool> {
        let mut moved = false;
        if self.from == self.to && !self.ended {
            match waiting(source.read(&mut self.buffer))? {
                Some(0) => self.ended = true,
                Some(length) => {
                    (self.from, self.to) = (0, length);
                    moved = true;
                }
                None => {}
            }
        }
        if self.from < self.to
            && let Some(length) = waiting(sink.write(&self.buffer[self.from..self.to]))?
        {
            self.from += length;
            moved |= length > 0;
        }
        Ok(moved)
    }

    fn is_over(&self) -> bool {
        self.ended && self.from == self.to
    }
}

/// None if there is nothing to be done just now.
fn waiting(outcome: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match outcome {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
