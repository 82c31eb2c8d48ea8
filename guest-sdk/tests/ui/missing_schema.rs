#[derive(serde::Serialize, serde::Deserialize)]
struct Point {
    x: i32,
}

#[wpool_guest::task]
fn length(point: Point) -> i32 {
    point.x
}

fn main() {}
