//! HTTP filters: what happens to a request before the router and to a response after it.
//!
//! A filter is one file here and one word in the list below. Its file has
//! - `KIND`, a [`Kind`]: the type of its options in a configuration and how they are compiled,
//! - `Config`: its options in a chain; `Route`: its options on a route or above
//!   (`typed_per_filter_config`); both made once, immutable,
//! - `Filter`: its state for one stream, an [`HttpFilter`].
//!
//! [`chain`] says how filters are called. The router ([`router`]) is no filter in this sense: it
//! ends every chain, and [`crate::http::stream`] calls it.

pub(crate) mod chain;
mod cx;
pub(crate) mod grpc_calls;
mod phases;
pub(crate) mod router;

use std::sync::Arc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::Chain;

use crate::config::compile::{At, Cx};
use crate::http::reply::LocalReply;
use crate::plan::extension::{Extension, ExtensionSlot};

pub(crate) use cx::StreamCx;
pub(crate) use phases::Phases;

/// Lists the filters. One that only tests need is marked `#[cfg(test)]`.
macro_rules! filters {
    ($($(#[$when:meta])? $name:ident),* $(,)?) => {
        $($(#[$when])? pub(crate) mod $name;)*

        /// The options of a filter in a chain.
        #[derive(Debug)]
        #[allow(non_camel_case_types, reason = "a filter goes by the name of its file")]
        pub(crate) enum Config {
            $($(#[$when])? $name($name::Config),)*
        }

        /// The options of a filter on a route or above.
        #[derive(Debug)]
        #[allow(non_camel_case_types, reason = "a filter goes by the name of its file")]
        pub(crate) enum RouteConfig {
            $($(#[$when])? $name($name::Route),)*
        }

        /// The state of a filter for one stream.
        #[allow(non_camel_case_types, reason = "a filter goes by the name of its file")]
        enum State {
            $($(#[$when])? $name($name::Filter),)*
        }

        /// Calls `found` with each filter there is, until it says that it has what it wants.
        fn each_kind(mut found: impl FnMut(AnyKind) -> bool) {
            $($(#[$when])? {
                let done = found(Kind {
                    type_name: $name::KIND.type_name,
                    compile: |cx, at, any| ($name::KIND.compile)(cx, at, any).map(Config::$name),
                    route_type_name: $name::KIND.route_type_name,
                    compile_route: |cx, at, any| {
                        ($name::KIND.compile_route)(cx, at, any).map(RouteConfig::$name)
                    },
                });
                if done {
                    return;
                }
            })*
        }

        $($(#[$when])? impl OnRoute for $name::Route {
            fn of(config: &RouteConfig) -> Option<&Self> {
                match config {
                    RouteConfig::$name(route) => Some(route),
                    _ => None,
                }
            }
        })*

        impl State {
            fn begin(config: &Config) -> Self {
                match config {
                    $($(#[$when])? Config::$name(config) => {
                        Self::$name($name::Filter::begin(config))
                    })*
                }
            }

            fn poll(&mut self, config: &Config, call: Call<'_, '_, '_>) -> Poll<Step> {
                match (self, config) {
                    $($(#[$when])? (Self::$name(filter), Config::$name(config)) => {
                        call.make(filter, config)
                    })*
                    // The state was made from these options.
                    _ => CONTINUE,
                }
            }

            fn end(&mut self, config: &Config, s: &mut StreamCx<'_>) {
                match (self, config) {
                    $($(#[$when])? (Self::$name(filter), Config::$name(config)) => {
                        filter.end(config, s);
                    })*
                    _ => {}
                }
            }
        }

        impl Config {
            /// What a stream has to call the filter for.
            pub(crate) fn phases(&self) -> Phases {
                match self {
                    $($(#[$when])? Self::$name(config) => {
                        <$name::Filter as HttpFilter>::phases(config)
                    })*
                }
            }
        }
    };
}

filters! {
    buffer,
    compressor,
    cors,
    fault,
    grpc_stats,
    grpc_web,
    header_mutation,
    health_check,
    istio_alpn,
    istio_peer_metadata,
    istio_stats,
    on_demand,
    set_filter_state,
    #[cfg(test)]
    probe,
}

/// The filter whose options are of this type.
pub(crate) fn kind(type_name: &str) -> Option<AnyKind> {
    find(|kind| kind.type_name == type_name)
}

/// The filter whose options on routes are of this type.
pub(crate) fn route_kind(type_name: &str) -> Option<AnyKind> {
    find(|kind| kind.route_type_name == type_name)
}

/// Types of the options of all filters, or of those on routes; of what use to a person.
pub(crate) fn type_names(of_routes: bool) -> Vec<&'static str> {
    let mut names = Vec::new();
    each_kind(|kind| {
        names.push(if of_routes { kind.route_type_name } else { kind.type_name });
        false
    });
    names.retain(|name| !name.is_empty());
    names
}

fn find(wanted: impl Fn(&AnyKind) -> bool) -> Option<AnyKind> {
    let mut found = None;
    each_kind(|kind| {
        if wanted(&kind) {
            found = Some(kind);
        }
        found.is_some()
    });
    found
}

/// How a filter's options are compiled.
pub(crate) struct Kind<C, R> {
    /// Name of the message in `http_filters`.
    pub type_name: &'static str,
    /// Compiles it; `None` after an error that was recorded.
    pub compile: fn(&mut Cx<'_>, &At<'_>, &Any) -> Option<C>,
    /// Name of the message in `typed_per_filter_config`; empty where there is none.
    pub route_type_name: &'static str,
    /// Compiles that.
    pub compile_route: fn(&mut Cx<'_>, &At<'_>, &Any) -> Option<R>,
}

/// A [`Kind`] among others.
pub(crate) type AnyKind = Kind<Config, RouteConfig>;

/// No options on routes.
#[derive(Debug)]
pub(crate) enum NoRoute {}

/// [`Kind::compile_route`] of a filter that has none.
pub(crate) fn no_route<R>(_: &mut Cx<'_>, _: &At<'_>, _: &Any) -> Option<R> {
    None
}

/// Options on a route, found again among those of all filters.
pub(crate) trait OnRoute: Sized {
    /// These options, if they are of this filter.
    fn of(config: &RouteConfig) -> Option<&Self>;
}

/// A filter of a connection manager, in its place of the chain.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name: the key of its options on routes.
    pub name: Arc<str>,
    /// It rests unless a route wakes it (`HttpFilter.disabled`).
    pub disabled: bool,
    /// Its options.
    pub options: Options,
}

/// Where the options of a filter are.
#[derive(Debug)]
pub(crate) enum Options {
    /// In the listener.
    Here(Config),
    /// They come by ECDS.
    Discovered(Arc<ExtensionSlot>),
}

/// Options that came by ECDS, as a stream holds them.
pub(crate) type Found = std::rc::Rc<Arc<Extension>>;

impl Options {
    /// The options, if there are any: `found` is what the stream has found in the slot.
    fn config<'a>(&'a self, found: Option<&'a Found>) -> Option<&'a Config> {
        match self {
            Self::Here(config) => Some(config),
            Self::Discovered(_) => found?.http(),
        }
    }
}

/// `typed_per_filter_config` of one level.
#[derive(Debug, Default)]
pub(crate) struct Overrides(pub Box<[Override]>);

/// What a route (or a level above) says of one filter.
#[derive(Debug)]
pub(crate) struct Override {
    /// The filter's name in the chain.
    pub name: Arc<str>,
    /// It rests here (`envoy.config.route.v3.FilterConfig.disabled`).
    pub disabled: bool,
    /// Its options here.
    pub config: Option<RouteConfig>,
}

impl Overrides {
    /// What is said of a filter.
    fn of(&self, name: &str) -> Option<&Override> {
        self.0.iter().find(|told| *told.name == *name)
    }
}

/// What a filter wants done with what it was shown.
#[derive(Debug)]
pub(crate) enum Step {
    /// It goes on to the next filter. With data, what is in the chain goes on.
    Continue,
    /// Request headers: configuration has come that may lead the request elsewhere. Its route table
    /// and its route are chosen anew, then this filter is asked again; those behind it are the ones
    /// that run on the new route.
    Again,
    /// Headers: they wait, and what follows is shown to this filter, until it lets something of it
    /// go on. Data: it is kept, and shown again with more behind it.
    Stop,
    /// The client is answered with this. In a response that has not begun to leave, it takes the
    /// response's place; after that, the stream is reset.
    Reply(Box<LocalReply>),
}

impl From<LocalReply> for Step {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// The answer of most filters to most of what they are shown.
pub(crate) const CONTINUE: Poll<Step> = Poll::Ready(Step::Continue);

/// A filter at work on one stream.
///
/// Every `poll_*` may be pending: then nothing further reaches the filter in that direction until
/// it is ready, and it is its business to be woken. Waiting for the other direction, for a timer or
/// for an answer is done so; a future waited for is a field. At the end of a message there is
/// nothing to [`Step::Stop`] for: it counts as [`Step::Continue`] there.
pub(crate) trait HttpFilter {
    /// Its options.
    type Config;

    /// What it has to be called for, by its options; a stream may need less
    /// ([`StreamCx::ignore`]).
    fn phases(config: &Self::Config) -> Phases;

    /// The state of a new stream.
    fn begin(config: &Self::Config) -> Self;

    /// The request's head is in `s.work.request`; `end`: there is no body.
    fn poll_request_headers(
        &mut self,
        _cx: &mut Context<'_>,
        _config: &Self::Config,
        _s: &mut StreamCx<'_>,
        _end: bool,
    ) -> Poll<Step> {
        CONTINUE
    }

    /// `data` of the request, which the filter may change; `end`: nothing comes after it.
    fn poll_request_data(
        &mut self,
        _cx: &mut Context<'_>,
        _config: &Self::Config,
        _s: &mut StreamCx<'_>,
        _data: &mut Chain,
        _end: bool,
    ) -> Poll<Step> {
        CONTINUE
    }

    /// The request's trailers are in `s.work.request_trailers`; `data` is what the filter stopped.
    fn poll_request_trailers(
        &mut self,
        _cx: &mut Context<'_>,
        _config: &Self::Config,
        _s: &mut StreamCx<'_>,
        _data: &mut Chain,
    ) -> Poll<Step> {
        CONTINUE
    }

    /// The response's head is in `s.work.response`; `end`: there is no body.
    fn poll_response_headers(
        &mut self,
        _cx: &mut Context<'_>,
        _config: &Self::Config,
        _s: &mut StreamCx<'_>,
        _end: bool,
    ) -> Poll<Step> {
        CONTINUE
    }

    /// As [`HttpFilter::poll_request_data`], of the response.
    fn poll_response_data(
        &mut self,
        _cx: &mut Context<'_>,
        _config: &Self::Config,
        _s: &mut StreamCx<'_>,
        _data: &mut Chain,
        _end: bool,
    ) -> Poll<Step> {
        CONTINUE
    }

    /// The response's trailers are in `s.work.response_trailers`. What is left in `data` goes out
    /// before them; a filter that empties the trailers may add to it.
    fn poll_response_trailers(
        &mut self,
        _cx: &mut Context<'_>,
        _config: &Self::Config,
        _s: &mut StreamCx<'_>,
        _data: &mut Chain,
    ) -> Poll<Step> {
        CONTINUE
    }

    /// The stream is over, one way or another.
    fn end(&mut self, _config: &Self::Config, _s: &mut StreamCx<'_>) {}
}

/// One call of a filter.
struct Call<'a, 's, 'w> {
    what: Phases,
    cx: &'a mut Context<'w>,
    s: &'a mut StreamCx<'s>,
    data: &'a mut Chain,
    end: bool,
}

impl Call<'_, '_, '_> {
    fn make<F: HttpFilter>(self, filter: &mut F, config: &F::Config) -> Poll<Step> {
        let Self { what, cx, s, data, end } = self;
        match what {
            Phases::REQUEST_HEADERS => filter.poll_request_headers(cx, config, s, end),
            Phases::REQUEST_DATA => filter.poll_request_data(cx, config, s, data, end),
            Phases::REQUEST_TRAILERS => filter.poll_request_trailers(cx, config, s, data),
            Phases::RESPONSE_HEADERS => filter.poll_response_headers(cx, config, s, end),
            Phases::RESPONSE_DATA => filter.poll_response_data(cx, config, s, data, end),
            Phases::RESPONSE_TRAILERS => filter.poll_response_trailers(cx, config, s, data),
            _ => CONTINUE,
        }
    }
}
