//! The chapters of the book as documentation, so that `cargo test` compiles their Rust blocks.

macro_rules! chapters {
    ($($name:ident: $path:literal;)*) => {
        $(
            #[doc = include_str!($path)]
            mod $name {}
        )*
    };
}

chapters! {
    readme: "../../README.md";
    first_guest: "../../docs/src/tutorial/first-guest.md";
    failures: "../../docs/src/tutorial/failures.md";
    embedding: "../../docs/src/guides/embedding.md";
    migration: "../../docs/src/guides/migration.md";
    plug_ins: "../../docs/src/guides/plug-ins.md";
}
