//! Draws one tile of the Mandelbrot set.

use serde::Deserialize;

/// A rectangle of a picture of the set.
#[derive(Deserialize, wpool_guest::Schema)]
struct Tile {
    /// The left edge of the tile, in pixels of the whole picture.
    x: u32,
    /// The upper edge of the tile, in pixels of the whole picture.
    y: u32,
    width: u32,
    height: u32,
    /// The width of the whole picture; its height is two thirds of it.
    picture_width: u32,
    /// The number of steps after which a point counts as inside.
    max_steps: u32,
}

/// The brightness of each pixel of a tile, row by row: 0 inside the set, brighter further out.
#[wpool_guest::task]
fn mandelbrot(tile: Tile) -> Vec<u8> {
    let scale = 3.0 / f64::from(tile.picture_width.max(1));
    let mut pixels = Vec::with_capacity((tile.width * tile.height) as usize);
    for row in tile.y..tile.y + tile.height {
        for column in tile.x..tile.x + tile.width {
            let point = (f64::from(column) * scale - 2.0, f64::from(row) * scale - 1.0);
            pixels.push(brightness(steps(point, tile.max_steps), tile.max_steps));
        }
    }
    pixels
}

/// The number of steps after which a point leaves the circle of radius two, at most `max_steps`.
fn steps((real, imaginary): (f64, f64), max_steps: u32) -> u32 {
    let (mut x, mut y) = (0.0f64, 0.0f64);
    for step in 0..max_steps {
        if x * x + y * y > 4.0 {
            return step;
        }
        (x, y) = (x * x - y * y + real, 2.0 * x * y + imaginary);
    }
    max_steps
}

fn brightness(steps: u32, max_steps: u32) -> u8 {
    if steps >= max_steps {
        return 0;
    }
    let part = f64::from(steps) / f64::from(max_steps);
    // Square roots spread the many points that leave early.
    (part.sqrt() * 255.0) as u8
}
