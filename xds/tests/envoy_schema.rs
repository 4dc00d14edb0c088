//! Our schema against that of the real Envoy 1.40, and our printer against its admin pages.
//!
//! The data lies outside the repository; without it the tests say so and pass.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};
use ringway_xds::print::{JsonOptions, write_json};
use ringway_xds::{Document, Format, schema};

fn envoy() -> Option<PathBuf> {
    let shared = std::env::var_os("RINGWAY_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = shared.join("envoy");
    if folder.join("envoy140.fds").exists() {
        return Some(folder);
    }
    println!("skipped: no Envoy data at {} (set RINGWAY_SHARED)", folder.display());
    None
}

#[test]
fn every_field_of_envoy_is_known() {
    let Some(folder) = envoy() else { return };
    let bytes = fs::read(folder.join("envoy140.fds")).unwrap();
    let set = FileDescriptorSet::decode(bytes.as_slice()).unwrap();
    let mut gaps = Gaps::default();
    for file in &set.file {
        for message in &file.message_type {
            gaps.compare(file.package(), message);
        }
    }
    println!("{} messages and {} fields compared", gaps.messages, gaps.fields);
    println!("messages we lack: {:#?}", gaps.missing);
    println!("fields we lack: {:#?}", gaps.fields_missing);
    println!("fields that differ: {:#?}", gaps.different);
    assert!(gaps.different.is_empty());
    assert!(gaps.fields_missing.is_empty());
    assert!(gaps.fields > 4000);
    let of_config =
        ["envoy.config.", "envoy.extensions.", "envoy.service.", "xds.core.", "xds.type."];
    // Bodies that filters of Envoy read from the network, not configuration.
    let inner = ["OAuthResponse", "ExtAuthzDecision"];
    let lacking: Vec<&String> = gaps
        .missing
        .iter()
        .filter(|name| of_config.iter().any(|start| name.starts_with(start)))
        .filter(|name| !inner.iter().any(|end| name.ends_with(end)))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[derive(Default)]
struct Gaps {
    messages: usize,
    fields: usize,
    missing: BTreeSet<String>,
    fields_missing: BTreeSet<String>,
    different: BTreeSet<String>,
}

impl Gaps {
    fn compare(&mut self, scope: &str, theirs: &DescriptorProto) {
        let name = format!("{scope}.{}", theirs.name());
        self.messages += 1;
        for nested in &theirs.nested_type {
            self.compare(&name, nested);
        }
        let Some(ours) = schema::message(&name) else {
            self.missing.insert(name);
            return;
        };
        for field in &theirs.field {
            self.fields += 1;
            let label = format!("{name}.{}", field.name());
            let Some(found) = ours.field_named(field.name()) else {
                self.fields_missing.insert(label);
                continue;
            };
            let child = found.message().map(|m| m.full_name());
            let child = child.or_else(|| found.enumeration().map(|e| e.full_name()));
            let same = found.number() == field.number().cast_unsigned()
                && child == field.type_name.as_deref().map(|name| name.trim_start_matches('.'))
                && found.is_repeated() == (field.label() as i32 == 3);
            if !same {
                self.different.insert(label);
            }
        }
    }
}

/// What a page holds need not satisfy field rules: Envoy does not check what it prints.
fn wire(document: Document, message: &str) -> Vec<u8> {
    let (bytes, diagnostics) = document.encode_unchecked(message);
    assert_eq!(diagnostics, []);
    bytes
}

#[test]
fn pages_print_as_envoy_prints_them() {
    let Some(folder) = envoy() else { return };
    for (file, message, defaults) in [
        ("config_dump.json", "envoy.admin.v3.ConfigDump", false),
        ("config_dump_eds.json", "envoy.admin.v3.ConfigDump", false),
        ("clusters.json", "envoy.admin.v3.Clusters", false),
        ("listeners.json", "envoy.admin.v3.Listeners", false),
        ("certs.json", "envoy.admin.v3.Certificates", true),
        ("memory.json", "envoy.admin.v3.Memory", true),
        ("server_info.json", "envoy.admin.v3.ServerInfo", true),
    ] {
        let text = fs::read_to_string(folder.join("admin").join(file)).unwrap();
        let document = Document::parse(&text, file, Format::Json).unwrap();
        let bytes = wire(document, message);
        let mut ours = String::new();
        let options = JsonOptions { defaults, redact: false, ..JsonOptions::default() };
        write_json(&mut ours, schema::message(message).unwrap(), &bytes, options);
        for (number, (ours, theirs)) in ours.lines().zip(text.lines()).enumerate() {
            assert_eq!(ours, theirs, "{file}, line {}", number + 1);
        }
        assert_eq!(ours.trim_end(), text.trim_end(), "{file}");
    }
}
