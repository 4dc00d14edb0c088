//! Where a dump is printed from: the bootstrap, what xDS brought, and the hosts there are.

use std::rc::Rc;
use std::sync::Arc;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::super::{Admin, View, endpoints, routes};
use super::query::List;
use crate::config::sds::redact;
use crate::control::clock;
use crate::control::json::Json;
use crate::control::print;
use crate::control::xds::{DumpSnapshot, Dumped, Kind, Raw, Refused, ResourceState};
use crate::plan::Cluster;
use crate::plan::cluster::Discovery;

/// Before the name of a type.
pub(super) const PREFIX: &str = "type.googleapis.com/";

/// What there is, at the moment of the request.
pub(super) struct Source {
    bootstrap: Bootstrap,
    loaded: String,
    view: Rc<View>,
    snapshot: Arc<DumpSnapshot>,
}

/// A resource: its name, and the fields of the element it is printed in.
pub(super) struct Resource {
    pub(super) name: String,
    fields: Vec<(&'static str, Value)>,
}

/// The value of an element's field.
enum Value {
    Text(String),
    /// An `Any` of this type.
    Typed(&'static str, Body),
    /// A list of them.
    AllTyped(&'static str, Vec<Body>),
    Fields(Vec<(&'static str, Self)>),
}

/// A message: printed only if its resource is asked for.
enum Body {
    Json(String),
    Encoded(Vec<u8>),
    Raw(Arc<Raw>),
}

impl Source {
    pub(super) fn new(admin: &Admin) -> Self {
        Self {
            bootstrap: admin.dump.bootstrap(),
            loaded: clock::rfc3339(admin.dump.loaded),
            view: admin.view(),
            snapshot: admin.snapshot(),
        }
    }

    pub(super) fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }

    /// When the bootstrap was loaded.
    pub(super) fn loaded(&self) -> &str {
        &self.loaded
    }

    /// Whether anybody has asked for resources of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.snapshot.kind(kind).is_some()
    }

    /// The version of the last response of a kind.
    pub(super) fn version(&self, kind: Kind) -> Option<Arc<str>> {
        let version = &self.snapshot.kind(kind)?.version;
        (!version.is_empty()).then(|| version.clone())
    }

    /// The resource at `index` of a list.
    pub(super) fn resource(&self, list: List, index: usize) -> Option<Resource> {
        use ResourceState::{Active, Draining, Warming};
        match list {
            List::StaticClusters
            | List::StaticListeners
            | List::StaticRoutes
            | List::StaticSecrets => self.of_bootstrap(list, index),
            List::StaticEndpoints => self.endpoints(false, index),
            List::DynamicEndpoints => self.endpoints(true, index),
            List::ActiveClusters => {
                let active = |dumped: &&Dumped| matches!(dumped.state, Active | Draining);
                self.version_of(Kind::Cluster, "cluster", active, index)
            }
            List::WarmingClusters => {
                let warming = |dumped: &&Dumped| dumped.state == Warming;
                self.version_of(Kind::Cluster, "cluster", warming, index)
            }
            List::Extensions => self.version_of(Kind::Extension, "ecds_filter", |_| true, index),
            List::DynamicListeners => self.listener(index),
            List::DynamicScopes => (index == 0).then(|| self.scopes()).flatten(),
            List::DynamicRoutes => self.version_of(Kind::Routes, "route_config", |_| true, index),
            List::ActiveSecrets => {
                let active = |dumped: &&Dumped| dumped.state != Warming && dumped.raw.is_some();
                self.secret(active, index)
            }
            List::WarmingSecrets => {
                let warming = |dumped: &&Dumped| dumped.state == Warming || dumped.raw.is_none();
                self.secret(warming, index)
            }
        }
    }

    /// In the order of the bootstrap.
    fn of_bootstrap(&self, list: List, index: usize) -> Option<Resource> {
        let resources = self.bootstrap.static_resources.as_ref()?;
        let dated = |field, kind: Kind, name: &str, bytes: Vec<u8>| Resource {
            name: name.to_owned(),
            fields: vec![
                (field, Value::Typed(kind.message(), Body::Encoded(bytes))),
                ("last_updated", Value::Text(self.loaded.clone())),
            ],
        };
        match list {
            List::StaticClusters => resources.clusters.get(index).map(|cluster| {
                let bytes = cluster.encode_to_vec();
                dated("cluster", Kind::Cluster, &cluster.name, bytes)
            }),
            List::StaticListeners => resources.listeners.get(index).map(|listener| {
                let bytes = listener.encode_to_vec();
                dated("listener", Kind::Listener, &listener.name, bytes)
            }),
            List::StaticRoutes => routes::inline(resources).nth(index).map(|routes| {
                let bytes = routes.encode_to_vec();
                dated("route_config", Kind::Routes, &routes.name, bytes)
            }),
            List::StaticSecrets => resources.secrets.get(index).map(|secret| {
                let body = Body::Encoded(shown(secret.clone()));
                Resource {
                    name: secret.name.clone(),
                    fields: vec![
                        ("name", Value::Text(secret.name.clone())),
                        ("secret", Value::Typed(Kind::Secret.message(), body)),
                    ],
                }
            }),
            _ => None,
        }
    }

    /// The hosts of a cluster, as they are now.
    fn endpoints(&self, dynamic: bool, index: usize) -> Option<Resource> {
        let kind =
            |cluster: &&Arc<Cluster>| matches!(cluster.discovery, Discovery::Eds(_)) == dynamic;
        let cluster = self.view.plan.clusters.iter().flatten().filter(kind).nth(index)?;
        let json = endpoints::assignment(cluster, self.view.hosts(cluster));
        Some(Resource {
            name: cluster.name.to_string(),
            fields: vec![(
                "endpoint_config",
                Value::Typed(Kind::Endpoints.message(), Body::Json(json)),
            )],
        })
    }

    /// The version of a resource, in an element that holds it in `field`.
    fn version_of(
        &self,
        kind: Kind,
        field: &'static str,
        wanted: impl Fn(&&Dumped) -> bool,
        index: usize,
    ) -> Option<Resource> {
        let dumped = self.snapshot.kind(kind)?.resources.iter().filter(wanted).nth(index)?;
        let mut fields = dumped.raw.iter().flat_map(|raw| state(kind, field, raw)).collect();
        add_error(kind, dumped.refused.as_ref(), &mut fields);
        Some(Resource { name: dumped.name.to_string(), fields })
    }

    /// A listener with all its versions: they are next to each other.
    fn listener(&self, index: usize) -> Option<Resource> {
        let all = &self.snapshot.kind(Kind::Listener)?.resources;
        let versions = all.chunk_by(|one, next| one.name == next.name).nth(index)?;
        let name = versions.first()?.name.to_string();
        let mut fields = vec![("name", Value::Text(name.clone()))];
        for dumped in versions {
            let Some(raw) = &dumped.raw else { continue };
            let field = match dumped.state {
                ResourceState::Active => "active_state",
                ResourceState::Warming => "warming_state",
                ResourceState::Draining => "draining_state",
            };
            fields.push((field, Value::Fields(state(Kind::Listener, "listener", raw))));
        }
        let refused = versions.iter().find_map(|dumped| dumped.refused.as_ref());
        add_error(Kind::Listener, refused, &mut fields);
        Some(Resource { name, fields })
    }

    /// All scopes, in one element.
    fn scopes(&self) -> Option<Resource> {
        let all = self.snapshot.kind(Kind::Scope)?;
        let raws: Vec<&Arc<Raw>> =
            all.resources.iter().filter_map(|dumped| dumped.raw.as_ref()).collect();
        let updated = raws.iter().map(|raw| raw.updated).max()?;
        let bodies = raws.iter().map(|raw| Body::Raw(Arc::clone(raw))).collect();
        let mut fields = Vec::new();
        if !all.version.is_empty() {
            fields.push(("version_info", Value::Text(all.version.to_string())));
        }
        fields.push(("scoped_route_configs", Value::AllTyped(Kind::Scope.message(), bodies)));
        fields.push(("last_updated", Value::Text(clock::rfc3339(updated))));
        Some(Resource { name: String::new(), fields })
    }

    fn secret(&self, wanted: impl Fn(&&Dumped) -> bool, index: usize) -> Option<Resource> {
        let all = self.snapshot.kind(Kind::Secret)?;
        let dumped = all.resources.iter().filter(wanted).nth(index)?;
        let mut fields = vec![("name", Value::Text(dumped.name.to_string()))];
        if let Some(raw) = &dumped.raw {
            let mut own = state(Kind::Secret, "secret", raw);
            // Envoy puts the secret itself last.
            own.retain(|(field, _)| *field != "secret");
            if let Ok(secret) = tls::Secret::decode(&*raw.body) {
                let body = Body::Encoded(shown(secret));
                own.push(("secret", Value::Typed(Kind::Secret.message(), body)));
            }
            fields.append(&mut own);
        }
        add_error(Kind::Secret, dumped.refused.as_ref(), &mut fields);
        Some(Resource { name: dumped.name.to_string(), fields })
    }
}

/// A secret with the bytes of its files, and without what is secret about it.
fn shown(mut secret: tls::Secret) -> Vec<u8> {
    redact(&mut secret);
    secret.encode_to_vec()
}

/// `version_info`, the resource, `last_updated`.
fn state(kind: Kind, field: &'static str, raw: &Arc<Raw>) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::with_capacity(3);
    if !raw.version.is_empty() {
        fields.push(("version_info", Value::Text(raw.version.to_string())));
    }
    fields.push((field, Value::Typed(kind.message(), Body::Raw(Arc::clone(raw)))));
    fields.push(("last_updated", Value::Text(clock::rfc3339(raw.updated))));
    fields
}

/// `error_state`: an `UpdateFailureState`.
fn add_error(kind: Kind, refused: Option<&Arc<Refused>>, fields: &mut Vec<(&'static str, Value)>) {
    let Some(Refused { raw, details }) = refused.map(|refused| &**refused) else { return };
    let body = Body::Raw(Arc::clone(raw));
    let mut state = vec![
        ("failed_configuration", Value::Typed(kind.message(), body)),
        ("last_update_attempt", Value::Text(clock::rfc3339(raw.updated))),
        ("details", Value::Text(details.to_string())),
    ];
    if !raw.version.is_empty() {
        state.push(("version_info", Value::Text(raw.version.to_string())));
    }
    fields.push(("error_state", Value::Fields(state)));
}

impl Resource {
    /// `{"@type"?: …, "cluster": {"@type": …, …}, "last_updated": …}`
    pub(super) fn print(&self, type_url: Option<&str>) -> String {
        let mut json = Json::new();
        json.object();
        if let Some(url) = type_url {
            json.key("@type").string(url);
        }
        write(&self.fields, &mut json);
        json.end_object();
        json.finish()
    }
}

fn write(fields: &[(&'static str, Value)], json: &mut Json) {
    for (key, value) in fields {
        json.key(key);
        match value {
            Value::Text(text) => {
                json.string(text);
            }
            Value::Typed(name, body) => embed(json, any(name, body)),
            Value::AllTyped(name, all) => {
                json.array();
                all.iter().for_each(|body| embed(json, any(name, body)));
                json.end_array();
            }
            Value::Fields(fields) => {
                json.object();
                write(fields, json);
                json.end_object();
            }
        }
    }
}

/// Prints a message with `@type` in front: what an `Any` of it looks like.
fn any(type_name: &str, body: &Body) -> Result<String, String> {
    let message = match body {
        Body::Json(json) => json,
        Body::Encoded(bytes) => &print::bytes(type_name, bytes)?,
        Body::Raw(raw) => &print::bytes(type_name, &raw.body)?,
    };
    let head = format!("{{\n \"@type\": \"{PREFIX}{type_name}\"");
    Ok(match message.trim_end().strip_prefix("{\n") {
        Some(rest) => format!("{head},\n{rest}"),
        None => format!("{head}\n}}"),
    })
}

/// Embeds a printed message.
pub(super) fn embed(json: &mut Json, printed: Result<String, String>) {
    match printed {
        Ok(text) => json.embed(&text),
        // A message that was loaded and does not print is a bug; the rest of the dump still helps.
        Err(problem) => json.object().key("error").string(&problem).end_object(),
    };
}
