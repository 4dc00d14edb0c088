//! `strict_check_headers`: `x-envoy-*` headers of a request that have to make sense.

use std::sync::Arc;

use ringway_wire::{KnownName as K, Name, RequestHead};

use crate::http::reply::LocalReply;
use crate::observe::format::ResponseFlag;
use crate::plan::route::RetryOn;

/// The answer to a request one of whose `names` makes no sense.
pub(crate) fn check(head: &RequestHead, names: &[Arc<str>]) -> Result<(), LocalReply> {
    for name in names {
        let Some(value) = head.headers.get(Name::from(&**name)) else { continue };
        if !is_sound(Name::from(&**name), value) {
            let value = String::from_utf8_lossy(value);
            let body = format!("invalid header '{name}' with value '{value}'");
            let details = format!("request_headers_failed_strict_check{{{name}}}");
            return Err(
                LocalReply::new(400, body, details).flag(ResponseFlag::InvalidEnvoyRequestHeaders)
            );
        }
    }
    Ok(())
}

fn is_sound(name: Name<'_>, value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    match name {
        Name::Known(
            K::XEnvoyUpstreamRqTimeoutMs | K::XEnvoyUpstreamRqPerTryTimeoutMs | K::XEnvoyMaxRetries,
        ) => text.trim().parse::<u64>().is_ok(),
        Name::Known(K::XEnvoyRetryOn) => {
            conditions(text).all(|bit| bit.is_some_and(|bit| bit & RetryOn::GRPC == 0))
        }
        Name::Known(K::XEnvoyRetryGrpcOn) => {
            conditions(text).all(|bit| bit.is_some_and(|bit| bit & RetryOn::GRPC != 0))
        }
        _ => true,
    }
}

fn conditions(text: &str) -> impl Iterator<Item = Option<u32>> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(RetryOn::word)
}
