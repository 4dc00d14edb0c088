//! Makes two things of Envoy's API descriptors: prost types of the messages Ringway uses, and one
//! compact table of the fields and rules of all messages.

mod descriptor;
mod locate;
mod newer;
mod prune;
mod roots;
mod table;

use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() {
    println!("cargo::rerun-if-changed=build");
    if let Err(text) = run() {
        eprintln!("ringway-xds: {text}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let bytes = locate::descriptor_set()?;
    let mut set = descriptor::FileSet::decode(bytes.as_slice())
        .map_err(|e| format!("types.bin is no FileDescriptorSet: {e}"))?;
    newer::add_to(&mut set)?;
    fs::write(out.join("schema.bin"), table::build(&set)?).map_err(|e| e.to_string())?;
    types(&set)
}

/// Generates prost types of what [`roots::ROOTS`] reaches, as one tree of modules in `api.rs`.
fn types(set: &descriptor::FileSet) -> Result<(), String> {
    let pruned = prune::prune(set)?;
    let plain = prost_types::FileDescriptorSet::decode(pruned.encode_to_vec().as_slice())
        .map_err(|e| e.to_string())?;
    prost_build::Config::new()
        .enable_type_names()
        .disable_comments(["."])
        .btree_map(["."])
        .include_file("api.rs")
        .compile_fds(plain)
        .map_err(|e| format!("generating types: {e}"))
}
