//! The path to the field at hand, grown and cut while walking.

use std::fmt::Write;

/// `static_resources.clusters[0].metadata.filter_metadata["envoy.lb"]`.
#[derive(Default, Debug)]
pub(crate) struct Path(String);

/// How long the path was before a step.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl Path {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below another.
    pub(crate) fn within(outer: &Self, inner: &str) -> Self {
        let mut path = Self(outer.0.clone());
        if !inner.is_empty() {
            path.field(inner);
        }
        path
    }

    pub(crate) fn field(&mut self, name: &str) -> Mark {
        let mark = Mark(self.0.len());
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        mark
    }

    pub(crate) fn index(&mut self, index: usize) -> Mark {
        let mark = Mark(self.0.len());
        // Writing to a String does not fail.
        let _ = write!(self.0, "[{index}]");
        mark
    }

    pub(crate) fn key(&mut self, key: &str) -> Mark {
        let mark = Mark(self.0.len());
        let _ = write!(self.0, "[\"{key}\"]");
        mark
    }

    pub(crate) fn back(&mut self, mark: Mark) {
        self.0.truncate(mark.0);
    }
}
