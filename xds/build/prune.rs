//! Cuts the descriptor set down to what the proxy has types for, message by message.

use std::collections::{HashMap, HashSet};

use crate::descriptor::{File, FileSet, MessageType};
use crate::roots::ROOTS;

/// The files of `set` with only those top-level messages and enums that [`ROOTS`] reach, and all of
/// `google.protobuf` (which prost-build looks into, and takes from prost-types).
pub(crate) fn prune(set: &FileSet) -> Result<FileSet, String> {
    let index = Index::new(set);
    let mut kept = HashSet::new();
    let mut queue = Vec::new();
    for root in ROOTS {
        let before = queue.len();
        queue.extend(index.names.keys().filter(|name| root_covers(root, name)).copied());
        if queue.len() == before {
            return Err(format!("no message matches the root `{root}` of build/roots.rs"));
        }
    }
    while let Some(name) = queue.pop() {
        if !kept.insert(name) {
            continue;
        }
        if let Some(message) = index.names.get(name).copied().flatten() {
            let mut children = Vec::new();
            references(message, &mut children);
            for child in children {
                queue.push(index.top_level(child)?);
            }
        }
    }
    Ok(FileSet { files: set.files.iter().filter_map(|file| keep(file, &kept)).collect() })
}

/// A root is a message (`a.b.C`) or every message of a package and those below it (`a.b.*`).
fn root_covers(root: &str, name: &str) -> bool {
    match root.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => root == name,
    }
}

fn references<'a>(message: &'a MessageType, found: &mut Vec<&'a str>) {
    found.extend(message.fields.iter().filter_map(|field| field.type_name.as_deref()));
    for nested in &message.nested {
        references(nested, found);
    }
}

fn keep(file: &File, kept: &HashSet<&str>) -> Option<File> {
    if file.package == "google.protobuf" {
        return Some(file.clone());
    }
    let is_kept = |name: &str| kept.contains(format!("{}.{name}", file.package).as_str());
    let mut file = file.clone();
    file.messages.retain(|message| is_kept(&message.name));
    file.enums.retain(|kind| is_kept(&kind.name));
    file.dependencies.clear();
    file.messages.iter_mut().for_each(undeprecate);
    (!file.messages.is_empty() || !file.enums.is_empty()).then_some(file)
}

/// We implement deprecated fields as long as Envoy does; a compiler warning at each use would only
/// be switched off. Who configures them is warned by the table.
fn undeprecate(message: &mut MessageType) {
    for field in &mut message.fields {
        field.options = None;
    }
    message.nested.iter_mut().for_each(undeprecate);
    if let Some(options) = &mut message.options {
        options.deprecated = None;
    }
}

/// Full names of top-level messages and enums (`None`).
struct Index<'a> {
    names: HashMap<&'a str, Option<&'a MessageType>>,
}

impl<'a> Index<'a> {
    fn new(set: &'a FileSet) -> Self {
        let mut names = HashMap::new();
        for file in &set.files {
            let full = |name: &str| -> &'static str {
                // Lives as long as the build script, which is short.
                Box::leak(format!("{}.{name}", file.package).into_boxed_str())
            };
            for message in &file.messages {
                names.insert(full(&message.name), Some(message));
            }
            for kind in &file.enums {
                names.insert(full(&kind.name), None);
            }
        }
        Self { names }
    }

    /// `.pkg.Outer.Inner` belongs to `pkg.Outer`.
    fn top_level(&self, reference: &'a str) -> Result<&'a str, String> {
        let mut name = reference.trim_start_matches('.');
        loop {
            if let Some((known, _)) = self.names.get_key_value(name) {
                return Ok(known);
            }
            name = name
                .rsplit_once('.')
                .map(|(outer, _)| outer)
                .ok_or_else(|| format!("no message `{reference}` in the descriptors"))?;
        }
    }
}
