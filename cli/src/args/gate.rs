//! The command line of `bench gate`.

use std::path::PathBuf;

use clap::Subcommand;

pub(super) const GATE_EXAMPLES: &str = "\
Examples:
  bench gate bench-runs/today --baseline baselines/main --junit gate.xml
  bench gate bench-runs/ab --candidate vllm/mtp-3 --against llama-server/mtp-3
  bench gate save bench-runs/today --as baselines/main     put a run aside as the baseline of later ones
  bench gate rules > gate.toml                             every rule with its default, to start from

Arms of one run were interleaved, which is the better experiment; two runs are two sittings, and need the machine's own
noise (`bench run PRESET --aa`).

Exit codes: 0 pass: no loss beyond the margins, shown; 1 regression, shown; 2 neither was shown, or nothing could be
judged (an invalid or failed arm, too few blocks, runs that are not comparable, a file that cannot be read).
On GitHub (docs/gate.md has an action) a summary is appended to $GITHUB_STEP_SUMMARY, and verdicts are annotated.";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct GateArgs {
    #[command(subcommand)]
    pub(crate) command: Option<GateCommand>,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JudgeArgs {
    /// Directory of the run that is judged
    #[arg(value_name = "RUN", required = true)]
    pub(crate) run: Option<PathBuf>,
    /// Directory (or place, as for `bench report`) of the run it is held to: one of another sitting, best put aside with `bench gate save`. Without it, arms
    /// of RUN are held to each other
    #[arg(long, value_name = "RUN")]
    pub(crate) baseline: Option<PathBuf>,
    /// The arm that is judged, in place of those of the rules
    #[arg(long, value_name = "ARM", requires = "against")]
    pub(crate) candidate: Option<String>,
    /// The arm it is held to
    #[arg(long, value_name = "ARM", requires = "candidate")]
    pub(crate) against: Option<String>,
    /// TOML of rules: metrics, margins, arms, what may differ (`bench gate rules` shows all). Default: those
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Write the verdicts as `JUnit` XML: a regression is a failure, what could not be judged an error
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write the verdicts as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// Print JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Put a run aside as a baseline: manifest, rows without texts, who did it, when, and of which commit
    Save {
        /// Directory of the run
        #[arg(value_name = "RUN")]
        run: PathBuf,
        /// Directory of the baseline, which must not hold one
        #[arg(long = "as", value_name = "DIR")]
        out: PathBuf,
        /// Commit of what was measured. Default: `GITHUB_SHA`, else that of the current directory
        #[arg(long, value_name = "COMMIT")]
        commit: Option<String>,
    },
    /// Print the rules that hold by default, as TOML with every key explained
    Rules,
}
