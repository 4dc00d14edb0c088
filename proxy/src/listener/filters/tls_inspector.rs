//! `envoy.filters.listener.tls_inspector`: whether a client speaks TLS, and what it asks for.

use ringway_wire::tls::{Peek, peek_client_hello};

use super::Verdict;
use crate::listener::candidate::Candidate;
use crate::observe::stats::ShardStats;
use crate::plan::listener_filter::TlsInspector;

/// Bytes that tell TLS from anything else: a record header.
const RECORD_HEADER: u64 = 5;

pub(super) fn look(stats: &ShardStats, plan: &TlsInspector, candidate: &mut Candidate) -> Verdict {
    let bytes = candidate.inbox.bytes();
    let counters = &plan.stats;
    // Of use for hellos in several records only.
    let mut scratch = Vec::new();
    let (processed, verdict) = match peek_client_hello(bytes, plan.hello_bytes_max, &mut scratch) {
        Peek::NeedMore(_) => return Verdict::More,
        Peek::TooLarge => {
            stats.inc(counters.client_hello_too_large());
            (bytes.len() as u64, Verdict::Refuse)
        }
        Peek::NotTls => {
            stats.inc(counters.tls_not_found());
            (RECORD_HEADER.min(bytes.len() as u64), Verdict::Done)
        }
        Peek::Malformed(_) => {
            stats.inc(counters.tls_not_found());
            let verdict = if plan.close_on_error { Verdict::Refuse } else { Verdict::Done };
            (bytes.len() as u64, verdict)
        }
        Peek::Found(hello) => {
            stats.inc(counters.tls_found());
            let sni = hello.server_name().map(String::from_utf8_lossy);
            stats.inc(match sni {
                Some(_) => counters.sni_found(),
                None => counters.sni_not_found(),
            });
            let alpn: Vec<Box<[u8]>> = hello.alpn().map(Box::from).collect();
            stats.inc(if alpn.is_empty() {
                counters.alpn_not_found()
            } else {
                counters.alpn_found()
            });
            let processed = bytes.len() as u64;
            candidate.meta.set_tls(sni.as_deref(), alpn);
            (processed, Verdict::Done)
        }
    };
    stats.record(counters.bytes_processed(), processed);
    verdict
}
