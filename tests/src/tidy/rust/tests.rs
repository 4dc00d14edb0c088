use super::*;

fn found(path: &str, text: &str) -> Vec<String> {
    check(&Source { path: path.into(), text: text.into() })
}

fn function(lines: usize) -> String {
    format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
}

#[test]
fn counts_functions_from_fn_to_brace() {
    assert!(found("a.rs", &function(70)).is_empty());
    assert_eq!(found("a.rs", &function(71)).len(), 1);
    let in_macro = format!("macro_rules! m {{ () => {{\n{}}} }}", function(71));
    assert_eq!(found("a.rs", &in_macro).len(), 1);
    let in_impl = format!("impl A {{ fn g(&self); {} }}", function(71));
    assert_eq!(found("a.rs", &in_impl).len(), 1);
    let text = format!("const S: &str = \"\n{}\";", function(90));
    assert!(found("a.rs", &text).is_empty());
    assert!(found("a.rs", "type F = fn(u8); fn g() -> A<{ 1 }> { }").is_empty());
}

#[test]
fn unsafe_only_in_runtime_and_with_a_comment() {
    assert_eq!(found("proxy/src/a.rs", "fn f() { unsafe { g() } }").len(), 1);
    assert_eq!(found("runtime/src/a.rs", "fn f() {\n    unsafe { g() }\n}").len(), 1);
    let good = "fn f() {\n    // SAFETY: because.\n    let x =\n        unsafe { g() };\n}";
    assert!(found("runtime/src/a.rs", good).is_empty());
    let above_another = "fn f() {\n    // SAFETY: because.\n    a();\n    unsafe { g() }\n}";
    assert_eq!(found("runtime/src/a.rs", above_another).len(), 1);
    assert_eq!(found("runtime/src/a.rs", "unsafe impl Send for A {}").len(), 1);
    let documented = "/// # Safety\n/// The caller knows.\n#[inline]\npub unsafe fn f() {}";
    assert!(found("runtime/src/a.rs", documented).is_empty());
    assert!(found("runtime/src/a.rs", "struct V { f: unsafe fn(*const ()) }").is_empty());
    assert!(found("proxy/src/a.rs", "// unsafe\nconst A: &str = \"unsafe {}\";").is_empty());
}

#[test]
fn finds_what_is_unfinished() {
    let text = ["fn f() { ", "to", "do!() }"].concat();
    assert_eq!(found("a.rs", &text).len(), 1);
    assert!(found("a.rs", "fn f() { let todo = 1; } // to do").is_empty());
}
