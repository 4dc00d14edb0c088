//! Layers of runtime values that RTDS brings.
//!
//! What a value says is part of what is compiled: when one changes, every resource that asked for
//! one is compiled again, and takes the place of what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_runtime::precise_now;
use ringway_xds::client::Resource;

use super::Xds;
use super::counts::{Count, Counts};
use super::due::Due;
use super::feeds::{FeedId, Wanted};
use super::kind::Kind;
use super::raw::{Dumped, Raw, ResourceState};
use crate::control::log::log;

/// All layers, in the order of the bootstrap.
#[derive(Debug, Default)]
pub(super) struct Layers {
    all: Vec<Layer>,
    /// Values have changed since the last time resources were compiled again.
    pub(super) changed: bool,
}

/// One layer.
#[derive(Debug)]
struct Layer {
    /// Its name in the bootstrap.
    layer: Arc<str>,
    /// The resource's.
    name: Arc<str>,
    feed: Option<FeedId>,
    raw: Option<Arc<Raw>>,
    /// Nobody waits for the first values any more.
    settled: bool,
}

impl Xds {
    /// Asks for all layers.
    pub(super) fn want_layers(&mut self) {
        const PREFIX: &str = "runtime.";
        for layer in self.dynamic.layers.clone() {
            let origin = &layer.source.origin;
            let feed = self.open_feed(Wanted { origin, kind: Kind::Runtime, prefix: PREFIX });
            let feed = feed.map_err(|text| log!(Warning, Runtime, "rtds: {text}")).ok();
            if self.layer_counts.is_none() {
                self.layer_counts = Some(Counts::new(self.compiler.registry(), PREFIX, false));
            }
            if let (Some(counts), Some(feed)) = (&self.layer_counts, feed) {
                self.begin_count(feed, counts.slots());
            }
            let name = layer.name.clone();
            self.layers.all.push(Layer {
                layer: layer.layer.into(),
                name: name.clone(),
                feed,
                raw: None,
                settled: feed.is_none(),
            });
            if let Some(feed) = feed {
                self.feeds.subscribe(feed, Kind::Runtime, &name);
                let wait = layer.source.initial_fetch_timeout;
                if !wait.is_zero() {
                    self.due.after(wait, Due::Layer(name));
                }
            }
        }
    }

    /// Whether no layer is awaited.
    pub(super) fn layers_are_there(&self) -> bool {
        self.layers.all.iter().all(|layer| layer.settled)
    }

    /// A resource of RTDS.
    pub(super) fn apply_layer(&mut self, feed: FeedId, resource: &Resource) -> Result<(), String> {
        let raw = Raw::of(resource);
        let began = precise_now();
        let mut result = Ok(());
        for at in self.layers.of(feed, &resource.name) {
            let Some(layer) = self.layers.all.get(at) else { continue };
            let taken = self.compile_layer(&layer.layer.clone(), resource);
            let Some(layer) = self.layers.all.get_mut(at) else { continue };
            layer.settled = true;
            match taken {
                Ok(changed) => {
                    layer.raw = Some(raw.clone());
                    self.layers.changed |= changed;
                }
                Err(text) => result = Err(text),
            }
        }
        let took = precise_now() - began;
        if let Some(counts) = &self.layer_counts {
            match &result {
                Ok(()) => {
                    let registry = self.compiler.registry();
                    counts.took(&self.stats, registry, &resource.version, took, true);
                }
                Err(_) => counts.slots().refused(&self.stats),
            }
        }
        result
    }

    /// RTDS has no such layer: it is empty.
    pub(super) fn remove_layer(&mut self, feed: FeedId, name: &Arc<str>) {
        for at in self.layers.of(feed, name) {
            let Some(layer) = self.layers.all.get_mut(at) else { continue };
            (layer.raw, layer.settled) = (None, true);
            let layer = layer.layer.clone();
            self.layers.changed |= self.fill_layer(&layer, &BTreeMap::new());
        }
    }

    /// A layer has not come in time.
    pub(super) fn layer_due(&mut self, name: &str) {
        for layer in self.layers.all.iter_mut().filter(|layer| *layer.name == *name) {
            if !std::mem::replace(&mut layer.settled, true) {
                let url = Kind::Runtime.type_url();
                log!(Warning, Config, "gRPC config: initial fetch timed out for {url} ('{name}')");
                if let Some(counts) = &self.layer_counts {
                    counts.slots().timed_out(&self.stats);
                }
            }
        }
    }

    /// The feed has no connection.
    pub(super) fn count_lost_layers(&self, feed: FeedId, count: Count) {
        let of_feed = self.layers.all.iter().filter(|layer| layer.feed == Some(feed));
        if let Some(counts) = &self.layer_counts {
            of_feed.for_each(|_| count(counts.slots(), &self.stats));
        }
    }

    /// `/runtime_modify` has set the values of the admin layer.
    pub(crate) fn override_runtime(&mut self, layer: &str, values: &BTreeMap<String, String>) {
        let active = u64::from(!values.is_empty());
        self.stats.gauge_set(self.names.runtime.admin_overrides_active(), active);
        self.layers.changed |= self.fill_layer(layer, values);
        self.settle();
    }

    /// There is a new snapshot of all values. Envoy counts with each that there is no override
    /// directory, which is a thing of disk layers.
    pub(super) fn count_runtime(&self) {
        let names = &self.names.runtime;
        let (layers, keys) = self.compiler.runtime_size();
        self.stats.inc(names.load_success());
        self.stats.inc(names.override_dir_not_exists());
        self.stats.gauge_set(names.num_layers(), layers as u64);
        self.stats.gauge_set(names.num_keys(), keys as u64);
    }

    /// For `/runtime`, by the names of the layers.
    pub(super) fn dump_layers(&self, out: &mut Vec<Dumped>) {
        for layer in &self.layers.all {
            let raw = layer.raw.iter().map(|raw| (raw.clone(), ResourceState::Active));
            Dumped::versions(&layer.layer, raw, out);
        }
    }
}

impl Layers {
    /// Places of the layers that a resource fills.
    fn of(&self, feed: FeedId, name: &str) -> Vec<usize> {
        let all = self.all.iter().enumerate();
        let fits = all.filter(|(_, layer)| layer.feed == Some(feed) && *layer.name == *name);
        fits.map(|(at, _)| at).collect()
    }
}
