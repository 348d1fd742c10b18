//! What can go wrong with a GPU, in words.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use cudarc::nvrtc::result::NvrtcError;

use crate::attention::Unsupported;
use crate::gguf::GgmlType;

/// Why the GPU could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// The driver's library is not there.
    #[error("no CUDA driver: libcuda cannot be loaded")]
    NoDriver,
    /// NVRTC's library is not there.
    #[error("no CUDA run-time compiler: libnvrtc cannot be loaded")]
    NoNvrtc,
    /// There is a driver, but not that device.
    #[error("no CUDA device {ordinal}: the driver shows {count}")]
    NoDevice {
        /// Which was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The device's memory is full.
    #[error("no memory on the GPU for {what}: {bytes} bytes, {free} of {total} are free")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: usize,
        /// Free then.
        free: usize,
        /// In all.
        total: usize,
    },
    /// A model does not fit the device's memory, with its table of per-layer embeddings where it was asked for.
    #[error(
        "no memory on the GPU for weights and KV cache: {bytes} bytes, or {with_table_on_host} with the table of \
         per-layer embeddings in the host's memory; {free} of {total} are free"
    )]
    ModelTooLarge {
        /// Needed with the table on the device.
        bytes: usize,
        /// Needed with the table on the host.
        with_table_on_host: usize,
        /// Free then.
        free: usize,
        /// In all.
        total: usize,
    },
    /// The driver locks neither a file's pages nor a copy of them.
    #[error("no locked memory on the host for a table that the GPU reads: {bytes} bytes: {:?}", source.0)]
    HostMemory {
        /// How much.
        bytes: usize,
        /// The driver's code and words.
        source: DriverError,
    },
    /// A kernel's source does not compile.
    #[error("kernel `{kernel}` does not compile for {architecture}:\n{log}")]
    Compile {
        /// File of the source.
        kernel: &'static str,
        /// As NVRTC names it.
        architecture: String,
        /// NVRTC's words.
        log: String,
    },
    /// NVRTC failed otherwise.
    #[error("NVRTC: {doing}")]
    Nvrtc {
        /// What it was doing.
        doing: &'static str,
        /// Its code.
        source: NvrtcError,
    },
    /// The driver failed.
    #[error("CUDA: {doing}: {:?}", source.0)]
    Driver {
        /// What it was doing.
        doing: &'static str,
        /// Its code and words.
        source: DriverError,
    },
    /// A buffer that does not fit what is to be launched.
    #[error("{what}: got {got} elements, expected {expected}")]
    BufferSize {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// What is needed.
        expected: usize,
    },
    /// A size beyond what a kernel is made for.
    #[error("{what} is {got}, the GPU's kernels take at most {most}")]
    TooLarge {
        /// Which size.
        what: &'static str,
        /// Its value.
        got: usize,
        /// The most.
        most: usize,
    },
    /// Weights of a type that the GPU has no product for.
    #[error("weight type: got {got}, expected {expected}")]
    WeightType {
        /// The type.
        got: GgmlType,
        /// The types there are.
        expected: String,
    },
    /// A device that lacks what products are made of.
    #[error("products of weights need compute capability 8.0 or newer, this GPU has {}.{}", compute / 10, compute % 10)]
    TooOld {
        /// Compute capability times ten.
        compute: u32,
    },
    /// Every kernel that serves a shape fails its check on this device.
    #[error("no attention kernel passes its self-check on this GPU: {failures}")]
    SelfCheck {
        /// Row by row.
        failures: String,
    },
    /// No kernel for a shape.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

impl CudaError {
    /// Whether the device answers no call any more: nothing is worth trying after it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Driver { source, .. } if is_sticky(source.0))
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDriver => Some(
                "install NVIDIA's driver (`nvidia-smi` shows whether it works); in a container, pass the GPUs in"
                    .to_owned(),
            ),
            Self::NoNvrtc => Some(
                "install the CUDA 13.0 toolkit or `pip install nvidia-cuda-nvrtc==13.0.88`, and put the folder of \
                 libnvrtc.so on LD_LIBRARY_PATH"
                    .to_owned(),
            ),
            Self::NoDevice { .. } => Some("check CUDA_VISIBLE_DEVICES".to_owned()),
            Self::ModelTooLarge { with_table_on_host, free, .. } if with_table_on_host <= free => Some(
                "leave the table in the host's memory: `serving.ple_table = \"host\"`, `--ple-table host`".to_owned(),
            ),
            Self::OutOfMemory { .. } | Self::ModelTooLarge { .. } => Some(
                "set a smaller context, or a smaller KV type; `nvidia-smi` shows who else uses the card".to_owned(),
            ),
            Self::HostMemory { .. } => Some(
                "free memory of the host, raise `ulimit -l`, or keep the table on the GPU: `serving.ple_table = \"device\"`, \
                 `--ple-table device`"
                    .to_owned(),
            ),
            Self::Compile { .. } => {
                Some("NVRTC 13.0 is what the kernels are tested with; another version may differ".to_owned())
            }
            Self::Driver { source, .. } if is_too_new(source.0) => {
                Some("the driver is older than NVRTC; bring them to the same CUDA version".to_owned())
            }
            Self::Driver { source, .. } if is_mismatch(source.0) => Some(
                "the driver's library and its kernel module are of different versions, or the driver is not for this \
                 machine; restart the machine after an update, and see what `nvidia-smi` says"
                    .to_owned(),
            ),
            Self::Driver { source, .. } if is_sticky(source.0) => {
                Some("the CUDA context is lost; open the device again in a new process".to_owned())
            }
            Self::TooLarge { .. } | Self::WeightType { .. } | Self::TooOld { .. } | Self::SelfCheck { .. } | Self::Unsupported(_) => Some("run this model on the CPU".to_owned()),
            Self::Driver { .. } | Self::Nvrtc { .. } | Self::BufferSize { .. } => None,
        }
    }
}

/// Errors of a driver that does not know what NVRTC made.
fn is_too_new(code: CUresult) -> bool {
    [
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU,
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
        CUresult::CUDA_ERROR_INVALID_IMAGE,
    ]
    .contains(&code)
}

/// Errors of a driver whose parts do not fit together, or do not fit the machine.
fn is_mismatch(code: CUresult) -> bool {
    [
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
        CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE,
        CUresult::CUDA_ERROR_SYSTEM_NOT_READY,
        CUresult::CUDA_ERROR_STUB_LIBRARY,
        CUresult::CUDA_ERROR_NOT_INITIALIZED,
    ]
    .contains(&code)
}

/// Errors after which a context answers every call with the same.
fn is_sticky(code: CUresult) -> bool {
    [
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
        CUresult::CUDA_ERROR_LAUNCH_FAILED,
        CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
        CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
        CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
        CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED,
    ]
    .contains(&code)
}

/// Names what a driver call was for.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, CudaError>;
}

impl<T> Doing<T> for Result<T, DriverError> {
    fn doing(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { doing, source })
    }
}

impl<T> Doing<T> for Result<T, NvrtcError> {
    fn doing(self, doing: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Nvrtc { doing, source })
    }
}
