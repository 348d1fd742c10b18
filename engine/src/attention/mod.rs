//! Attention on a GPU, as far as that needs no GPU: shapes, cache rows, the table of kernels, the choice among them,
//! and an oracle in f64.
//!
//! [`INSTANCES`] is the only list of kernels: the choice, the compile options, `docs/attention-instances.md` and the
//! tests are derived from it. [`plan()`] is total: for every valid shape it ends in a kernel that runs, and whether a
//! shape is supported is the same call. Launching is `backend::cuda`'s.

mod instances;
mod layout;
mod mask;
mod oracle;
mod plan;
mod shape;

pub use instances::{HeadDims, INSTANCES, Instance, Path, markdown};
pub use layout::KvFormat;
pub use mask::{Mask, TREE_ROWS, TreeError, TreeMask, TreeRow};
pub use oracle::{OracleInput, attention_f64};
pub use plan::{AttnPlan, Exclusion, Rule, Unsupported, VERIFY_ROWS, plan, plan_among, plan_verify};
pub use shape::{AttnShape, DeviceCaps, ShapeError};
