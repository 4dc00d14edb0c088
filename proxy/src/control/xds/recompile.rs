//! Compiling again what asked for values of the runtime that have changed.

use std::sync::Arc;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;

use super::Xds;
use super::compile::{Made, said};
use super::raw::Raw;
use crate::control::log::log;
use crate::plan::{Cluster, ConfigSource, Listener};

impl Xds {
    /// Values of the runtime have changed.
    pub(super) fn recompile(&mut self) {
        self.layers.changed = false;
        self.count_runtime();
        let clusters = self.clusters.by_name.values();
        let clusters = clusters.filter_map(|e| e.warming.as_ref().or(e.active.as_ref()));
        let clusters = clusters.filter(|version| version.reads_runtime);
        let clusters: Vec<Arc<Raw>> = clusters.filter_map(|version| version.raw.clone()).collect();
        for raw in clusters {
            let source = self.source_of(super::Kind::Cluster);
            match self.compile_cluster(&source, &raw.name, &raw.body) {
                Ok(made) => self.put_cluster(made, Some(raw)),
                Err(text) => stays("cluster", &raw.name, &text),
            }
        }
        for slot in self.tables.that_read_runtime() {
            self.make_again(slot, "rtds");
        }
        self.recompile_scopes();
        for raw in self.listeners.that_read_runtime() {
            let source = self.source_of(super::Kind::Listener);
            match self.compile_listener(&source, &raw.name, &raw.body) {
                Ok(made) => self.put_listener(made, Some(raw), Vec::new()),
                Err(text) => stays("listener", &raw.name, &text),
            }
        }
        self.recompile_bootstrap();
    }

    /// Where all resources of a kind come from.
    fn source_of(&self, kind: super::Kind) -> ConfigSource {
        self.whole.get(&kind).map_or_else(ConfigSource::ads, |whole| whole.source.clone())
    }

    fn recompile_bootstrap(&mut self) {
        let Some(bytes) = self.bootstrap.take() else { return };
        let bootstrap = Bootstrap::decode(&*bytes).unwrap_or_default();
        self.bootstrap = Some(bytes);
        let resources = bootstrap.static_resources.unwrap_or_default();
        let source = ConfigSource::ads();
        for config in &resources.clusters {
            match said(self.compiler.cluster(config, &source), &config.name) {
                Ok(made) if !made.reads_runtime => {}
                Ok(made) => self.renew_static_cluster(made),
                Err(text) => stays("cluster", &config.name, &text),
            }
        }
        for config in &resources.listeners {
            match said(self.compiler.listener(config, &source), &config.name) {
                Ok(made) if !made.reads_runtime => {}
                Ok(made) => self.renew_static_listener(made),
                Err(text) => stays("listener", &config.name, &text),
            }
        }
    }

    /// A cluster of the bootstrap was compiled again.
    fn renew_static_cluster(&mut self, made: Made<Arc<Cluster>>) {
        let mut waiting = self.secondary.iter_mut();
        match waiting.find(|cluster| cluster.name == made.value.name) {
            // Its turn has not come: it will be this one then.
            Some(cluster) => *cluster = made.value,
            None => self.put_cluster(made, None),
        }
    }

    /// A listener of the bootstrap was compiled again; its addresses are the same.
    fn renew_static_listener(&mut self, made: Made<Arc<Listener>>) {
        let mut waiting = self.first_listeners.iter_mut();
        match waiting.find(|(listener, _)| listener.name == made.value.name) {
            Some((listener, _)) => *listener = made.value,
            None if self.listeners.is_fixed(&made.value.name) => {
                self.put_listener(made, None, Vec::new());
            }
            None => {}
        }
    }
}

fn stays(what: &str, name: &str, text: &str) {
    log!(Warning, Runtime, "rtds: {what} '{name}' stays as it was: {text}");
}
