//! All statistics in the order of their full names, without sorting them all: scopes are taken up
//! one by one, each when its prefix is reached.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::entries::{Entry, of_scope};
use crate::observe::stats::directory::Scope;
use crate::observe::stats::merge::View;

/// An iterator over statistics in ascending order of names.
#[derive(Debug)]
pub(super) struct Walk {
    view: View,
    histograms: bool,
    /// Not yet taken up, the next one last.
    scopes: Vec<Arc<Scope>>,
    open: BinaryHeap<Cursor>,
}

#[derive(Debug)]
struct Cursor {
    scope: Arc<Scope>,
    /// The next one last.
    entries: Vec<Entry>,
}

impl Walk {
    pub(super) fn new(view: View, histograms: bool) -> Self {
        let mut scopes: Vec<_> = view.names().scopes().cloned().collect();
        scopes.sort_by(|a, b| b.prefix.cmp(&a.prefix));
        Self { view, histograms, scopes, open: BinaryHeap::new() }
    }

    /// Takes up every scope whose names may come before the next one.
    fn open_scopes(&mut self) {
        while let Some(scope) = self.scopes.last() {
            if self.open.peek().is_some_and(|next| next.before_prefix(&scope.prefix)) {
                return;
            }
            let Some(scope) = self.scopes.pop() else { return };
            let mut entries = of_scope(&self.view, &scope, self.histograms);
            entries.reverse();
            if !entries.is_empty() {
                self.open.push(Cursor { scope, entries });
            }
        }
    }
}

impl Iterator for Walk {
    type Item = (Arc<Scope>, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        self.open_scopes();
        let mut cursor = self.open.peek_mut()?;
        let scope = cursor.scope.clone();
        let entry = cursor.entries.pop()?;
        if cursor.entries.is_empty() {
            std::collections::binary_heap::PeekMut::pop(cursor);
        }
        Some((scope, entry))
    }
}

impl Cursor {
    fn name(&self) -> (&str, &str) {
        let suffix = self.entries.last().map_or("", |entry| &entry.suffix);
        (&self.scope.prefix, suffix)
    }

    fn before_prefix(&self, prefix: &str) -> bool {
        compare(self.name(), (prefix, "")) == Ordering::Less
    }
}

/// Order of names that are given in two parts.
fn compare(a: (&str, &str), b: (&str, &str)) -> Ordering {
    if a.0 == b.0 {
        return a.1.cmp(b.1);
    }
    a.0.bytes().chain(a.1.bytes()).cmp(b.0.bytes().chain(b.1.bytes()))
}

/// The heap gives the greatest first, so a cursor is the greater the smaller its next name.
impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(other.name(), self.name())
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cursor {}
