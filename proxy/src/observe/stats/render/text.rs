//! `/stats` as text: text readouts, then counters and gauges, then histograms.

use super::params::StatsParams;
use super::walk::Walk;
use super::{PIECE, histogram, number};
use crate::observe::stats::Kind;
use crate::observe::stats::merge::View;
use crate::observe::stats::tags;

/// The text page.
#[derive(Debug)]
pub struct TextPage {
    view: View,
    params: StatsParams,
    phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Texts,
    Numbers(Walk),
    Histograms(Walk),
    Done,
}

impl Phase {
    /// The next phase, without those whose types are not asked for.
    pub(super) fn after(self, view: &View, params: &StatsParams) -> Self {
        let numbers = params.wants_kind(Kind::Counter) || params.wants_kind(Kind::Gauge);
        match self {
            Self::Texts if numbers => Self::Numbers(Walk::new(view.clone(), false)),
            Self::Texts | Self::Numbers(_) if params.wants_kind(Kind::Histogram) => {
                Self::Histograms(Walk::new(view.clone(), true))
            }
            _ => Self::Done,
        }
    }
}

impl TextPage {
    pub(super) fn new(view: View, params: StatsParams) -> Self {
        Self { view, params, phase: Phase::Texts }
    }

    /// Appends a piece; false at the end.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let end = out.len() + PIECE;
        out.reserve(PIECE + (PIECE >> 4));
        let mut name = String::new();
        while out.len() < end {
            let more = match &mut self.phase {
                Phase::Texts => {
                    texts(&self.view, &self.params, |name, value| {
                        for piece in [name, ": \"", value, "\"\n"] {
                            out.extend_from_slice(piece.as_bytes());
                        }
                    });
                    false
                }
                Phase::Numbers(walk) => walk.next().is_some_and(|(scope, entry)| {
                    let (value, used) = entry.number(&self.view, &scope);
                    join(&mut name, &scope.prefix, &entry.suffix);
                    let shown = used || !self.params.used_only;
                    if shown && self.params.wants_kind(entry.kind) && self.params.wants(&name) {
                        out.extend_from_slice(name.as_bytes());
                        out.extend_from_slice(b": ");
                        number::push(value, out);
                        out.push(b'\n');
                    }
                    true
                }),
                Phase::Histograms(walk) => walk.next().is_some_and(|(scope, entry)| {
                    join(&mut name, &scope.prefix, &entry.suffix);
                    let found = entry.histogram(&self.view, &scope);
                    let shown = found.is_some() || !self.params.used_only;
                    if shown && self.params.wants(&name) {
                        let mode = self.params.buckets.unwrap_or_default();
                        let mut text = String::new();
                        let bounds = self.view.settings().bounds(|| name.clone());
                        histogram::text(&name, found, (mode, bounds), &mut text);
                        out.extend_from_slice(text.as_bytes());
                    }
                    true
                }),
                Phase::Done => break,
            };
            if !more {
                let phase = std::mem::replace(&mut self.phase, Phase::Done);
                self.phase = phase.after(&self.view, &self.params);
            }
        }
        !matches!(self.phase, Phase::Done)
    }
}

/// Calls `f(name, value)` for the text readouts to show, in order.
pub(super) fn texts(view: &View, params: &StatsParams, mut f: impl FnMut(&str, &str)) {
    if !params.wants_kind(Kind::TextReadout) {
        return;
    }
    let mut texts: Vec<_> = view.names().texts().collect();
    texts.sort();
    for (name, value) in texts {
        let shown = view.settings().matcher.shows(name);
        if shown && (!params.used_only || !value.is_empty()) && params.wants(name) {
            f(name, value);
        }
    }
}

/// The full name of a statistic, as people read it.
pub(in crate::observe::stats) fn join(name: &mut String, prefix: &str, suffix: &str) {
    name.clear();
    if prefix.starts_with(tags::LABELLED) {
        return tags::shown_into(prefix, name);
    }
    name.push_str(prefix);
    name.push_str(suffix);
}
