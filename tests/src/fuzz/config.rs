//! The bootstrap loader: any text ends as a plan or as diagnostics that help.

use ringway::config::{Diagnostics, load_text};
use ringway::observe::stats::Registry;
use ringway_xds::Format;

/// What means something in a bootstrap.
pub const WORDS: &[&str] = &[
    "static_resources",
    "clusters",
    "listeners",
    "filter_chains",
    "typed_config",
    "\"@type\"",
    "type.googleapis.com/",
    "google.protobuf.Struct",
    "envoy.config.cluster.v3.Cluster",
    ": ",
    "\n- ",
    "\n  ",
    "\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "|\n",
    ">-\n",
    "#",
    "? ",
    "---\n",
    "null",
    "~",
    "true",
    "-1",
    "0x7fffffff",
    "1e999",
    ".nan",
    "1s",
    "-0.000000001s",
    "315576000001s",
    "%REQ(:path)%",
    "%START_TIME(%s)%",
    "regex: \"(a+)+$\"",
    "safe_regex",
    "prefix: \"\"",
    "weighted_clusters",
    "port_value: 65536",
    "4294967296",
    "18446744073709551616",
    "\u{feff}",
    "\u{0}",
    "\\u0000",
    "\\ud800",
    "é",
];

/// The text as YAML and as JSON. Bytes that are no UTF-8 are replaced: the loader is given text.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for format in [Format::Yaml, Format::Json] {
        match load_text(&text, "bootstrap", format, 2, &mut Registry::new(3)) {
            Ok(loaded) => {
                assert_eq!(loaded.warnings.errors(), 0, "a plan in spite of {}", loaded.warnings);
                readable(&loaded.warnings, &text);
            }
            Err(found) => {
                assert!(found.errors() > 0, "refused without a reason: {found}");
                readable(&found, &text);
            }
        }
    }
}

/// Each diagnostic points into the text and can be printed both ways.
fn readable(found: &Diagnostics, text: &str) {
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for diagnostic in &found.0 {
        assert!(!diagnostic.message.is_empty(), "says nothing: {diagnostic:?}");
        assert!(diagnostic.line as usize <= lines, "beyond {lines} lines: {diagnostic}");
    }
    let _ = found.to_string();
    let json = serde_json::from_str::<serde_json::Value>(&found.to_json());
    let count = json.ok().and_then(|json| json["diagnostics"].as_array().map(Vec::len));
    assert_eq!(count, Some(found.0.len()), "all of them are in the JSON");
}
