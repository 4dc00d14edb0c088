//! Prometheus text exposition: statistics of one metric together, tags taken out of names.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::entries::{Entry, ValueOf, of_scope};
use super::params::{BucketsMode, StatsParams};
use super::text::join;
use super::{PIECE, float};
use crate::observe::stats::Kind;
use crate::observe::stats::directory::Scope;
use crate::observe::stats::histogram::{BOUNDS, Buckets, QUANTILES};
use crate::observe::stats::merge::View;
use crate::observe::stats::tags::{Tag, TagRules, mangle_into};

/// The page. Which statistics belong to which metric is found out first (a few bytes each), then
/// metric after metric is written.
#[derive(Debug)]
pub struct PrometheusPage {
    view: View,
    params: StatsParams,
    tags: Arc<TagRules>,
    scopes: Vec<Arc<Scope>>,
    /// Those with names of their own: response codes.
    extra: Vec<Entry>,
    /// What is left to write, the next one last; `None` before the start.
    groups: Option<Vec<Group>>,
    current: Current,
}

/// The metric that is being written.
#[derive(Debug, Default)]
struct Current {
    metric: String,
    /// Full names, the next one last.
    members: Vec<(String, Member)>,
}

#[derive(Debug)]
struct Group {
    order: u8,
    base: Box<str>,
    members: Vec<Member>,
}

/// A statistic, compactly: 5,000 clusters have half a million.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Index in `scopes`, or of a text readout.
    scope: u32,
    at: At,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Stat(u16),
    Extra(u32),
    Text,
}

const COUNTER: u8 = 0;
const GAUGE: u8 = 1;
const TEXT: u8 = 2;
const HISTOGRAM: u8 = 3;

impl PrometheusPage {
    /// Begins a page.
    pub fn new(view: View, params: StatsParams, tags: Arc<TagRules>) -> Self {
        Self {
            view,
            params,
            tags,
            scopes: Vec::new(),
            extra: Vec::new(),
            groups: None,
            current: Current::default(),
        }
    }

    /// Appends a piece; false at the end.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let mut groups = match self.groups.take() {
            Some(groups) => groups,
            None => self.group(),
        };
        let mut text = String::new();
        let mut current = std::mem::take(&mut self.current);
        let (mut base, mut labels) = (String::new(), String::new());
        while text.len() < PIECE {
            let Some((name, member)) = current.members.pop() else {
                let Some(group) = groups.pop() else { break };
                current = self.begin_group(&group, &mut text);
                continue;
            };
            let mut tags = Vec::new();
            self.tags.extract(&name, &mut base, &mut tags);
            write_labels(&tags, &mut labels);
            self.write_member(&current.metric, &mut labels, member, &mut text);
        }
        out.extend_from_slice(text.as_bytes());
        let more = !groups.is_empty() || !current.members.is_empty();
        self.groups = Some(groups);
        self.current = current;
        more
    }

    fn group(&mut self) -> Vec<Group> {
        let view = self.view.clone();
        self.scopes = view.names().scopes().cloned().collect();
        let scopes = std::mem::take(&mut self.scopes);
        let mut groups = Groups::default();
        for (i, scope) in scopes.iter().enumerate() {
            for histograms in [false, true] {
                for entry in of_scope(&view, scope, histograms) {
                    self.place(i as u32, scope, entry, &mut groups);
                }
            }
        }
        self.scopes = scopes;
        if self.params.text_readouts {
            for (i, (name, _)) in view.names().texts().iter().enumerate() {
                if self.params.wants(name) && self.params.wants_kind(Kind::TextReadout) {
                    let member = Member { scope: i as u32, at: At::Text };
                    groups.add(TEXT, name, &self.tags, member);
                }
            }
        }
        let mut list = groups.list;
        list.sort_by(|a, b| b.order.cmp(&a.order).then_with(|| by_parts(&b.base, &a.base)));
        list
    }

    fn place(&mut self, index: u32, scope: &Arc<Scope>, entry: Entry, groups: &mut Groups) {
        let used = || match entry.kind {
            Kind::Histogram => entry.histogram(&self.view, scope).is_some(),
            _ => entry.number(&self.view, scope).1,
        };
        if !self.params.wants_kind(entry.kind) || (self.params.used_only && !used()) {
            return;
        }
        let order = match entry.kind {
            Kind::Counter => COUNTER,
            Kind::Gauge => GAUGE,
            Kind::TextReadout => TEXT,
            Kind::Histogram => HISTOGRAM,
        };
        let mut name = std::mem::take(&mut groups.name);
        join(&mut name, &scope.prefix, &entry.suffix);
        if self.params.wants(&name) {
            let at = match entry.value {
                ValueOf::Stat(i) => At::Stat(i),
                ValueOf::Known(_) => {
                    self.extra.push(entry);
                    At::Extra(self.extra.len() as u32 - 1)
                }
            };
            groups.add(order, &name, &self.tags, Member { scope: index, at });
        }
        groups.name = name;
    }

    fn summaries(&self) -> bool {
        self.params.buckets == Some(BucketsMode::Summary)
    }

    fn begin_group(&self, group: &Group, text: &mut String) -> Current {
        let mut metric = String::from("envoy_");
        mangle_into(&group.base, &mut metric);
        let kind = match group.order {
            COUNTER => "counter",
            HISTOGRAM if self.summaries() => "summary",
            HISTOGRAM => "histogram",
            _ => "gauge",
        };
        let _ = writeln!(text, "# TYPE {metric} {kind}");
        let mut members: Vec<(String, Member)> =
            group.members.iter().map(|&member| (self.full_name(member), member)).collect();
        members.sort_by(|a, b| by_parts(&b.0, &a.0));
        Current { metric, members }
    }

    fn full_name(&self, member: Member) -> String {
        if let At::Text = member.at {
            let text = self.view.names().texts().get(member.scope as usize);
            return text.map_or_else(String::new, |(name, _)| name.to_string());
        }
        let Some(scope) = self.scopes.get(member.scope as usize) else { return String::new() };
        let suffix = match member.at {
            At::Stat(i) => scope.def.stats.get(usize::from(i)).map_or("", |stat| stat.suffix),
            At::Extra(i) => self.extra.get(i as usize).map_or("", |entry| &entry.suffix),
            At::Text => "",
        };
        format!("{}{suffix}", scope.prefix)
    }

    fn write_member(&self, metric: &str, labels: &mut String, member: Member, text: &mut String) {
        if let At::Text = member.at {
            let value = self.view.names().texts().get(member.scope as usize);
            let value = value.map_or("", |(_, value)| value);
            write_label("text_value", value, labels);
            let _ = writeln!(text, "{metric}{{{labels}}} 1");
            return;
        }
        let Some(scope) = self.scopes.get(member.scope as usize) else { return };
        let value = match member.at {
            At::Extra(i) => self.extra.get(i as usize).map(|entry| entry.number(&self.view, scope)),
            At::Stat(i) => match scope.def.stats.get(usize::from(i)) {
                Some(stat) if stat.kind == Kind::Histogram => {
                    let empty = Buckets::default();
                    let view = self.view.histogram(scope, i);
                    let buckets = view.map_or(&empty, |view| &view.cumulative);
                    if self.summaries() {
                        let interval = view.map_or(&empty, |view| &view.interval);
                        write_summary(metric, labels, interval, text);
                    } else {
                        write_histogram(metric, labels, buckets, text);
                    }
                    return;
                }
                Some(stat) => Some(self.view.number(scope, stat.kind, stat.source)),
                None => None,
            },
            At::Text => None,
        };
        let value = value.map_or(0, |(value, _)| value);
        let _ = writeln!(text, "{metric}{{{labels}}} {value}");
    }
}

/// Metrics by name and kind, while they are collected.
#[derive(Debug, Default)]
struct Groups {
    /// By kind.
    index: [HashMap<Box<str>, usize, FixedState>; 4],
    list: Vec<Group>,
    name: String,
    base: String,
}

impl Groups {
    fn add(&mut self, order: u8, name: &str, rules: &TagRules, member: Member) {
        let mut tags: Vec<Tag<'_>> = Vec::new();
        rules.extract(name, &mut self.base, &mut tags);
        let Some(index) = self.index.get_mut(usize::from(order)) else { return };
        let at = match index.get(self.base.as_str()) {
            Some(&at) => at,
            None => {
                let base: Box<str> = self.base.as_str().into();
                index.insert(base.clone(), self.list.len());
                self.list.push(Group { order, base, members: Vec::new() });
                self.list.len() - 1
            }
        };
        if let Some(group) = self.list.get_mut(at) {
            group.members.push(member);
        }
    }
}

/// Part by part, as Envoy orders names.
fn by_parts(a: &str, b: &str) -> Ordering {
    a.split('.').cmp(b.split('.'))
}

fn write_labels(tags: &[Tag<'_>], labels: &mut String) {
    labels.clear();
    for (name, value) in tags {
        write_label(name, value, labels);
    }
}

fn write_label(name: &str, value: &str, labels: &mut String) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            c => labels.push(c),
        }
    }
    labels.push('"');
}

fn write_histogram(metric: &str, labels: &str, buckets: &Buckets, text: &mut String) {
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in BOUNDS.iter().zip(buckets.cumulative()) {
        let bound = float::thirty_two_digits(*bound);
        let _ = writeln!(text, "{metric}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let samples = buckets.samples();
    let _ = writeln!(text, "{metric}_bucket{{{labels}{comma}le=\"+Inf\"}} {samples}");
    write_sum(metric, labels, buckets, text);
}

/// Quantiles of the last interval, as Envoy's summaries have them.
fn write_summary(metric: &str, labels: &str, interval: &Buckets, text: &mut String) {
    let comma = if labels.is_empty() { "" } else { "," };
    for (quantile, value) in QUANTILES.iter().zip(interval.quantiles()) {
        let value = float::thirty_two_digits(value);
        let _ = writeln!(text, "{metric}{{{labels}{comma}quantile=\"{quantile}\"}} {value}");
    }
    write_sum(metric, labels, interval, text);
}

fn write_sum(metric: &str, labels: &str, buckets: &Buckets, text: &mut String) {
    let sum = float::thirty_two_digits(buckets.sum());
    let _ = writeln!(text, "{metric}_sum{{{labels}}} {sum}");
    let _ = writeln!(text, "{metric}_count{{{labels}}} {}", buckets.samples());
}
