//! From a field path to a place in the text.

use super::{Node, Value};
use crate::schema::is_camel_of;

/// Where a path leads: which of the trees, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tree: usize,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Whether the whole path was found, or only the beginning of it.
    pub(crate) exact: bool,
}

/// Finds `static_resources.clusters[3].name` in trees that were merged in this order: lists are
/// one after the other, and of two scalars the last counts. What is not there is looked for in
/// what is around it.
pub(crate) fn find(roots: &[&Node], path: &str) -> Option<Place> {
    let mut found: Vec<Found<'_>> =
        roots.iter().enumerate().map(|(tree, node)| Found::new(tree, node)).collect();
    let mut exact = true;
    for step in Steps(path) {
        let next = match step {
            Step::Key(key) => found.iter().filter_map(|at| at.key(key)).collect(),
            Step::Index(index) => index_into(&found, index),
        };
        if Vec::is_empty(&next) {
            exact = false;
            break;
        }
        found = next;
    }
    let last = found.last()?;
    Some(Place { tree: last.tree, line: last.place.0, column: last.place.1, exact })
}

#[derive(Clone, Copy)]
struct Found<'a> {
    tree: usize,
    node: &'a Node,
    place: (u32, u32),
}

impl<'a> Found<'a> {
    fn new(tree: usize, node: &'a Node) -> Self {
        Self { tree, node, place: (node.line, node.column) }
    }

    fn key(&self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = entries
            .iter()
            .rev()
            .find(|entry| *entry.key == *key)
            .or_else(|| entries.iter().rev().find(|entry| is_camel_of(key, &entry.key)))?;
        Some(Self { tree: self.tree, node: &entry.node, place: entry.place() })
    }
}

/// One value where a list is due is a list of one.
fn index_into<'a>(found: &[Found<'a>], mut index: usize) -> Vec<Found<'a>> {
    for at in found {
        let length = match &at.node.value {
            Value::List(items) => match items.get(index) {
                Some(item) => return vec![Found::new(at.tree, item)],
                None => items.len(),
            },
            Value::Null => 0,
            _ if index == 0 => return vec![*at],
            _ => 1,
        };
        index -= length;
    }
    Vec::new()
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Cuts a path into keys and indexes; a key in `["…"]` may hold any character.
struct Steps<'a>(&'a str);

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        self.0 = self.0.strip_prefix('.').unwrap_or(self.0);
        if self.0.is_empty() {
            return None;
        }
        if let Some((key, rest)) = self.0.strip_prefix("[\"").and_then(|r| r.split_once("\"]")) {
            self.0 = rest;
            return Some(Step::Key(key));
        }
        if let Some((index, rest)) = self.0.strip_prefix('[').and_then(|r| r.split_once(']')) {
            self.0 = rest;
            return Some(index.parse().map_or(Step::Key(index), Step::Index));
        }
        // A bracket that opens nothing is part of a key, else this would never end.
        let end = self.0.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '['));
        let (key, rest) = self.0.split_at(end.map_or(self.0.len(), |(at, _)| at));
        self.0 = rest;
        Some(Step::Key(key))
    }
}
