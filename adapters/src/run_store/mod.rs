//! Runs that lie in an object store or on a web server: brought here as files, for whoever reads run directories.
//!
//! `s3://`, `gs://`, `az://` and `http(s)://` places, behind the feature `object-store`; without it such a place is one clear
//! error. What a run consists of is copied into a directory of its own, which goes when the copy is dropped; nothing is
//! interpreted here. Invariant: a copy is whole, and every file of it is as it was when it was listed.

#[cfg(feature = "object-store")]
mod remote;

use std::path::Path;

/// Why a run was not brought here.
#[derive(Debug, thiserror::Error)]
pub enum RunStoreError {
    /// The program was built without the feature.
    #[error("`{place}` is not on this machine, and this `bench` was built without object stores")]
    NotBuilt {
        /// What was asked for.
        place: String,
    },
    /// The place, the store or the way to it.
    #[error("cannot read `{place}`: {what}")]
    Place {
        /// What was asked for, without credentials.
        place: String,
        /// What is wrong, in the store's words where it has any, without credentials.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl RunStoreError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotBuilt { .. } => Some(
                "build it with `cargo build --release --features object-store`, or copy the run here and name its directory"
                    .to_owned(),
            ),
            Self::Place { hint, .. } => hint.clone(),
        }
    }
}

/// Whether a place is an address rather than a path: `SCHEME://…`.
#[must_use]
pub fn is_elsewhere(place: &Path) -> bool {
    place.to_str().and_then(|place| place.split_once("://")).is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    })
}

/// How far a copy is, in bytes: what has come, and how much there is where the store says so beforehand.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, Option<u64>) + Send);

/// A run that was brought here. Dropping it removes the files.
#[derive(Debug)]
pub struct RunCopy {
    #[cfg(feature = "object-store")]
    copied: remote::Copied,
    #[cfg(not(feature = "object-store"))]
    nowhere: std::convert::Infallible,
}

impl RunCopy {
    /// Its directory, of the name that the place ends in.
    #[must_use]
    pub fn path(&self) -> &Path {
        #[cfg(feature = "object-store")]
        return self.copied.path();
        #[cfg(not(feature = "object-store"))]
        match self.nowhere {}
    }
}

/// Brings the run at `place` here.
///
/// Credentials are taken from the variables that each cloud's own tools use (`AWS_ACCESS_KEY_ID`, `GOOGLE_SERVICE_ACCOUNT`,
/// `AZURE_STORAGE_ACCOUNT_KEY`, …). Blocks: not for use inside a runtime.
///
/// # Errors
///
/// No such feature, place or store; no credentials or too few; nothing there that is a run; an object that changed while it
/// was read; a full disk.
#[cfg_attr(not(feature = "object-store"), expect(unused_variables, reason = "nothing can be brought"))]
pub fn bring(place: &str, progress: Progress<'_>) -> Result<RunCopy, RunStoreError> {
    #[cfg(feature = "object-store")]
    return remote::bring(place, progress).map(|copied| RunCopy { copied });
    #[cfg(not(feature = "object-store"))]
    Err(RunStoreError::NotBuilt { place: without_credentials(place) })
}

/// An address without user, password and query, any of which may hold a key.
fn without_credentials(place: &str) -> String {
    let place = place.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    // `abfss://container@account` names no user.
    let host = match (scheme, host.rsplit_once('@')) {
        ("http" | "https" | "s3" | "s3a" | "gs", Some((_, host))) => host,
        _ => host,
    };
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_path() {
        for place in [
            "s3://bucket/run",
            "gs://b",
            "https://example.org/runs/one",
            "abfss://c@a.dfs.core.windows.net/x",
        ] {
            assert!(is_elsewhere(Path::new(place)), "{place}");
        }
        for place in
            ["bench-runs/one", "/tmp/a", "C:\\runs", "a:b", "://x", "1://x", "./s3:/bucket", "a b://c"]
        {
            assert!(!is_elsewhere(Path::new(place)), "{place}");
        }
    }

    #[test]
    fn no_key_is_in_the_name_of_a_place() {
        let shown = [
            ("https://user:secret@example.org/run?sig=secret", "https://example.org/run"),
            ("https://example.org/run#secret", "https://example.org/run"),
            ("s3://secret@bucket", "s3://bucket"),
            (
                "abfss://container@account.dfs.core.windows.net/run",
                "abfss://container@account.dfs.core.windows.net/run",
            ),
        ];
        for (place, wanted) in shown {
            assert_eq!(without_credentials(place), wanted);
        }
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn without_the_feature_it_is_one_clear_error() {
        let error = bring("s3://bucket/run?token=secret", &mut |_, _| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`s3://bucket/run` is not on this machine, and this `bench` was built without object stores"
        );
        assert!(error.hint().unwrap().contains("--features object-store"));
    }
}
