//! What a request to `/config_dump` asks for, and whether there is such a thing.

use regex::Regex;
use ringway_xds::schema;

use super::super::page::{Request, Response};
use super::super::regex_filter;

/// One message of the dump and the list it holds.
pub(super) struct Section {
    /// Type of the message, in `envoy.admin.v3`.
    pub(super) message: &'static str,
    /// What is in it.
    pub(super) content: Content,
}

/// What a section holds.
pub(super) enum Content {
    /// `bootstrap`
    Bootstrap,
    /// A list of resources of the bootstrap.
    List { field: &'static str, element: &'static str, of: List },
    /// Nothing yet: what fills it (scoped routes, secrets) is refused when the bootstrap is loaded.
    Nothing,
}

/// Lists a dump can hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Clusters,
    Endpoints,
    Listeners,
    Routes,
}

pub(super) const SECTIONS: [Section; 7] = [
    Section { message: "BootstrapConfigDump", content: Content::Bootstrap },
    Section {
        message: "ClustersConfigDump",
        content: Content::List {
            field: "static_clusters",
            element: "StaticCluster",
            of: List::Clusters,
        },
    },
    Section {
        message: "EndpointsConfigDump",
        content: Content::List {
            field: "static_endpoint_configs",
            element: "StaticEndpointConfig",
            of: List::Endpoints,
        },
    },
    Section {
        message: "ListenersConfigDump",
        content: Content::List {
            field: "static_listeners",
            element: "StaticListener",
            of: List::Listeners,
        },
    },
    Section { message: "ScopedRoutesConfigDump", content: Content::Nothing },
    Section {
        message: "RoutesConfigDump",
        content: Content::List {
            field: "static_route_configs",
            element: "StaticRouteConfig",
            of: List::Routes,
        },
    },
    Section { message: "SecretsConfigDump", content: Content::Nothing },
];

/// What a request asks for.
pub(super) struct Query {
    pub(super) resource: Option<String>,
    pub(super) mask: Vec<String>,
    name: Option<Regex>,
    pub(super) include_eds: bool,
}

impl Query {
    pub(super) fn of(request: &Request) -> Result<Self, Response> {
        let params = &request.params;
        let name = match params.non_empty("name_regex") {
            None => None,
            Some(pattern) => {
                regex_filter::compile(pattern).map_err(|error| {
                    let text = "INVALID_ARGUMENT: Error while parsing name_regex from";
                    plain_error(400, format!("{text} {pattern}: {error}"))
                })?;
                Some(whole(pattern)?)
            }
        };
        let query = Self {
            resource: params.non_empty("resource").map(str::to_owned),
            mask: params
                .non_empty("mask")
                .map(|mask| mask.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            name,
            include_eds: params.has("include_eds"),
        };
        query.check()?;
        Ok(query)
    }

    /// Does what is asked for exist?
    fn check(&self) -> Result<(), Response> {
        let Some(resource) = &self.resource else {
            if !self.mask.is_empty() && !self.sections().any(|section| self.masks(section)) {
                let mask = self.mask.join(",");
                return Err(plain_error(
                    400,
                    format!("FieldMask {mask} could not be successfully applied to any configs."),
                ));
            }
            return Ok(());
        };
        let found = self.sections().find_map(|section| field(section.message, resource));
        match found {
            None => Err(plain_error(404, format!("{resource} not found in config dump"))),
            Some(field) if !field.is_repeated() => Err(plain_error(
                400,
                format!(
                    "{resource} is not a repeated field. \
                     Use ?mask={resource} to get only this field"
                ),
            )),
            Some(field) => {
                let element = field.message().map(schema::MessageType::full_name);
                let fits = |path: &String| element.is_some_and(|name| leads_somewhere(name, path));
                if self.mask.iter().all(fits) {
                    return Ok(());
                }
                let mask = self.mask.join(",");
                Err(plain_error(400, format!("FieldMask {mask} could not be successfully used.")))
            }
        }
    }

    fn sections(&self) -> impl Iterator<Item = &'static Section> {
        let eds = self.include_eds;
        SECTIONS.iter().filter(move |section| {
            eds || !matches!(section.content, Content::List { of: List::Endpoints, .. })
        })
    }

    /// Does every path of the mask lead somewhere in this section?
    pub(super) fn masks(&self, section: &Section) -> bool {
        let name = admin_type(section.message);
        self.mask.iter().all(|path| leads_somewhere(&name, path))
    }

    pub(super) fn wants_name(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

/// An error whose content type is the short one, as here only.
fn plain_error(status: u16, text: String) -> Response {
    let early_nosniff = !text.starts_with("INVALID_ARGUMENT");
    Response { content_type: "text/plain", early_nosniff, ..Response::error(status, text) }
}

/// The pattern, as one that has to match a whole name.
fn whole(pattern: &str) -> Result<Regex, Response> {
    regex_filter::compile(&format!("^(?:{pattern})$")).map_err(|error| plain_error(400, error))
}

pub(super) fn admin_type(message: &str) -> String {
    format!("envoy.admin.v3.{message}")
}

fn field(message: &str, name: &str) -> Option<schema::Field> {
    schema::message(&admin_type(message))?.field_named(name)
}

/// Does a path of a mask name fields that exist? What is in an `Any` is not known here.
fn leads_somewhere(message: &str, path: &str) -> bool {
    let mut at = schema::message(message);
    for step in path.split('.') {
        let Some(message) = at else { return false };
        if message.full_name() == "google.protobuf.Any" {
            return true;
        }
        let Some(field) = message.field_named(step) else { return false };
        at = field.message();
    }
    true
}
