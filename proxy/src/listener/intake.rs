//! From accept(2) to a filter chain.
//!
//! LIFECYCLE of a connection: accepted → handed to a shard with less to do, or kept → closed if
//! there are too many → listener
//! filters → handed to the listener of its original destination, or kept → filter chain chosen →
//! counted ([`Admitted`]) → network filters → transport socket → served.

use std::rc::Rc;

use ringway_runtime::{SockAddr, Stream, spawn};

use super::candidate::Candidate;
use super::filters::{self, Passed as Verdict};
use super::{ActiveListener, Admitted, Meta, log};
use crate::control::message::{Adopted, HandOver};
use crate::network;
use crate::shard::Shard;
use crate::upstream::internal::Passed;

/// A connection one of this shard's sockets accepted.
pub(super) fn accepted(
    shard: &Rc<Shard>,
    listener: &Rc<ActiveListener>,
    stream: Stream,
    peer: SockAddr,
) {
    match shard.balance.elsewhere(listener.plan.exact_balance) {
        Some(other) => hand_over(shard, listener, stream, peer, other),
        None => take_in(shard, listener, stream, peer),
    }
}

/// A connection another shard accepted.
pub(crate) fn arrived(shard: &Rc<Shard>, listener: &Rc<ActiveListener>, given: HandOver) {
    if let Ok(stream) = Stream::from_fd(given.socket) {
        take_in(shard, listener, stream, given.peer);
    }
}

/// An idle connection another process has served, or this one before it tried to give it away.
pub(crate) fn resumed(shard: &Rc<Shard>, listener: &Rc<ActiveListener>, given: Adopted) {
    let Adopted { socket, passport, stays } = given;
    let Ok(stream) = Stream::from_fd(socket) else { return };
    let age = passport.age;
    let meta = Meta::resumed(shard.next_connection_id(), *passport, stays);
    // It was let in long ago.
    let place = listener.plan.ceiling.enter(true, &shard.stats);
    let mut candidate = Candidate::new(stream, meta, shard.balance.share(place));
    candidate.opened = candidate.opened - age;
    choose(shard, listener, candidate, false);
}

/// Nothing has been read from it, so the descriptor is all there is to it.
fn hand_over(
    shard: &Rc<Shard>,
    listener: &Rc<ActiveListener>,
    stream: Stream,
    peer: SockAddr,
    to: usize,
) {
    let Ok(socket) = stream.take_fd() else { return };
    shard.balance.sent(to);
    let given = shard.hand_over(listener, socket, peer);
    if let Err(given) = shard.give(to, given) {
        shard.balance.not_sent(to);
        arrived(shard, listener, given);
    }
}

fn take_in(shard: &Rc<Shard>, listener: &Rc<ActiveListener>, stream: Stream, peer: SockAddr) {
    let plan = &listener.plan;
    let Some(place) = plan.ceiling.enter(plan.ignores_ceiling, &shard.stats) else {
        shard.stats.inc(plan.stats.downstream_global_cx_overflow());
        return stream.close();
    };
    let local = stream.local_addr().unwrap_or_else(|_| peer.clone());
    let meta = Meta::new(shard.next_connection_id(), peer, local);
    let candidate = Candidate::new(stream, meta, shard.balance.share(Some(place)));
    begin(shard, listener, candidate, true);
}

/// A connection of this shard's own to an internal listener.
pub(crate) fn internal(
    shard: &Rc<Shard>,
    listener: &Rc<ActiveListener>,
    stream: Stream,
    passed: Passed,
) {
    let name = SockAddr::unix(format!("envoy://{}", listener.plan.name));
    let mut meta = Meta::new(shard.next_connection_id(), name.clone(), name);
    meta.set_passed(passed);
    let candidate = Candidate::new(stream, meta, shard.balance.share(None));
    begin(shard, listener, candidate, false);
}

/// Runs the listener's filters. `may_redirect`: it has not been handed to another listener yet.
fn begin(
    shard: &Rc<Shard>,
    listener: &Rc<ActiveListener>,
    candidate: Candidate,
    may_redirect: bool,
) {
    if filters::any(&listener.plan) {
        let filtered = filtered(Rc::clone(shard), Rc::clone(listener), candidate, may_redirect);
        spawn(filtered);
    } else {
        choose(shard, listener, candidate, may_redirect);
    }
}

async fn filtered(
    shard: Rc<Shard>,
    listener: Rc<ActiveListener>,
    mut candidate: Candidate,
    may_redirect: bool,
) {
    let _waiting = Waiting::new(&shard, &listener);
    match filters::run(&shard.stats, &listener.plan, &mut candidate).await {
        Verdict::Yes => choose(&shard, &listener, candidate, may_redirect),
        Verdict::No => {
            log::unserved(&shard, &listener, &candidate.meta, candidate.opened, false);
            candidate.refuse();
        }
    }
}

/// All that is to be known of it is known: finds who serves it.
fn choose(
    shard: &Rc<Shard>,
    listener: &Rc<ActiveListener>,
    candidate: Candidate,
    may_redirect: bool,
) {
    // Meanwhile the listener may have got other chains.
    let listener = &listener.newest();
    if may_redirect
        && listener.plan.use_original_dst
        && candidate.meta.local_restored()
        && let Some(other) = shard.listener_at(candidate.meta.local())
        && !Rc::ptr_eq(&other, listener)
    {
        return begin(shard, &other, candidate, false);
    }
    let plan = &listener.plan;
    let chain = plan.matcher.find(&candidate.meta.facts());
    let chain = chain.and_then(|index| listener.chain(shard, index as usize));
    let Some(chain) = chain else {
        shard.stats.inc(plan.stats.no_filter_chain_match());
        log::unserved(shard, listener, &candidate.meta, candidate.opened, true);
        candidate.refuse();
        return;
    };
    let opened = candidate.opened;
    let (stream, meta, load) = candidate.into_parts();
    let meta = Rc::new(meta);
    let link = Admitted::new(Rc::clone(shard), Rc::clone(listener), chain, meta, load, opened);
    network::begin(link, stream);
}

/// Counts a connection as waiting for listener filters.
struct Waiting {
    shard: Rc<Shard>,
    listener: Rc<ActiveListener>,
}

impl Waiting {
    fn new(shard: &Rc<Shard>, listener: &Rc<ActiveListener>) -> Self {
        shard.stats.gauge_add(listener.plan.stats.downstream_pre_cx_active(), 1);
        listener.filter_begins();
        Self { shard: Rc::clone(shard), listener: Rc::clone(listener) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let gauge = self.listener.plan.stats.downstream_pre_cx_active();
        self.shard.stats.gauge_sub(gauge, 1);
        self.listener.filter_ends();
    }
}
