//! `/config_dump`: the configuration as loaded, one resource at a time while the client reads.

mod query;

use std::rc::Rc;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;

use self::query::{Content, List, Query, SECTIONS, Section, admin_type};
use super::page::{JSON, Request, Response};
use super::{Admin, View, endpoints};
use crate::control::clock;
use crate::control::json::Json;
use crate::control::print;
use crate::control::tree::Node;

const PREFIX: &str = "type.googleapis.com/";

/// `/config_dump`
pub(super) fn config_dump(request: &Request, admin: &Admin) -> Response {
    match Query::of(request) {
        Err(response) => response,
        Ok(query) => {
            let source = Source {
                bootstrap: admin.dump.bootstrap(),
                loaded: clock::rfc3339(admin.dump.loaded),
                view: admin.view(),
            };
            Response::pieces(JSON, Pieces::new(query, source))
        }
    }
}

/// Where a dump is printed from.
struct Source {
    bootstrap: Bootstrap,
    loaded: String,
    view: Rc<View>,
}

/// A resource: its name and how it prints.
struct Resource {
    name: String,
    /// Field of the element that holds it.
    field: &'static str,
    type_name: &'static str,
    json: Result<String, String>,
    /// Endpoints have no `last_updated`.
    dated: bool,
}

impl Source {
    /// The resource at `index` of a list, in the order of the bootstrap.
    fn resource(&self, list: List, index: usize) -> Option<Resource> {
        if list == List::Endpoints {
            return self.endpoints(index);
        }
        let resources = self.bootstrap.static_resources.as_ref()?;
        let dated = |field, type_name, name: &str, bytes: Vec<u8>| Resource {
            name: name.to_owned(),
            field,
            type_name,
            json: print::bytes(type_name, &bytes),
            dated: true,
        };
        match list {
            List::Clusters => resources.clusters.get(index).map(|cluster| {
                let bytes = cluster.encode_to_vec();
                dated("cluster", "envoy.config.cluster.v3.Cluster", &cluster.name, bytes)
            }),
            List::Listeners => resources.listeners.get(index).map(|listener| {
                let bytes = listener.encode_to_vec();
                dated("listener", "envoy.config.listener.v3.Listener", &listener.name, bytes)
            }),
            List::Routes => super::routes::inline(resources).nth(index).map(|routes| {
                let bytes = routes.encode_to_vec();
                let type_name = "envoy.config.route.v3.RouteConfiguration";
                dated("route_config", type_name, &routes.name, bytes)
            }),
            List::Endpoints => None,
        }
    }

    /// The hosts of the cluster at `index`, as they are now.
    fn endpoints(&self, index: usize) -> Option<Resource> {
        let cluster = self.view.plan.clusters.iter().flatten().nth(index)?;
        Some(Resource {
            name: cluster.name.to_string(),
            field: "endpoint_config",
            type_name: "envoy.config.endpoint.v3.ClusterLoadAssignment",
            json: Ok(endpoints::assignment(cluster, self.view.hosts(cluster))),
            dated: false,
        })
    }
}

/// Prints a dump piece by piece.
struct Pieces {
    query: Query,
    source: Source,
    json: Json,
    section: usize,
    /// Next element of the section's list.
    element: usize,
    state: Place,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Place {
    /// Nothing printed yet.
    Start,
    /// Between two sections.
    Between,
    /// In a section, before its list has been opened.
    InSection,
    /// In the list of a section.
    InList,
    /// In the flat list that `resource` asks for.
    InResource,
    Done,
}

impl Pieces {
    fn new(query: Query, source: Source) -> Self {
        Self { query, source, json: Json::new(), section: 0, element: 0, state: Place::Start }
    }

    /// One step; `false` when there is nothing left.
    fn step(&mut self) -> bool {
        match self.state {
            Place::Start => self.start(),
            Place::Between => self.open_section(),
            Place::InSection | Place::InList => self.list_element(),
            Place::InResource => self.flat_element(),
            Place::Done => return false,
        }
        true
    }

    fn start(&mut self) {
        self.json.object();
        let Some(resource) = self.query.resource.clone() else {
            self.json.key("configs").array();
            self.state = Place::Between;
            return;
        };
        let at = SECTIONS.iter().position(
            |section| matches!(section.content, Content::List { field, .. } if field == resource),
        );
        match at {
            Some(at) => {
                self.section = at;
                self.state = Place::InResource;
            }
            // A list that exists and is always empty, such as dynamic_listeners.
            None => self.end(),
        }
    }

    fn end(&mut self) {
        self.json.end_object();
        self.state = Place::Done;
    }

    fn open_section(&mut self) {
        let Some(section) = SECTIONS.get(self.section) else {
            self.json.end_array();
            self.end();
            return;
        };
        let skipped = (!self.query.mask.is_empty() && !self.query.masks(section))
            || (!self.query.include_eds
                && matches!(section.content, Content::List { of: List::Endpoints, .. }));
        if skipped {
            self.section += 1;
            return;
        }
        match section.content {
            Content::Bootstrap => {
                self.bootstrap(section.message);
                self.section += 1;
            }
            Content::Nothing => {
                self.begin(section.message);
                self.json.end_object();
                self.section += 1;
            }
            Content::List { .. } => {
                self.begin(section.message);
                self.element = 0;
                self.state = Place::InSection;
            }
        }
    }

    fn begin(&mut self, message: &str) {
        let name = format!("{PREFIX}{}", admin_type(message));
        self.json.object().key("@type").string(&name);
    }

    fn bootstrap(&mut self, message: &str) {
        let bytes = self.source.bootstrap.encode_to_vec();
        let mut json = Json::new();
        json.object().key("@type").string(&format!("{PREFIX}{}", admin_type(message)));
        json.key("bootstrap");
        embed(&mut json, print::bytes("envoy.config.bootstrap.v3.Bootstrap", &bytes));
        json.key("last_updated").string(&self.source.loaded).end_object();
        self.masked(&json.finish(), &self.query.mask.clone());
    }

    /// Writes a document, without what the mask leaves out.
    fn masked(&mut self, document: &str, mask: &[String]) {
        if mask.is_empty() {
            self.json.embed(document);
            return;
        }
        match Node::parse(document) {
            Ok(mut node) => {
                let paths: Vec<Vec<&str>> = mask.iter().map(|p| p.split('.').collect()).collect();
                node.keep(&paths);
                node.write(&mut self.json);
            }
            Err(_) => {
                self.json.embed(document);
            }
        }
    }

    fn list_element(&mut self) {
        let Some(Section { content: Content::List { field, of, .. }, .. }) =
            SECTIONS.get(self.section)
        else {
            self.state = Place::Between;
            return;
        };
        let Some(resource) = self.source.resource(*of, self.element) else {
            if self.state == Place::InList {
                self.json.end_array();
            }
            self.json.end_object();
            self.section += 1;
            self.state = Place::Between;
            return;
        };
        self.element += 1;
        if !self.query.wants_name(&resource.name) {
            return;
        }
        if self.state == Place::InSection {
            self.json.key(field).array();
            self.state = Place::InList;
        }
        // The mask is relative to the section: take the list's own name off its paths.
        let own = format!("{field}.");
        let mask: Vec<String> = self
            .query
            .mask
            .iter()
            .filter_map(|path| path.strip_prefix(&own).map(str::to_owned))
            .collect();
        let whole = self.query.mask.iter().any(|path| path == field);
        let document = self.element_json(&resource, None);
        self.masked(&document, if whole { &[] } else { &mask });
    }

    fn flat_element(&mut self) {
        let Some(Section { message, content: Content::List { element, of, .. } }) =
            SECTIONS.get(self.section)
        else {
            self.end();
            return;
        };
        let Some(resource) = self.source.resource(*of, self.element) else {
            if self.opened() {
                self.json.end_array();
            }
            self.end();
            return;
        };
        self.element += 1;
        if !self.query.wants_name(&resource.name) {
            return;
        }
        if !self.opened() {
            self.json.key("configs").array();
        }
        let name = format!("{PREFIX}{}.{element}", admin_type(message));
        let document = self.element_json(&resource, Some(&name));
        let mask = self.query.mask.clone();
        self.masked(&document, &mask);
    }

    /// Has `configs` been opened? Two brackets are open then.
    fn opened(&self) -> bool {
        self.json.depth() > 1
    }

    /// `{"@type"?: …, "cluster": {"@type": …, …}, "last_updated": …}`
    fn element_json(&self, resource: &Resource, type_url: Option<&str>) -> String {
        let mut json = Json::new();
        json.object();
        if let Some(url) = type_url {
            json.key("@type").string(url);
        }
        json.key(resource.field);
        let typed = resource.json.clone().map(|text| with_type(&text, resource.type_name));
        embed(&mut json, typed);
        if resource.dated {
            json.key("last_updated").string(&self.source.loaded);
        }
        json.end_object();
        json.finish()
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while self.json.pending() < super::PIECE_BYTES {
            if !self.step() {
                break;
            }
        }
        if self.state == Place::Done {
            if self.json.pending() == 0 {
                return None;
            }
            return Some(std::mem::take(&mut self.json).finish());
        }
        Some(self.json.take())
    }
}

fn embed(json: &mut Json, printed: Result<String, String>) {
    match printed {
        Ok(text) => json.embed(&text),
        // A message that was loaded and does not print is a bug; the rest of the dump still helps.
        Err(problem) => json.object().key("error").string(&problem).end_object(),
    };
}

/// Puts `@type` in front of a printed message: what an `Any` of it looks like.
fn with_type(message: &str, type_name: &str) -> String {
    let head = format!("{{\n \"@type\": \"{PREFIX}{type_name}\"");
    match message.trim_end().strip_prefix("{\n") {
        Some(rest) => format!("{head},\n{rest}"),
        None => format!("{head}\n}}"),
    }
}
