//! Statistics that outlive their process: what the one that goes has counted is added to what the
//! one that comes counts.
//!
//! Values travel by name, for slots are numbered differently in every process. What has no name
//! here yet (its cluster comes later) is kept until it has, or until the other process is gone.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::def::{CodeTable, Counter, Gauge, Kind, Source};
use super::directory::{Directory, Scope};
use super::merge::{Merger, View};
use super::writer::ShardStats;

#[cfg(test)]
mod tests;

type Map<K, V> = HashMap<K, V, FixedState>;

/// The values of the statistics with one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeValues {
    /// The prefix, with its dot.
    pub prefix: String,
    /// Counters that were ever used: what follows the prefix, and the value.
    pub counters: Vec<(String, u64)>,
    /// Gauges that add up over processes, likewise; one that was used and is 0 is told too.
    pub gauges: Vec<(String, u64)>,
    /// Responses by code and variant, as the code tables key them.
    pub codes: Vec<(u16, u64)>,
}

/// Adds another process' values to those of a page, as they grow.
#[derive(Debug, Default)]
pub struct Importer {
    /// What was added so far.
    added: Map<Box<str>, u64>,
    gauges: Map<Box<str>, (Gauge, u64)>,
    /// Scopes by prefix, of the names as they were at that time.
    index: Map<Box<str>, Vec<Arc<Scope>>>,
    names: Option<Arc<Directory>>,
}

/// Gauges that count what is open, whoever has opened it.
fn adds_up(prefix: &str, suffix: &str) -> bool {
    const SCOPES: [&str; 4] = ["cluster.", "http.", "listener.", "tcp."];
    suffix.ends_with("_active") && SCOPES.iter().any(|scope| prefix.starts_with(scope))
}

impl View {
    /// Calls `f` with the values of every scope that has some.
    pub fn export(&self, mut f: impl FnMut(ScopeValues)) {
        for scope in self.names().scopes() {
            if let Some(values) = self.values(scope) {
                f(values);
            }
        }
    }

    /// Downstream connections open at this moment.
    pub fn connections(&self) -> u64 {
        let mut sum = 0;
        for scope in self.names().scopes() {
            if !scope.prefix.starts_with("listener.") || scope.prefix.contains(".worker_") {
                continue;
            }
            for stat in scope.def.stats {
                if stat.suffix == "downstream_cx_active" {
                    sum += self.number(scope, stat.kind, stat.source).0;
                }
            }
        }
        sum
    }

    /// Those of one scope, if it has some.
    fn values(&self, scope: &Scope) -> Option<ScopeValues> {
        let mut values = ScopeValues::default();
        for stat in scope.def.stats {
            let list = match (stat.kind, stat.source) {
                (Kind::Counter, Source::Dense(_)) => &mut values.counters,
                (Kind::Gauge, Source::Dense(_)) if adds_up(&scope.prefix, stat.suffix) => {
                    &mut values.gauges
                }
                _ => continue,
            };
            let (value, used) = self.number(scope, stat.kind, stat.source);
            // A gauge that has come down to 0 says so: the other side has an older value.
            if value > 0 || (stat.kind == Kind::Gauge && used) {
                list.push((stat.suffix.to_owned(), value));
            }
        }
        self.codes(scope, |key, count| values.codes.push((key, count)));
        values.codes.retain(|(_, count)| *count > 0);
        if values.counters.is_empty() && values.gauges.is_empty() && values.codes.is_empty() {
            return None;
        }
        values.prefix = scope.prefix.to_string();
        Some(values)
    }
}

impl Importer {
    /// Adds what has come since the last time.
    pub fn import(&mut self, merger: &Merger, page: &ShardStats, values: ScopeValues) {
        self.look_up(merger);
        let Some(scopes) = self.index.get(values.prefix.as_str()) else { return };
        let named = |suffix: &str, kind: Kind| {
            scopes.iter().find_map(|scope| {
                let stat = scope.def.stats.iter();
                let mut stat = stat.filter(|stat| stat.suffix == suffix && stat.kind == kind);
                match stat.next()?.source {
                    Source::Dense(i) => Some(scope.dense + u32::from(i)),
                    _ => None,
                }
            })
        };
        let full = |suffix: &str| format!("{}{suffix}", values.prefix).into_boxed_str();
        for (suffix, value) in &values.counters {
            if let Some(slot) = named(suffix, Kind::Counter) {
                let before = self.added.entry(full(suffix)).or_default();
                page.add(Counter(slot), value.saturating_sub(*before));
                *before = (*before).max(*value);
            }
        }
        let coded = scopes.iter().find_map(|scope| Some((scope, scope.def.codes?)));
        if let Some((scope, codes)) = coded {
            let table = CodeTable(scope.sparse + u32::from(codes.table));
            for (key, count) in &values.codes {
                let before = self.added.entry(full(&format!("#{key}"))).or_default();
                page.responses(table, *key, count.saturating_sub(*before));
                *before = (*before).max(*count);
            }
        }
        for (suffix, value) in &values.gauges {
            if let Some(slot) = named(suffix, Kind::Gauge) {
                let (_, before) = self.gauges.entry(full(suffix)).or_insert((Gauge(slot), 0));
                page.gauge_add(Gauge(slot), *value);
                page.gauge_sub(Gauge(slot), *before);
                *before = *value;
            }
        }
    }

    /// The other process is gone, and with it what was open there.
    pub fn end(&mut self, page: &ShardStats) {
        for (_, (gauge, value)) in self.gauges.drain() {
            page.gauge_sub(gauge, value);
        }
        *self = Self::default();
    }

    fn look_up(&mut self, merger: &Merger) {
        let names = merger.names();
        if self.names.as_ref().is_some_and(|known| Arc::ptr_eq(known, &names)) {
            return;
        }
        self.index.clear();
        for scope in names.scopes() {
            self.index.entry(scope.prefix.clone()).or_default().push(Arc::clone(scope));
        }
        self.names = Some(names);
    }
}
