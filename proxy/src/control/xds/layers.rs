//! Layers of runtime values that RTDS brings.

use std::sync::Arc;

use ringway_xds::client::Resource;

use super::Xds;
use super::feeds::FeedId;

/// All layers.
#[derive(Debug, Default)]
pub(super) struct Layers {}

impl Xds {
    pub(super) fn want_layers(&mut self) {}

    pub(super) fn layers_are_there(&self) -> bool {
        true
    }

    pub(super) fn apply_layer(
        &mut self,
        _feed: FeedId,
        _resource: &Resource,
    ) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn remove_layer(&mut self, _feed: FeedId, _name: &Arc<str>) {}
}
