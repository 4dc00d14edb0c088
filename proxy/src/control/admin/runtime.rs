//! `/runtime` and `/runtime_modify`: values by layer.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::{Struct, value};
use ringway_xds::api::envoy::service::runtime::v3::Runtime;

use super::Admin;
use super::page::{JSON, Request, Response};
use crate::config::compile::runtime_key_is_refused as is_refused;
use crate::control::json::Json;
use crate::control::message::AdminCommand;
use crate::control::xds::{DumpSnapshot, Kind};

/// Overrides `/runtime_modify` may hold.
const OVERRIDES_MAX: usize = 4096;

/// The layers of `layered_runtime`, lowest first; a value in a later layer wins.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    layers: Vec<(String, Values)>,
}

/// By key.
type Flat = BTreeMap<String, String>;

#[derive(Debug, Clone)]
enum Values {
    Fixed(Flat),
    /// What `/runtime_modify` has set.
    Admin(Flat),
    /// They are where xDS keeps them.
    Rtds,
}

impl Layers {
    /// No layers: what a bootstrap without `layered_runtime` has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer whose values are fixed, on top.
    pub fn push_static(&mut self, name: String, values: &Struct) {
        let mut flat = Flat::new();
        flatten("", values, &mut flat);
        self.layers.push((name, Values::Fixed(flat)));
    }

    /// Adds the layer that `/runtime_modify` writes to, on top.
    pub fn push_admin(&mut self, name: String) {
        self.layers.push((name, Values::Admin(Flat::new())));
    }

    /// Adds a layer that RTDS fills, on top.
    pub fn push_rtds(&mut self, name: String) {
        self.layers.push((name, Values::Rtds));
    }

    /// Is there a layer that `/runtime_modify` writes to?
    pub fn has_admin(&self) -> bool {
        self.layers.iter().any(|(_, values)| matches!(values, Values::Admin(_)))
    }

    /// The admin layer.
    fn admin(&mut self) -> Option<(&str, &mut Flat)> {
        self.layers.iter_mut().find_map(|(name, values)| match values {
            Values::Admin(values) => Some((&**name, values)),
            Values::Fixed(_) | Values::Rtds => None,
        })
    }

    fn to_json(&self, xds: &DumpSnapshot) -> String {
        let layers: Vec<(&str, Cow<'_, Flat>)> = self
            .layers
            .iter()
            .map(|(name, values)| match values {
                Values::Fixed(values) | Values::Admin(values) => (&**name, Cow::Borrowed(values)),
                Values::Rtds => (&**name, Cow::Owned(of_rtds(name, xds))),
            })
            .collect();
        let keys: BTreeSet<&str> =
            layers.iter().flat_map(|(_, values)| values.keys()).map(String::as_str).collect();
        let mut json = Json::new();
        json.object().key("entries").object();
        for key in keys {
            let values = || layers.iter().map(|(_, values)| values.get(key));
            let last = values().flatten().next_back().map_or("", String::as_str);
            json.key(key).object().key("layer_values").array();
            for value in values() {
                json.string(value.map_or("", String::as_str));
            }
            json.end_array().key("final_value").string(last).end_object();
        }
        json.end_object().key("layers").array();
        for (name, _) in &layers {
            json.string(name);
        }
        json.end_array().end_object();
        json.finish()
    }
}

/// What RTDS has brought for a layer.
fn of_rtds(layer: &str, xds: &DumpSnapshot) -> Flat {
    let mut flat = Flat::new();
    let all = xds.kind(Kind::Runtime).map_or(&[][..], |kind| &kind.resources);
    let raw =
        all.iter().find(|dumped| *dumped.name == *layer).and_then(|dumped| dumped.raw.as_ref());
    let values = raw.and_then(|raw| Runtime::decode(&*raw.body).ok()?.layer);
    if let Some(values) = values {
        flatten("", &values, &mut flat);
    }
    flat
}

/// `/runtime`
pub(super) fn runtime(_: &Request, admin: &Admin) -> Response {
    Response::ok(JSON, admin.runtime.borrow().to_json(&admin.snapshot()))
}

/// `/runtime_modify`: overrides hold once the control thread has them.
pub(super) fn modify(request: &Request, admin: &Admin) -> Response {
    if request.params.is_empty() {
        return Response::error(
            400,
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
             or send the parameters as form values\n\
             use an empty value to remove a previously added override",
        );
    }
    let mut layers = admin.runtime.borrow().clone();
    let Some((layer, values)) = layers.admin() else {
        return Response::error(503, "No admin layer specified");
    };
    for (key, value) in request.params.iter() {
        if let Err(problem) = set(values, key, value) {
            return Response::error(503, problem);
        }
    }
    let (layer, values) = (layer.to_owned(), values.clone());
    let response = admin.command(AdminCommand::Runtime { layer, values });
    if response.status == 200 {
        admin.runtime.replace(layers);
    }
    response
}

/// Sets an override; an empty one is removed.
///
/// # Errors
/// The key has an effect that is not there yet, or there are too many.
fn set(values: &mut Flat, key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        values.remove(key);
    } else if is_refused(key) {
        return Err(format!("the runtime key {key} is not supported"));
    } else if values.len() < OVERRIDES_MAX || values.contains_key(key) {
        values.insert(key.to_owned(), value.to_owned());
    } else {
        return Err("Too many overrides: remove some with an empty value".to_owned());
    }
    Ok(())
}

/// Nested values get dotted names; a fraction stays one value.
fn flatten(prefix: &str, values: &Struct, out: &mut Flat) {
    for (name, value) in &values.fields {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let text = match &value.kind {
            Some(value::Kind::NumberValue(number)) => number.to_string(),
            Some(value::Kind::BoolValue(value)) => value.to_string(),
            Some(value::Kind::StringValue(text)) => text.clone(),
            Some(value::Kind::StructValue(inner)) if inner.fields.contains_key("numerator") => {
                fraction(inner)
            }
            Some(value::Kind::StructValue(inner)) => {
                flatten(&key, inner, out);
                continue;
            }
            _ => continue,
        };
        out.insert(key, text);
    }
}

/// A `FractionalPercent` as JSON on one line, as Envoy's page shows it.
fn fraction(value: &Struct) -> String {
    let numerator = match value.fields.get("numerator").and_then(|v| v.kind.as_ref()) {
        Some(value::Kind::NumberValue(number)) => *number,
        _ => 0.0,
    };
    match value.fields.get("denominator").and_then(|v| v.kind.as_ref()) {
        Some(value::Kind::StringValue(denominator)) => {
            format!("{{\"numerator\":{numerator},\"denominator\":\"{denominator}\"}}")
        }
        _ => format!("{{\"numerator\":{numerator}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Layers {
        let one = prost_types::Value { kind: Some(value::Kind::NumberValue(1.0)) };
        let values = Struct { fields: [("a".to_owned(), one)].into() };
        let mut layers = Layers::new();
        layers.push_static("base".to_owned(), &values);
        layers.push_admin("admin".to_owned());
        layers
    }

    #[test]
    fn the_last_layer_wins_and_an_override_can_be_taken_back() {
        let mut layers = layers();
        let nothing = DumpSnapshot::default();
        set(layers.admin().unwrap().1, "a", "2").unwrap();
        assert_eq!(
            layers.to_json(&nothing),
            "{\n \"entries\": {\n  \"a\": {\n   \"layer_values\": [\n    \"1\",\n    \
             \"2\"\n   ],\n   \
             \"final_value\": \"2\"\n  }\n },\n \"layers\": [\n  \"base\",\n  \"admin\"\n ]\n}\n"
        );
        set(layers.admin().unwrap().1, "a", "").unwrap();
        assert!(layers.to_json(&nothing).contains("\"final_value\": \"1\""));
    }

    #[test]
    fn keys_without_effect_are_refused() {
        let problem = set(layers().admin().unwrap().1, "upstream.use_http2", "true").unwrap_err();
        assert!(problem.contains("upstream.use_http2"), "{problem}");
    }
}
