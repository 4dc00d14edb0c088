//! `envoy.filters.http.compressor`: responses are compressed for clients that take it.
//!
//! LIFECYCLE: the request's `accept-encoding` is kept (and taken away, where that is asked for) →
//! the response's head decides: all compressors of the chain are weighed against what the client
//! takes ([`accept`]), and the one that is chosen says so in the head → each piece of the body is
//! compressed and flushed, so that nothing waits for more → the end of the body, or trailers,
//! finish the encoding.

mod accept;
mod codec;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::{Chain, Chunk};
use ringway_wire::KnownName as K;
use ringway_wire::chars::list_members;
use ringway_wire::headers::HeaderMap;
use ringway_wire::http1::connection_has;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::extensions::filters::http::compressor::v3 as api;

use super::{CONTINUE, HttpFilter, Kind, Options, Phases, Step, StreamCx};
use crate::config::compile::set::refuse;
use crate::config::compile::{At, Cx};
use crate::observe::stats::{CompressionStats, CompressorStats, Counter};
use accept::{Choice, choose};
use codec::{Encoder, Library};

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.compressor.v3.Compressor",
    compile,
    route_type_name: "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
    compile_route,
};

/// `min_content_length` where nothing is said.
const MIN_LENGTH: u64 = 30;

/// `content_type` where nothing is said.
const TYPES: [&str; 18] = [
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
];

/// Its options.
#[derive(Debug)]
pub(crate) struct Config {
    library: Library,
    /// `response_direction_config.common_config.enabled`
    enabled: bool,
    min_length: u64,
    /// In lower case.
    types: Vec<Box<str>>,
    etag: Etag,
    /// `remove_accept_encoding_header`
    removes_accept: bool,
    /// `uncompressible_response_codes`
    codes: Vec<u16>,
    stats: CompressorStats,
    response: CompressionStats,
    request: CompressionStats,
}

/// What becomes of a response with an `etag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Etag {
    /// A strong one goes, for the bytes are others.
    Remove,
    /// `weaken_etag_on_compress`
    Weaken,
    /// `disable_on_etag_header`: it is not compressed.
    Respect,
}

/// Its options on a route.
#[derive(Debug)]
pub(crate) enum Route {
    /// `disabled`
    Disabled,
    /// `overrides.response_direction_config.remove_accept_encoding_header`
    RemovesAccept(Option<bool>),
}

/// One request.
#[derive(Default)]
pub(crate) struct Filter {
    /// `accept-encoding` of the request.
    accept: Option<Box<[u8]>>,
    encoder: Option<Encoder>,
    /// The route asks for no compression.
    rests: bool,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let config = cx.unpack::<api::Compressor>(at, any)?;
    let api::Compressor {
        content_length,
        content_type,
        disable_on_etag_header,
        remove_accept_encoding_header,
        runtime_enabled,
        compressor_library,
        request_direction_config,
        response_direction_config,
        choose_first,
    } = config;
    refuse!(cx, at, request_direction_config, choose_first);
    let library_at = at.field("compressor_library");
    let Some(named) = compressor_library else {
        cx.invalid(&library_at, "value is required");
        return None;
    };
    let library = codec::compile(cx, &library_at, &named)?;
    let own = response_direction_config.is_some();
    // Without a configuration for responses the deprecated fields say it.
    let response =
        response_direction_config.unwrap_or_else(|| api::compressor::ResponseDirectionConfig {
            common_config: Some(api::compressor::CommonDirectionConfig {
                enabled: runtime_enabled,
                min_content_length: content_length,
                content_type,
                content_type_matcher: Vec::new(),
            }),
            disable_on_etag_header,
            remove_accept_encoding_header,
            ..Default::default()
        });
    let name = format!("{}.{}", named.name, library.name());
    let prefix = format!("{}.compressor.{name}", cx.http_prefix);
    let kind = |direction: &str| match direction {
        "" => prefix.clone(),
        direction => format!("{prefix}.{direction}"),
    };
    let stats = CompressorStats::new(cx.registry, &prefix);
    let counted = CompressionStats::new(cx.registry, &kind(if own { "response" } else { "" }));
    let request = CompressionStats::new(cx.registry, &kind("request"));
    let at = at.field("response_direction_config");
    response_of(cx, &at, response, library, (stats, counted, request))
}

fn response_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: api::compressor::ResponseDirectionConfig,
    library: Library,
    (stats, response, request): (CompressorStats, CompressionStats, CompressionStats),
) -> Option<Config> {
    let api::compressor::ResponseDirectionConfig {
        common_config,
        disable_on_etag_header,
        weaken_etag_on_compress,
        remove_accept_encoding_header,
        uncompressible_response_codes,
        status_header_enabled,
    } = config;
    refuse!(cx, at, status_header_enabled);
    let api::compressor::CommonDirectionConfig {
        enabled,
        min_content_length,
        content_type,
        content_type_matcher,
    } = common_config.unwrap_or_default();
    refuse!(cx, &at.field("common_config"), content_type_matcher);
    let lower = |kind: &String| kind.to_ascii_lowercase().into_boxed_str();
    let types = match content_type.is_empty() {
        true => TYPES.into_iter().map(Box::from).collect(),
        false => content_type.iter().map(lower).collect(),
    };
    let etag = match (disable_on_etag_header, weaken_etag_on_compress) {
        (true, _) => Etag::Respect,
        (false, true) => Etag::Weaken,
        (false, false) => Etag::Remove,
    };
    let codes = uncompressible_response_codes.iter().filter_map(|code| u16::try_from(*code).ok());
    Some(Config {
        library,
        enabled: enabled.is_none_or(|flag| is_enabled(cx, &flag)),
        min_length: min_content_length.map_or(MIN_LENGTH, u64::from),
        types,
        etag,
        removes_accept: remove_accept_encoding_header,
        codes: codes.collect(),
        stats,
        response,
        request,
    })
}

fn is_enabled(cx: &Cx<'_>, flag: &core::RuntimeFeatureFlag) -> bool {
    let core::RuntimeFeatureFlag { default_value, runtime_key } = flag;
    cx.runtime.boolean(runtime_key, default_value.unwrap_or(true))
}

fn compile_route(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Route> {
    use api::compressor_per_route::Override;
    let config = cx.unpack::<api::CompressorPerRoute>(at, any)?;
    let api::CompressorPerRoute { r#override } = config;
    match r#override {
        Some(Override::Disabled(_)) => Some(Route::Disabled),
        Some(Override::Overrides(overrides)) => {
            let api::CompressorOverrides { response_direction_config, compressor_library } =
                overrides;
            refuse!(cx, &at.field("overrides"), compressor_library);
            let response = response_direction_config.unwrap_or_default();
            let api::ResponseDirectionOverrides { remove_accept_encoding_header } = response;
            Some(Route::RemovesAccept(remove_accept_encoding_header))
        }
        None => {
            cx.invalid_allowed(at, "an override is required", "disabled, overrides");
            None
        }
    }
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS | Phases::RESPONSE
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let mut removes = config.removes_accept;
        match s.route_config::<Route>() {
            Some(Route::Disabled) => {
                self.rests = true;
                s.conn.shard.stats.inc(config.request.not_compressed());
                return CONTINUE;
            }
            Some(Route::RemovesAccept(Some(own))) => removes = *own,
            Some(Route::RemovesAccept(None)) | None => {}
        }
        let headers = &mut s.work.request.headers;
        self.accept = headers.get(K::AcceptEncoding).map(Box::from);
        if removes && config.enabled {
            headers.remove(K::AcceptEncoding);
        }
        // Requests are left as they are.
        s.conn.shard.stats.inc(config.request.not_compressed());
        CONTINUE
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        let status = s.work.response.status;
        let headers = &s.work.response.headers;
        let stats = &s.conn.shard.stats;
        let enabled = config.enabled && !self.rests;
        let long = enabled && config.is_long(headers, |counter| stats.inc(counter));
        let fits = long && config.fits(status, headers, |counter| stats.inc(counter));
        let wanted = long && !end && self.wants(config, s);
        let headers = &mut s.work.response.headers;
        if wanted && fits {
            config.etag.change(headers);
            headers.remove(K::ContentLength);
            headers.set(K::ContentEncoding, config.library.encoding().as_bytes());
            self.encoder = Some(config.library.encoder());
        }
        if fits {
            vary(headers);
        }
        let counter = match self.encoder {
            Some(_) => config.response.compressed(),
            None => config.response.not_compressed(),
        };
        s.conn.shard.stats.inc(counter);
        if self.encoder.is_none() {
            s.ignore(Phases::RESPONSE);
        }
        CONTINUE
    }

    fn poll_response_data(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        self.compress(config, s, data, end);
        CONTINUE
    }

    fn poll_response_trailers(
        &mut self,
        _: &mut Context<'_>,
        config: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
    ) -> Poll<Step> {
        self.compress(config, s, data, true);
        CONTINUE
    }
}

impl Filter {
    /// Whether this compressor is the one of the chain that the client takes.
    fn wants(&self, config: &Config, s: &StreamCx<'_>) -> bool {
        let stats = &s.conn.shard.stats;
        let Some(accept) = &self.accept else {
            stats.inc(config.stats.no_accept_header());
            return false;
        };
        let headers = &s.work.response.headers;
        let others = s.manager.plan.filters.iter().filter_map(|entry| match &entry.options {
            Options::Here(super::Config::compressor(other)) if !entry.disabled => Some(other),
            _ => None,
        });
        let fitting = others.filter(|other| other.has_type(headers));
        let offered: Vec<&str> = fitting.map(|other| other.library.encoding()).collect();
        let own = config.library.encoding();
        let (counter, chosen) = match choose(accept, &offered) {
            Choice::Named(name) if name == own => (config.stats.header_compressor_used(), true),
            Choice::Named(_) => (config.stats.header_compressor_overshadowed(), false),
            Choice::Any(name) => (config.stats.header_wildcard(), name == own),
            Choice::Identity => (config.stats.header_identity(), false),
            Choice::Invalid => (config.stats.header_not_valid(), false),
        };
        stats.inc(counter);
        chosen
    }

    fn compress(&mut self, config: &Config, s: &StreamCx<'_>, data: &mut Chain, end: bool) {
        let Some(encoder) = &mut self.encoder else { return };
        let (mut out, mut before) = (Vec::new(), 0);
        for chunk in data.drain() {
            before += chunk.len() as u64;
            encoder.write(&chunk, &mut out);
        }
        if end {
            encoder.finish(&mut out);
            self.encoder = None;
        } else {
            encoder.flush(&mut out);
        }
        let stats = &s.conn.shard.stats;
        stats.add(config.response.total_uncompressed_bytes(), before);
        stats.add(config.response.total_compressed_bytes(), out.len() as u64);
        if !out.is_empty() {
            data.push(Chunk::from(out));
        }
    }
}

impl Config {
    /// Long enough, as far as it says.
    fn is_long(&self, headers: &HeaderMap, count: impl Fn(Counter)) -> bool {
        let Some(length) = headers.get(K::ContentLength) else { return true };
        let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<u64>().ok());
        let long = length.is_some_and(|length| length >= self.min_length);
        if !long {
            count(self.response.content_length_too_small());
        }
        long
    }

    /// Nothing about the response forbids it.
    fn fits(&self, status: u16, headers: &HeaderMap, count: impl Fn(Counter)) -> bool {
        let has_token = |name: K, wanted: &[u8]| {
            let value = headers.get(name).unwrap_or_default();
            list_members(value).any(|member| member.eq_ignore_ascii_case(wanted))
        };
        let upgrade = headers.contains(K::Upgrade) && connection_has(headers, b"upgrade");
        if upgrade || !self.has_type(headers) || has_token(K::CacheControl, b"no-transform") {
            return false;
        }
        if self.etag == Etag::Respect && headers.contains(K::Etag) {
            count(self.stats.not_compressed_etag());
            return false;
        }
        let coded = headers.contains(K::ContentEncoding)
            || ["gzip", "deflate", "br", "zstd", "compress"]
                .iter()
                .any(|coding| has_token(K::TransferEncoding, coding.as_bytes()));
        !coded && !self.codes.contains(&status)
    }

    fn has_type(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(K::ContentType) else { return true };
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.types.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
    }
}

impl Etag {
    /// The bytes that the tag stands for are others now.
    fn change(self, headers: &mut HeaderMap) {
        let Some(value) = headers.get(K::Etag) else { return };
        let strong = value.len() > 2 && !(value.starts_with(b"W/") || value.starts_with(b"w/"));
        if !strong {
            return;
        }
        if self == Self::Weaken {
            let weak = [b"W/", value].concat();
            headers.set(K::Etag, &weak);
        } else {
            headers.remove(K::Etag);
        }
    }
}

/// Caches have to know that the response depends on what the client takes.
fn vary(headers: &mut HeaderMap) {
    const NAME: &[u8] = b"Accept-Encoding";
    let Some(value) = headers.get(K::Vary) else {
        headers.set(K::Vary, NAME);
        return;
    };
    // As written: Envoy, too, does not see it in other letters.
    if !list_members(value).any(|member| member == NAME) {
        let longer = [value, b", ", NAME].concat();
        headers.set(K::Vary, &longer);
    }
}
