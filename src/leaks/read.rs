//! What stands in a file, a compressed file, or a git repository, given to a search.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads files, starts git and programs that decompress"
)]

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::fs::OFlags;

use crate::leaks::finder::{Find, Search};

/// How much of a compressed file is looked at.
const MOST_DECOMPRESSED: u64 = 64 << 30;

/// Files that have several names and were looked at: device and inode.
pub type Seen = Mutex<HashSet<(u64, u64)>>;

/// What came of looking into something.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was found.
    pub finds: Vec<Find>,
    /// Why it was not looked into, or not to its end.
    pub not: Option<String>,
}

/// A file; its holes are passed over, and a compressed one is looked at decompressed.
pub fn file(path: &Path, search: &mut Search<'_>, seen: &Seen) -> Looked {
    let not = |why: String| Looked {
        finds: Vec::new(),
        not: Some(why),
    };
    let mut file = match open(path) {
        Ok(file) => file,
        // Others go on working meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Looked::default(),
        Err(error) => return not(error.to_string()),
    };
    match file.metadata() {
        Ok(found) if !found.is_file() => return Looked::default(),
        Ok(found) if found.nlink() > 1 => {
            let name = (found.dev(), found.ino());
            if !seen.lock().is_ok_and(|mut seen| seen.insert(name)) {
                return Looked::default();
            }
        }
        Ok(_) => {}
        Err(error) => return not(error.to_string()),
    }
    let mut first = [0; 6];
    let compressed = match read_up_to(&mut file, &mut first) {
        Ok(read) => decompressor(&first[..read]),
        Err(error) => return not(error.to_string()),
    };
    let mut not = None;
    if let Some(program) = compressed {
        not = decompressed(program, &file, search).err();
        if not.is_none() {
            return Looked {
                finds: search.finish(),
                not,
            };
        }
        // It may be no compressed file at all.
        search.finish();
    }
    if let Err(error) = data(&mut file, search) {
        not = Some(error.to_string());
    }
    Looked {
        finds: search.finish(),
        not,
    }
}

/// Without changing when it was last read, where that is allowed.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = |flags: OFlags| {
        let mut options = File::options();
        options.read(true).custom_flags(flags.bits().cast_signed());
        options.open(path)
    };
    #[cfg(target_os = "linux")]
    if let Ok(file) = open(flags | OFlags::NOATIME) {
        return Ok(file);
    }
    open(flags)
}

fn read_up_to(file: &mut File, to: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < to.len() {
        match file.read(&mut to[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// The parts of a file that hold data.
fn data(file: &mut File, search: &mut Search<'_>) -> io::Result<()> {
    let mut at = 0;
    loop {
        let begin = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // There is no more.
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            // The file system does not tell.
            Err(_) => {
                file.seek(SeekFrom::Start(at))?;
                search.jump(at);
                return search.read(file);
            }
        };
        let end = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Hole(begin)).unwrap_or(u64::MAX);
        if begin != at || at == 0 {
            search.jump(begin);
        }
        file.seek(SeekFrom::Start(begin))?;
        search.read(&mut file.take(end.saturating_sub(begin)))?;
        if end <= begin || end == u64::MAX {
            return Ok(());
        }
        at = end;
    }
}

fn decompressor(first: &[u8]) -> Option<&'static str> {
    let programs: [(&[u8], &str); 4] = [
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    let mut programs = programs.into_iter();
    programs.find_map(|(magic, program)| first.starts_with(magic).then_some(program))
}

fn decompressed(program: &str, file: &File, search: &mut Search<'_>) -> Result<(), String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("compressed, and there is no program {program} here"),
        _ => format!("compressed, and {program} cannot be run: {error}"),
    };
    let input = file.try_clone().map_err(cannot)?;
    (&input).rewind().map_err(cannot)?;
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let Some(stdout) = child.stdout.take() else {
        return Err(format!("{program} gives nothing"));
    };
    let mut stdout = stdout.take(MOST_DECOMPRESSED);
    let read = search.read(&mut stdout);
    let is_too_long = stdout.limit() == 0;
    drop(stdout);
    let ended = child.wait().map_err(cannot)?;
    read.map_err(cannot)?;
    if is_too_long {
        return Err("compressed, and longer than 64 GiB: not looked at any further".to_owned());
    }
    if !ended.success() {
        return Err(format!(
            "compressed, and {program} cannot read it to its end"
        ));
    }
    Ok(())
}

/// Every object of a repository, loose, packed, and those that no commit holds any more; each with what was found in it.
pub fn repository(
    git_dir: &Path,
    search: &mut Search<'_>,
    tell: &mut dyn FnMut(&str, Vec<Find>),
) -> Result<(), String> {
    let mut child = start_git(git_dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "a git repository, and there is no git here".to_owned(),
        _ => format!("git cannot be run: {error}"),
    })?;
    let stderr = child.stderr.take();
    // It goes on past objects and packs that it cannot read, and only says so.
    let complains = std::thread::spawn(move || {
        stderr.map_or(Ok(0), |mut stderr| io::copy(&mut stderr, &mut io::sink()))
    });
    let read = match child.stdout.take() {
        Some(stdout) => objects(BufReader::with_capacity(1 << 16, stdout), search, tell),
        None => Ok(0),
    };
    let ended = child.wait();
    let complained = !matches!(complains.join(), Ok(Ok(0)));
    let missing =
        read.map_err(|error| format!("git told of its objects in an unexpected way: {error}"))?;
    match ended {
        Ok(ended) if ended.success() && missing == 0 && !complained => Ok(()),
        _ => Err("git cannot read all objects of this repository: git fsck".to_owned()),
    }
}

fn start_git(git_dir: &Path) -> io::Result<Child> {
    let mut command = Command::new("git");
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
    ] {
        command.env_remove(name);
    }
    command
        // Whose repository it is matters for what git would run; reading objects runs nothing.
        .args([
            "-c",
            "safe.directory=*",
            "--no-optional-locks",
            "--no-replace-objects",
        ])
        .arg("--git-dir")
        .arg(git_dir)
        .args(["cat-file", "--batch", "--batch-all-objects", "--unordered"])
        // Objects that a partial clone left out stay out.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// How many objects git could not read.
///
/// Source: git, `git-cat-file(1)`, "BATCH OUTPUT".
fn objects(
    mut from: impl BufRead,
    search: &mut Search<'_>,
    tell: &mut dyn FnMut(&str, Vec<Find>),
) -> io::Result<u64> {
    let mut line = String::new();
    let mut missing = 0;
    loop {
        line.clear();
        if (&mut from).take(256).read_line(&mut line)? == 0 {
            return Ok(missing);
        }
        if line.ends_with(" missing\n") {
            missing += 1;
            continue;
        }
        let mut words = line.trim_end().split(' ');
        let (Some(oid), Some(_), Some(size)) = (words.next(), words.next(), words.next()) else {
            return Err(io::Error::other("a line with too few words"));
        };
        let size: u64 = size.parse().map_err(io::Error::other)?;
        let mut content = (&mut from).take(size);
        search.read(&mut content)?;
        let rest = content.limit();
        let finds = search.finish();
        if !finds.is_empty() {
            tell(oid, finds);
        }
        let mut end = [0];
        from.read_exact(&mut end)?;
        if rest != 0 || end != *b"\n" {
            return Err(io::Error::other("an object of another length"));
        }
    }
}
