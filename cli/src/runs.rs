//! Runs that a command was given: directories as they are, and copies of what lies in an object store or on a web server.

use std::io::Write;
use std::path::{Path, PathBuf};

use bench_adapters::run_store::{RunCopy, bring, is_elsewhere};
use bench_core::run_dir::RunDir;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;

/// Where what is made of a run goes, if the run itself lies elsewhere and nothing was said.
const FETCHED: &str = "bench-runs";

/// Runs on this machine, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Runs {
    paths: Vec<PathBuf>,
    _copies: Vec<RunCopy>,
}

impl Runs {
    /// Brings here what is not here.
    pub(crate) fn bring(places: &[PathBuf]) -> Result<Self, Failure> {
        let (mut paths, mut copies) = (Vec::with_capacity(places.len()), Vec::new());
        for place in places {
            match place.to_str().filter(|_| is_elsewhere(place)) {
                None => paths.push(place.clone()),
                Some(address) => {
                    let copy = copy(address)?;
                    paths.push(copy.path().to_owned());
                    copies.push(copy);
                }
            }
        }
        Ok(Self { paths, _copies: copies })
    }

    /// Their directories, in the order given.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

/// Where to put what is made of the runs: the first one's directory, or one of its name here if it lies elsewhere.
pub(crate) fn home(places: &[PathBuf]) -> RunDir {
    let Some(first) = places.first() else { return RunDir::existing(Path::new(FETCHED)) };
    if !is_elsewhere(first) {
        return RunDir::existing(first);
    }
    let address = first.to_string_lossy();
    let path = address.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("run");
    RunDir::existing(&Path::new(FETCHED).join(format!("fetched-{name}")))
}

fn copy(address: &str) -> Result<RunCopy, Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{bar:28.cyan/black} {bytes}/{total_bytes} {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("copying the run");
    let mut bytes = 0;
    let copied = bring(address, &mut |done, of| {
        bytes = done;
        if let Some(of) = of {
            bar.set_length(of);
        }
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let copied = copied?;
    let name = copied.path().file_name().unwrap_or_default().to_string_lossy();
    // A closed pipe is no failure.
    drop(writeln!(std::io::stderr(), "copied {name}: {}", indicatif::HumanBytes(bytes)));
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_run_elsewhere_stays_here() {
        let home_of = |place: &str| home(&[PathBuf::from(place)]).root().to_owned();
        assert_eq!(home_of("bench-runs/one"), Path::new("bench-runs/one"));
        assert_eq!(home_of("s3://bucket/runs/one/"), Path::new("bench-runs/fetched-one"));
        assert_eq!(home_of("https://example.org/one?sig=x"), Path::new("bench-runs/fetched-one"));
    }

    #[test]
    fn directories_are_left_where_they_are() {
        let runs = Runs::bring(&[PathBuf::from("a"), PathBuf::from("b/c")]).unwrap();
        assert_eq!(runs.paths(), [PathBuf::from("a"), PathBuf::from("b/c")]);
    }
}
