//! Lines of a metric.

use super::super::params::{BucketsMode, StatsParams};
use super::super::text::join;
use super::super::{float, number};
use super::catalog::{Catalog, Found, Source};
use crate::observe::stats::Kind;
use crate::observe::stats::def::{BlockDef, Show, StatDef};
use crate::observe::stats::directory::Scope;
use crate::observe::stats::histogram::{BOUNDS, Buckets, QUANTILES};
use crate::observe::stats::merge::View;
use crate::observe::stats::tags::{LABELLED, OWNER, TagRules, mangle_into};

/// [`BOUNDS`] as they are printed.
pub(super) const LE: [&str; 19] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000",
];

/// A metric that is being written.
#[derive(Debug)]
pub(super) struct Metric {
    /// `envoy_…`
    name: String,
    kind: Kind,
    summaries: bool,
    /// Its first line was written.
    begun: bool,
    sources: Vec<Prepared>,
    /// In the order of names.
    members: std::vec::IntoIter<Member>,
    labels: Vec<u8>,
}

/// A statistic of a scope.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Its scope, or the text readout.
    scope: u32,
    /// Index in `sources`.
    source: u32,
}

/// What is the same for all members that come from one source.
#[derive(Debug)]
struct Prepared {
    /// `tag="value",…`, the value that differs left out.
    labels: [Vec<u8>; 2],
    /// Whether the value is the second part of the scope's name.
    owner: bool,
    from: From,
}

#[derive(Debug, Clone)]
enum From {
    Stat(&'static BlockDef, u16),
    Code(Box<str>, u64),
    Text,
}

/// Whether histograms are shown as quantiles.
pub(super) fn summaries(params: &StatsParams) -> bool {
    params.buckets == Some(BucketsMode::Summary)
}

impl Metric {
    pub(super) fn new(
        found: Found,
        catalog: &Catalog,
        view: &View,
        rules: &TagRules,
        summaries: bool,
    ) -> Self {
        let mut name = String::new();
        match found.key.strip_prefix(&*super::catalog::key(LABELLED)) {
            Some(own) => name.push_str(own),
            None => {
                name.push_str("envoy_");
                mangle_into(&found.key, &mut name);
            }
        }
        let mut sources: Vec<Prepared> = Vec::with_capacity(found.sources.len());
        let mut members = Vec::new();
        for source in found.sources {
            let index = sources.len() as u32;
            let prepared = match source {
                Source::Stat { class, stat } => catalog.class_at(class).and_then(|class| {
                    let scopes = class.scopes.iter();
                    members.extend(scopes.map(|&scope| Member { scope, source: index }));
                    let suffix = class.def.stats.get(usize::from(stat))?.suffix;
                    Some(prepare(&class.shape, suffix, rules, From::Stat(class.def, stat)))
                }),
                Source::Code(code) => catalog.code(code).map(|(code, suffix, shape)| {
                    members.push(Member { scope: code.scope, source: index });
                    prepare(shape, suffix, rules, From::Code(suffix.into(), code.value))
                }),
                Source::Text(text) => {
                    members.push(Member { scope: text, source: index });
                    let name = view.names().text(text as usize).map_or("", |(name, _)| name);
                    Some(prepare(name, "", rules, From::Text))
                }
            };
            sources.extend(prepared);
        }
        if sources.len() > 1 && found.kind != Kind::TextReadout {
            let suffix = |member: &Member| {
                sources.get(member.source as usize).map_or("", |source| source.suffix())
            };
            members.sort_by(|a, b| catalog.order((a.scope, suffix(a)), (b.scope, suffix(b))));
        } else if sources.len() > 1 {
            let name = |member: &Member| {
                let text = view.names().text(member.scope as usize);
                text.map(|(name, _)| super::catalog::key(name))
            };
            members.sort_by_key(name);
        }
        let members = members.into_iter();
        let (kind, labels, begun) = (found.kind, Vec::new(), false);
        Self { name, kind, summaries, begun, sources, members, labels }
    }

    /// Writes what is left of it, but stops at `end` bytes and after `left` members; whether there
    /// is more.
    pub(super) fn write(
        &mut self,
        catalog: &Catalog,
        view: &View,
        params: &StatsParams,
        end: usize,
        left: &mut usize,
        out: &mut Vec<u8>,
    ) -> bool {
        loop {
            if out.len() >= end || *left == 0 {
                return true;
            }
            let Some(member) = self.members.next() else { return false };
            *left -= 1;
            self.write_member(member, catalog, view, params, out);
        }
    }

    fn write_member(
        &mut self,
        member: Member,
        catalog: &Catalog,
        view: &View,
        params: &StatsParams,
        out: &mut Vec<u8>,
    ) {
        let Some(source) = self.sources.get(member.source as usize) else { return };
        if let From::Text = source.from {
            return self.write_text(member, view, params, out);
        }
        let Some(scope) = catalog.scope(member.scope) else { return };
        if params.filter.is_some() {
            let mut name = String::new();
            join(&mut name, &scope.prefix, source.suffix());
            if !params.wants(&name) {
                return;
            }
        }
        if let From::Code(_, value) = source.from {
            let value = Value::Number(value);
            return self.write_value(member, (view, scope), &value, out);
        }
        let From::Stat(def, stat) = source.from else { return };
        let Some(value) = value_of(view, scope, def, stat, params.used_only, self.summaries) else {
            return;
        };
        self.write_value(member, (view, scope), &value, out);
    }

    fn write_text(&mut self, member: Member, view: &View, params: &StatsParams, out: &mut Vec<u8>) {
        let text = view.names().text(member.scope as usize);
        let Some((_, value)) = text.filter(|(name, _)| params.wants(name)) else { return };
        let Some(source) = self.sources.get(member.source as usize) else { return };
        self.labels.clear();
        self.labels.extend_from_slice(&source.labels[0]);
        push_label("text_value", value, &mut self.labels);
        self.begin(out);
        push_line(&[self.name.as_bytes(), b"{", &self.labels, b"} "], 1, out);
    }

    fn write_value(
        &mut self,
        member: Member,
        (view, scope): (&View, &Scope),
        value: &Value<'_>,
        out: &mut Vec<u8>,
    ) {
        self.begin(out);
        let Some(source) = self.sources.get(member.source as usize) else { return };
        source.write_labels(scope, &mut self.labels);
        let suffix = source.suffix();
        let (name, labels) = (self.name.as_bytes(), &*self.labels);
        match value {
            Value::Number(value) => push_line(&[name, b"{", labels, b"} "], *value, out),
            Value::Histogram(buckets) => {
                let bounds = view.settings().bounds(|| {
                    let mut name = String::new();
                    join(&mut name, &scope.prefix, suffix);
                    name
                });
                write_histogram((name, labels), bounds, *buckets, out);
            }
            Value::Summary(interval) => write_summary(name, labels, interval, out),
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Histogram if self.summaries => "summary",
            Kind::Histogram => "histogram",
            Kind::Gauge | Kind::TextReadout => "gauge",
        };
        for piece in ["# TYPE ", &self.name, " ", kind, "\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
    }
}

/// What is written of a statistic.
enum Value<'v> {
    Number(u64),
    /// `None` has no samples.
    Histogram(Option<&'v Buckets>),
    Summary(&'v Buckets),
}

/// The value of a block's statistic; `None` if it is not listed.
fn value_of<'v>(
    view: &'v View,
    scope: &Scope,
    def: &BlockDef,
    index: u16,
    used_only: bool,
    summaries: bool,
) -> Option<Value<'v>> {
    const NONE: &Buckets = &Buckets { counts: Vec::new() };
    let stat: &StatDef = def.stats.get(usize::from(index))?;
    if !view.shown(scope).has(usize::from(index)) {
        return None;
    }
    let listed = match stat.show {
        Show::Always => true,
        Show::WhenUsed => view.has_samples(scope, stat.source),
        Show::WhenSet(cell) => view.is_set(scope, cell),
    };
    if !listed {
        return None;
    }
    if stat.kind == Kind::Histogram {
        let found = view.histogram(scope, index);
        return match found {
            None if used_only => None,
            Some(found) if summaries => Some(Value::Summary(&found.interval)),
            None if summaries => Some(Value::Summary(NONE)),
            found => Some(Value::Histogram(found.map(|found| &found.cumulative))),
        };
    }
    let (value, used) = view.number(scope, stat.kind, stat.source);
    (used || !used_only).then_some(Value::Number(value))
}

fn prepare(shape: &str, suffix: &str, rules: &TagRules, from: From) -> Prepared {
    let name = [shape, suffix].concat();
    let (mut base, mut tags) = (String::new(), Vec::new());
    rules.extract(&name, &mut base, &mut tags);
    let (mut labels, mut owner) = ([Vec::new(), Vec::new()], false);
    for (tag, value) in tags {
        if value != OWNER {
            let [before, after] = &mut labels;
            if owner {
                after.push(b',');
            }
            push_label(tag, value, if owner { after } else { before });
            continue;
        }
        // The rest of the label follows the value.
        owner = true;
        let [before, after] = &mut labels;
        if !before.is_empty() {
            before.push(b',');
        }
        before.extend_from_slice(tag.as_bytes());
        before.extend_from_slice(b"=\"");
        after.push(b'"');
    }
    Prepared { labels, owner, from }
}

impl Prepared {
    fn suffix(&self) -> &str {
        match &self.from {
            From::Stat(def, stat) => def.stats.get(usize::from(*stat)).map_or("", |s| s.suffix),
            From::Code(suffix, _) => suffix,
            From::Text => "",
        }
    }

    fn write_labels(&self, scope: &Scope, out: &mut Vec<u8>) {
        let [before, after] = &self.labels;
        out.clear();
        out.extend_from_slice(before);
        if self.owner {
            let owner = scope.prefix.split('.').nth(1);
            push_escaped(owner.unwrap_or_default(), out);
        }
        out.extend_from_slice(after);
    }
}

fn push_label(name: &str, value: &str, labels: &mut Vec<u8>) {
    if !labels.is_empty() && labels.last() != Some(&b',') {
        labels.push(b',');
    }
    labels.extend_from_slice(name.as_bytes());
    labels.extend_from_slice(b"=\"");
    push_escaped(value, labels);
    labels.push(b'"');
}

fn push_escaped(value: &str, out: &mut Vec<u8>) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return out.extend_from_slice(value.as_bytes());
    }
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
}

fn push_line(pieces: &[&[u8]], value: u64, out: &mut Vec<u8>) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    number::push(value, out);
    out.push(b'\n');
}

fn comma(labels: &[u8]) -> &'static [u8] {
    if labels.is_empty() { b"" } else { b"," }
}

fn write_histogram(
    (name, labels): (&[u8], &[u8]),
    bounds: &[f64],
    buckets: Option<&Buckets>,
    out: &mut Vec<u8>,
) {
    const NONE: &Buckets = &Buckets { counts: Vec::new() };
    let buckets = buckets.unwrap_or(NONE);
    let comma = comma(labels);
    let mut line = |bound: &str, count| {
        let line = [name, b"_bucket{", labels, comma, b"le=\"", bound.as_bytes(), b"\"} "];
        push_line(&line, count, out);
    };
    let counts = buckets.cumulative(bounds);
    // Printing the usual bounds anew would take longer than all else.
    let usual = *bounds == BOUNDS;
    for (i, (bound, count)) in bounds.iter().zip(counts).enumerate() {
        match LE.get(i).filter(|_| usual) {
            Some(text) => line(text, count),
            None => line(&float::thirty_two_digits(*bound), count),
        }
    }
    line("+Inf", buckets.samples());
    write_sum(name, labels, buckets, out);
}

/// Quantiles of the last interval, as Envoy's summaries have them.
fn write_summary(name: &[u8], labels: &[u8], interval: &Buckets, out: &mut Vec<u8>) {
    let comma = comma(labels);
    for (quantile, value) in QUANTILES.iter().zip(interval.quantiles()) {
        let value = float::thirty_two_digits(value);
        for piece in [name, b"{", labels, comma] {
            out.extend_from_slice(piece);
        }
        out.extend_from_slice(format!("quantile=\"{quantile}\"}} {value}\n").as_bytes());
    }
    write_sum(name, labels, interval, out);
}

fn write_sum(name: &[u8], labels: &[u8], buckets: &Buckets, out: &mut Vec<u8>) {
    let sum = float::thirty_two_digits(buckets.sum());
    for piece in [name, b"_sum{", labels, b"} ", sum.as_bytes(), b"\n"] {
        out.extend_from_slice(piece);
    }
    push_line(&[name, b"_count{", labels, b"} "], buckets.samples(), out);
}
