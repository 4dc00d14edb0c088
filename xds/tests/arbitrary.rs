//! No text and no bytes make the crate panic.

use proptest::prelude::*;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;
use ringway_xds::{Document, Format, rules, schema};

/// Texts that look like a configuration often enough to get far.
fn config_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("static_resources"),
        Just("clusters"),
        Just("connect_timeout"),
        Just("typed_config"),
        Just("\"@type\""),
        Just("type.googleapis.com/google.protobuf.Struct"),
        Just("type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        Just("metadata"),
        Just("filter_metadata"),
        Just("1s"),
        Just("-0x7"),
        Just("1e999"),
        Just("null"),
        Just("ä\u{0}"),
        Just("&a"),
        Just("*a"),
        Just("!ignore"),
        Just("<<"),
    ];
    let mark = prop_oneof![
        Just(": "),
        Just("\n"),
        Just("\n  "),
        Just("\n- "),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(", "),
        Just("\""),
        Just("|\n"),
        Just("\t"),
    ];
    prop::collection::vec(prop_oneof![word, mark], 0..60).prop_map(|parts| parts.concat())
}

fn take(text: &str, format: Format) {
    if let Ok(document) = Document::parse(text, "any", format) {
        match document.decode::<Bootstrap>() {
            Ok(decoded) => {
                let _ = decoded.source_map.location(text);
            }
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    let _ = diagnostic.to_string();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn texts_like_configurations(text in config_text()) {
        take(&text, Format::Yaml);
        take(&text, Format::Json);
    }

    #[test]
    fn any_text(text in any::<String>()) {
        take(&text, Format::Yaml);
        take(&text, Format::Json);
    }

    #[test]
    fn any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        let all: Vec<_> = schema::messages().collect();
        rules::check(all[at.index(all.len())], &bytes);
    }
}
