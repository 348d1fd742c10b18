//! Which kernel a device runs for a case, found without the device.

use serde::Serialize;

use super::{AttentionCase, Case, ProductCase};
use crate::attention::{DeviceCaps, HeadDims, INSTANCES, Instance, plan_verify};
use crate::backend::cuda::plan_small;

/// The kernel of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its name, as in result records.
    pub kernel: String,
    /// Shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Parts in which the keys are gone through side by side; 1 for products.
    pub splits: u32,
    /// Blocks of a launch.
    pub blocks: u32,
    /// Warps of a block.
    pub warps: u32,
}

/// One row of the instance table, on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceRow {
    /// Its name.
    pub name: String,
    /// Head dimensions: one, or `8, 16 .. 576`.
    pub head_dims: String,
    /// Pairs of key and value types.
    pub formats: Vec<String>,
    /// Shared memory of a block with the pair that needs the most, in bytes.
    pub shared_bytes: u32,
    /// Most registers of a thread.
    pub registers: u32,
    /// Why the device does not run it; `None` where it does, if only for some of its pairs.
    pub refused: Option<String>,
}

/// The kernel that a model on such a device runs for a case.
///
/// # Errors
/// In words, why there is none.
pub fn planned(case: &Case, caps: &DeviceCaps) -> Result<Planned, String> {
    match case {
        Case::Attention(case) => attention(case, caps),
        Case::Product(case) => product(case, caps),
    }
}

fn attention(case: &AttentionCase, caps: &DeviceCaps) -> Result<Planned, String> {
    let plan = plan_verify(&case.shape, caps, |_| true).map_err(|error| error.to_string())?;
    let row = plan.instance();
    let (dynamic, fixed) = row.shared_bytes(case.shape.k, case.shape.v);
    Ok(Planned {
        kernel: row.name(),
        shared_bytes: dynamic + fixed,
        splits: plan.splits(),
        blocks: plan.grid(case.rows).iter().product(),
        warps: row.warps,
    })
}

fn product(case: &ProductCase, caps: &DeviceCaps) -> Result<Planned, String> {
    let plan = plan_small(case.ty, case.out_features, case.in_features, caps).map_err(|e| e.to_string())?;
    let kernel = format!("matmul-{}-r{}", case.ty.name().to_lowercase(), plan.depth);
    Ok(Planned { kernel, shared_bytes: plan.shared_bytes, splits: 1, blocks: plan.blocks, warps: plan.warps })
}

/// The whole table of attention kernels, as a device sees it.
#[must_use]
pub fn instance_rows(caps: &DeviceCaps) -> Vec<InstanceRow> {
    INSTANCES.iter().map(|row| instance_row(row, caps)).collect()
}

fn instance_row(row: &Instance, caps: &DeviceCaps) -> InstanceRow {
    let shared = || {
        row.formats.iter().map(|(k, v)| {
            let (dynamic, fixed) = row.shared_bytes(*k, *v);
            dynamic + fixed
        })
    };
    let least = shared().min().unwrap_or(0);
    let refused = if caps.compute < row.min_compute {
        let (major, minor) = (row.min_compute / 10, row.min_compute % 10);
        Some(format!("needs compute capability {major}.{minor}"))
    } else if least > caps.shared_per_block {
        Some(format!("needs {least} bytes of shared memory, a block has {}", caps.shared_per_block))
    } else {
        None
    };
    InstanceRow {
        name: row.name(),
        head_dims: match row.head_dims {
            HeadDims::One(dim) => dim.to_string(),
            HeadDims::MultiplesOf8UpTo(most) => format!("8, 16 .. {most}"),
        },
        formats: row.formats.iter().map(|(k, v)| format!("{}/{}", k.name(), v.name())).collect(),
        shared_bytes: shared().max().unwrap_or(0),
        registers: row.max_registers(),
        refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{CaseGrid, cases};

    #[test]
    fn every_case_has_a_kernel_that_fits_on_every_supported_device() {
        for compute in [80, 86, 89, 90, 120] {
            let caps = DeviceCaps::typical(compute);
            for case in cases(&CaseGrid::default()).unwrap() {
                let planned = planned(&case, &caps).unwrap();
                assert!(planned.shared_bytes <= caps.shared_per_block, "{} {compute}", case.name());
                assert!(planned.blocks > 0 && planned.warps > 0, "{}", case.name());
            }
        }
    }

    #[test]
    fn a_small_card_is_told_which_rows_it_cannot_run() {
        let refused = |compute| {
            let rows = instance_rows(&DeviceCaps::typical(compute));
            rows.into_iter().filter_map(|row| Some((row.name, row.refused?))).collect::<Vec<_>>()
        };
        assert_eq!(refused(90), Vec::new());
        let on_3060 = refused(86);
        assert!(
            !on_3060.is_empty() && on_3060.iter().all(|(_, why)| why.contains("shared memory")),
            "{on_3060:?}"
        );
        let on_turing = refused(75);
        assert!(on_turing.iter().all(|(name, why)| name.starts_with("mma") && why.ends_with("8.0")));
        assert_eq!(on_turing.len() + 1, INSTANCES.len(), "all but the one without tensor cores");
    }

    #[test]
    fn products_need_compute_capability_8() {
        let grid = CaseGrid { filter: vec!["product/nano/ffn_up/q8_0".to_owned()], ..CaseGrid::default() };
        let case = cases(&grid).unwrap().remove(0);
        let error = planned(&case, &DeviceCaps::typical(75)).unwrap_err();
        assert!(error.contains("8.0"), "{error}");
    }
}
