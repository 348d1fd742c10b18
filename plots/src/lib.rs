//! Charts and the page of a report: SVG, PNG and one HTML file that needs no network and no script.
//!
//! Knows only [`bench_core::report::Report`] and computes nothing: every figure drawn is a field of the report.
//! Invariant: an arm of the report is a row of every chart it belongs to. What failed, was skipped or cannot be
//! compared is drawn as a labelled gap, never left out.

mod axis;
mod canvas;
mod charts;
mod concurrency;
#[cfg(test)]
mod contrast;
mod curves;
mod effective;
mod error;
mod explanation;
mod kv_quality;
mod labels;
mod latency;
mod load;
mod machine;
mod marks;
mod page;
mod raster;
mod rows;
mod site;
mod speed;
mod tables;
mod theme;
mod truth;
mod words;

use std::path::{Path, PathBuf};

use bench_core::report::Report;

pub use self::error::PlotError;
pub use self::site::{SiteRun, write_index};

use self::charts::Chart;
use self::theme::Theme;

/// Writes `index.html` and, for each chart, `NAME.svg`, `NAME-dark.svg` and `NAME.png` into `out`, which is made if
/// it is missing. Returns the files written, the page first.
pub fn write_report(report: &Report, out: &Path) -> Result<Vec<PathBuf>, PlotError> {
    std::fs::create_dir_all(out).map_err(|source| PlotError::write(out, source))?;
    canvas::register_fonts()?;
    let charts = charts::charts(report);
    let mut written = vec![write(out.join("index.html"), page::page(report, &charts)?.as_bytes())?];
    for Chart { name, picture, .. } in &charts.drawn {
        let light = picture.draw(rows::WIDE, Theme::LIGHT)?.svg;
        let dark = picture.draw(rows::WIDE, Theme::DARK)?.svg;
        written.push(write(out.join(format!("{name}.svg")), light.as_bytes())?);
        written.push(write(out.join(format!("{name}-dark.svg")), dark.as_bytes())?);
        written.push(write(out.join(format!("{name}.png")), &raster::png(&light)?)?);
    }
    Ok(written)
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, PlotError> {
    match std::fs::write(&path, bytes) {
        Ok(()) => Ok(path),
        Err(source) => Err(PlotError::write(&path, source)),
    }
}
