//! Writes requests.

use std::sync::Arc;

use super::kind::{Kind, Reply, Wildcard};
use super::table::{AGAIN, DIRTY, TOLD};
use super::update::Protocol;
use crate::types::WILDCARD;
use crate::wire::{begin_message, end_message, put_bytes, put_number, put_text};

/// `google.rpc.Code.INTERNAL`, as Envoy has it for every NACK.
const INTERNAL: u64 = 13;

/// The next request of this type: an answer, a changed subscription, or both in one.
pub(super) fn write(protocol: Protocol, kind: &mut Kind, node: Option<&[u8]>) -> Vec<u8> {
    let reply = kind.replies.pop_front();
    kind.node_due = false;
    match protocol {
        Protocol::Sotw => sotw(kind, node, reply),
        Protocol::Delta => delta(kind, node, reply),
    }
}

/// `DiscoveryRequest`: `version_info` is the last accepted version, with any nonce.
fn sotw(kind: &mut Kind, node: Option<&[u8]>, reply: Option<Reply>) -> Vec<u8> {
    let (names, is_complete) = match kind.names.take() {
        Some(names) => (names, true),
        None => encode_names(kind),
    };
    let mut out = Vec::with_capacity(names.len() + node.map_or(0, <[u8]>::len) + 256);
    if kind.asked || !kind.is_mixed {
        put_text(&mut out, 1, &kind.version);
    }
    if let Some(node) = node {
        put_bytes(&mut out, 2, node);
    }
    kind.changed = !is_complete;
    let all = kind.asks_all();
    if all && names.is_empty() && !kind.named {
        kind.told_all = Wildcard::Legacy;
    } else if all || (names.is_empty() && kind.told_all == Wildcard::Legacy) {
        put_bytes(&mut out, 3, WILDCARD.as_bytes());
        (kind.told_all, kind.named) = (Wildcard::Explicit, true);
        // An empty list would go on asking for all; only who named something can take all of it
        // back, with one request more.
        kind.changed |= !all;
    } else {
        kind.named |= !names.is_empty();
        kind.told_not_all();
    }
    out.extend(&names);
    kind.names = is_complete.then_some(names);
    put_text(&mut out, 4, &kind.url);
    let nonce = reply.as_ref().map_or(&kind.nonce, |reply| &reply.nonce);
    put_text(&mut out, 5, nonce);
    put_error(&mut out, 6, reply.as_ref().and_then(|reply| reply.error.as_ref()));
    settle(kind);
    out
}

/// The names that are wanted, and whether these are all.
///
/// A name given up and taken up again would be in the list before and after, and the server would
/// not send it again: it is left out of one request.
fn encode_names(kind: &mut Kind) -> (Vec<u8>, bool) {
    let mut names = Vec::new();
    let mut is_complete = true;
    for entry in kind.table.iter_mut() {
        let (wanted, again) = (entry.wanted > 0, entry.is(AGAIN));
        entry.set(AGAIN, false);
        entry.set(TOLD, wanted && !again);
        if wanted && !again {
            put_bytes(&mut names, 3, entry.name.as_bytes());
        }
        is_complete &= !(wanted && again);
    }
    names.shrink_to_fit();
    (names, is_complete)
}

/// State of the world: every request says all there is to say.
fn settle(kind: &mut Kind) {
    kind.asked = true;
    for slot in std::mem::take(&mut kind.dirty) {
        if let Some(entry) = kind.table.get_mut(slot) {
            entry.set(DIRTY, false);
        }
        kind.drop_idle(slot);
    }
}

/// `DeltaDiscoveryRequest`.
fn delta(kind: &mut Kind, node: Option<&[u8]>, reply: Option<Reply>) -> Vec<u8> {
    let mut out = Vec::with_capacity(node.map_or(0, <[u8]>::len) + 256);
    if let Some(node) = node {
        put_bytes(&mut out, 1, node);
    }
    put_text(&mut out, 2, &kind.url);
    kind.changed = false;
    if kind.asked {
        delta_changes(kind, &mut out);
    } else {
        delta_first(kind, &mut out);
    }
    kind.asked = true;
    if let Some(reply) = &reply {
        put_text(&mut out, 6, &reply.nonce);
        put_error(&mut out, 7, reply.error.as_ref());
    }
    out
}

/// The first request of a stream says all that is wanted, and what is there already.
fn delta_first(kind: &mut Kind, out: &mut Vec<u8>) {
    if kind.wildcard > 0 {
        let alone = kind.table.wanted == 0;
        kind.told_all = if alone { Wildcard::Legacy } else { Wildcard::Explicit };
        if !alone {
            put_bytes(out, 3, WILDCARD.as_bytes());
        }
    }
    for entry in kind.table.iter_mut() {
        let wanted = entry.wanted > 0;
        entry.set(TOLD, wanted);
        entry.set(DIRTY | AGAIN, false);
        if wanted {
            put_bytes(out, 3, entry.name.as_bytes());
        }
        if let Some(version) = &entry.version {
            let item = begin_message(out, 5);
            put_text(out, 1, &entry.name);
            put_text(out, 2, version);
            end_message(out, &item);
        }
    }
    for slot in std::mem::take(&mut kind.dirty) {
        kind.drop_idle(slot);
    }
}

fn delta_changes(kind: &mut Kind, out: &mut Vec<u8>) {
    match (kind.told_all, kind.asks_all()) {
        (Wildcard::Untold, true) => {
            put_bytes(out, 3, WILDCARD.as_bytes());
            kind.told_all = Wildcard::Explicit;
        }
        (Wildcard::Legacy | Wildcard::Explicit, false) => {
            put_bytes(out, 4, WILDCARD.as_bytes());
            kind.told_not_all();
        }
        _ => {}
    }
    for slot in std::mem::take(&mut kind.dirty) {
        if let Some(entry) = kind.table.get_mut(slot) {
            entry.set(DIRTY | AGAIN, false);
            let wanted = entry.wanted > 0;
            match (wanted, entry.is(TOLD)) {
                (true, false) => put_bytes(out, 3, entry.name.as_bytes()),
                (false, true) => put_bytes(out, 4, entry.name.as_bytes()),
                _ => {}
            }
            entry.set(TOLD, wanted);
        }
        kind.drop_idle(slot);
    }
}

fn put_error(out: &mut Vec<u8>, field: u32, error: Option<&Arc<str>>) {
    if let Some(text) = error {
        let status = begin_message(out, field);
        put_number(out, 1, INTERNAL);
        put_text(out, 2, text);
        end_message(out, &status);
    }
}
