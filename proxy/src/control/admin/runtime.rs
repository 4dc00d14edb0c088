//! `/runtime` and `/runtime_modify`: values by layer.

use std::collections::BTreeMap;

use super::Admin;
use super::page::{JSON, Request, Response};
use crate::control::json::Json;

/// Overrides `/runtime_modify` may hold.
const OVERRIDES_MAX: usize = 4096;

/// The layers of `layered_runtime`, lowest first; a value in a later layer wins.
#[derive(Debug, Default)]
pub struct Layers {
    layers: Vec<(String, BTreeMap<String, String>)>,
    /// Which of them is the admin layer.
    admin: Option<usize>,
}

impl Layers {
    /// No layers: what a bootstrap without `layered_runtime` has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer whose values are fixed, on top.
    pub fn push_static(&mut self, name: String, values: BTreeMap<String, String>) {
        self.layers.push((name, values));
    }

    /// Adds the layer that `/runtime_modify` writes to, on top.
    pub fn push_admin(&mut self, name: String) {
        self.admin = Some(self.layers.len());
        self.layers.push((name, BTreeMap::new()));
    }

    /// Sets a value of the admin layer; an empty one removes the override.
    ///
    /// # Errors
    /// There is no admin layer, or it is full.
    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let layer = self.admin.and_then(|at| self.layers.get_mut(at));
        let Some((_, values)) = layer else { return Err("No admin layer specified") };
        if value.is_empty() {
            values.remove(key);
        } else if values.len() < OVERRIDES_MAX || values.contains_key(key) {
            values.insert(key.to_owned(), value.to_owned());
        } else {
            return Err("Too many overrides: remove some with an empty value");
        }
        Ok(())
    }

    fn to_json(&self) -> String {
        let keys: BTreeMap<&str, ()> =
            self.layers.iter().flat_map(|(_, values)| values.keys()).map(|k| (&**k, ())).collect();
        let mut json = Json::new();
        json.object().key("entries").object();
        for key in keys.keys() {
            let values = || self.layers.iter().map(|(_, values)| values.get(*key));
            let last = values().flatten().next_back().map_or("", String::as_str);
            json.key(key).object().key("layer_values").array();
            for value in values() {
                json.string(value.map_or("", String::as_str));
            }
            json.end_array().key("final_value").string(last).end_object();
        }
        json.end_object().key("layers").array();
        for (name, _) in &self.layers {
            json.string(name);
        }
        json.end_array().end_object();
        json.finish()
    }
}

/// `/runtime`
pub(super) fn runtime(_: &Request, admin: &Admin) -> Response {
    Response::ok(JSON, admin.runtime.borrow().to_json())
}

/// `/runtime_modify`
pub(super) fn modify(request: &Request, admin: &Admin) -> Response {
    if request.params.is_empty() {
        return Response::error(
            400,
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
             or send the parameters as form values\n\
             use an empty value to remove a previously added override",
        );
    }
    for (key, value) in request.params.iter() {
        if let Err(problem) = admin.runtime.borrow_mut().set(key, value) {
            return Response::error(503, problem);
        }
    }
    Response::done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layer_wins_and_an_override_can_be_taken_back() {
        let mut layers = Layers::new();
        assert!(layers.set("a", "1").is_err());
        layers.push_static("base".to_owned(), [("a".to_owned(), "1".to_owned())].into());
        layers.push_admin("admin".to_owned());
        layers.set("a", "2").unwrap();
        assert_eq!(
            layers.to_json(),
            "{\n \"entries\": {\n  \"a\": {\n   \"layer_values\": [\n    \"1\",\n    \
             \"2\"\n   ],\n   \
             \"final_value\": \"2\"\n  }\n },\n \"layers\": [\n  \"base\",\n  \"admin\"\n ]\n}\n"
        );
        layers.set("a", "").unwrap();
        assert!(layers.to_json().contains("\"final_value\": \"1\""));
    }
}
