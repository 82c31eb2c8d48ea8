#[wpool_guest::task]
async fn wait(seconds: u32) -> u32 {
    seconds
}

fn main() {}
