//! An append-only file of lines, each durable before the call returns (edge).

#![expect(clippy::disallowed_methods, reason = "edge: reads the log")]

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::repo::durable::{self, DurableFile};

/// A log open for appending. One process at a time; the run lock sees to that.
#[derive(Debug)]
pub struct LogFile {
    file: DurableFile,
    path: PathBuf,
    length: u64,
    /// An append failed half-way and could not be taken back.
    broken: bool,
}

/// Why a log could not be read or extended.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// The system refused: disk full, no permission.
    #[error("cannot {act} {path}")]
    Io {
        /// What was attempted.
        act: &'static str,
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line may not hold a newline.
    #[error("a line for {path} holds a newline")]
    Newline {
        /// The log.
        path: PathBuf,
    },
    /// An earlier append failed and left the end of the log unknown.
    #[error("an earlier write to {path} failed")]
    Broken {
        /// The log.
        path: PathBuf,
    },
}

impl LogFile {
    /// Opens the log, creating it (mode 0600) if need be, and returns its content: whole lines only.
    ///
    /// A last line without a newline was torn by a crash before its append returned, so nothing was done on its
    /// strength; it is cut off.
    ///
    /// # Errors
    /// [`LogFileError::Io`].
    pub fn open(path: &Path) -> Result<(Self, Vec<u8>), LogFileError> {
        let io = |act| {
            move |source| LogFileError::Io {
                act,
                path: path.to_owned(),
                source,
            }
        };
        let file = match DurableFile::open_existing(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = DurableFile::create_new(path, 0o600).map_err(io("create"))?;
                file.sync().map_err(io("sync"))?;
                durable::sync_folder(path.parent().unwrap_or(path))
                    .map_err(io("sync the folder of"))?;
                file
            }
            Err(error) => return Err(io("open")(error)),
        };
        let mut content = Vec::new();
        file.as_file()
            .read_to_end(&mut content)
            .map_err(io("read"))?;
        let whole = content
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole < content.len() {
            content.truncate(whole);
            file.truncate(whole as u64).map_err(io("repair"))?;
            file.sync_data().map_err(io("sync"))?;
        }
        let log = Self {
            file,
            path: path.to_owned(),
            length: whole as u64,
            broken: false,
        };
        Ok((log, content))
    }

    /// Appends `line` and a newline; on return they survive a power loss.
    ///
    /// # Errors
    /// [`LogFileError::Io`]: nothing of the line is kept; [`LogFileError::Newline`]; [`LogFileError::Broken`].
    pub fn append_line(&mut self, line: &[u8]) -> Result<(), LogFileError> {
        self.append_lines(&[line])
    }

    /// Appends several lines, synced together; a crash may keep the first of them.
    ///
    /// # Errors
    /// As [`LogFile::append_line`].
    pub fn append_lines<L: AsRef<[u8]>>(&mut self, lines: &[L]) -> Result<(), LogFileError> {
        if lines.iter().any(|line| line.as_ref().contains(&b'\n')) {
            return Err(LogFileError::Newline {
                path: self.path.clone(),
            });
        }
        if self.broken {
            return Err(LogFileError::Broken {
                path: self.path.clone(),
            });
        }
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(line.as_ref());
            text.push(b'\n');
        }
        let written = self
            .file
            .write_at(self.length, &text)
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.broken = self.file.truncate(self.length).is_err();
            return Err(LogFileError::Io {
                act: "append to",
                path: self.path.clone(),
                source,
            });
        }
        self.length += text.len() as u64;
        Ok(())
    }
}

/// Reads the whole lines of a log without changing it; none if there is no log.
///
/// # Errors
/// [`LogFileError::Io`].
pub fn read_lines(path: &Path) -> Result<Option<Vec<u8>>, LogFileError> {
    match std::fs::read(path) {
        Ok(mut content) => {
            let whole = content
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            content.truncate(whole);
            Ok(Some(content))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogFileError::Io {
            act: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_and_cuts_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, content) = LogFile::open(&path).unwrap();
        assert!(content.is_empty());
        log.append_line(b"one").unwrap();
        log.append_line(b"two").unwrap();
        assert!(log.append_line(b"a\nb").is_err());
        drop(log);
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(read_lines(&path).unwrap().unwrap(), b"one\ntwo\n");
        let (mut log, content) = LogFile::open(&path).unwrap();
        assert_eq!(content, b"one\ntwo\n");
        log.append_line(b"3").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n3\n");
    }
}
