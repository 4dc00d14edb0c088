//! YAML events to a tree, with scalars resolved as Envoy's parser (yaml-cpp) does: quoted is a
//! string; plain is null, a boolean in YAML 1.1's words, a 32-bit integer, or else a string.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{DEPTH_MAX, Entry, Node, Parsed, SyntaxError, Value, yaml_integer};

/// Nodes that aliases may add to a document, so that few bytes cannot stand for gigabytes.
const ALIAS_NODES_MAX: usize = 1_000_000;

/// Findings kept of what is passed over.
const PASSED_OVER_MAX: usize = 100;

/// Parses the first document of `text`.
pub(crate) fn parse(text: &str) -> Result<Parsed, SyntaxError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| scan_error(&e))?;
        if builder.root.is_some() {
            if matches!(event, Event::DocumentStart(..)) {
                let message = "only the first document is read; this one is not".into();
                builder.pass_over(place(&span), message);
                break;
            }
            continue;
        }
        builder.event(event, &span)?;
    }
    let root = builder.root.unwrap_or(Node { line: 1, column: 1, value: Value::Null });
    Ok(Parsed { root, passed_over: builder.passed_over })
}

fn scan_error(error: &ScanError) -> SyntaxError {
    let marker = error.marker();
    SyntaxError {
        line: narrow(marker.line()).max(1),
        column: narrow(marker.col()).saturating_add(1),
        message: format!("this is not YAML: {}", error.info()),
    }
}

fn place(span: &Span) -> (u32, u32) {
    (narrow(span.start.line()).max(1), narrow(span.start.col()).saturating_add(1))
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The tree so far: finished nodes of each open collection.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    alias_nodes: usize,
    root: Option<Node>,
    passed_over: Vec<SyntaxError>,
}

/// A collection whose end has not come.
struct Open {
    line: u32,
    column: u32,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<Key>),
}

/// A key that waits for its value.
struct Key {
    text: Box<str>,
    line: u32,
    column: u32,
    /// Envoy's `!ignore` tag: the entry only holds anchors.
    ignored: bool,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), SyntaxError> {
        let (line, column) = place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref());
                let node = Node { line, column, value };
                self.remember(anchor, &node);
                let ignored = tag.is_some_and(|tag| is_ignore(&tag));
                self.add(node, Some((&text, ignored)))
            }
            Event::SequenceStart(_, anchor, _) => self.open(span, anchor, Items::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(span, anchor, Items::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, line, column),
            _ => Ok(()),
        }
    }

    fn open(&mut self, span: &Span, anchor: usize, items: Items) -> Result<(), SyntaxError> {
        let (line, column) = place(span);
        if self.open.len() >= DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} maps and lists inside one another");
            return Err(SyntaxError { line, column, message });
        }
        self.open.push(Open { line, column, anchor, items });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(Open { line, column, anchor, items }) = self.open.pop() else { return Ok(()) };
        let value = match items {
            Items::List(items) => Value::List(items),
            Items::Map(entries, _) => Value::Map(self.last_of_each(entries)),
        };
        let node = Node { line, column, value };
        self.remember(anchor, &node);
        self.add(node, None)
    }

    fn alias(&mut self, anchor: usize, line: u32, column: u32) -> Result<(), SyntaxError> {
        let Some(target) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside the value it refers to".into();
            return Err(SyntaxError { line, column, message });
        };
        self.alias_nodes += size(target);
        let deep = self.open.len() + depth(target) > DEPTH_MAX;
        if deep || self.alias_nodes > ALIAS_NODES_MAX {
            let message = format!(
                "aliases expand to more than {ALIAS_NODES_MAX} values or {DEPTH_MAX} levels"
            );
            return Err(SyntaxError { line, column, message });
        }
        let node = target.clone();
        let text = match &node.value {
            Value::String(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string().into()),
            _ => None,
        };
        self.add(node, text.as_deref().map(|text| (text, false)))
    }

    /// Takes a finished node. `key` is its text should it stand where a key is due.
    fn add(&mut self, node: Node, key: Option<(&str, bool)>) -> Result<(), SyntaxError> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.items {
            Items::List(items) => items.push(node),
            Items::Map(entries, pending) => match pending.take() {
                None => *pending = Some(Key::new(&node, key)?),
                Some(key) if key.ignored => {}
                Some(Key { text, line, column, .. }) => {
                    entries.push(Entry { key: text, line, column, node });
                }
            },
        }
        Ok(())
    }

    /// Of equal keys the last counts.
    fn last_of_each(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
        let mut hidden = vec![false; entries.len()];
        for (at, entry) in entries.iter().enumerate() {
            let Some(before) = last.insert(&entry.key, at) else { continue };
            if let (Some(flag), Some(old)) = (hidden.get_mut(before), entries.get(before)) {
                *flag = true;
                let (key, line) = (&entry.key, entry.line);
                let message = format!("`{key}` stands again on line {line}, which hides this one");
                self.pass_over((old.line, old.column), message);
            }
        }
        if hidden.contains(&true) {
            let mut hidden = hidden.into_iter();
            entries.retain(|_| !hidden.next().unwrap_or(false));
        }
        entries
    }

    fn pass_over(&mut self, (line, column): (u32, u32), message: String) {
        if self.passed_over.len() < PASSED_OVER_MAX {
            self.passed_over.push(SyntaxError { line, column, message });
        }
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }
}

impl Key {
    fn new(node: &Node, key: Option<(&str, bool)>) -> Result<Self, SyntaxError> {
        let (line, column) = (node.line, node.column);
        let Some((text, ignored)) = key else {
            let message = format!("a key must be a string, this is {}", node.describe());
            return Err(SyntaxError { line, column, message });
        };
        let text = if node.value == Value::Null { "null" } else { text };
        Ok(Self { text: text.into(), line, column, ignored })
    }
}

/// Resolves a scalar.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let quoted = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.original() == "!");
    if quoted {
        return Value::String(text.into());
    }
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    if let Some(value) = boolean(text) {
        return Value::Bool(value);
    }
    match yaml_integer(text) {
        Some(number) if i32::try_from(number).is_ok() => Value::Number(number.to_string().into()),
        // Envoy hands wider numbers on as strings, which every 64-bit field reads.
        Some(number) => Value::String(number.to_string().into()),
        None => Value::String(text.into()),
    }
}

/// YAML 1.1's booleans: lower case, upper case or capitalised.
fn boolean(text: &str) -> Option<bool> {
    let uniform = text.bytes().all(|b| b.is_ascii_lowercase())
        || text.bytes().all(|b| b.is_ascii_uppercase())
        || text.bytes().skip(1).all(|b| b.is_ascii_lowercase());
    if !uniform || text.len() > 5 {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

fn is_ignore(tag: &Tag) -> bool {
    tag.original() == "!ignore"
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
        _ => 0,
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| depth(&e.node)).max().unwrap_or(0),
        _ => 0,
    }
}
