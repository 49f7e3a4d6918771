//! A record of durable operations, for tests that replay a power loss; the format stands in [`crate::repo::durable`].
//!
//! Debug builds only: release builds do the operations and record nothing.

use std::path::Path;

#[cfg(debug_assertions)]
pub(super) use recorder::{git, recorded};

/// An operation whose effect on the disk must be known to replay it.
#[cfg_attr(
    not(debug_assertions),
    expect(dead_code, reason = "the fields are recorded in debug builds only")
)]
pub(super) enum Op<'a> {
    Create {
        path: &'a Path,
        mode: u32,
    },
    Write {
        path: &'a Path,
        offset: u64,
        data: &'a [u8],
    },
    Truncate {
        path: &'a Path,
        len: u64,
    },
    Chmod {
        path: &'a Path,
        mode: u32,
    },
    Fsync {
        path: &'a Path,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    Unlink {
        path: &'a Path,
    },
    Mkdir {
        path: &'a Path,
        mode: u32,
    },
    Rmdir {
        path: &'a Path,
    },
    FsyncDir {
        path: &'a Path,
    },
}

/// Does `act`.
#[cfg(not(debug_assertions))]
pub(super) fn recorded<'a, T>(
    act: impl FnOnce() -> std::io::Result<T>,
    _op: impl FnOnce(&T) -> Op<'a>,
) -> std::io::Result<T> {
    act()
}

/// Records nothing.
#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "same shape as in debug builds")]
pub(super) fn git(_command: &str, _git_dir: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(debug_assertions)]
mod recorder {
    #![expect(
        clippy::disallowed_methods,
        reason = "edge: writes the record that a test asked for"
    )]

    use std::fs::File;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use base64::Engine as _;
    use serde_json::{Value, json};

    use super::Op;

    struct Recorder {
        file: File,
        path: PathBuf,
        git_copies: u32,
    }

    fn recorder() -> Option<&'static Mutex<Recorder>> {
        static RECORDER: OnceLock<Option<Mutex<Recorder>>> = OnceLock::new();
        RECORDER
            .get_or_init(|| {
                let path = PathBuf::from(std::env::var_os("COFFERDAM_TRACE_IO")?);
                let file = File::options().append(true).create(true).open(&path).ok()?;
                Some(Mutex::new(Recorder {
                    file,
                    path,
                    git_copies: 0,
                }))
            })
            .as_ref()
    }

    /// Does `act`; while tracing, act and record are one step, so that the trace has the order of the effects.
    pub fn recorded<'a, T>(
        act: impl FnOnce() -> io::Result<T>,
        op: impl FnOnce(&T) -> Op<'a>,
    ) -> io::Result<T> {
        let Some(recorder) = recorder() else {
            return act();
        };
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act()?;
        let line = op(&done).to_json();
        writeln!(recorder.file, "{line}")?;
        Ok(done)
    }

    /// Copies the git folder aside and records that it changed.
    pub fn git(command: &str, git_dir: &Path) -> io::Result<()> {
        let Some(recorder) = recorder() else {
            return Ok(());
        };
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.git_copies += 1;
        let mut copy = recorder.path.as_os_str().to_owned();
        copy.push(format!(
            ".{}.git-{}",
            std::process::id(),
            recorder.git_copies
        ));
        copy_folder(git_dir, Path::new(&copy))?;
        let line = json!({
            "op": "git",
            "command": command,
            "git_dir": absolute(git_dir),
            "copy": absolute(Path::new(&copy)),
        });
        writeln!(recorder.file, "{line}")
    }

    fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                copy_folder(&entry.path(), &to.join(entry.file_name()))?;
            } else if kind.is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn absolute(path: &Path) -> Value {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Value::String(path.to_string_lossy().into_owned())
    }

    impl Op<'_> {
        fn to_json(&self) -> Value {
            match self {
                Self::Create { path, mode } => {
                    json!({"op": "create", "path": absolute(path), "mode": mode})
                }
                Self::Write { path, offset, data } => json!({
                    "op": "write",
                    "path": absolute(path),
                    "offset": offset,
                    "data": base64::engine::general_purpose::STANDARD.encode(data),
                }),
                Self::Truncate { path, len } => {
                    json!({"op": "truncate", "path": absolute(path), "len": len})
                }
                Self::Chmod { path, mode } => {
                    json!({"op": "chmod", "path": absolute(path), "mode": mode})
                }
                Self::Fsync { path } => json!({"op": "fsync", "path": absolute(path)}),
                Self::Rename { from, to } => {
                    json!({"op": "rename", "from": absolute(from), "to": absolute(to)})
                }
                Self::Unlink { path } => json!({"op": "unlink", "path": absolute(path)}),
                Self::Mkdir { path, mode } => {
                    json!({"op": "mkdir", "path": absolute(path), "mode": mode})
                }
                Self::Rmdir { path } => json!({"op": "rmdir", "path": absolute(path)}),
                Self::FsyncDir { path } => json!({"op": "fsync_dir", "path": absolute(path)}),
            }
        }
    }
}
