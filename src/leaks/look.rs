//! Looking into everything, on all cores, with bounded memory.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::leaks::finder::{Find, Finder, Search};
use crate::leaks::places::{Kind, Spot};
use crate::leaks::read::{self, Seen};
use crate::leaks::walk::{Event, Task, walk};

/// How many files wait to be looked into.
const WAITING: usize = 4096;
/// How many files with finds are named.
const NAMED: usize = 10_000;

/// A file, an object or a stream in which something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What kind of place.
    pub kind: Kind,
    /// The file or the repository.
    pub path: PathBuf,
    /// The object in the repository.
    pub object: Option<String>,
    /// Whether it lies in memory.
    pub in_memory: bool,
    /// What was found there.
    pub finds: Vec<Find>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Where something was found, by kind and path.
    pub copies: Vec<Copy>,
    /// How many more there were.
    pub unnamed: usize,
    /// What was not looked into, and why.
    pub not_looked: Vec<(PathBuf, String)>,
    /// How many more there were.
    pub not_looked_unnamed: usize,
    /// How many files and repositories were looked into.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Outcome {
    fn add_copy(&mut self, copy: Copy) {
        if copy.finds.is_empty() {
        } else if self.copies.len() < NAMED {
            self.copies.push(copy);
        } else {
            self.unnamed += 1;
        }
    }

    fn add_not_looked(&mut self, path: PathBuf, why: String) {
        if self.not_looked.len() < NAMED {
            self.not_looked.push((path, why));
        } else {
            self.not_looked_unnamed += 1;
        }
    }
}

/// Looks for everything in all places.
pub fn look(finder: &Finder, spots: &[Spot]) -> Outcome {
    let outcome = Mutex::new(Outcome::default());
    let seen = Seen::default();
    let (send, receive) = sync_channel(WAITING);
    let receive = Mutex::new(receive);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(finder, &receive, &seen, &outcome));
        }
        walk(spots, &mut |event| match event {
            Event::Task(task) => send.send(task).is_ok(),
            Event::NotLooked(path, why) => with(&outcome, |o| o.add_not_looked(path, why)),
        });
        drop(send);
    });
    let mut outcome = outcome.into_inner().unwrap_or_else(|e| e.into_inner());
    let key = |copy: &Copy| (copy.kind, copy.path.clone(), copy.object.clone());
    outcome.copies.sort_by_cached_key(key);
    outcome.not_looked.sort();
    outcome
}

/// Looks for everything in a stream.
///
/// # Errors
/// The stream's.
pub fn stream(finder: &Finder, from: &mut dyn Read) -> std::io::Result<Outcome> {
    let mut search = Search::new(finder);
    search.read(from)?;
    let finds = search.finish();
    let mut outcome = Outcome {
        files: 1,
        bytes: search.bytes(),
        ..Outcome::default()
    };
    outcome.add_copy(Copy {
        kind: Kind::Stream,
        path: PathBuf::from("-"),
        object: None,
        in_memory: false,
        finds,
    });
    Ok(outcome)
}

fn work(finder: &Finder, tasks: &Mutex<Receiver<Task>>, seen: &Seen, outcome: &Mutex<Outcome>) {
    let mut search = Search::new(finder);
    let mut files = 0;
    loop {
        let task = match tasks.lock() {
            Ok(tasks) => tasks.recv(),
            Err(_) => break,
        };
        let Ok(task) = task else { break };
        files += 1;
        match task {
            Task::File {
                path,
                kind,
                in_memory,
            } => {
                let looked = read::file(&path, &mut search, seen);
                if looked.finds.is_empty() && looked.not.is_none() {
                    continue;
                }
                with(outcome, |outcome| {
                    if let Some(why) = looked.not {
                        outcome.add_not_looked(path.clone(), why);
                    }
                    outcome.add_copy(Copy {
                        kind,
                        path,
                        object: None,
                        in_memory,
                        finds: looked.finds,
                    });
                });
            }
            Task::Repository(path) => {
                let looked = read::repository(&path, &mut search, &mut |oid, finds| {
                    with(outcome, |outcome| {
                        outcome.add_copy(Copy {
                            kind: Kind::GitObject,
                            path: path.clone(),
                            object: Some(oid.to_owned()),
                            in_memory: false,
                            finds,
                        });
                    });
                });
                if let Err(why) = looked {
                    search.finish();
                    with(outcome, |outcome| outcome.add_not_looked(path, why));
                }
            }
        }
    }
    with(outcome, |outcome| {
        outcome.files += files;
        outcome.bytes += search.bytes();
    });
}

fn with(outcome: &Mutex<Outcome>, change: impl FnOnce(&mut Outcome)) -> bool {
    outcome.lock().is_ok_and(|mut outcome| {
        change(&mut outcome);
        true
    })
}
