//! What a scope lists at this moment, in the order of names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::observe::stats::def::{Kind, Show};
use crate::observe::stats::directory::Scope;
use crate::observe::stats::merge::{HistogramView, View};
use crate::observe::stats::settings::{Matcher, Shown};
use crate::observe::stats::writer::{counts_in_total, split_key};

/// One listed statistic of a scope.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) suffix: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) value: ValueOf,
}

/// Where its value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueOf {
    /// A statistic of the block, by its index.
    Stat(u16),
    /// Known already: a response code.
    Known(u64),
}

impl Entry {
    /// A histogram as of the last flush.
    pub(super) fn histogram<'v>(&self, view: &'v View, scope: &Scope) -> Option<&'v HistogramView> {
        match self.value {
            ValueOf::Stat(i) => view.histogram(scope, i).map(AsRef::as_ref),
            ValueOf::Known(_) => None,
        }
    }

    /// Value of a counter or gauge, and whether it was ever written.
    pub(super) fn number(&self, view: &View, scope: &Scope) -> (u64, bool) {
        match self.value {
            ValueOf::Stat(i) => match scope.def.stats.get(usize::from(i)) {
                Some(stat) => view.number(scope, stat.kind, stat.source),
                None => (0, false),
            },
            ValueOf::Known(value) => (value, true),
        }
    }
}

/// What of a scope is listed, histograms or numbers.
pub(super) fn of_scope(view: &View, scope: &Scope, histograms: bool) -> Vec<Entry> {
    let (def, shown) = (scope.def, view.shown(scope));
    if *shown == Shown::None && def.codes.is_none() {
        return Vec::new();
    }
    let mut entries = Vec::with_capacity(def.stats.len());
    for &i in def.sorted() {
        let Some(stat) = def.stats.get(usize::from(i)) else { continue };
        if (stat.kind == Kind::Histogram) != histograms {
            continue;
        }
        if !shown.has(usize::from(i)) {
            continue;
        }
        let listed = match stat.show {
            Show::Always => true,
            Show::WhenUsed => view.has_samples(scope, stat.source),
            Show::WhenSet(cell) => view.is_set(scope, cell),
        };
        if listed {
            let (suffix, value) = (Cow::Borrowed(stat.suffix), ValueOf::Stat(i));
            entries.push(Entry { suffix, kind: stat.kind, value });
        }
    }
    let codes = if histograms { Vec::new() } else { codes_of(view, scope) };
    if !codes.is_empty() {
        entries.extend(codes);
        entries.sort_by(|a, b| a.suffix.cmp(&b.suffix));
    }
    entries
}

/// The response codes a scope has counted.
pub(super) fn codes_of(view: &View, scope: &Scope) -> Vec<Entry> {
    let Some(codes) = scope.def.codes else { return Vec::new() };
    let mut counts: BTreeMap<(&'static str, CodeName), u64> = BTreeMap::new();
    view.codes(scope, |key, n| {
        let (code, variant) = split_key(key);
        let mut add = |prefix, name| *counts.entry((prefix, name)).or_default() += n;
        let quiet = variant > 3;
        let names = || CodeName::all(code).into_iter().flatten();
        if counts_in_total(key) {
            names()
                .filter(|name| !quiet || *name == CodeName::Completed)
                .for_each(|name| add("", name));
        }
        if codes.split {
            let prefix = match variant {
                0 | 4 => "external.",
                1 | 5 => "internal.",
                2 => "canary.",
                _ => "retry.",
            };
            names().for_each(|name| add(prefix, name));
        }
    });
    let listed = counts.into_iter().filter(|((prefix, name), _)| {
        !(prefix.is_empty() && *name == CodeName::Completed && codes.completed_listed)
    });
    let matcher = &view.settings().matcher;
    let shown = |entry: &Entry| {
        matches!(matcher, Matcher::Everything)
            || matcher.shows(&[&*scope.prefix, &*entry.suffix].concat())
    };
    let entry = |((prefix, name), n): ((&str, CodeName), u64)| Entry {
        suffix: Cow::Owned(format!("{prefix}upstream_rq_{}", name.text())),
        kind: Kind::Counter,
        value: ValueOf::Known(n),
    };
    listed.map(entry).filter(shown).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CodeName {
    Code(u16),
    Class(u16),
    Completed,
    Unknown,
}

impl CodeName {
    /// The names under which a response with this code is counted.
    fn all(code: u16) -> [Option<Self>; 3] {
        if (100..600).contains(&code) {
            [Some(Self::Code(code)), Some(Self::Class(code / 100)), Some(Self::Completed)]
        } else {
            [Some(Self::Unknown), Some(Self::Completed), None]
        }
    }

    fn text(self) -> String {
        match self {
            Self::Code(code) => code.to_string(),
            Self::Class(class) => format!("{class}xx"),
            Self::Completed => "completed".into(),
            Self::Unknown => "unknown".into(),
        }
    }
}
