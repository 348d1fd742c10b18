//! What a report says of the machine and the models, in words: for captions, indices and tables. Derived from what was read
//! back, never from what was asked.

use crate::environment::GpuHost;
use crate::report::Report;

impl Report {
    /// Values of a setting that the arms read back, each once, in the order of the alphabet.
    #[must_use]
    pub fn told(&self, setting: &str) -> Vec<String> {
        let settings = self.arms.iter().flat_map(|arm| &arm.effective);
        distinct(
            settings
                .filter(|(name, value)| name == setting && value != "unknown")
                .map(|(_, value)| value.clone()),
        )
    }

    /// Names of the models as the stacks tell them; of a path the last part, as it is of the stack's own machine.
    #[must_use]
    pub fn models(&self) -> Vec<String> {
        let file_name = |model: &String| model.rsplit(['/', '\\']).next().unwrap_or(model).to_owned();
        distinct(self.told("model").iter().map(file_name))
    }

    /// Names of the GPUs that the machine has, whether or not a stack used them.
    #[must_use]
    pub fn gpus(&self) -> Vec<String> {
        let heads = self.environment.iter().filter_map(|run| run.head.as_ref());
        distinct(heads.flat_map(|head| match &head.gpu {
            GpuHost::Present { devices, .. } => {
                devices.iter().filter_map(|device| device.name.clone()).collect()
            }
            GpuHost::Absent { .. } => Vec::new(),
        }))
    }

    /// What the arms ran on, the CPU last: `NVIDIA H200, AMD EPYC`. Where an arm does not tell its device, every GPU of the
    /// machine is named.
    #[must_use]
    pub fn hardware(&self) -> String {
        let tells = |arm: &crate::report::ArmReport| {
            arm.effective.iter().any(|(name, value)| name == "device" && value != "unknown")
        };
        let asked = self.arms.iter().filter(|arm| arm.skipped.is_none());
        let mut devices = if asked.clone().all(tells) { Vec::new() } else { self.gpus() };
        devices.extend(self.told("device").into_iter().filter(|device| device != "cpu"));
        let mut names = distinct(devices.into_iter());
        names.push(self.host.cpu.clone().unwrap_or_else(|| "unknown CPU".to_owned()));
        names.join(", ")
    }
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<_> = values.collect();
    values.sort();
    values.dedup();
    values
}
