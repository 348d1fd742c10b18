//! Which processes are ours: a mark that everything a server starts inherits, and a note that outlives us.
//!
//! A server's children may leave its process group, and a suite that is killed cannot clean up: so each server gets a
//! variable with a random name of its own into its environment, and a small file says which suite it belongs to. The
//! next run reads the files of suites that are gone, and ends whatever still carries their marks. A process is
//! signalled through a descriptor that was opened before its mark was read, so that no stranger with a reused id is
//! hit. Elsewhere than on Linux there is no `/proc`, and only the group is ended.

use std::path::{Path, PathBuf};

use bench_core::clock;
use serde::{Deserialize, Serialize};

/// The variable that marks a server and all it starts.
const MARK: &str = "BENCH_SERVER_ID";

/// A server's mark and note.
#[derive(Debug)]
pub(super) struct Owned {
    id: String,
    /// `None` where it could not be written: then only a killed suite leaves its server behind.
    note: Option<PathBuf>,
}

/// The note on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    id: String,
    program: String,
    owner_pid: u32,
    /// Start of the owner in clock ticks after boot, which tells it from a later process with its id.
    owner_started: String,
}

/// A server that outlived its suite, and what was ended of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its program.
    pub program: String,
    /// Processes that were killed.
    pub killed: usize,
}

impl Owned {
    /// A fresh mark, noted down.
    pub(super) fn new(program: &str) -> Self {
        let id = clock::new_run_id(clock::unix_ms());
        let note = write_note(&id, program).ok();
        Self { id, note }
    }

    /// The variable for the server's environment.
    pub(super) fn variable(&self) -> (&'static str, &str) {
        (MARK, &self.id)
    }

    /// Ends whatever carries the mark, and takes the note away.
    pub(super) fn end(&self) {
        kill_marked(&self.id);
        if let Some(note) = &self.note {
            // A note that stays is swept by the next run, which finds nobody.
            drop(std::fs::remove_file(note));
        }
    }
}

/// Ends what suites left behind that were killed themselves. Call it before servers are started.
#[must_use]
pub fn sweep_orphans() -> Vec<Orphan> {
    let Ok(files) = std::fs::read_dir(notes_dir()) else { return Vec::new() };
    let notes = files.filter_map(|file| {
        let path = file.ok()?.path();
        let note: Note = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        (started(note.owner_pid).as_deref() != Some(&note.owner_started)).then_some((path, note))
    });
    let orphans = notes.map(|(path, note)| {
        let killed = kill_marked(&note.id);
        drop(std::fs::remove_file(path));
        Orphan { program: note.program, killed }
    });
    orphans.filter(|orphan| orphan.killed > 0).collect()
}

fn write_note(id: &str, program: &str) -> std::io::Result<PathBuf> {
    let pid = std::process::id();
    let owner_started = started(pid).ok_or_else(|| std::io::Error::other("no /proc"))?;
    let note = Note { id: id.to_owned(), program: program.to_owned(), owner_pid: pid, owner_started };
    let dir = notes_dir();
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{id}.json"));
    std::fs::write(&path, serde_json::to_vec(&note)?)?;
    Ok(path)
}

/// One for each user: a server is its user's, whatever directory it was started from.
fn notes_dir() -> PathBuf {
    std::env::temp_dir().join(format!("bench-servers-{}", rustix::process::getuid().as_raw()))
}

/// When a process began, in clock ticks after boot; `None` if there is none.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything; field 22 is the 20th after it.
    let after_name = stat.rsplit_once(')')?.1;
    let state = after_name.split_whitespace().next()?;
    (state != "Z").then(|| after_name.split_whitespace().nth(19).map(str::to_owned))?
}

/// Kills every process with this mark; how many there were.
fn kill_marked(id: &str) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| kill_if_marked(pid, id)).count()
}

#[cfg(target_os = "linux")]
fn kill_if_marked(pid: i32, id: &str) -> bool {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    let Some(process) = Pid::from_raw(pid) else { return false };
    if !has_mark(Path::new(&format!("/proc/{pid}/environ")), id) {
        return false;
    }
    let Ok(descriptor) = pidfd_open(process, PidfdFlags::empty()) else { return false };
    // Again, now that the id cannot change hands.
    has_mark(Path::new(&format!("/proc/{pid}/environ")), id)
        && pidfd_send_signal(&descriptor, Signal::KILL).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn kill_if_marked(_pid: i32, _id: &str) -> bool {
    false
}

fn has_mark(environ: &Path, id: &str) -> bool {
    let mark = format!("{MARK}={id}");
    std::fs::read(environ)
        .is_ok_and(|bytes| bytes.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes()))
}
