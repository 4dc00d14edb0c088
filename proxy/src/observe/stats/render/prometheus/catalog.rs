//! Which statistics make up which metric.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::super::entries::{Entry, ValueOf, codes_of};
use super::super::params::StatsParams;
use crate::observe::stats::Kind;
use crate::observe::stats::def::{BlockDef, StatDef};
use crate::observe::stats::directory::Scope;
use crate::observe::stats::merge::View;
use crate::observe::stats::settings::Shown;
use crate::observe::stats::tags::{OWNER, TagRules};

/// Scopes that differ only in the second part of their names.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) def: &'static BlockDef,
    /// See [`TagRules::shape`].
    pub(super) shape: Box<str>,
    /// In the order of names.
    pub(super) scopes: Vec<u32>,
}

/// Where members of a metric come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// A statistic of a block, from all scopes of a class.
    Stat { class: u32, stat: u16 },
    /// A response code of one scope: index in [`Catalog::codes`].
    Code(u32),
    /// A text readout, by its index in the view.
    Text(u32),
}

/// A response code that a scope has counted.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) scope: u32,
    class: u32,
    /// Index of its suffix.
    suffix: u32,
    pub(super) value: u64,
}

/// A metric that was found.
pub(super) struct Found {
    pub(super) kind: Kind,
    /// [`key`] of its name.
    pub(super) key: Box<str>,
    pub(super) sources: Vec<Source>,
}

#[derive(Debug)]
struct Placed {
    scope: Arc<Scope>,
    class: u32,
    /// Scopes whose prefixes begin with one another have the same.
    family: u32,
}

/// All metrics, found bit by bit.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// In the order of their prefixes.
    scopes: Vec<Placed>,
    classes: Vec<Class>,
    class_of: HashMap<(&'static str, Box<str>), u32, FixedState>,
    codes: Vec<Code>,
    suffixes: Vec<Box<str>>,
    suffix_of: HashMap<Box<str>, u32, FixedState>,
    /// By kind, then by name.
    metrics: [BTreeMap<Box<str>, Vec<Source>>; 4],
}

/// Kinds in the order of the page.
const KINDS: [Kind; 4] = [Kind::Counter, Kind::Gauge, Kind::TextReadout, Kind::Histogram];

/// A name that is in the order of its parts when compared as it is: dots come before all else.
pub(super) fn key(name: &str) -> Box<str> {
    name.replace('.', "\0").into_boxed_str()
}

impl Catalog {
    /// Takes the scopes, which come in the order of their prefixes.
    pub(super) fn place(&mut self, sorted: impl Iterator<Item = Arc<Scope>>) {
        let (mut family, mut first) = (0, None::<Arc<Scope>>);
        for scope in sorted {
            let related = first.as_ref().is_some_and(|first| {
                !first.prefix.is_empty() && scope.prefix.starts_with(&*first.prefix)
            });
            if !related {
                family += 1;
                first = Some(scope.clone());
            }
            self.scopes.push(Placed { scope, class: 0, family });
        }
    }

    /// Finds the metrics of some scopes; whether these were the last.
    pub(super) fn find(
        &mut self,
        view: &View,
        params: &StatsParams,
        tags: &TagRules,
        scopes: Range<usize>,
    ) -> bool {
        let mut shape = String::new();
        for at in scopes {
            let Some(placed) = self.scopes.get(at) else { return true };
            let scope = placed.scope.clone();
            tags.shape(&scope.prefix, &mut shape);
            let class = self.class((view, &scope), &shape, params, tags);
            if let Some(placed) = self.scopes.get_mut(at) {
                placed.class = class;
            }
            if let Some(class) = self.classes.get_mut(class as usize) {
                class.scopes.push(at as u32);
            }
            if params.wants_kind(Kind::Counter) {
                for entry in codes_of(view, &scope) {
                    self.add_code(at as u32, class, &shape, &entry, tags);
                }
            }
        }
        false
    }

    /// Finds the metrics of text readouts.
    pub(super) fn find_texts(&mut self, view: &View, params: &StatsParams, tags: &TagRules) {
        if !params.text_readouts || !params.wants_kind(Kind::TextReadout) {
            return;
        }
        for (i, (name, value)) in view.names().text_places() {
            let shown = view.settings().matcher.shows(name);
            if shown && (!params.used_only || !value.is_empty()) {
                self.add(Kind::TextReadout, name, tags, Source::Text(i as u32));
            }
        }
    }

    /// The next metric of the page.
    pub(super) fn next_metric(&mut self) -> Option<Found> {
        KINDS.into_iter().zip(&mut self.metrics).find_map(|(kind, metrics)| {
            let (key, sources) = metrics.pop_first()?;
            Some(Found { kind, key, sources })
        })
    }

    /// A scope by its place.
    pub(super) fn scope(&self, at: u32) -> Option<&Arc<Scope>> {
        self.scopes.get(at as usize).map(|placed| &placed.scope)
    }

    /// A class by its number.
    pub(super) fn class_at(&self, class: u32) -> Option<&Class> {
        self.classes.get(class as usize)
    }

    /// A response code, its suffix and the shape of its scope's prefix.
    pub(super) fn code(&self, code: u32) -> Option<(&Code, &str, &str)> {
        let code = self.codes.get(code as usize)?;
        let suffix = self.suffixes.get(code.suffix as usize)?;
        Some((code, suffix, &self.class_at(code.class)?.shape))
    }

    /// Order of two names, each of a scope and a suffix.
    pub(super) fn order(&self, a: (u32, &str), b: (u32, &str)) -> Ordering {
        let (Some(left), Some(right)) =
            (self.scopes.get(a.0 as usize), self.scopes.get(b.0 as usize))
        else {
            return a.0.cmp(&b.0);
        };
        let (one, other) = (&left.scope.prefix, &right.scope.prefix);
        if left.family != right.family && !one.is_empty() && !other.is_empty() {
            return left.family.cmp(&right.family);
        }
        let name = |prefix, suffix| by_parts(prefix).chain(by_parts(suffix));
        name(one, a.1).cmp(name(other, b.1))
    }

    fn class(
        &mut self,
        (view, scope): (&View, &Scope),
        shape: &str,
        params: &StatsParams,
        tags: &TagRules,
    ) -> u32 {
        let def = scope.def;
        if let Some(&class) = self.class_of.get(&ClassName(def.name, shape)) {
            return class;
        }
        let class = self.classes.len() as u32;
        self.class_of.insert((def.name, shape.into()), class);
        self.classes.push(Class { def, shape: shape.into(), scopes: Vec::new() });
        let mut name = String::new();
        // Of others of the class the matcher may show more.
        let shown = if shape.contains(OWNER) { &Shown::All } else { view.shown(scope) };
        let wanted = |(i, stat): &(usize, &StatDef)| shown.has(*i) && params.wants_kind(stat.kind);
        for (i, stat) in def.stats.iter().enumerate().filter(wanted) {
            name.clear();
            name.extend([shape, stat.suffix]);
            self.add(stat.kind, &name, tags, Source::Stat { class, stat: i as u16 });
        }
        class
    }

    fn add_code(&mut self, scope: u32, class: u32, shape: &str, entry: &Entry, tags: &TagRules) {
        let ValueOf::Known(value) = entry.value else { return };
        let suffix = match self.suffix_of.get(&*entry.suffix) {
            Some(&suffix) => suffix,
            None => {
                let suffix = self.suffixes.len() as u32;
                self.suffixes.push((*entry.suffix).into());
                self.suffix_of.insert((*entry.suffix).into(), suffix);
                suffix
            }
        };
        let source = Source::Code(self.codes.len() as u32);
        self.codes.push(Code { scope, class, suffix, value });
        self.add(Kind::Counter, &[shape, &entry.suffix].concat(), tags, source);
    }

    fn add(&mut self, kind: Kind, name: &str, rules: &TagRules, source: Source) {
        let (mut base, mut tags) = (String::new(), Vec::new());
        rules.extract(name, &mut base, &mut tags);
        let Some(at) = KINDS.iter().position(|other| *other == kind) else { return };
        let Some(metrics) = self.metrics.get_mut(at) else { return };
        metrics.entry(key(&base)).or_default().push(source);
    }
}

/// Key of a class, borrowed: hashed as the pair that is kept.
#[derive(Hash)]
struct ClassName<'a>(&'static str, &'a str);

impl hashbrown::Equivalent<(&'static str, Box<str>)> for ClassName<'_> {
    fn equivalent(&self, key: &(&'static str, Box<str>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// Bytes of a name, such that comparing them compares the parts.
fn by_parts(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| if byte == b'.' { 0 } else { byte })
}
