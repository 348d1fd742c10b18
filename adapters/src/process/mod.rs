//! A server as a child process: started, waited for until it answers, stopped, and never left behind.
//!
//! Each child leads a process group, and a keeper thread starts it, waits for it and reaps it. Invariants: no signal
//! is sent to a process id after it was reaped; whatever is left of the group, and (Linux) whatever carries the
//! child's mark, is killed when the leader ends or when the handle is dropped; when this process dies, be it by SIGKILL,
//! the leader dies with it and the next run ends the rest ([`sweep_orphans`]). Unix only, as the signals are.
//!
//! It does not know what a server says when it is ready: the caller's probe does.

mod log;
mod owned;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bench_core::stack::{Death, StackError};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::watch;

pub(crate) use self::log::log_end;
use self::owned::Owned;
pub use self::owned::{Orphan, sweep_orphans};

/// Pause between two probes for readiness.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables of its environment beside those it inherits.
    pub env: Vec<(String, String)>,
    /// Gets stdout and stderr; written anew.
    pub log: PathBuf,
}

impl Launch {
    /// The command line, quoted where a shell needs it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let program = self.program.to_string_lossy();
        let words = std::iter::once(program.as_ref()).chain(self.args.iter().map(String::as_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A running child and its group.
#[derive(Debug)]
pub struct ServerProcess {
    program: String,
    log: PathBuf,
    group: Arc<Group>,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
}

/// The group's id while its leader is not reaped.
#[derive(Debug)]
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only where nobody is left in the group, which is what the signal is for.
            kill_process_group(pid, signal).unwrap_or_default();
        }
    }
}

impl ServerProcess {
    /// Starts it. Returns once the system has taken the program, not when the server is ready.
    pub fn start(launch: &Launch) -> Result<Self, StackError> {
        let program = launch.program.display().to_string();
        let failed = |error: std::io::Error| {
            StackError::Exited(Box::new(Death {
                program: program.clone(),
                status: format!("could not be started: {error}"),
                abort_site: None,
                log_tail: Vec::new(),
            }))
        };
        let log = File::create(&launch.log).map_err(failed)?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).stdin(Stdio::null());
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        for name in crate::secret::VARIABLES {
            command.env_remove(name);
        }
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        let (started_tx, started) = mpsc::sync_channel(1);
        let (ended_tx, ended) = watch::channel(None);
        // Linux sends the parent-death signal when the *thread* that forked ends, so the thread has to outlive the
        // child; threads of an async runtime promise no such thing.
        let keeper = std::thread::Builder::new().name("server-keeper".to_owned());
        let owned = Owned::new(&program);
        drop(keeper.spawn(move || keep(command, &owned, &started_tx, &ended_tx)).map_err(failed)?);
        let lost = |_| failed(std::io::Error::other("its keeper thread ended"));
        let group = started.recv().map_err(lost)?.map_err(failed)?;
        Ok(Self { program, log: launch.log.clone(), group, ended })
    }

    /// Its process id, which is its group's too; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let pid = *self.group.0.lock().unwrap_or_else(PoisonError::into_inner);
        pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// The file that has its output.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has ended.
    #[must_use]
    pub fn death(&self) -> Option<Death> {
        let status = self.ended.borrow().clone()?;
        let log::LogEnd { tail, abort_site } = log::read_end(&self.log);
        Some(Death { program: self.program.clone(), status, abort_site, log_tail: tail })
    }

    /// Probes until the server is ready, it ends, or `limit` is over.
    pub async fn wait_ready<P: Future<Output = bool>>(
        &self,
        limit: Duration,
        probe: impl Fn() -> P,
    ) -> Result<(), StackError> {
        let mut ended = self.ended.clone();
        let poll = async {
            while !probe().await {
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
        };
        tokio::select! {
            biased;
            _ = ended.wait_for(Option::is_some) => Err(StackError::Exited(Box::new(self.death().unwrap_or_else(
                || Death {
                    program: self.program.clone(),
                    status: "unknown".to_owned(),
                    abort_site: None,
                    log_tail: Vec::new(),
                },
            )))),
            () = poll => Ok(()),
            () = tokio::time::sleep(limit) => Err(StackError::TimedOut {
                what: format!("the start of {} (its log: {})", self.program, self.log.display()),
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// Waits up to `limit` for its end; its status in words.
    pub async fn wait_end(&self, limit: Duration) -> Option<String> {
        let mut ended = self.ended.clone();
        let status = tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await.ok()?.ok()?;
        status.clone()
    }

    /// SIGTERM to the group, and SIGKILL if that does not end it within `grace`. Returns when it is reaped.
    pub async fn stop(&self, grace: Duration) -> Result<(), StackError> {
        self.group.signal(Signal::TERM);
        if self.wait_end(grace).await.is_some() {
            return Ok(());
        }
        self.group.signal(Signal::KILL);
        match self.wait_end(grace).await {
            Some(_) => Ok(()),
            None => Err(StackError::TimedOut {
                what: format!("the end of {} after SIGKILL", self.program),
                limit_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

type Started = mpsc::SyncSender<Result<Arc<Group>, std::io::Error>>;

/// The keeper thread: starts the child, waits for its end, clears its group, reaps it, tells how it ended.
fn keep(mut command: Command, owned: &Owned, started: &Started, ended: &watch::Sender<Option<String>>) {
    own_group(&mut command);
    let (name, value) = owned.variable();
    command.env(name, value);
    let spawned = command.spawn().and_then(|child| {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((child, pid.ok_or_else(|| std::io::Error::other("a process id out of range"))?))
    });
    let (mut child, pid) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            owned.end();
            return drop(started.send(Err(error)));
        }
    };
    let group = Arc::new(Group(Mutex::new(Some(pid))));
    drop(started.send(Ok(group.clone())));
    // Without reaping, so that the id stays taken until nobody can signal it any more.
    let end_without_reaping = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), end_without_reaping), Err(Errno::INTR)) {}
    group.signal(Signal::KILL);
    owned.end();
    let status = {
        let mut held = group.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = None;
        child.wait()
    };
    ended.send_replace(Some(status.map_or_else(|e| e.to_string(), in_words)));
}

/// A group of its own, and death with its parent.
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "a parent-death signal can only be set between fork and exec")]
    // SAFETY: the closure makes one system call (prctl), which is async-signal-safe, and touches no memory.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
        });
    }
}

fn in_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A loopback port that was free a moment ago. Another process may take it before the server does: the caller has to
/// try again with another one if the server ends and [`is_free`] says no.
pub fn free_loopback_port() -> Result<u16, StackError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).map(|address| address.port()).map_err(|error| {
        StackError::Unreachable { address: Ipv4Addr::LOCALHOST.to_string(), detail: error.to_string() }
    })
}

/// Whether a server could bind this loopback port now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> (tempfile::TempDir, Launch) {
        let dir = tempfile::tempdir().unwrap();
        let args = vec!["-c".to_owned(), script.to_owned()];
        let launch = Launch { program: "/bin/sh".into(), args, env: Vec::new(), log: dir.path().join("log") };
        (dir, launch)
    }

    fn is_alive(pid: i32) -> bool {
        // A zombie whose parent has not reaped it yet counts as gone.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    }

    /// A signal works a moment after it was sent.
    async fn wait_gone(pid: i32) {
        let gone = async {
            while is_alive(pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, gone).await.expect("the process is gone");
    }

    async fn wait_for_line(process: &ServerProcess) -> String {
        let log = process.log.clone();
        let has_line = || async { std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')) };
        process.wait_ready(LONG, has_line).await.unwrap();
        std::fs::read_to_string(&process.log).unwrap().trim().to_owned()
    }

    #[tokio::test]
    async fn an_early_end_is_noticed_with_its_code_and_last_lines() {
        let (_dir, launch) = shell("echo one; echo two >&2; exit 7");
        let process = ServerProcess::start(&launch).unwrap();
        let error = process.wait_ready(LONG, || async { false }).await.unwrap_err();
        let StackError::Exited(death) = error else { panic!("{error:?}") };
        assert_eq!(
            (death.status.as_str(), death.log_tail),
            ("exit code 7", vec!["one".to_owned(), "two".to_owned()])
        );
        assert_eq!(process.pid(), None);
    }

    #[tokio::test]
    async fn a_server_that_is_never_ready_times_out() {
        let (_dir, launch) = shell("sleep 60");
        let process = ServerProcess::start(&launch).unwrap();
        let error = process.wait_ready(Duration::from_millis(120), || async { false }).await.unwrap_err();
        assert!(matches!(error, StackError::TimedOut { limit_ms: 120, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn stop_ends_one_that_ignores_sigterm_and_its_children() {
        let (_dir, launch) = shell("trap '' TERM; sleep 60 & echo $!; while :; do sleep 1; done");
        let process = ServerProcess::start(&launch).unwrap();
        let grandchild: i32 = wait_for_line(&process).await.parse().unwrap();
        assert!(is_alive(grandchild));
        process.stop(Duration::from_millis(300)).await.unwrap();
        assert_eq!(process.wait_end(LONG).await.unwrap(), "signal 9");
        wait_gone(grandchild).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_child_that_left_the_group_dies_too() {
        let (_dir, launch) = shell("setsid sleep 60 & echo $!; wait");
        let process = ServerProcess::start(&launch).unwrap();
        let grandchild: i32 = wait_for_line(&process).await.parse().unwrap();
        process.stop(LONG).await.unwrap();
        wait_gone(grandchild).await;
    }

    #[tokio::test]
    async fn drop_kills_the_group() {
        let (_dir, launch) = shell("sleep 60 & echo $!; wait");
        let process = ServerProcess::start(&launch).unwrap();
        let grandchild: i32 = wait_for_line(&process).await.parse().unwrap();
        let mut ended = process.ended.clone();
        drop(process);
        tokio::time::timeout(LONG, ended.wait_for(Option::is_some)).await.unwrap().unwrap();
        wait_gone(grandchild).await;
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let (_dir, mut launch) = shell("");
        launch.program = "/nonexistent/llama-server".into();
        let error = ServerProcess::start(&launch).unwrap_err();
        assert!(error.to_string().contains("could not be started: No such file"), "{error}");
    }

    #[test]
    fn command_lines_can_be_pasted() {
        let (_dir, launch) = shell("it's");
        assert_eq!(launch.command_line(), r"/bin/sh -c 'it'\''s'");
    }

    #[test]
    fn a_taken_port_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
        assert!(is_free(free_loopback_port().unwrap()));
    }
}
