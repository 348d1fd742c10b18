//! Compiling kernels at run time, and keeping what was compiled on disk.
//!
//! The sources are part of the program. A cubin is kept under everything it depends on: source, options, architecture
//! and NVRTC's version. Those are stored in the file in front of the cubin and compared when it is read, so a
//! collision of names, a stale or a torn file is never used.

use std::ffi::{CString, c_char, c_int};
use std::path::PathBuf;
use std::{env, fs, io};

use cudarc::nvrtc::{result, sys};

use super::error::Doing;
use super::{CudaError, nvrtc_present};
use crate::attention::Path;

/// What kernels include.
const HEADERS: [(&str, &str); 7] = [
    ("attention_common.cuh", include_str!("../../../kernels/attention_common.cuh")),
    ("attention_codes.cuh", include_str!("../../../kernels/attention_codes.cuh")),
    ("activations.cuh", include_str!("../../../kernels/activations.cuh")),
    ("experts.cuh", include_str!("../../../kernels/experts.cuh")),
    ("matmul_common.cuh", include_str!("../../../kernels/matmul_common.cuh")),
    ("sampling.cuh", include_str!("../../../kernels/sampling.cuh")),
    ("tensor_cores.cuh", include_str!("../../../kernels/tensor_cores.cuh")),
];

/// Declares the kernels: a file in `engine/kernels` each, named like its entry.
macro_rules! kernel_sources {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)+) => {
        /// A kernel's source file and entry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum KernelSource {
            $($(#[$doc])* $variant,)+
        }

        impl KernelSource {
            /// Every source.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// File name in `engine/kernels`.
            #[must_use]
            pub const fn file(self) -> &'static str {
                match self { $(Self::$variant => concat!($name, ".cu"),)+ }
            }

            /// Name of the kernel.
            #[must_use]
            pub const fn entry(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The text.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => include_str!(concat!("../../../kernels/", $name, ".cu")),)+ }
            }
        }
    };
}

kernel_sources! {
    /// Tensor-core attention of many columns.
    AttentionPrefill = "attention_prefill";
    /// Tensor-core attention.
    AttentionMma = "attention_mma";
    /// Attention for everything else.
    AttentionTile = "attention_tile";
    /// Joins splits.
    AttentionCombine = "attention_combine";
    /// Writes keys and values.
    KvWrite = "kv_write";
    /// Residual stream and norm.
    ResidualNorm = "residual_norm";
    /// Norm and rotation of heads.
    Heads = "heads";
    /// Gates.
    GeluMultiply = "gelu_multiply";
    /// Per-layer embeddings.
    LayerInputs = "layer_inputs";
    /// Soft cap and the greatest logit.
    Argmax = "argmax";
    /// A digit of the key at which top-k or top-p cuts.
    SampleCut = "sample_cut";
    /// Sums over a row, the token drawn, the verdict over drafts.
    SampleFind = "sample_find";
    /// Input of a draft step.
    JoinRows = "join_rows";
    /// Tokens of the nearest centroids.
    CentroidSelect = "centroid_select";
    /// Scores of candidate tokens.
    CandidateScores = "candidate_scores";
    /// Experts of rows, rows of experts.
    RouteExperts = "route_experts";
    /// Dense block and experts.
    JoinExperts = "join_experts";
    /// Codes of activations.
    Quantize = "quantize";
    /// Packing weights.
    MatmulPack = "matmul_pack";
    /// Products of up to eight rows of activations.
    MatmulSmall = "matmul_small";
    /// Products of more rows.
    MatmulTiled = "matmul_tiled";
    /// Rows of a table.
    GatherRows = "gather_rows";
    /// Rows of a table in the host's memory.
    FetchRows = "fetch_rows";
    /// A streaming read of memory.
    ReadProbe = "read_probe";
}

impl KernelSource {
    /// The kernel of a path.
    #[must_use]
    pub const fn attention(path: Path) -> Self {
        match path {
            Path::MmaPrefill => Self::AttentionPrefill,
            Path::MmaDecode | Path::MmaDecodeTurbo => Self::AttentionMma,
            Path::Tile => Self::AttentionTile,
        }
    }
}

/// What NVRTC made of a source.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Machine code for one architecture.
    pub cubin: Vec<u8>,
    /// NVRTC's words, the assembler's report of registers and spills among them; empty if read from the cache.
    pub log: String,
}

/// NVRTC's name of a compute capability (times ten).
#[must_use]
pub fn architecture(compute: u32) -> String {
    // The variant with Hopper's own instructions, so that what CI compiles is what runs.
    if compute == 90 { "sm_90a".to_owned() } else { format!("sm_{compute}") }
}

/// NVRTC's version.
///
/// # Errors
/// [`CudaError::NoNvrtc`].
pub fn nvrtc_version() -> Result<(i32, i32), CudaError> {
    if !nvrtc_present() {
        return Err(CudaError::NoNvrtc);
    }
    let (mut major, mut minor): (c_int, c_int) = (0, 0);
    // SAFETY: the library is there; both pointers are to live integers.
    unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }.result().doing("asking its version")?;
    Ok((major, minor))
}

/// Compiles a source, past the cache.
///
/// # Errors
/// No NVRTC, or [`CudaError::Compile`] with NVRTC's words.
pub fn compile(source: KernelSource, defines: &[String], architecture: &str) -> Result<Compiled, CudaError> {
    let headers: Vec<_> = HEADERS.map(|(_, text)| text.to_owned()).to_vec();
    compile_text(source, source.text(), &headers, defines, architecture)
}

/// [`compile`] with other texts of the kernel and of [`HEADERS`].
pub(super) fn compile_text(
    source: KernelSource,
    text: &str,
    headers: &[String],
    defines: &[String],
    architecture: &str,
) -> Result<Compiled, CudaError> {
    nvrtc_version()?;
    let program = Program::new(text, headers)?;
    let mut options = vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".to_owned(),
        "--ptxas-options=-v".to_owned(),
    ];
    options.extend_from_slice(defines);
    // SAFETY: the program is alive.
    let outcome = unsafe { result::compile_program(program.0, &options) };
    let log = program.log();
    if let Err(error) = outcome {
        let log = if log.is_empty() { error.to_string() } else { log };
        return Err(CudaError::Compile { kernel: source.file(), architecture: architecture.to_owned(), log });
    }
    Ok(Compiled { cubin: program.cubin()?, log })
}

/// An NVRTC program, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(text: &str, headers: &[String]) -> Result<Self, CudaError> {
        let c_string = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
        let (text, name) = (c_string(text), c_string("kernel.cu"));
        let texts: Vec<_> = headers.iter().map(|text| c_string(text)).collect();
        let names = HEADERS.map(|(name, _)| c_string(name));
        let texts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let names: Vec<_> = names.iter().take(texts.len()).map(|name| name.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        // SAFETY: all pointers are to strings that outlive the call; there is a name for each header.
        let outcome = unsafe {
            sys::nvrtcCreateProgram(
                &raw mut program,
                text.as_ptr(),
                name.as_ptr(),
                c_int::try_from(names.len()).unwrap_or(0),
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        outcome.result().doing("taking a source")?;
        Ok(Self(program))
    }

    fn log(&self) -> String {
        // SAFETY: the program is alive.
        let log = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = log.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn cubin(&self) -> Result<Vec<u8>, CudaError> {
        let mut size = 0_usize;
        // SAFETY: the program is alive and was compiled.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut size) }.result().doing("giving the cubin's size")?;
        let mut cubin = vec![0_u8; size];
        // SAFETY: the buffer has the size that was just given.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast::<c_char>()) }
            .result()
            .doing("giving the cubin")?;
        Ok(cubin)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by this type and destroyed once. A failure here leaks a program, nothing else.
        let _leaked = unsafe { result::destroy_program(self.0) };
    }
}

/// Compiled kernels on disk.
#[derive(Debug, Clone)]
pub struct KernelCache {
    folder: Option<PathBuf>,
    overlay: Option<PathBuf>,
}

impl KernelCache {
    /// The user's: `$XDG_CACHE_HOME/spec-bench/kernels`, or under `~/.cache`; none where neither is known.
    #[must_use]
    pub fn of_user() -> Self {
        let base = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        Self { folder: base.map(|base| base.join("spec-bench").join("kernels")), overlay: None }
    }

    /// One in a folder of its own.
    #[must_use]
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self { folder: Some(folder), overlay: None }
    }

    /// The same, but kernel sources that are found in `folder` replace those of the program: for work on kernels.
    #[must_use]
    pub fn with_sources_from(self, folder: PathBuf) -> Self {
        Self { overlay: Some(folder), ..self }
    }

    /// The kernel from the cache, else compiled and kept.
    ///
    /// # Errors
    /// As [`compile`]. A cache that cannot be read or written costs time, not the kernel.
    pub fn get(
        &self,
        source: KernelSource,
        defines: &[String],
        architecture: &str,
    ) -> Result<Compiled, CudaError> {
        let text = self.text(source.file(), source.text());
        let headers = HEADERS.map(|(file, text)| self.text(file, text));
        let (major, minor) = nvrtc_version()?;
        let (options, included) = (defines.join("\n"), headers.concat());
        let key = format!("nvrtc {major}.{minor}\n{architecture}\n{options}\n{included}\n{text}");
        let path = self.folder.as_ref().map(|folder| {
            folder.join(format!("{}-{architecture}-{:016x}", source.entry(), fnv1a(key.as_bytes())))
        });
        let kept = path.as_ref().and_then(|path| fs::read(path).ok()).and_then(|file| unseal(&file, &key));
        if let Some(cubin) = kept {
            return Ok(Compiled { cubin, log: String::new() });
        }
        let compiled = compile_text(source, &text, &headers, defines, architecture)?;
        if let Some(path) = path {
            // A full or read-only disk must not cost the kernel that was just compiled.
            let _kept = keep(&path, &seal(&key, &compiled.cubin));
        }
        Ok(compiled)
    }

    fn text(&self, file: &str, built_in: &str) -> String {
        let overlaid = self.overlay.as_ref().and_then(|folder| fs::read_to_string(folder.join(file)).ok());
        overlaid.unwrap_or_else(|| built_in.to_owned())
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Lengths of key and cubin, then both.
fn seal(key: &str, cubin: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(16 + key.len() + cubin.len());
    file.extend_from_slice(&(key.len() as u64).to_le_bytes());
    file.extend_from_slice(&(cubin.len() as u64).to_le_bytes());
    file.extend_from_slice(key.as_bytes());
    file.extend_from_slice(cubin);
    file
}

/// The cubin of a file that holds exactly this key.
fn unseal(file: &[u8], key: &str) -> Option<Vec<u8>> {
    let (lengths, rest) = file.split_at_checked(16)?;
    let (key_len, cubin_len) = lengths.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let (found, cubin) = rest.split_at_checked(usize::try_from(number(key_len)?).ok()?)?;
    (found == key.as_bytes() && number(cubin_len)? == cubin.len() as u64).then(|| cubin.to_vec())
}

/// Writes beside the path and renames, so that a reader never sees half a file.
fn keep(path: &std::path::Path, file: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&beside, file)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_is_only_used_for_its_own_key() {
        let file = seal("key", b"cubin");
        assert_eq!(unseal(&file, "key").as_deref(), Some(&b"cubin"[..]));
        assert_eq!(unseal(&file, "kez"), None);
        for torn in 0..file.len() {
            assert_eq!(unseal(&file[..torn], "key"), None, "cut at {torn}");
        }
    }

    #[test]
    fn keeping_replaces_a_torn_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("kernel");
        keep(&path, b"torn").unwrap();
        keep(&path, &seal("key", b"cubin")).unwrap();
        assert_eq!(unseal(&fs::read(&path).unwrap(), "key").as_deref(), Some(&b"cubin"[..]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
