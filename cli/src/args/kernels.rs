//! The command line of `bench kernels`.

use bench_engine::kernels::{STANDARD_DEPTHS, STANDARD_ROWS};

pub(super) const KERNELS_EXAMPLES: &str = "\
Examples:
  bench kernels                                            every case, against the memory's read bandwidth: minutes
  bench kernels --filter attention --filter e4b/full       names that contain both
  bench kernels --filter turbo3 --depths 32768 --rows 1,2,3,4,5,6,7,8 --json
  bench kernels --list --compute 86 --multiprocessors 28   what an RTX 3060 would run; needs no GPU

Names: attention/MODEL/LAYER/KV_TYPE/kvDEPTH/rowsN, product/MODEL/MATRIX/WEIGHT_TYPE/rowsN. Rows are the tokens of a step:
1 decodes, 4 verifies three drafts. docs/gpu.md says how to read the table.";

#[derive(Debug, clap::Args)]
pub(crate) struct KernelsArgs {
    /// Only cases whose name contains this (repeatable; all have to be in it)
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Vec<String>,
    /// Tokens in the cache
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = STANDARD_DEPTHS)]
    pub(crate) depths: Vec<u32>,
    /// Rows of a step, 1 to 8
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = STANDARD_ROWS)]
    pub(crate) rows: Vec<u32>,
    /// Measure nothing: the table of attention kernels, and which kernel each case gets
    #[arg(long)]
    pub(crate) list: bool,
    /// List for a typical device of this compute capability, `86` or `8.6`. Default: the GPU here
    #[arg(long, value_name = "CC", value_parser = parse_compute, requires = "list")]
    pub(crate) compute: Option<u32>,
    /// List for a device with so many multiprocessors, by which splits and blocks are chosen (RTX 3060: 28)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), requires = "list")]
    pub(crate) multiprocessors: Option<u32>,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compute capability times ten.
fn parse_compute(text: &str) -> Result<u32, String> {
    let expected = || format!("`{text}` is no compute capability, expected one like 86 or 8.6");
    let compute = text.replace('.', "").parse().map_err(|_no_number| expected())?;
    if (50..=150).contains(&compute) { Ok(compute) } else { Err(expected()) }
}
