//! Values of metadata (`google.protobuf.Value`), as the plan keeps them.

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Box<str>),
    /// A list.
    List(Box<[Self]>),
    /// A map, ordered by key.
    Map(Map),
}

/// Names and values, ordered by name.
pub type Map = Box<[(Box<str>, Value)]>;
