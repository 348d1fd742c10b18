//! Lists what a run consists of and copies it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{
    ClientConfigKey, ClientOptions, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreScheme,
    RetryConfig,
};
use reqwest::Url;

use super::{Progress, RunStoreError, without_credentials};

/// Files that are copied at a time.
const COPIES: usize = 8;
/// What connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What trying one request again may take. The library's own limit is three minutes.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// Files that a run or an import may have in its own directory.
const OWN_FILES: [&str; 5] =
    ["manifest.json", "rows.jsonl", "environment.jsonl", "imported.json", "provenance.json"];
/// Folders of an export.
const FOLDERS: [&str; 3] = ["requests", "chunks", "runs"];

/// The copy of a run.
#[derive(Debug)]
pub(super) struct Copied {
    path: PathBuf,
    /// Removes it.
    _folder: tempfile::TempDir,
}

impl Copied {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn bring(place: &str, progress: Progress<'_>) -> Result<Copied, RunStoreError> {
    let shown = without_credentials(place);
    let failed = |what: String, hint: Option<&str>| RunStoreError::Place {
        place: shown.clone(),
        what: without_secrets(&what),
        hint: hint.map(str::to_owned),
    };
    let here = |what: &str, error: &io::Error| failed(format!("{what}: {error}"), None);
    let url =
        Url::parse(place).map_err(|error| failed(format!("it is no address: {error}"), Some(EXAMPLE)))?;
    let source = Source::of(&url)
        .map_err(|error| failed(causes(&error), Some(credentials(url.scheme()).unwrap_or(EXAMPLE))))?;
    let folder = tempfile::Builder::new()
        .prefix("bench-run-")
        .tempdir()
        .map_err(|error| here("cannot make a directory for the copy", &error))?;
    let path = folder.path().join(name(&source.prefix));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| here("cannot start", &error))?;
    runtime
        .block_on(source.copy(&path, progress))
        .map_err(|error| failed(error.words(), error.hint(&url)))?;
    Ok(Copied { path, _folder: folder })
}

const EXAMPLE: &str =
    "expected `s3://BUCKET/RUN`, `gs://BUCKET/RUN`, `az://CONTAINER/RUN` or `https://HOST/RUN`";

/// The last part of the prefix, so that errors and pages call the copy what the run is called.
fn name(prefix: &Key) -> String {
    prefix.filename().unwrap_or("run").to_owned()
}

/// A prefix of a store.
struct Source {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    /// A plain web server lists nothing: what may be there is asked for by name.
    lists: bool,
}

impl Source {
    fn of(url: &Url) -> object_store::Result<Self> {
        let (scheme, prefix) = ObjectStoreScheme::parse(url)?;
        let retry = RetryConfig { max_retries: 3, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        // Set beside what the environment says of the client: `AWS_ALLOW_HTTP` and the like.
        let patience = (ClientConfigKey::ConnectTimeout, format!("{} s", CONNECT_TIMEOUT.as_secs()));
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => Arc::new(
                AmazonS3Builder::from_env()
                    .with_url(url.as_str())
                    .with_config(AmazonS3ConfigKey::Client(patience.0), patience.1)
                    .with_retry(retry)
                    .build()?,
            ),
            ObjectStoreScheme::GoogleCloudStorage => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_url(url.as_str())
                    .with_config(GoogleConfigKey::Client(patience.0), patience.1)
                    .with_retry(retry)
                    .build()?,
            ),
            ObjectStoreScheme::MicrosoftAzure => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_url(url.as_str())
                    .with_config(AzureConfigKey::Client(patience.0), patience.1)
                    .with_retry(retry)
                    .build()?,
            ),
            ObjectStoreScheme::Http => {
                let options =
                    ClientOptions::new().with_allow_http(true).with_connect_timeout(CONNECT_TIMEOUT);
                let mut origin = url.clone();
                origin.set_path("");
                origin.set_query(None);
                origin.set_fragment(None);
                let store = HttpBuilder::new()
                    .with_url(origin.as_str())
                    .with_client_options(options)
                    .with_retry(retry);
                return Ok(Self { store: Arc::new(store.build()?), prefix, lists: false });
            }
            ObjectStoreScheme::Local | ObjectStoreScheme::Memory | _ => {
                return Err(Error::NotSupported {
                    source: format!("`{}://` is no store", url.scheme()).into(),
                });
            }
        };
        Ok(Self { store, prefix, lists: true })
    }

    /// Copies the run into `into`, which is made.
    async fn copy(&self, into: &Path, progress: Progress<'_>) -> Result<(), CopyError> {
        let objects = if self.lists { self.listed().await? } else { self.asked_for().await? };
        if !objects.iter().any(|object| self.is_run(object)) {
            return Err(CopyError::NoRun { found: objects.len() });
        }
        let bytes = objects.iter().map(|object| object.size).sum();
        let mut done = 0;
        progress(0, Some(bytes));
        let mut copies =
            stream::iter(&objects).map(|object| self.copy_one(object, into)).buffer_unordered(COPIES);
        while let Some(copied) = copies.next().await {
            done += copied?;
            progress(done, Some(bytes));
        }
        Ok(())
    }

    /// Objects of the prefix itself and of the folders of an export. Nothing else below it is looked at: the prefix may be a
    /// whole bucket.
    async fn listed(&self) -> object_store::Result<Vec<ObjectMeta>> {
        let top = self.store.list_with_delimiter(Some(&self.prefix)).await?;
        let mut objects = top.objects;
        let is_part = |folder: &&Key| folder.filename().is_some_and(|name| FOLDERS.contains(&name));
        for folder in top.common_prefixes.iter().filter(is_part) {
            objects.extend(self.store.list(Some(folder)).try_collect::<Vec<_>>().await?);
        }
        let is_imported = objects.iter().any(|object| object.location.filename() == Some("imported.json"));
        // The copy that an import was made from has a name of its own.
        objects.retain(|object| is_imported || self.is_wanted(object));
        Ok(objects)
    }

    /// What a web server has of the files of a run.
    async fn asked_for(&self) -> object_store::Result<Vec<ObjectMeta>> {
        let mut objects = Vec::new();
        for name in OWN_FILES {
            let options = GetOptions { head: true, ..GetOptions::default() };
            match self.store.get_opts(&self.prefix.clone().join(name), options).await {
                Ok(found) => objects.push(found.meta),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(objects)
    }

    /// Parts below the prefix; empty for what is not below it.
    fn parts(&self, object: &ObjectMeta) -> Vec<String> {
        let parts = object.location.prefix_match(&self.prefix);
        parts.into_iter().flatten().map(|part| part.as_ref().to_owned()).collect::<Vec<_>>()
    }

    fn is_wanted(&self, object: &ObjectMeta) -> bool {
        match self.parts(object).as_slice() {
            [file] => OWN_FILES.contains(&file.as_str()),
            [_, ..] => true,
            [] => false,
        }
    }

    /// Whether this object says that there is a run.
    fn is_run(&self, object: &ObjectMeta) -> bool {
        match self.parts(object).as_slice() {
            [file] => file == "manifest.json" || file == "imported.json",
            [folder, .., file] => folder == "runs" && file == "manifest.json",
            [] => false,
        }
    }

    /// Copies one object, and tells its bytes.
    async fn copy_one(&self, object: &ObjectMeta, into: &Path) -> Result<u64, CopyError> {
        let parts = self.parts(object);
        let path = into.join(parts.iter().collect::<PathBuf>());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(CopyError::here(&path))?;
        }
        let options = GetOptions { if_match: object.e_tag.clone(), ..GetOptions::default() };
        let mut bytes = self.store.get_opts(&object.location, options).await?.into_stream();
        let mut file = std::fs::File::create_new(&path).map_err(CopyError::here(&path))?;
        let mut written = 0;
        while let Some(piece) = bytes.try_next().await? {
            file.write_all(&piece).map_err(CopyError::here(&path))?;
            written += piece.len() as u64;
        }
        if written == object.size {
            return Ok(written);
        }
        Err(CopyError::Changed { object: object.location.to_string(), listed: object.size, read: written })
    }
}

#[derive(Debug)]
enum CopyError {
    Store(Error),
    Here { path: PathBuf, source: io::Error },
    NoRun { found: usize },
    Changed { object: String, listed: u64, read: u64 },
}

impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl CopyError {
    fn here(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Here { path, source }
    }

    fn words(&self) -> String {
        match self {
            Self::Store(Error::Precondition { path, .. }) => format!("`{path}` changed while it was read"),
            Self::Store(error) => causes(error),
            Self::Here { path, source } => format!("cannot write its copy `{}`: {source}", path.display()),
            Self::NoRun { found: 0 } => "there is no run".to_owned(),
            Self::NoRun { found } => {
                format!("there is no run: of its files {found} are there, but no `manifest.json`")
            }
            Self::Changed { object, listed, read } => {
                format!("`{object}` changed while it was read: {listed} bytes were told, {read} came")
            }
        }
    }

    fn hint(&self, url: &Url) -> Option<&'static str> {
        match self {
            Self::Store(Error::Precondition { .. }) | Self::Changed { .. } => {
                Some("is the run still being written or uploaded? read it when that has ended")
            }
            Self::NoRun { .. } => Some(
                "name the directory that holds `manifest.json`, or the directory of an export that holds `runs/`",
            ),
            Self::Here { .. } => Some("is the disk of the temporary directory (`TMPDIR`) full?"),
            Self::Store(_) => credentials(url.scheme()),
        }
    }
}

/// Where a cloud's credentials come from.
fn credentials(scheme: &str) -> Option<&'static str> {
    match scheme {
        "s3" | "s3a" => Some(
            "credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the region AWS_REGION, another server AWS_ENDPOINT \
             (with AWS_ALLOW_HTTP=true for http), a public bucket AWS_SKIP_SIGNATURE=true",
        ),
        "gs" => Some("credentials are GOOGLE_SERVICE_ACCOUNT (a path) or GOOGLE_SERVICE_ACCOUNT_KEY"),
        "az" | "azure" | "adl" | "abfs" | "abfss" => Some(
            "credentials are AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
        ),
        _ => None,
    }
}

/// An error and what caused it, each said once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        next = cause.source();
    }
    words
}

/// A store's words without what the environment or an address may hold of keys.
fn without_secrets(words: &str) -> String {
    let is_key = |name: &str| {
        ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|cloud| name.starts_with(cloud))
            && ["KEY", "SECRET", "TOKEN", "SAS", "PASSWORD", "CREDENTIAL"]
                .iter()
                .any(|word| name.contains(word))
    };
    let mut words = words.to_owned();
    for (_, value) in std::env::vars().filter(|(name, value)| is_key(name) && value.len() >= 8) {
        words = words.replace(&value, "[key]");
    }
    let addresses =
        words.split(' ').map(|word| if word.contains("://") { without_query(word) } else { word });
    addresses.collect::<Vec<_>>().join(" ")
}

/// Signed addresses carry their signature in the query.
fn without_query(address: &str) -> &str {
    address.split('?').next().unwrap_or(address)
}

#[cfg(test)]
mod tests;
