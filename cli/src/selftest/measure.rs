//! One case played: the mock, the run, and the figures of both.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bench_adapters::mock::{self, Truth};
use bench_adapters::process::{Launch, ServerProcess, free_loopback_port};
use bench_core::client::ClientRecord;
use bench_core::clock;
use bench_core::record::RequestRecord;
use bench_core::run_dir::RunDir;

use super::case::Case;
use crate::failure::Failure;

const READY_LIMIT: Duration = Duration::from_secs(10);
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What came of a case.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Rows of requests that completed.
    pub(crate) rows: Vec<RequestRecord>,
    /// What the run knows of its client.
    pub(crate) client: ClientRecord,
    /// What the mock did.
    pub(crate) truth: Truth,
    /// Just before the run's process was started, milliseconds since 1970.
    pub(crate) started_unix_ms: u64,
}

/// Plays a case; its files are under `dir`, in a directory of the case's name that must not exist.
pub(crate) async fn measure(case: &Case, dir: &Path) -> Result<Figures, Failure> {
    let dir = dir.join(format!("{}-{}", case.name, clock::new_run_id(clock::unix_ms())));
    std::fs::create_dir_all(&dir).map_err(|error| Failure::io("create", &dir, &error))?;
    let program = std::env::current_exe().map_err(|error| Failure::io("find", Path::new("bench"), &error))?;
    let port = free_loopback_port()?;
    let args = ["mock".to_owned(), "--port".to_owned(), port.to_string()];
    let args = args.into_iter().chain(case.mock.iter().map(|&word| word.to_owned())).collect();
    let launch = Launch { program: program.clone(), args, env: Vec::new(), log: dir.join("mock.log") };
    let process = ServerProcess::start(&launch)?;
    let url = format!("http://127.0.0.1:{port}");
    process.wait_ready(READY_LIMIT, || async { mock::truth(&url).await.is_ok() }).await?;
    let started_unix_ms = clock::unix_ms();
    let ran = run(&program, case, &url, &dir);
    let truth = mock::truth(&url).await;
    process.stop(STOP_GRACE).await?;
    ran?;
    let run = RunDir::existing(&dir.join("run"));
    let rows = run.read_rows()?.rows.into_iter().filter(|row| row.outcome.is_completed()).collect();
    let client = run.read_manifest()?.client.ok_or_else(|| {
        Failure::with_hint("the run did not measure its client", format!("see {}", dir.display()))
    })?;
    Ok(Figures { rows, client, truth: truth?, started_unix_ms })
}

fn run(program: &Path, case: &Case, url: &str, dir: &Path) -> Result<(), Failure> {
    let preset = dir.join("preset.toml");
    std::fs::write(&preset, case.preset()).map_err(|error| Failure::io("write", &preset, &error))?;
    let mut command = Command::new(program);
    command.arg("run").arg(&preset).args(["--stack", "openai", "--no-report", "--at"]);
    command.arg(format!("openai={url}")).arg("--out").arg(dir.join("run"));
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let ended = ended.map_err(|error| Failure::io("run", program, &error))?;
    if ended.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ended.stderr);
    Err(Failure::with_hint(
        format!("the run of case {} ended with {}", case.name, ended.status),
        format!("it said: {}", words.trim_end()),
    ))
}
