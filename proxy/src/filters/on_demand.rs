//! `envoy.filters.http.on_demand`: a request whose cluster, virtual host or route table is not
//! there waits while it is fetched, and then goes on with what has come.
//!
//! LIFECYCLE: no route, and VHDS or a scope with `on_demand` may bring one → wait → route chosen
//! anew → its cluster is not there, and `odcds` may bring it → wait → route chosen anew → goes on.
//! Each is waited for once; what has not come by then is answered as without the filter.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prost_types::Any;
use ringway_wire::{Name, RequestHead};
use ringway_xds::api::envoy::extensions::filters::http::on_demand::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Phases, Step, StreamCx};
use crate::config::compile::{At, Cx, on_demand_clusters};
use crate::http::stream::Matched;
use crate::plan::ClusterId;
use crate::plan::demand::{Demand, OnDemandClusters};
use crate::plan::route::{Action, ClusterChoice, Lookup, RouteTable, WeightedTarget};
use crate::shard::demands::Waiting;

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.on_demand.v3.OnDemand",
    compile,
    route_type_name: "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig",
    compile_route,
};

/// Its options: where clusters come from, if they do.
#[derive(Debug)]
pub(crate) struct Config(Option<Arc<OnDemandClusters>>);

/// The same on a route, in place of those of the chain.
#[derive(Debug)]
pub(crate) struct Route(Option<Arc<OnDemandClusters>>);

/// One request.
#[derive(Default)]
pub(crate) struct Filter {
    waiting: Option<Waiting>,
    asked_for_route: bool,
    asked_for_cluster: bool,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let api::OnDemand { odcds } = cx.unpack(at, any)?;
    clusters(cx, at, odcds).map(Config)
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    let api::PerRouteConfig { odcds } = cx.unpack(at, any)?;
    clusters(cx, at, odcds).map(Route)
}

fn clusters(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    odcds: Option<api::OnDemandCds>,
) -> Option<Option<Arc<OnDemandClusters>>> {
    let Some(config) = odcds else { return Some(None) };
    on_demand_clusters(cx, &at.field("odcds"), &config).map(Some)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS | Phases::END
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        cx: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        if self.waiting.is_none() {
            let Some((what, from)) = self.wanted(config, s) else { return CONTINUE };
            self.waiting = s.conn.shard.demands.ask(what, from.as_ref());
        }
        // There is too much that is waited for already: the request takes what there is.
        let Some(waiting) = &self.waiting else { return CONTINUE };
        let _whatever = ready!(waiting.poll(cx));
        self.waiting = None;
        Poll::Ready(Step::Again)
    }

    /// Who is gone waits for nothing: this state is kept until the next stream takes its place.
    fn end(&mut self, _: &Config, _: &mut StreamCx<'_>) {
        self.waiting = None;
    }
}

impl Filter {
    /// What the request lacks and may get.
    fn wanted(
        &mut self,
        config: &Config,
        s: &mut StreamCx<'_>,
    ) -> Option<(Demand, Option<Arc<OnDemandClusters>>)> {
        let Some(matched) = s.route() else {
            let nothing = s.work.lookup == Some(Lookup::NotFound);
            if !nothing || std::mem::replace(&mut self.asked_for_route, true) {
                return None;
            }
            return Some((s.missing_routes()?, None));
        };
        if s.work.info.route_cluster.is_some() || self.asked_for_cluster {
            return None;
        }
        let from = match s.route_config::<Route>() {
            Some(Route(from)) => from,
            None => &config.0,
        };
        let from = Arc::clone(from.as_ref()?);
        let name = cluster_name(&matched, s.work.weighted, &s.work.request)?;
        self.asked_for_cluster = true;
        Some((Demand::Cluster(name), Some(from)))
    }
}

/// The name of the cluster a request is to go to, if it may be asked for.
fn cluster_name(
    matched: &Matched<'_>,
    weighted: Option<usize>,
    request: &RequestHead,
) -> Option<Arc<str>> {
    let Action::Forward(forward) = &matched.route.action else { return None };
    let by_header = |name: &str| {
        let value = request.headers.get(Name::from(name))?;
        let value = std::str::from_utf8(value).ok()?;
        Demand::may_be_asked(value).then(|| Arc::from(value))
    };
    match &forward.cluster {
        ClusterChoice::One(id) => by_id(matched.table, *id),
        ClusterChoice::Header(name) => by_header(name),
        ClusterChoice::Weighted(all) => match &all.clusters.get(weighted?)?.cluster {
            WeightedTarget::Cluster(id) => by_id(matched.table, *id),
            WeightedTarget::Header(name) => by_header(name),
        },
    }
}

/// A cluster's name by what the table says of those it names; looked for only where it is missing.
fn by_id(table: &RouteTable, id: ClusterId) -> Option<Arc<str>> {
    let name = table.clusters.iter().find(|name| name.id == id)?;
    Some(Arc::clone(&name.name))
}
