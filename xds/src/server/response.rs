//! Writes responses: resources as they were encoded once, one after the other.

use std::sync::Arc;
use std::time::Duration;

use super::snapshot::{self, Encoded};
use crate::client::Protocol;
use crate::types::WRAPPER;
use crate::wire::{begin_message, end_message, put_bytes, put_number, put_text};

/// What a response says.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) resources: Vec<Arc<Encoded>>,
    /// Sent without body: they are as they were.
    pub(super) heartbeats: Vec<Arc<Encoded>>,
    /// Incremental.
    pub(super) removed: Vec<Arc<str>>,
    /// Aliases that stand for nothing (virtual hosts).
    pub(super) unresolved: Vec<Arc<str>>,
}

impl Content {
    /// The version of these resources together.
    pub(super) fn version(&self) -> String {
        snapshot::version(self.resources.iter().map(|resource| resource.identity()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
            && self.heartbeats.is_empty()
            && self.removed.is_empty()
            && self.unresolved.is_empty()
    }
}

/// Who sends, and what all responses of it have in common.
pub(super) struct Envelope<'a> {
    pub(super) protocol: Protocol,
    pub(super) type_url: &'a str,
    pub(super) version: &'a str,
    pub(super) nonce: &'a str,
    pub(super) control_plane: &'a str,
}

pub(super) fn write(envelope: &Envelope<'_>, content: &Content) -> Vec<u8> {
    let bodies = content.resources.iter().map(|resource| {
        let names =
            resource.name.len() + resource.aliases.iter().map(|a| a.len() + 4).sum::<usize>();
        resource.any().len() + names + 48
    });
    let heartbeats = content.heartbeats.len() * 200;
    let mut out = Vec::with_capacity(bodies.sum::<usize>() + heartbeats + 512);
    put_text(&mut out, 1, envelope.version);
    for resource in &content.resources {
        // A wrapper only for what needs one: clients older than the wrapper read the rest.
        if envelope.protocol == Protocol::Sotw && resource.ttl.is_none() {
            put_bytes(&mut out, 2, resource.any());
        } else {
            put_resource(&mut out, envelope.protocol, resource, true);
        }
    }
    for resource in &content.heartbeats {
        put_resource(&mut out, envelope.protocol, resource, false);
    }
    for name in &content.unresolved {
        let resource = begin_message(&mut out, 2);
        put_text(&mut out, 3, name);
        put_text(&mut out, 4, name);
        end_message(&mut out, &resource);
    }
    put_text(&mut out, 4, envelope.type_url);
    put_text(&mut out, 5, envelope.nonce);
    for name in &content.removed {
        put_bytes(&mut out, 6, name.as_bytes());
    }
    if !envelope.control_plane.is_empty() {
        let field = if envelope.protocol == Protocol::Sotw { 6 } else { 7 };
        let control_plane = begin_message(&mut out, field);
        put_text(&mut out, 1, envelope.control_plane);
        end_message(&mut out, &control_plane);
    }
    out
}

/// `envoy.service.discovery.v3.Resource`, in an `Any` where the protocol has it so.
fn put_resource(out: &mut Vec<u8>, protocol: Protocol, resource: &Encoded, with_body: bool) {
    let outer = begin_message(out, 2);
    let inner = (protocol == Protocol::Sotw).then(|| {
        put_text(out, 1, WRAPPER);
        begin_message(out, 2)
    });
    // In state of the world, the version is the response's.
    if protocol == Protocol::Delta {
        put_text(out, 1, resource.version());
    }
    if with_body {
        put_bytes(out, 2, resource.any());
    }
    put_bytes(out, 3, resource.name.as_bytes());
    for alias in &resource.aliases {
        put_bytes(out, 4, alias.as_bytes());
    }
    if let Some(ttl) = resource.ttl {
        put_duration(out, 6, ttl);
    }
    if let Some(inner) = inner {
        end_message(out, &inner);
    }
    end_message(out, &outer);
}

fn put_duration(out: &mut Vec<u8>, field: u32, duration: Duration) {
    let message = begin_message(out, field);
    put_number(out, 1, duration.as_secs());
    put_number(out, 2, u64::from(duration.subsec_nanos()));
    end_message(out, &message);
}
