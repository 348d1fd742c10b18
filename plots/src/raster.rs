//! SVG to PNG, with the embedded fonts only: the same picture on every machine.

use resvg::{tiny_skia, usvg};

use crate::canvas::{FAMILY, REGULAR, SEMIBOLD};
use crate::error::PlotError;

/// Pixels of the PNG for each CSS pixel.
const ZOOM: f32 = 2.0;

/// The picture as PNG, at twice its size.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, PlotError> {
    let mut options = usvg::Options { font_family: FAMILY.to_owned(), ..usvg::Options::default() };
    for font in [REGULAR, SEMIBOLD] {
        options.fontdb_mut().load_font_data(font.to_vec());
    }
    let tree = usvg::Tree::from_str(svg, &options).map_err(|error| PlotError::Draw(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(ZOOM);
    let mut pixels = size
        .and_then(|size| tiny_skia::Pixmap::new(size.width(), size.height()))
        .ok_or_else(|| PlotError::Draw("an empty picture".to_owned()))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| PlotError::Draw(error.to_string()))
}
