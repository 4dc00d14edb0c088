//! Compiling again what asked for values of the runtime that have changed.

use std::sync::Arc;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;

use super::Xds;
use super::compile::said;
use super::raw::Raw;
use crate::control::log::log;
use crate::plan::ConfigSource;

impl Xds {
    /// Values of the runtime have changed.
    pub(super) fn recompile(&mut self) {
        self.layers.changed = false;
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
                Ok(made) if made.reads_runtime => self.put_cluster(made, None),
                Ok(_) => {}
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
}

fn stays(what: &str, name: &str, text: &str) {
    log!(Warning, Runtime, "rtds: {what} '{name}' stays as it was: {text}");
}
