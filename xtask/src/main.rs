//! `cargo xtask picture` draws the imports into ARCHITECTURE.md; `cargo xtask sizes` prints how long files and functions are;
//! `cargo xtask soak WPOOL GUEST COUNT [SEED]` cuts runs of the command short, and checks what they leave.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::error::Error;
use std::fs;

use wpool_xtask::functions::{in_text, percentile, rust_files, without_tests};
use wpool_xtask::{CRATES, imports, picture, root, soak};

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("picture") => draw(),
        Some("sizes") => sizes(),
        Some("soak") => soak(),
        _ => Err("usage: cargo xtask picture | sizes | soak WPOOL GUEST COUNT [SEED]".into()),
    }
}

fn draw() -> Result<(), Box<dyn Error>> {
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, picture::drawn(&text, &root())?)?;
    Ok(())
}

fn soak() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let [wpool, guest, count, seed @ ..] = words.as_slice() else {
        return Err("usage: cargo xtask soak WPOOL GUEST COUNT [SEED]".into());
    };
    let folder = std::env::temp_dir().join(format!("wpool-soak-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (wpool, guest) = (fs::canonicalize(wpool)?, fs::canonicalize(guest)?);
    let seed = seed.first().map_or(Ok(1), |seed| seed.parse())?;
    let figures = soak::run(&wpool, &guest, &folder, count.parse()?, seed)?;
    fs::remove_dir_all(&folder)?;
    println!("{figures}");
    Ok(())
}

fn sizes() -> Result<(), Box<dyn Error>> {
    println!("{:18} {:>6} {:>8} {:>5} {:>5} {:>8}", "crate", "files", "longest", "p50", "p90", "circles");
    let mut all = Vec::new();
    for folder in CRATES {
        let files = rust_files(&root().join(folder).join("src"));
        let texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        let longest = texts.iter().map(|text| without_tests(text).lines().count()).max().unwrap_or(0);
        let lengths: Vec<usize> =
            texts.iter().flat_map(|text| in_text(text)).map(|function| function.lines).collect();
        let (half, most) = (percentile(lengths.clone(), 50), percentile(lengths.clone(), 90));
        let graph = imports::of_crate(&root().join(folder))?;
        let circles = graph.circles().len();
        println!("{folder:18} {:6} {longest:8} {half:5} {most:5} {circles:8}", files.len());
        graph.circles().iter().for_each(|circle| println!("  a circle: {circle:?}"));
        all.extend(lengths);
    }
    println!("{} functions: median {}, p90 {}", all.len(), percentile(all.clone(), 50), percentile(all, 90));
    Ok(())
}
