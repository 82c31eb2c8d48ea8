#[wpool_guest::task]
fn first(text: &'static str) -> Option<char> {
    text.chars().next()
}

fn main() {}
