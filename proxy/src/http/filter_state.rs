//! What filters leave on a stream for others to read: `%FILTER_STATE%` in logs and headers.

use std::rc::Rc;
use std::sync::Arc;

use crate::istio::Peer;
use crate::observe::format::{StateSource, StateValue};

/// Objects by their keys; few, so a list.
#[derive(Debug, Default)]
pub(crate) struct FilterState(Vec<(Arc<str>, Object)>);

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    /// `envoy.string`
    Text(Box<[u8]>),
    /// Messages of a gRPC call.
    GrpcStats {
        /// From the client.
        requests: u64,
        /// From the upstream.
        responses: u64,
    },
    /// Who is at the other end, of Istio's filters.
    Peer(Rc<Peer>),
}

impl FilterState {
    /// Puts an object under a key, in the place of the one that is there.
    pub(crate) fn set(&mut self, key: &Arc<str>, object: Object) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, place)) => *place = object,
            None => self.0.push((Arc::clone(key), object)),
        }
    }

    /// The object of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Object> {
        self.0.iter().find(|(known, _)| **known == *key).map(|(_, object)| object)
    }
}

impl StateSource for FilterState {
    fn state(&self, key: &str) -> Option<StateValue<'_>> {
        Some(match self.get(key)? {
            Object::Text(text) => StateValue::Text(text),
            Object::GrpcStats { requests, responses } => {
                StateValue::GrpcStats { requests: *requests, responses: *responses }
            }
            Object::Peer(peer) => StateValue::Workload(&peer.workload),
        })
    }
}

#[cfg(test)]
mod tests;
