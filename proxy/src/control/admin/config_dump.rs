//! `/config_dump`: the configuration as loaded, one resource at a time while the client reads.

mod query;
mod source;
#[cfg(test)]
mod tests;

use prost::Message;

use self::query::{Query, SECTIONS, Section, Shown, admin_type};
use self::source::{PREFIX, Source, embed};
use super::Admin;
use super::page::{JSON, Request, Response};
use crate::control::json::Json;
use crate::control::print;
use crate::control::tree::Node;

/// `/config_dump`
pub(super) fn config_dump(request: &Request, admin: &Admin) -> Response {
    match Query::of(request) {
        Err(response) => response,
        Ok(query) => Response::pieces(JSON, Pieces::new(query, Source::new(admin))),
    }
}

/// Prints a dump piece by piece.
struct Pieces {
    query: Query,
    source: Source,
    json: Json,
    section: usize,
    /// Next list of the section.
    list: usize,
    /// Next element of that list.
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
        Self {
            query,
            source,
            json: Json::new(),
            section: 0,
            list: 0,
            element: 0,
            state: Place::Start,
        }
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
        let at = SECTIONS.iter().enumerate().find_map(|(section, found)| {
            let list = found.lists.iter().position(|listed| listed.field == resource)?;
            Some((section, list))
        });
        match at {
            Some((section, list)) => {
                (self.section, self.list) = (section, list);
                self.state = Place::InResource;
            }
            // A list that exists and is always empty, such as inline_scoped_route_configs.
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
        let shown = match section.shown {
            Shown::Always => true,
            Shown::WithEndpoints => self.query.include_eds,
            Shown::Asked(kind) => self.source.has(kind),
        };
        if !shown || (!self.query.mask.is_empty() && !self.query.masks(section)) {
            self.section += 1;
            return;
        }
        if section.lists.is_empty() {
            self.bootstrap(section.message);
            self.section += 1;
            return;
        }
        self.begin(section);
        (self.list, self.element) = (0, 0);
        self.state = Place::InSection;
    }

    fn begin(&mut self, section: &Section) {
        let name = format!("{PREFIX}{}", admin_type(section.message));
        self.json.object().key("@type").string(&name);
        let masked = |query: &Query| {
            !query.mask.is_empty() && !query.mask.iter().any(|path| path == "version_info")
        };
        let version = section.version.and_then(|kind| self.source.version(kind));
        if let Some(version) = version.filter(|_| !masked(&self.query)) {
            self.json.key("version_info").string(&version);
        }
    }

    fn bootstrap(&mut self, message: &str) {
        let bytes = self.source.bootstrap().encode_to_vec();
        let mut json = Json::new();
        json.object().key("@type").string(&format!("{PREFIX}{}", admin_type(message)));
        json.key("bootstrap");
        embed(&mut json, print::bytes("envoy.config.bootstrap.v3.Bootstrap", &bytes));
        json.key("last_updated").string(self.source.loaded()).end_object();
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
        let listed = SECTIONS.get(self.section).and_then(|section| section.lists.get(self.list));
        let Some(listed) = listed else {
            self.json.end_object();
            self.section += 1;
            self.state = Place::Between;
            return;
        };
        let Some(resource) = self.source.resource(listed.of, self.element) else {
            if self.state == Place::InList {
                self.json.end_array();
                self.state = Place::InSection;
            }
            (self.list, self.element) = (self.list + 1, 0);
            return;
        };
        self.element += 1;
        let field = listed.field;
        let own = format!("{field}.");
        let mask = &self.query.mask;
        let whole = mask.is_empty() || mask.iter().any(|path| path == field);
        // The mask is relative to the section: take the list's own name off its paths.
        let mask: Vec<String> =
            mask.iter().filter_map(|path| path.strip_prefix(&own).map(str::to_owned)).collect();
        if !self.query.wants_name(&resource.name) || (!whole && mask.is_empty()) {
            return;
        }
        if self.state == Place::InSection {
            self.json.key(field).array();
            self.state = Place::InList;
        }
        let document = resource.print(None);
        self.masked(&document, if whole { &[] } else { &mask });
    }

    fn flat_element(&mut self) {
        let found = SECTIONS.get(self.section).and_then(|section| {
            section.lists.get(self.list).map(|listed| (section.message, listed))
        });
        let Some((message, listed)) = found else {
            self.end();
            return;
        };
        let Some(resource) = self.source.resource(listed.of, self.element) else {
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
        let name = format!("{PREFIX}{}.{}", admin_type(message), listed.element);
        let document = resource.print(Some(&name));
        let mask = self.query.mask.clone();
        self.masked(&document, &mask);
    }

    /// Has `configs` been opened? Two brackets are open then.
    fn opened(&self) -> bool {
        self.json.depth() > 1
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
