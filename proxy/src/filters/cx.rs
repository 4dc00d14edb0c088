//! A stream, as its filters see it.

use crate::filters::{Entry, OnRoute, Override, Overrides, Phases};
use crate::http::conn::{Conn, Work};
use crate::http::manager::Manager;
use crate::http::stream::{self, Matched};
use crate::plan::demand::Demand;
use crate::plan::route::{Action, ClusterChoice, RouteTable};

/// The stream a filter is called for.
pub(crate) struct StreamCx<'s> {
    /// Where the request came from.
    pub conn: &'s mut Conn,
    /// The request and its response.
    pub work: &'s mut Work,
    pub(super) manager: &'s Manager,
    /// The route table the stream began with.
    pub(super) table: Option<&'s RouteTable>,
    pub(super) entry: &'s Entry,
    pub(super) wants: &'s mut Phases,
}

impl<'s> StreamCx<'s> {
    /// This stream needs no more calls for these phases.
    pub(crate) fn ignore(&mut self, phases: Phases) {
        *self.wants = self.wants.without(phases);
    }

    /// The request's route; found anew where [`Self::clear_route_cache`] forgot it.
    pub(crate) fn route(&mut self) -> Option<Matched<'s>> {
        stream::find_route(self.conn, self.work, self.manager);
        self.known_route()
    }

    /// The next who asks has the route chosen anew, by the request's head as it is then.
    pub(crate) fn clear_route_cache(&mut self) {
        self.work.forget_route();
    }

    /// What may bring a route, where there is none.
    pub(crate) fn missing_routes(&self) -> Option<Demand> {
        self.manager.routes.missing(&self.conn.shard.tables, &self.work.request)
    }

    /// This filter's options on the route, of the most specific level that has some.
    pub(crate) fn route_config<R: OnRoute + 's>(&self) -> Option<&'s R> {
        self.route_configs().last()
    }

    /// This filter's options on every level that has some, the most specific last: route table,
    /// virtual host, route, weighted cluster.
    pub(crate) fn route_configs<R: OnRoute + 's>(
        &self,
    ) -> impl Iterator<Item = &'s R> + use<'s, R> {
        let levels = levels(self.table, self.work);
        let name = &*self.entry.name;
        let told = levels.into_iter().flatten().filter_map(move |level| level.of(name));
        told.filter_map(|told| R::of(told.config.as_ref()?))
    }

    /// The name of the filter in its chain.
    #[cfg_attr(not(test), expect(dead_code, reason = "for filters that write under their name"))]
    pub(crate) fn name(&self) -> &'s str {
        &self.entry.name
    }

    fn known_route(&self) -> Option<Matched<'s>> {
        let table = self.table?;
        let (host, route) = table.route(self.work.route?)?;
        Some(Matched { table, host, route })
    }
}

/// What the four levels say of filters, the most specific last.
fn levels<'p>(table: Option<&'p RouteTable>, work: &Work) -> [Option<&'p Overrides>; 4] {
    let found = work.route.and_then(|id| Some((table?, table?.route(id)?)));
    let Some((table, (host, route))) = found else {
        return [None; 4];
    };
    let weighted = match &route.action {
        Action::Forward(forward) => match &forward.cluster {
            ClusterChoice::Weighted(weighted) => {
                work.weighted.and_then(|at| weighted.clusters.get(at))
            }
            _ => None,
        },
        _ => None,
    };
    [
        Some(&table.filters),
        Some(&host.filters),
        Some(&route.filters),
        weighted.map(|cluster| &cluster.filters),
    ]
}

/// Does a filter run for the stream? What the most specific level says counts, then the chain.
pub(super) fn runs(table: Option<&RouteTable>, work: &Work, entry: &Entry) -> bool {
    let told: Option<&Override> =
        levels(table, work).into_iter().rev().flatten().find_map(|level| level.of(&entry.name));
    match told {
        Some(told) => !told.disabled,
        None => !entry.disabled,
    }
}
