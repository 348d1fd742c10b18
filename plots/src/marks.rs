//! What can be pointed at on a picture: by mouse and by keyboard, without a script.
//!
//! The marks of a picture are one group of radio buttons: one stop for the Tab key, from where the arrow keys walk from mark
//! to mark. A mark's words are its accessible name, and stand beside it while it has the focus or the pointer.

use maud::{Markup, html};

/// A picture and its marks.
#[derive(Debug, Clone)]
pub(crate) struct Drawing {
    pub(crate) svg: String,
    /// Width and height in CSS pixels, in which marks are placed.
    pub(crate) size: (f64, f64),
    pub(crate) marks: Vec<Mark>,
}

/// A place of a picture with its words.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// Left upper corner.
    pub(crate) from: (f64, f64),
    /// Right lower corner.
    pub(crate) to: (f64, f64),
    pub(crate) text: String,
}

/// The marks as a layer over the picture; `group` is theirs alone on the page.
pub(crate) fn layer(drawing: &Drawing, group: &str, title: &str) -> Markup {
    let (width, height) = drawing.size;
    html! { @if !drawing.marks.is_empty() {
        div.marks role="radiogroup" aria-label={ (title) ": values, by arrow keys" } {
            @for Mark { from, to, text } in &drawing.marks {
                @let (left, top) = (100.0 * from.0 / width, 100.0 * from.1 / height);
                @let (wide, high) = (100.0 * (to.0 - from.0) / width, 100.0 * (to.1 - from.1) / height);
                input type="radio" name=(group) aria-label=(text)
                    style=(format!("left:{left:.2}%;top:{top:.2}%;width:{wide:.2}%;height:{high:.2}%"));
                span.tip aria-hidden="true" style=(tip_place((left, top), (wide, high))) { (text) }
            }
        }
    } }
}

/// Below its mark or, in the lower part of a picture, above; on the side with more room.
fn tip_place((left, top): (f64, f64), (wide, high): (f64, f64)) -> String {
    let (side, from) = if left + wide / 2.0 <= 50.0 || wide > 50.0 {
        ("left", left.clamp(2.0, 50.0))
    } else {
        ("right", (100.0 - left - wide).clamp(2.0, 50.0))
    };
    let across = format!("{side}:{from:.2}%;max-width:min(340px,{:.2}%)", 98.0 - from);
    let down =
        if top <= 60.0 { format!("top:{:.2}%", top + high) } else { format!("bottom:{:.2}%", 100.0 - top) };
    format!("{across};{down}")
}
