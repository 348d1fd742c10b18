//! A run directory: `manifest.json`, `rows.jsonl`, `environment.jsonl`, and `report/` once it is reported.
//!
//! The manifest is replaced as a whole (written beside, then renamed), so a reader never sees half of one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::jsonl::{RowError, RowWriter, RowsRead, read_rows};
use crate::preset::{Preset, PromptSpec};
use crate::record::{RECORD_SCHEMA, RunManifest};
use crate::stack::GenerateRequest;

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// Makes the directory for a new run. Refuses one that already holds a run.
    pub fn create(root: &Path) -> Result<Self, RunDirError> {
        let dir = Self { root: root.to_owned() };
        if [dir.rows(), dir.manifest()].iter().any(|path| path.exists()) {
            return Err(RunDirError::Occupied { root: dir.root });
        }
        std::fs::create_dir_all(root)
            .map_err(|source| RunDirError::Write { path: root.to_owned(), source })?;
        Ok(dir)
    }

    /// The directory of a run made before. Nothing is read yet.
    #[must_use]
    pub fn existing(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of `manifest.json`.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// Path of `rows.jsonl`.
    #[must_use]
    pub fn rows(&self) -> PathBuf {
        self.root.join("rows.jsonl")
    }

    /// Path of `environment.jsonl`.
    #[must_use]
    pub fn environment(&self) -> PathBuf {
        self.root.join("environment.jsonl")
    }

    /// Path of `report/`.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    /// Starts the rows file.
    pub fn row_writer(&self) -> Result<RowWriter, RowError> {
        RowWriter::create(&self.rows())
    }

    /// Reads all rows.
    pub fn read_rows(&self) -> Result<RowsRead, RowError> {
        read_rows(&self.rows())
    }

    /// Writes or replaces the manifest, atomically.
    pub fn write_manifest(&self, manifest: &RunManifest) -> Result<(), RunDirError> {
        let path = self.manifest();
        let beside = self.root.join("manifest.json.tmp");
        let result = serde_json::to_vec_pretty(manifest)
            .map_err(io::Error::from)
            .and_then(|json| std::fs::write(&beside, json))
            .and_then(|()| std::fs::rename(&beside, &path));
        result.map_err(|source| RunDirError::Write { path, source })
    }

    /// Reads the manifest.
    pub fn read_manifest(&self) -> Result<RunManifest, RunDirError> {
        let path = self.manifest();
        match std::fs::read(&path) {
            Ok(bytes) => parse_manifest(&bytes).map_err(|source| RunDirError::Manifest { path, source }),
            Err(source) => Err(RunDirError::Read { path, source }),
        }
    }
}

/// Parses the bytes of a `manifest.json`.
pub fn parse_manifest(bytes: &[u8]) -> Result<RunManifest, ManifestError> {
    /// Read first, so that another version is called that, and not a missing field.
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.schema != RECORD_SCHEMA {
        return Err(ManifestError::Schema { found: head.schema });
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// SHA-256 of the preset's canonical JSON, hex: equal presets, however written in TOML, have equal hashes.
///
/// Canonical means: fields in declaration order, no white space, numbers as serde writes them.
pub fn preset_sha256(preset: &Preset) -> Result<String, serde_json::Error> {
    json_sha256(preset)
}

/// SHA-256 of a whole request, hex. `None` only where it holds a number that JSON has no word for (NaN).
#[must_use]
pub fn request_sha256(request: &GenerateRequest) -> Option<String> {
    json_sha256(request).ok()
}

/// SHA-256 of a value's JSON without white space, hex.
pub fn json_sha256(value: &impl Serialize) -> Result<String, serde_json::Error> {
    struct Hashing(Sha256);
    impl io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = Hashing(Sha256::new());
    serde_json::to_writer(&mut hashing, value)?;
    Ok(hex(&hashing.0.finalize()))
}

/// SHA-256 of a prompt, hex: the system message (empty where there is none), a zero byte, the text.
#[must_use]
pub fn prompt_sha256(prompt: &PromptSpec) -> String {
    turn_sha256(prompt, [])
}

/// What tells a text apart in little room: the first half of its SHA-256, big-endian.
#[must_use]
pub fn text_digest(text: &[u8]) -> u128 {
    Sha256::digest(text).iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// [`text_digest`] of an answer without a text.
pub const EMPTY_ANSWER: u128 = 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924;

/// SHA-256 of a later turn, hex: as [`prompt_sha256`], with all that was said before: of every answer its
/// [`text_digest`], of the user the text, zero bytes between. Without answers it is the prompt's own. Turns that the prompt
/// lacks are left out.
#[must_use]
pub fn turn_sha256<'a>(prompt: &PromptSpec, answers: impl IntoIterator<Item = &'a str>) -> String {
    turn_sha256_of(prompt, answers.into_iter().map(|answer| text_digest(answer.as_bytes())))
}

/// [`turn_sha256`] from the digests of the answers.
#[must_use]
pub fn turn_sha256_of(prompt: &PromptSpec, answers: impl IntoIterator<Item = u128>) -> String {
    let mut hash = Sha256::new();
    hash.update(prompt.system.as_deref().unwrap_or_default());
    hash.update([0]);
    hash.update(&prompt.text);
    for (answer, user) in answers.into_iter().zip(&prompt.later_turns) {
        hash.update([0]);
        hash.update(answer.to_be_bytes());
        hash.update([0]);
        hash.update(user);
    }
    hex(&hash.finalize())
}

/// SHA-256 of everything a reader gives, hex: the identity of a model file.
pub fn content_sha256(mut content: impl io::Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match content.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why bytes are not a manifest of ours.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not the fields of a manifest.
    #[error("not a manifest: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version of the suite.
    #[error("schema {found}, this version reads {RECORD_SCHEMA}")]
    Schema {
        /// The version found.
        found: u32,
    },
}

/// What can go wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It holds a run.
    #[error("`{root}` already holds a run", root = root.display())]
    Occupied {
        /// The directory.
        root: PathBuf,
    },
    /// Something in it cannot be written.
    #[error("cannot write `{path}`: {source}", path = path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Something in it cannot be read.
    #[error("cannot read `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The manifest is not one of ours.
    #[error("`{path}`: {source}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
}

impl RunDirError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Occupied { .. } => Some("choose another directory with `--out`".to_owned()),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("is this a run directory, as `bench run` writes it?".to_owned())
            }
            Self::Manifest { source: ManifestError::Schema { .. }, .. } => {
                Some("read it with the version of the suite that wrote it".to_owned())
            }
            Self::Write { .. } | Self::Read { .. } | Self::Manifest { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{manifest, preset};

    #[test]
    fn a_manifest_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("a/b")).unwrap();
        let mut expected = manifest(preset());
        run.write_manifest(&expected).unwrap();
        expected.run_id = "second".to_owned();
        run.write_manifest(&expected).unwrap();
        assert_eq!(run.read_manifest().unwrap(), expected);
        let names: Vec<_> = std::fs::read_dir(run.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["manifest.json"]);
    }

    #[test]
    fn an_occupied_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path()).unwrap();
        drop(run.row_writer().unwrap());
        let error = RunDir::create(dir.path()).unwrap_err();
        assert!(matches!(error, RunDirError::Occupied { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--out"));
    }

    #[test]
    fn the_hash_of_content_is_the_published_one() {
        // FIPS 180-2, appendix B.1 and B.3 (a million times `a`, more than one read).
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(content_sha256(&b"abc"[..]).unwrap(), abc);
        let million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(content_sha256(&vec![b'a'; 1_000_000][..]).unwrap(), million);
    }

    #[test]
    fn another_version_and_a_missing_file_say_so() {
        let error = parse_manifest(b"{\"schema\": 9}").unwrap_err();
        assert_eq!(error.to_string(), "schema 9, this version reads 1");
        let dir = tempfile::tempdir().unwrap();
        let error = RunDir::existing(dir.path()).read_manifest().unwrap_err();
        assert!(error.hint().unwrap().contains("bench run"), "{error}");
    }

    #[test]
    fn the_hash_sees_every_change_and_nothing_else() {
        let base = preset();
        let mut changed = base.clone();
        assert_eq!(preset_sha256(&base).unwrap(), preset_sha256(&changed).unwrap());
        changed.sampling.seed += 1;
        assert_ne!(preset_sha256(&base).unwrap(), preset_sha256(&changed).unwrap());
        assert_eq!(preset_sha256(&base).unwrap().len(), 64);
    }

    #[test]
    fn an_empty_answer_has_its_digest() {
        assert_eq!(text_digest(b""), EMPTY_ANSWER);
    }

    #[test]
    fn the_prompt_hash_separates_system_from_text() {
        let prompt = |system: Option<&str>, text: &str| PromptSpec {
            id: "a".to_owned(),
            category: "b".to_owned(),
            system: system.map(str::to_owned),
            text: text.to_owned(),
            later_turns: Vec::new(),
        };
        assert_ne!(prompt_sha256(&prompt(Some("ab"), "c")), prompt_sha256(&prompt(Some("a"), "bc")));
        // printf '\0hi' | sha256sum
        assert_eq!(
            prompt_sha256(&prompt(None, "hi")),
            "e6908025cd50ce380feecfeaedb70ba2c2f701cc5e314b7b70ef5e1c04b0ec58"
        );
    }
}
