//! Questions on the controlling terminal, with nothing seen of what is secret.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: where identities are found"
)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::keys::{Prompt, PromptError};

/// Asks on `/dev/tty`, so that redirected standard input and output stay what they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct TerminalPrompt;

/// More than any passphrase; what is typed beyond is dropped.
const LONGEST: usize = 4096;

impl Prompt for TerminalPrompt {
    fn message(&self, text: &str) {
        if let Ok(mut tty) = open() {
            // A message that cannot be shown has no other place to go.
            let _ = writeln!(tty, "{}", printable(text));
        }
    }

    fn confirm(&self, text: &str, yes: &str, no: Option<&str>) -> Result<bool, PromptError> {
        let mut tty = open()?;
        let choice = match no {
            Some(no) => format!("y = {}, n = {}", printable(yes), printable(no)),
            None => format!("y = {}", printable(yes)),
        };
        show(&mut tty, &format!("{} [{choice}] ", printable(text)))?;
        let answer = read_line(&mut tty, true)?;
        match answer.as_slice() {
            b"y" | b"Y" | b"yes" => Ok(true),
            b"n" | b"N" | b"no" if no.is_some() => Ok(false),
            _ => Err(PromptError::Cancelled),
        }
    }

    fn public(&self, text: &str) -> Result<String, PromptError> {
        let mut tty = open()?;
        show(&mut tty, &format!("{} ", printable(text)))?;
        let answer = read_line(&mut tty, true)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn secret(&self, text: &str) -> Result<SecretString, PromptError> {
        let mut tty = open()?;
        show(&mut tty, &format!("{} ", printable(text)))?;
        let answer = read_line(&mut tty, false)?;
        let answer = std::str::from_utf8(&answer).map_err(|_| PromptError::Cancelled)?;
        Ok(SecretString::from(answer))
    }
}

fn open() -> Result<File, PromptError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| PromptError::NoTerminal)
}

fn show(tty: &mut File, text: &str) -> Result<(), PromptError> {
    tty.write_all(text.as_bytes())
        .map_err(|_| PromptError::NoTerminal)
}

/// Puts the terminal back as it was, also when reading breaks off.
struct Restore<'a> {
    tty: &'a File,
    modes: Termios,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // Nothing is left to do if the terminal has gone.
        let _ = tcsetattr(self.tty, OptionalActions::Flush, &self.modes);
    }
}

/// Reads a line key by key. Signals are off meanwhile: an interrupt must not leave the user with a mute terminal, so
/// Ctrl-C comes as a character and cancels.
fn read_line(tty: &mut File, echo: bool) -> Result<Zeroizing<Vec<u8>>, PromptError> {
    let modes = tcgetattr(&*tty).map_err(|_| PromptError::NoTerminal)?;
    let mut quiet = modes.clone();
    quiet
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    let handle = tty.try_clone().map_err(|_| PromptError::NoTerminal)?;
    tcsetattr(&handle, OptionalActions::Now, &quiet).map_err(|_| PromptError::NoTerminal)?;
    let _restore = Restore {
        tty: &handle,
        modes,
    };
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let outcome = loop {
        let mut key = Zeroizing::new([0u8; 1]);
        match tty.read(key.as_mut_slice()) {
            Ok(1) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            _ => break Err(PromptError::Cancelled),
        }
        match key[0] {
            b'\r' | b'\n' => break Ok(()),
            0x03 | 0x04 | 0x1c => break Err(PromptError::Cancelled),
            0x15 => line.clear(),
            0x08 | 0x7f => drop_last_character(&mut line),
            byte if line.len() < LONGEST => {
                line.push(byte);
                if echo {
                    show(tty, &String::from_utf8_lossy(&[byte]))?;
                }
            }
            _ => {}
        }
    };
    show(tty, "\n")?;
    outcome.map(|()| line)
}

fn drop_last_character(line: &mut Vec<u8>) {
    while let Some(byte) = line.pop() {
        if byte & 0xc0 != 0x80 {
            break;
        }
    }
}

/// Text from a plugin or a path, without characters that would steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_taken_out() {
        assert_eq!(printable("touch\u{1b}[2J\nit"), "touch [2J it");
    }

    #[test]
    fn backspace_takes_a_whole_character() {
        let mut line = "aé".as_bytes().to_vec();
        drop_last_character(&mut line);
        assert_eq!(line, b"a");
        drop_last_character(&mut line);
        drop_last_character(&mut line);
        assert!(line.is_empty());
    }
}
