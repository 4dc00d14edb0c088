//! The rules of `ringway_tests::tidy` over every tracked file of this checkout.

use ringway_tests::tidy::{self, Source, arrows, rust};

fn tracked() -> Vec<Source> {
    match tidy::tracked() {
        Ok(sources) => sources,
        Err(error) => panic!("cannot list the tracked files: {error:#}"),
    }
}

fn rust_files() -> Vec<Source> {
    let mut sources = tracked();
    sources.retain(|source| source.path.ends_with(".rs"));
    assert!(sources.len() > 10, "only {} Rust files are tracked", sources.len());
    sources
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "{} findings\n{}", found.len(), found.join("\n"));
}

#[test]
fn crates_know_only_whom_they_may() {
    match arrows::metadata() {
        Ok(metadata) => none(&arrows::check(&metadata)),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn files_and_lines_are_short() {
    none(&rust_files().iter().flat_map(tidy::lengths).collect::<Vec<_>>());
}

#[test]
fn functions_are_short_and_unsafe_code_is_explained() {
    none(&rust_files().iter().flat_map(rust::check).collect::<Vec<_>>());
}

#[test]
fn every_tests_file_is_compiled() {
    none(&tidy::undeclared_tests(&rust_files()));
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    none(&tracked().iter().flat_map(tidy::foreign_words).collect::<Vec<_>>());
}
