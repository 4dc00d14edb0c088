//! A JSON document as a tree that keeps the order of its keys, for field masks.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::json::Json;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A number, `true`, `false` or `null`, as it prints.
    Plain(String),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// An object; keys in their order.
    Object(Vec<(String, Self)>),
}

impl Node {
    /// Parses a document.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Removes what no path leads to. `@type` stays wherever something else does.
    pub fn keep(&mut self, paths: &[Vec<&str>]) {
        if paths.iter().any(Vec::is_empty) {
            return;
        }
        match self {
            Self::Array(elements) => {
                for element in elements {
                    element.keep(paths);
                }
            }
            Self::Object(fields) => fields.retain_mut(|(name, value)| {
                if name == "@type" {
                    return true;
                }
                let below: Vec<Vec<&str>> = paths
                    .iter()
                    .filter(|path| path.first() == Some(&name.as_str()))
                    .map(|path| path.get(1..).unwrap_or_default().to_vec())
                    .collect();
                if !below.is_empty() {
                    value.keep(&below);
                }
                !below.is_empty()
            }),
            Self::Plain(_) | Self::Text(_) => {}
        }
    }

    /// Writes the value.
    pub fn write(&self, json: &mut Json) {
        match self {
            Self::Plain(value) => {
                json.value(value);
            }
            Self::Text(text) => {
                json.string(text);
            }
            Self::Array(elements) => {
                json.array();
                for element in elements {
                    element.write(json);
                }
                json.end_array();
            }
            Self::Object(fields) => {
                json.object();
                for (name, value) in fields {
                    json.key(name);
                    value.write(json);
                }
                json.end_object();
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain("null".to_owned()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Node::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_paths_types_and_the_order_of_keys() {
        let text = r#"{"@type":"T","z":[{"@type":"U","b":1,"a":"x"},{"c":2.5}],"y":null}"#;
        let mut node = Node::parse(text).unwrap();
        node.keep(&[vec!["z", "a"], vec!["z", "c"]]);
        let mut json = Json::new();
        node.write(&mut json);
        let kept: String = json.finish().split_whitespace().collect();
        assert_eq!(kept, r#"{"@type":"T","z":[{"@type":"U","a":"x"},{"c":2.5}]}"#);
    }
}
