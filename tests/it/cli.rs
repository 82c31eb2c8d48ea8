use std::path::Path;

/// The snapshots name guests by what they do; here they are.
#[test]
fn the_manual_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let guest = |path: &str| Path::new(path).display().to_string();
    trycmd::TestCases::new()
        .register_bin("wpool", Path::new(crate::WPOOL))
        .env("HOME", home.display().to_string())
        .env("SQUARE", guest(wpool_tests::OK_SQUARE))
        .env("MIXED", guest(wpool_tests::FAIL_MIXED))
        .env("ECHO", guest(wpool_tests::OK_ECHO))
        .case("cmd/*.trycmd")
        .case("cmd/*.toml")
        .timeout(wpool_tests::BOUND)
        .run();
}
