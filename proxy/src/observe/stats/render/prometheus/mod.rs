//! Prometheus text exposition: statistics of one metric together, tags taken out of names.
//!
//! LIFECYCLE of a page: all scopes are put in the order of their prefixes → each is looked at for
//! the metrics it belongs to → metric after metric is written. All three go in steps of well under
//! a millisecond, so that whoever waits for the thread waits no longer.
//!
//! A page is as small as it can be: what is found out about one scope holds for all of the same
//! [`Class`](catalog::Class), so that 5,000 clusters cost a list of 5,000 numbers.

mod catalog;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PIECE;
use super::params::StatsParams;
use crate::observe::stats::directory::Scope;
use crate::observe::stats::merge::View;
use crate::observe::stats::tags::TagRules;
use catalog::Catalog;
use lines::Metric;

/// Parts of the directory (64 scopes each) put in order in one step.
const GROUPS_AT_ONCE: usize = 8;
/// Scopes looked at in one step.
const SCOPES_AT_ONCE: usize = 512;
/// Statistics looked at in one step, if most of them are not to be shown.
const MEMBERS_AT_ONCE: usize = 2048;

/// The page.
#[derive(Debug)]
pub struct PrometheusPage {
    view: View,
    params: StatsParams,
    tags: Arc<TagRules>,
    catalog: Catalog,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Scopes by prefix (its parts in the order of names), up to this part of the directory.
    Sorting(usize, BTreeMap<(Box<str>, u64), Arc<Scope>>),
    /// Metrics are found, up to this scope.
    Finding(usize),
    /// They are written, one after the other.
    Writing(Option<Box<Metric>>),
}

impl PrometheusPage {
    /// Begins a page.
    pub fn new(view: View, params: StatsParams, tags: Arc<TagRules>) -> Self {
        let phase = Phase::Sorting(0, BTreeMap::new());
        Self { view, params, tags, catalog: Catalog::default(), phase }
    }

    /// Appends a piece, which may be empty; false at the end.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.phase {
            Phase::Sorting(at, sorted) => {
                let groups = self.view.names().groups.get(*at..).unwrap_or_default();
                for scope in groups.iter().take(GROUPS_AT_ONCE).flat_map(|g| g.iter().flatten()) {
                    sorted.insert((catalog::key(&scope.prefix), scope.uid), scope.clone());
                }
                *at += GROUPS_AT_ONCE;
                if *at >= self.view.names().groups.len() {
                    self.catalog.place(std::mem::take(sorted).into_values());
                    self.phase = Phase::Finding(0);
                }
                true
            }
            Phase::Finding(at) => {
                let (from, to) = (*at, *at + SCOPES_AT_ONCE);
                *at = to;
                if self.catalog.find(&self.view, &self.params, &self.tags, from..to) {
                    self.catalog.find_texts(&self.view, &self.params, &self.tags);
                    self.phase = Phase::Writing(None);
                }
                true
            }
            Phase::Writing(_) => self.write(out),
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let Phase::Writing(metric) = &mut self.phase else { return false };
        out.reserve(PIECE + (PIECE >> 4));
        let end = out.len() + PIECE;
        let mut left = MEMBERS_AT_ONCE;
        loop {
            if let Some(metric) = metric
                && metric.write(&self.catalog, &self.view, &self.params, end, &mut left, out)
            {
                return true;
            }
            let Some(found) = self.catalog.next_metric() else { return false };
            let summaries = lines::summaries(&self.params);
            let next = Metric::new(found, &self.catalog, &self.view, &self.tags, summaries);
            *metric = Some(Box::new(next));
        }
    }
}
