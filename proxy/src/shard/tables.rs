//! Route tables of one shard that are not part of a listener.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_wire::{Name, RequestHead};

use crate::plan::change;
use crate::plan::demand::Demand;
use crate::plan::http::Routes;
use crate::plan::route::{
    FoundKey, RouteTable, Scope, ScopeKey, ScopeSet, ScopeTable, ScopedRoutes, Scopes,
};
use crate::plan::{Change, RouteSlot};

/// A route table on one shard. Streams hold it without touching the count all shards share.
pub(crate) type Table = Rc<Arc<RouteTable>>;

/// Tables by RDS and scopes by SRDS, as of the last change.
#[derive(Default)]
pub(crate) struct Tables {
    routes: RefCell<Vec<Option<Table>>>,
    scopes: RefCell<Vec<Option<Rc<ShardScopes>>>>,
}

/// A set of scopes on one shard.
struct ShardScopes(HashMap<ScopeKey, ShardScope, RandomState>);

enum ShardScope {
    Inline(Table),
    /// `on_demand`: it is fetched when a request asks for it.
    Rds {
        slot: RouteSlot,
        on_demand: bool,
    },
}

/// Where a connection manager of this shard finds its route tables.
pub(crate) enum ShardRoutes {
    /// In the listener.
    Inline(Table),
    /// In [`Tables`].
    Rds(RouteSlot),
    /// By the request's scope; the scopes are here, or in [`Tables`].
    Scoped(Arc<ScopedRoutes>, Option<Box<Inlined>>),
}

/// Where the table of a request is.
enum Place {
    Here(Table),
    /// In a slot; whether it is only fetched when it is asked for.
    Rds(RouteSlot, bool),
}

/// Scopes that are part of a listener.
pub(crate) struct Inlined(ShardScopes);

impl Tables {
    /// Takes a step.
    pub(super) fn install(&self, change: &Change) {
        for (slot, table) in &change.routes {
            change::set(&mut self.routes.borrow_mut(), slot.0, table.clone().map(Rc::new));
        }
        for (slot, set) in &change.scopes {
            let set = set.as_deref().map(|set| Rc::new(ShardScopes::new(set)));
            change::set(&mut self.scopes.borrow_mut(), slot.0, set);
        }
    }

    /// The table at a position.
    #[cfg(test)]
    pub(super) fn at(&self, slot: u32) -> Option<Table> {
        self.table(RouteSlot(slot))
    }

    /// The table of a slot, if it has come.
    fn table(&self, slot: RouteSlot) -> Option<Table> {
        self.routes.borrow().get(slot.0 as usize)?.clone()
    }
}

impl ShardScopes {
    fn new(set: &ScopeSet) -> Self {
        let scope = |scope: &Scope| match &scope.table {
            ScopeTable::Inline(table) => ShardScope::Inline(Rc::new(table.clone())),
            ScopeTable::Rds(name) => {
                ShardScope::Rds { slot: name.slot, on_demand: scope.on_demand }
            }
        };
        Self(set.scopes.iter().map(|(key, found)| (key.clone(), scope(found))).collect())
    }

    /// Where the route table of a key is.
    fn find(&self, key: &FoundKey<'_>) -> Option<Place> {
        Some(match self.0.get(key)? {
            ShardScope::Inline(table) => Place::Here(Rc::clone(table)),
            ShardScope::Rds { slot, on_demand } => Place::Rds(*slot, *on_demand),
        })
    }
}

impl ShardRoutes {
    /// Ready for use on this shard.
    pub(crate) fn new(routes: &Routes) -> Self {
        match routes {
            Routes::Inline(table) => Self::Inline(Rc::new(Arc::clone(table))),
            Routes::Rds(name) => Self::Rds(name.slot),
            Routes::Scoped(scoped) => {
                let inline = match &scoped.scopes {
                    Scopes::Inline(set) => Some(Box::new(Inlined(ShardScopes::new(set)))),
                    Scopes::Srds(_) => None,
                };
                Self::Scoped(Arc::clone(scoped), inline)
            }
        }
    }

    /// The table a request begins with; `None` where there is none (yet), or no scope takes it.
    pub(crate) fn table(&self, tables: &Tables, request: &RequestHead) -> Option<Table> {
        match self.place(tables, request)? {
            Place::Here(table) => Some(table),
            Place::Rds(slot, _) => tables.table(slot),
        }
    }

    /// What may bring a route to a request that finds none.
    pub(crate) fn missing(&self, tables: &Tables, request: &RequestHead) -> Option<Demand> {
        let Place::Rds(slot, on_demand) = self.place(tables, request)? else { return None };
        match tables.table(slot) {
            None => on_demand.then_some(Demand::Routes(slot)),
            Some(table) if table.vhds.is_some() => {
                let host = std::str::from_utf8(&request.authority).ok()?;
                let host = host.to_ascii_lowercase();
                Demand::may_be_asked(&host).then(|| Demand::Host(slot, Arc::from(host)))
            }
            Some(_) => None,
        }
    }

    fn place(&self, tables: &Tables, request: &RequestHead) -> Option<Place> {
        match self {
            Self::Inline(table) => Some(Place::Here(Rc::clone(table))),
            Self::Rds(slot) => Some(Place::Rds(*slot, false)),
            Self::Scoped(scoped, inline) => {
                // The authority is found by its old name, too, as in Envoy.
                let key = scoped.key(|name| match name {
                    "host" | ":authority" => Some(request.authority.as_slice()),
                    name => request.headers.get(Name::from(name)),
                })?;
                match (inline, &scoped.scopes) {
                    (Some(inline), _) => inline.0.find(&key),
                    (None, Scopes::Srds(name)) => {
                        let set = tables.scopes.borrow().get(name.slot.0 as usize)?.clone()?;
                        set.find(&key)
                    }
                    (None, Scopes::Inline(_)) => None,
                }
            }
        }
    }
}

impl std::fmt::Debug for ShardRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inline(_) => "Inline",
            Self::Rds(_) => "Rds",
            Self::Scoped(..) => "Scoped",
        })
    }
}
