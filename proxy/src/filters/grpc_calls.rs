//! Statistics of gRPC calls: `cluster.<name>.grpc.<service>.<method>.*`, and `grpc-web` likewise.
//!
//! A name is listed once something is counted under it, as in Envoy.

use std::cell::{OnceCell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_wire::grpc;
use smallvec::SmallVec;

use super::StreamCx;
use crate::shard::late::{LateCounter, LateHistogram, LateStats};

/// What a shard has counted under so far.
#[derive(Default)]
pub(crate) struct Calls {
    known: RefCell<HashMap<Box<str>, Rc<CallStats>, RandomState>>,
    /// Where a prefix is put together.
    scratch: RefCell<String>,
}

/// Statistics of one method, or of all calls of a cluster.
#[derive(Default)]
pub(crate) struct CallStats {
    prefix: Box<str>,
    success: Late,
    failure: Late,
    total: Late,
    requests: Late,
    responses: Late,
    time: OnceCell<Option<Rc<LateHistogram>>>,
    statuses: RefCell<SmallVec<[Status; 2]>>,
}

/// A value of `grpc-status` and its counter.
type Status = (Box<str>, Option<Rc<LateCounter>>);

type Late = OnceCell<Option<Rc<LateCounter>>>;

/// Methods kept at the most; clients choose their names.
const METHODS_MAX: usize = 2000;

/// Where a request is counted: with its method if `names` says so. Nowhere if it names no method,
/// or goes to no cluster.
pub(super) fn of_request(
    s: &mut StreamCx<'_>,
    protocol: &str,
    dots: char,
    names: impl FnOnce(&str, &str) -> bool,
) -> Option<Rc<CallStats>> {
    s.route();
    let cluster = s.work.info.route_cluster.clone()?;
    let (service, method) = grpc::service_and_method(&s.work.request.path)?;
    let named = names(service, method).then_some((service, method));
    Some(s.conn.shard.grpc_calls.of(&cluster.plan().stat_name, protocol, named, dots))
}

impl Calls {
    /// Statistics of a call. Without a method, or where there are too many already, those of all
    /// calls to the cluster.
    pub(crate) fn of(
        &self,
        cluster: &str,
        protocol: &str,
        method: Option<(&str, &str)>,
        dots: char,
    ) -> Rc<CallStats> {
        let mut known = self.known.borrow_mut();
        let mut prefix = self.scratch.borrow_mut();
        for method in [method, None] {
            prefix.clear();
            // Writing to a string cannot fail.
            let _ = write!(prefix, "cluster.{cluster}.{protocol}.");
            if let Some((service, method)) = method {
                prefix.extend(service.chars().map(|c| if c == '.' { dots } else { c }));
                let _ = write!(prefix, ".{method}.");
            }
            if let Some(call) = known.get(prefix.as_str()) {
                return Rc::clone(call);
            }
            if method.is_none() || known.len() < METHODS_MAX {
                break;
            }
        }
        let prefix: Box<str> = prefix.as_str().into();
        let call = Rc::new(CallStats { prefix: prefix.clone(), ..CallStats::default() });
        known.insert(prefix, Rc::clone(&call));
        call
    }
}

impl CallStats {
    /// A call ended with this `grpc-status`.
    pub(crate) fn ended(&self, late: &LateStats, status: &[u8]) {
        let Ok(status) = std::str::from_utf8(status) else { return };
        if status.is_empty() || status.len() > 10 || !status.bytes().all(|b| b.is_ascii_digit()) {
            return;
        }
        let mut statuses = self.statuses.borrow_mut();
        let at = statuses.iter().position(|(known, _)| **known == *status).unwrap_or_else(|| {
            statuses.push((status.into(), late.counter(&format!("{}{status}", self.prefix))));
            statuses.len() - 1
        });
        if let Some((_, Some(counter))) = statuses.get(at) {
            late.add(counter, 1);
        }
        let outcome =
            if status == "0" { (&self.success, "success") } else { (&self.failure, "failure") };
        self.add(late, outcome.0, outcome.1, 1);
        self.add(late, &self.total, "total", 1);
    }

    /// Messages of the request.
    pub(crate) fn requests(&self, late: &LateStats, n: u64) {
        self.add(late, &self.requests, "request_message_count", n);
    }

    /// Messages of the response.
    pub(crate) fn responses(&self, late: &LateStats, n: u64) {
        self.add(late, &self.responses, "response_message_count", n);
    }

    /// Milliseconds from the last byte to the upstream to the last from it.
    pub(crate) fn took(&self, late: &LateStats, ms: u64) {
        let named = || late.histogram(&format!("{}upstream_rq_time", self.prefix));
        if let Some(histogram) = self.time.get_or_init(named) {
            late.record(histogram, ms);
        }
    }

    fn add(&self, late: &LateStats, counter: &Late, name: &str, n: u64) {
        let named = || late.counter(&format!("{}{name}", self.prefix));
        if n > 0
            && let Some(counter) = counter.get_or_init(named)
        {
            late.add(counter, n);
        }
    }
}
