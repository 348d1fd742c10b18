use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;

async fn store(files: &[(&str, &str)]) -> Arc<InMemory> {
    let store = InMemory::new();
    for (path, content) in files {
        store.put(&Key::from(*path), (*content).to_owned().into()).await.unwrap();
    }
    Arc::new(store)
}

fn source(store: Arc<dyn ObjectStore>, prefix: &str, lists: bool) -> Source {
    Source { store, prefix: Key::from(prefix), lists }
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

async fn copied(source: &Source) -> Result<BTreeMap<String, String>, CopyError> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join(name(&source.prefix));
    source.copy(&into, &mut |_, _| {}).await?;
    Ok(files(&into))
}

const RUN: [(&str, &str); 6] = [
    ("runs/one/manifest.json", "{}"),
    ("runs/one/rows.jsonl", "rows"),
    ("runs/one/environment.jsonl", "readings"),
    ("runs/one/report/index.html", "a page"),
    ("runs/one/llama-server.log", "words"),
    ("runs/one-more/manifest.json", "another"),
];

#[tokio::test]
async fn a_run_is_copied_without_its_report_and_its_logs() {
    for lists in [true, false] {
        let found = copied(&source(store(&RUN).await, "runs/one", lists)).await.unwrap();
        let found: Vec<_> = found.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
        assert_eq!(
            found,
            [("environment.jsonl", "readings"), ("manifest.json", "{}"), ("rows.jsonl", "rows")],
            "lists: {lists}"
        );
    }
}

#[tokio::test]
async fn hive_partitions_keep_their_folders() {
    let table = "export/requests/run_date=2026-11-23/stack=native/preset=nano/r.parquet";
    let objects = [
        (table, "a table"),
        ("export/chunks/run_date=2026-11-23/stack=native/preset=nano/r.parquet", "another"),
        ("export/runs/r/manifest.json", "{}"),
        ("export/other/huge.bin", "not looked at"),
    ];
    let found = copied(&source(store(&objects).await, "export", true)).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[table.strip_prefix("export/").unwrap()], "a table");
}

#[tokio::test]
async fn an_import_comes_with_the_file_it_was_made_from() {
    let objects = [("old/imported.json", "{}"), ("old/llama-bench.sql", "INSERT")];
    let found = copied(&source(store(&objects).await, "old", true)).await.unwrap();
    assert_eq!(found["llama-bench.sql"], "INSERT");
}

#[tokio::test]
async fn a_prefix_that_is_the_whole_bucket_is_read_too() {
    let found =
        copied(&source(store(&[("manifest.json", "{}"), ("notes.txt", "")]).await, "", true)).await.unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["manifest.json"]);
}

#[tokio::test]
async fn what_is_no_run_is_said() {
    let nothing = copied(&source(store(&RUN).await, "elsewhere", true)).await.unwrap_err();
    assert_eq!(nothing.words(), "there is no run");
    let part = copied(&source(store(&[("a/rows.jsonl", "")]).await, "a", true)).await.unwrap_err();
    assert_eq!(part.words(), "there is no run: of its files 1 are there, but no `manifest.json`");
    assert!(part.hint(&Url::parse("s3://b/a").unwrap()).unwrap().contains("manifest.json"));
}

#[tokio::test]
async fn an_object_that_changed_after_it_was_listed_is_refused() {
    let store = store(&RUN).await;
    let source = source(store.clone(), "runs/one", true);
    let listed = source.listed().await.unwrap();
    store.put(&Key::from("runs/one/rows.jsonl"), "more rows".into()).await.unwrap();
    let rows = listed.iter().find(|object| object.location.filename() == Some("rows.jsonl")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = source.copy_one(rows, folder.path()).await.unwrap_err();
    assert_eq!(error.words(), "`runs/one/rows.jsonl` changed while it was read");
    // A store that knows no tags tells by the length.
    let untagged = ObjectMeta { e_tag: None, ..rows.clone() };
    let error = source.copy_one(&untagged, folder.path()).await.unwrap_err();
    assert_eq!(error.words(), "`runs/one/rows.jsonl` changed while it was read: 4 bytes were told, 9 came");
}

#[tokio::test]
async fn progress_ends_at_what_was_told() {
    let mut told = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let source = source(store(&RUN).await, "runs/one", true);
    source.copy(&folder.path().join("one"), &mut |done, of| told.push((done, of))).await.unwrap();
    assert_eq!(told.first(), Some(&(0, Some(14))));
    assert_eq!(told.last(), Some(&(14, Some(14))));
}

/// A web server of three answers: what is not a file of the run is not there.
fn web_server(files: &'static [(&'static str, &'static str)], status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(request)) = lines.next() else { continue };
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let found = files.iter().find(|(name, _)| *name == path);
            let (status, body) = found.map_or((status, ""), |(_, content)| ("200 OK", *content));
            let length = body.len();
            let body = if method == "HEAD" { "" } else { body };
            drop(write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nlast-modified: Mon, 23 Nov 2026 20:00:00 GMT\r\n\
                 connection: close\r\n\r\n{body}"
            ));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_run_on_a_web_server_is_read_and_its_copy_goes() {
    let server = web_server(
        &[("/site/runs/one/manifest.json", "{}"), ("/site/runs/one/rows.jsonl", "rows")],
        "404 Not Found",
    );
    let copy = bring(&format!("{server}/site/runs/one/"), &mut |_, _| {}).unwrap();
    assert!(copy.path().ends_with("one"));
    assert_eq!(files(copy.path()).len(), 2);
    let gone = copy.path().to_owned();
    drop(copy);
    assert!(!gone.parent().unwrap().exists());
}

#[test]
fn errors_name_the_place_and_what_was_said() {
    let none = web_server(&[], "404 Not Found");
    let error = bring(&format!("{none}/runs/x?key=secret"), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{none}/runs/x`: there is no run"));
    let closed = web_server(&[], "403 Forbidden");
    let error = bring(&format!("{closed}/runs/x"), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("403") || error.contains("privileges"), "{error}");
    let error = bring("ftp://example.org/run", &mut |_, _| {}).unwrap_err();
    assert!(error.hint().unwrap().contains("s3://BUCKET/RUN"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_said_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let began = std::time::Instant::now();
    let error = bring(&format!("http://{address}/run"), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read `http://{address}/run`: ")), "{error}");
    assert!(began.elapsed() < RETRY_TIMEOUT * 2, "{:?}", began.elapsed());
}

#[test]
fn signatures_are_taken_out_of_a_store_s_words() {
    let words = "error sending request for url (https://a.example/x?sig=secret&se=1) twice";
    assert_eq!(without_secrets(words), "error sending request for url (https://a.example/x twice");
}
