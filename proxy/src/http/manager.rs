//! A shard's view of one HTTP connection manager: the plan, and what the codec wants precomputed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ringway_wire::http1::{HeadLimits, HeaderKeyFormat, ParseOptions, UnderscoreAction};

use crate::filters::{Found, Options};
use crate::observe::stats::ListenerHttpStats;
use crate::plan::cluster::UpstreamHttp;
use crate::plan::http::{HeaderCase, HttpManager, Underscores};
use crate::shard::tables::ShardRoutes;

/// One connection manager on one shard.
#[derive(Debug)]
pub(crate) struct Manager {
    /// The plan.
    pub plan: Arc<HttpManager>,
    /// Options of its filters that come by ECDS.
    pub extensions: Extensions,
    /// Where its route tables are.
    pub routes: ShardRoutes,
    /// `listener.<l>.http.<stat_prefix>.*`
    pub listener_stats: ListenerHttpStats,
    /// Parser options of requests.
    pub options: ParseOptions,
    /// Parser limits of requests.
    pub limits: HeadLimits,
    /// How header names of requests are kept, and of responses written that come without a way of
    /// their own.
    pub key_format: HeaderKeyFormat,
}

/// What the HTTP/1 codec is told about an upstream.
#[derive(Debug)]
pub(crate) struct Codec {
    /// Parser options of responses.
    pub options: ParseOptions,
    /// Parser limits of responses.
    pub limits: HeadLimits,
    /// How header names of responses are kept, and of requests written that come without a way of
    /// their own.
    pub key_format: HeaderKeyFormat,
    /// The reason of a response is kept.
    pub keeps_reason: bool,
}

impl Codec {
    /// From the cluster's HTTP options. Allocates nothing.
    pub(crate) fn upstream(http: &UpstreamHttp) -> Self {
        let key_format = key_format(http.header_case);
        let options = ParseOptions {
            allow_chunked_length: http.allow_chunked_length,
            enable_trailers: http.enable_trailers,
            header_key_format: key_format,
            ..ParseOptions::default()
        };
        let limits = HeadLimits {
            head_bytes_max: http.max_headers_bytes as usize,
            headers_count_max: http.max_headers_count as usize,
        };
        let keeps_reason = matches!(http.header_case, HeaderCase::Preserve { reason: true, .. });
        Self { options, limits, key_format, keeps_reason }
    }
}

impl Manager {
    /// Prepares a plan for the codec.
    pub(crate) fn new(plan: Arc<HttpManager>, listener_stats: ListenerHttpStats) -> Self {
        let http1 = &plan.http1;
        let key_format = key_format(http1.header_case);
        let options = ParseOptions {
            accept_http_10: http1.accept_http_10,
            default_host_for_http_10: http1
                .default_host_for_http_10
                .as_ref()
                .map_or_else(Vec::new, |host| host.as_bytes().to_vec()),
            allow_absolute_url: http1.allow_absolute_url,
            allow_chunked_length: http1.allow_chunked_length,
            enable_trailers: http1.enable_trailers,
            header_key_format: key_format,
            headers_with_underscores_action: match http1.underscores {
                Underscores::Allow => UnderscoreAction::Allow,
                Underscores::RejectRequest => UnderscoreAction::RejectRequest,
                Underscores::DropHeader => UnderscoreAction::DropHeader,
            },
            allow_custom_methods: http1.allow_custom_methods,
        };
        let limits = HeadLimits {
            head_bytes_max: http1.max_headers_bytes as usize,
            headers_count_max: http1.max_headers_count as usize,
        };
        let routes = ShardRoutes::new(&plan.routes);
        let extensions = Extensions::default();
        Self { options, limits, key_format, extensions, routes, plan, listener_stats }
    }
}

/// What was found in the slots of a manager's filters: streams share it without touching the
/// counts all shards share.
#[derive(Debug, Default)]
pub(crate) struct Extensions(RefCell<Vec<Option<Look>>>);

/// The version of a slot that was looked at, and what was in it.
type Look = (u64, Option<Found>);

impl Extensions {
    /// The options of the filter at this place, if they come by ECDS and are there.
    pub(crate) fn found(&self, at: usize, options: &Options) -> Option<Found> {
        let Options::Discovered(slot) = options else { return None };
        let mut places = self.0.borrow_mut();
        if places.len() <= at {
            places.resize(at + 1, None);
        }
        let place = places.get_mut(at)?;
        let version = slot.version();
        match place {
            Some((seen, found)) if *seen == version => found.clone(),
            _ => {
                let found = slot.current().map(Rc::new);
                *place = Some((version, found.clone()));
                found
            }
        }
    }
}

/// The codec's word for a header case.
pub(crate) fn key_format(case: HeaderCase) -> HeaderKeyFormat {
    match case {
        HeaderCase::Lower => HeaderKeyFormat::LowerCase,
        HeaderCase::Proper => HeaderKeyFormat::ProperCase,
        HeaderCase::Preserve { proper_added: false, .. } => HeaderKeyFormat::PreserveCase,
        HeaderCase::Preserve { proper_added: true, .. } => HeaderKeyFormat::PreserveCaseProper,
    }
}

/// How names of a message are written. A codec that keeps the spelling does so for what it has
/// read: `kept` is its way, and goes before that of the codec that writes.
pub(crate) fn written(kept: Option<HeaderKeyFormat>, writer: HeaderKeyFormat) -> HeaderKeyFormat {
    match kept.filter(|kept| kept.keeps_case()) {
        Some(kept) => kept,
        None if writer.keeps_case() => HeaderKeyFormat::LowerCase,
        None => writer,
    }
}
