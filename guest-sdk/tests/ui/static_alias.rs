type Forever = &'static str;

#[wpool_guest::task]
fn first(text: Forever) -> Option<char> {
    text.chars().next()
}

fn main() {}
