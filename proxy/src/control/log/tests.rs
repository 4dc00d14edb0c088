use super::format::Record;
use super::*;

fn line(pattern: &str, message: &str) -> String {
    let record = Record { name: "main", level: Level::Warning, file: "a/b.rs", line: 7, message };
    let mut out = String::new();
    Pattern::parse(pattern).render(&record, &mut out);
    out
}

#[test]
fn patterns_print_what_envoy_prints() {
    assert_eq!(line("[%l][%n] [%g:%#] %v", "hi"), "[warning][main] [a/b.rs:7] hi");
    assert_eq!(line("%L %s %@ %% %q %", "x"), "W b.rs a/b.rs:7 % %q %");
    assert_eq!(line(r#"{"m":"%j"}"#, "a\"b\n"), r#"{"m":"a\"b\n"}"#);
    assert_eq!(line("%_", "a\nb"), "a\\nb");
    assert_eq!(line("%P", ""), std::process::id().to_string());
}

#[test]
fn the_default_pattern_starts_with_a_time_of_fixed_width() {
    let text = line(DEFAULT_FORMAT, "m");
    let stamp = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap();
    assert_eq!(stamp.len(), "2026-11-24 05:43:25.137".len());
    assert!(text.ends_with("[warning][main] [a/b.rs:7] m"), "{text}");
}

#[test]
fn levels_have_envoys_names_and_order() {
    for level in Level::ALL {
        assert_eq!(level.name().parse(), Ok(level));
    }
    assert_eq!("warn".parse(), Ok(Level::Warning));
    assert!("verbose".parse::<Level>().is_err());
    assert!(Level::Trace < Level::Off);
    assert_eq!(NAMES.len(), levels().count());
}

#[test]
fn component_names_match_their_variants() {
    assert_eq!(NAMES[Component::A2a as usize], "a2a");
    assert_eq!(NAMES[Component::Main as usize], "main");
    assert_eq!(NAMES[Component::Upstream as usize], "upstream");
    assert_eq!(NAMES[Component::IpTagging as usize], "ip_tagging");
}
