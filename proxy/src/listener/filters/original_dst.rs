//! `envoy.filters.listener.original_dst`: where the client wanted to go before its connection was
//! redirected to us.

use ringway_runtime::SockAddr;

use super::Verdict;
use crate::listener::candidate::Candidate;

/// Restores the destination of a redirected connection. One that came directly keeps its own.
///
/// `transparent`: the listener takes connections to addresses that are not ours (TPROXY), so that
/// what the socket says of its own end is where the client wanted to go.
pub(super) fn look(transparent: bool, candidate: &mut Candidate) -> Verdict {
    if let Some(passed) = candidate.meta.passed() {
        if let Some(destination) = passed.destination {
            candidate.meta.restore_local(SockAddr::Inet(destination));
        }
        if let Some(source) = passed.source {
            candidate.meta.set_remote(SockAddr::Inet(source));
        }
        return Verdict::Done;
    }
    if let Ok(destination) = candidate.stream.original_dst() {
        candidate.meta.restore_local(destination);
    } else if transparent {
        let own = candidate.meta.local().clone();
        candidate.meta.restore_local(own);
    }
    Verdict::Done
}
