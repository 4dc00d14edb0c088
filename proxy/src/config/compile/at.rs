//! Where in the configuration the compiler is.

use std::fmt;

/// Path to a field, as a list on the stack: a step costs nothing until somebody prints it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    /// The bootstrap itself.
    pub(crate) const fn root() -> Self {
        Self { parent: None, step: Step::Root }
    }

    /// A field of the message here; members of a oneof are fields, and so are those of the message
    /// inside an Any.
    pub(crate) const fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// An element of the list here.
    pub(crate) const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// The value of a key of the map here.
    pub(crate) const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// The last field's name.
    pub(crate) fn name(&self) -> &'a str {
        match (self.step, self.parent) {
            (Step::Field(name), _) => name,
            (_, Some(parent)) => parent.name(),
            (_, None) => "",
        }
    }
}

/// As the transcoder writes it: `static_resources.clusters[0].metadata.filter_metadata["a.b"]`.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) => {
                let first = self.parent.is_none_or(|p| matches!(p.step, Step::Root));
                write!(f, "{}{name}", if first { "" } else { "." })
            }
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[\"{key}\"]"),
        }
    }
}
