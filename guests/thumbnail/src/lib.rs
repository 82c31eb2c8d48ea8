//! Makes thumbnails: decodes untrusted PNG and JPEG files inside the sandbox.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};
use serde::Serialize;

/// The longer side of a thumbnail, in pixels.
const SIDE: u32 = 64;

/// A small version of a picture.
#[derive(Serialize, wpool_guest::Schema)]
struct Thumbnail {
    /// The width and height of the original picture, in pixels.
    original: (u32, u32),
    width: u32,
    height: u32,
    /// A PNG file.
    png: Vec<u8>,
}

/// Makes a PNG of at most 64 pixels on its longer side from a PNG or JPEG file.
#[wpool_guest::task]
fn thumbnail(file: &[u8]) -> Result<Thumbnail, String> {
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|e| e.to_string())?;
    reader.limits(Limits::no_limits());
    let picture = reader.decode().map_err(|error| error.to_string())?;
    let small = picture.thumbnail(SIDE, SIDE);
    let mut png = Vec::new();
    small.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(|error| error.to_string())?;
    let original = (picture.width(), picture.height());
    Ok(Thumbnail { original, width: small.width(), height: small.height(), png })
}
