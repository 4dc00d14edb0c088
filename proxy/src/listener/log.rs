//! Access logs of a listener: one line for each of its connections, served or not.

use ringway_runtime::Instant;

use super::{ActiveListener, Admitted, Meta};
use crate::observe::format::{Address, Downstream, LogContext, ResponseFlag, Timings};
use crate::shard::Shard;

impl Admitted {
    /// Writes the listener's lines for a connection that is over; later calls write nothing.
    /// Without a call it is done when the connection is dropped. `add` puts in what its last
    /// filter knows.
    pub(crate) fn log<'a>(&'a self, add: impl FnOnce(&mut LogContext<'a>)) {
        let logs = &self.listener.plan.access_logs;
        if logs.is_empty() || self.logged.replace(true) {
            return;
        }
        let name = &*self.version.plan.name;
        let mut cx = LogContext {
            filter_chain_name: Some(name).filter(|name| !name.is_empty()),
            ..context(&self.meta, self.opened)
        };
        add(&mut cx);
        logs.iter().for_each(|log| self.shard.logs.log(log, &cx));
    }
}

/// A connection that was closed before a chain took it; `unmatched`: none wanted it.
pub(super) fn unserved(
    shard: &Shard,
    listener: &ActiveListener,
    meta: &Meta,
    opened: Instant,
    unmatched: bool,
) {
    let logs = &listener.plan.access_logs;
    if logs.is_empty() {
        return;
    }
    let mut cx = context(meta, opened);
    if unmatched {
        cx.flags.insert(ResponseFlag::NoRouteFound);
        cx.response_code_details = Some("filter_chain_not_found");
    }
    logs.iter().for_each(|log| shard.logs.log(log, &cx));
}

fn context(meta: &Meta, opened: Instant) -> LogContext<'_> {
    let (age, now) = (opened.elapsed(), ringway_runtime::unix_now());
    LogContext {
        start_unix_ns: now.saturating_sub(age).as_nanos() as u64,
        emit_unix_ns: now.as_nanos() as u64,
        timings: Timings { complete: Some(age.as_nanos() as u64), ..Timings::default() },
        downstream: Downstream {
            local: Address::from(meta.local()),
            remote: Address::from(meta.remote()),
            direct_local: Address::from(meta.direct_local()),
            direct_remote: Address::from(meta.direct_remote()),
            connection_id: Some(meta.id),
            server_name: meta.sni(),
            ..Downstream::default()
        },
        random: u128::from(ringway_runtime::rand_u64()) << 64
            | u128::from(ringway_runtime::rand_u64()),
        ..LogContext::default()
    }
}
