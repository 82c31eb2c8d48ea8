//! Draws the Mandelbrot set in tiles, each a task, and puts them together into a PNG file.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use serde::Serialize;
use wpool::{Guest, Pool};

const WIDTH: u32 = 600;
const HEIGHT: u32 = WIDTH * 2 / 3;
const TILE: u32 = 100;

/// The guest's tile, field by field.
#[derive(Clone, Copy, Serialize, wpool::Schema)]
struct Tile {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    picture_width: u32,
    max_steps: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let path = std::env::args().nth(1).unwrap_or_else(|| "mandelbrot.png".to_owned());
    let pool = Pool::builder(Guest::from_file(wpool_examples::guest("mandelbrot")?)?).build()?;
    let draw = pool.task::<Tile, Vec<u8>>("mandelbrot")?;
    let corners = (0..HEIGHT)
        .step_by(TILE as usize)
        .flat_map(|y| (0..WIDTH).step_by(TILE as usize).map(move |x| (x, y)));
    let tiles: Vec<Tile> = corners
        .map(|(x, y)| Tile { x, y, width: TILE, height: TILE, picture_width: WIDTH, max_steps: 500 })
        .collect();
    let mut picture = vec![0; (WIDTH * HEIGHT) as usize];
    for (tile, pixels) in tiles.iter().zip(draw.map(tiles.iter().copied())) {
        for (row, line) in (tile.y..).zip(pixels?.chunks_exact(TILE as usize)) {
            let start = (row * WIDTH + tile.x) as usize;
            picture[start..start + line.len()].copy_from_slice(line);
        }
    }
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(&path)?), WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header()?.write_image_data(&picture)?;
    wpool_examples::say(&format!("{} tiles in {path}", tiles.len()));
    Ok(())
}
