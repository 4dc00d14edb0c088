use super::*;
use serde_json::json;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

#[test]
fn finds_long_lines_and_files() {
    let long = "x".repeat(101);
    assert_eq!(lengths(&source("a.rs", &long)).len(), 1);
    assert_eq!(lengths(&source("a.rs", &"y\n".repeat(701))).len(), 1);
    assert!(lengths(&source("a.rs", &"é".repeat(100))).is_empty());
}

#[test]
fn finds_machine_paths_but_not_in_the_lock_file() {
    let text = ["see /wo", "rk/x"].concat();
    assert_eq!(foreign_words(&source("a.md", &text)).len(), 1);
    assert!(foreign_words(&source("Cargo.lock", &text)).is_empty());
}

#[test]
fn finds_tests_nobody_compiles() {
    let declared = [source("a/b.rs", "#[cfg(test)]\nmod tests;\n"), source("a/b/tests.rs", "")];
    assert!(undeclared_tests(&declared).is_empty());
    let forgotten = [source("a/b.rs", "// mod tests;"), source("a/b/tests.rs", "")];
    assert_eq!(undeclared_tests(&forgotten).len(), 1);
}

#[test]
fn finds_forbidden_arrows_and_unknown_packages() {
    let metadata = json!({ "packages": [
        { "name": "ringway-wire", "dependencies": [
            { "name": "ringway-runtime", "path": "x" },
            { "name": "memchr", "path": null },
        ] },
        { "name": "ringway-new", "dependencies": [] },
    ] });
    let found = arrows::check(&metadata);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], "ringway-wire must not depend on ringway-runtime");
}
