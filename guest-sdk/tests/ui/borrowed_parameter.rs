#[wpool_guest::task]
fn sum(values: &Vec<u32>) -> u32 {
    values.iter().sum()
}

fn main() {}
