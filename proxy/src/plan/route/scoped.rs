//! `ScopedRoutes`: the route table is chosen by a key made from the request's headers.

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use smallvec::SmallVec;

use super::RouteTable;
use crate::plan::names::{RouteName, ScopeName};

/// `scoped_routes` of a connection manager.
#[derive(Debug)]
pub struct ScopedRoutes {
    /// `scope_key_builder.fragments`, in order; at least one.
    pub fragments: Vec<FragmentBuilder>,
    /// The scopes.
    pub scopes: Scopes,
}

/// Where the scopes are.
#[derive(Debug)]
pub enum Scopes {
    /// `scoped_route_configurations_list`.
    Inline(Arc<ScopeSet>),
    /// `scoped_rds`.
    Srds(Arc<ScopeName>),
}

/// `header_value_extractor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentBuilder {
    /// `name`, in lower case.
    pub header: Arc<str>,
    /// `element_separator`: the value is a list, of which one element counts.
    pub separator: Option<Arc<str>>,
    /// Which.
    pub element: Element,
}

/// Which element of a header value is the fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// `index`.
    Index(u32),
    /// `element`: the value behind this key, and the separator between the two. Without a
    /// separator the element itself must be the key, and the fragment is empty.
    Key {
        /// `key`.
        key: Arc<str>,
        /// `separator`.
        separator: Arc<str>,
    },
}

/// `string_key` of each fragment, in order.
pub type ScopeKey = Box<[Box<[u8]>]>;

/// The key of a request, to look for in a [`ScopeSet`].
#[derive(Debug, Hash)]
pub struct FoundKey<'v>(SmallVec<[&'v [u8]; 4]>);

impl Equivalent<ScopeKey> for FoundKey<'_> {
    fn equivalent(&self, key: &ScopeKey) -> bool {
        self.0.len() == key.len() && self.0.iter().zip(key).all(|(a, b)| **a == **b)
    }
}

/// Scopes by key.
#[derive(Debug, Default)]
pub struct ScopeSet {
    /// What each key leads to.
    pub scopes: HashMap<ScopeKey, Scope, foldhash::fast::RandomState>,
}

/// `ScopedRouteConfiguration`.
#[derive(Debug, Clone)]
pub struct Scope {
    /// `name`.
    pub name: Arc<str>,
    /// Its route table.
    pub table: ScopeTable,
    /// `on_demand`: a route table that comes by RDS is asked for with the first request.
    pub on_demand: bool,
}

/// Route table of a scope.
#[derive(Debug, Clone)]
pub enum ScopeTable {
    /// `route_configuration`.
    Inline(Arc<RouteTable>),
    /// `route_configuration_name`.
    Rds(Arc<RouteName>),
}

impl ScopedRoutes {
    /// The key of a request; `None` where a fragment cannot be made: no scope takes it.
    /// `header` answers the first value of a header.
    pub fn key<'v>(
        &self,
        mut header: impl FnMut(&str) -> Option<&'v [u8]>,
    ) -> Option<FoundKey<'v>> {
        let fragment = |builder: &FragmentBuilder| builder.fragment(header(&builder.header)?);
        self.fragments.iter().map(fragment).collect::<Option<_>>().map(FoundKey)
    }
}

impl FragmentBuilder {
    /// The part of a header value that counts.
    pub fn fragment<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        let separator = self.separator.as_deref().filter(|text| !text.is_empty());
        match &self.element {
            Element::Index(index) => match separator {
                None if *index == 0 => Some(value),
                None => None,
                Some(separator) => split(value, separator.as_bytes()).nth(*index as usize),
            },
            Element::Key { key, separator: inner } => {
                let whole = separator.unwrap_or_default();
                split(value, whole.as_bytes()).find_map(|element| value_of(element, key, inner))
            }
        }
    }
}

/// The value of an element `key<separator>value`, if that is its key.
fn value_of<'v>(element: &'v [u8], key: &str, separator: &str) -> Option<&'v [u8]> {
    let at = memchr::memmem::find(element, separator.as_bytes()).filter(|_| !separator.is_empty());
    match at {
        Some(at) => {
            let (name, rest) = (element.get(..at)?, element.get(at + separator.len()..)?);
            (name == key.as_bytes()).then_some(rest)
        }
        None => (element == key.as_bytes()).then_some(&[]),
    }
}

/// The parts between separators; the whole where there is no separator.
fn split<'v, 's>(
    value: &'v [u8],
    separator: &'s [u8],
) -> impl Iterator<Item = &'v [u8]> + use<'v, 's> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let now = rest?;
        let found = memchr::memmem::find(now, separator).filter(|_| !separator.is_empty());
        match found {
            Some(at) => {
                rest = now.get(at + separator.len()..);
                now.get(..at)
            }
            None => {
                rest = None;
                Some(now)
            }
        }
    })
}

impl ScopeSet {
    /// Adds a scope.
    ///
    /// # Errors
    /// Another one has this key already; in Envoy's words.
    pub fn insert(&mut self, key: ScopeKey, scope: Scope) -> Result<(), String> {
        if let Some(other) = self.scopes.get(&key) {
            return Err(format!(
                "scope key conflict found, first scope is '{}', second scope is '{}'",
                other.name, scope.name
            ));
        }
        self.scopes.insert(key, scope);
        Ok(())
    }
}
