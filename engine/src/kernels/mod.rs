//! The kernels of decode and verify steps one by one: which would run on a GPU, and how fast they are on the one here.
//!
//! What for: `bench kernels`. The cases are layers of released models; the choice of a kernel is the models' own
//! ([`plan_verify`](crate::attention::plan_verify) and the products' plan), so what is listed is what would run. Speed is
//! stated against the read bandwidth that the same process measured. Not for prefill, and not for sums over a step:
//! `bench run` measures those.

mod cases;
mod measure;
mod planned;
mod times;

pub use cases::{AttentionCase, Case, CaseGrid, ProductCase, STANDARD_DEPTHS, STANDARD_ROWS, cases};
pub use measure::{Measured, MeasuredGpu, Outcome, Session, gpu_here};
pub use planned::{InstanceRow, Planned, instance_rows, planned};
pub use times::Times;
