//! `LocalReplyConfig`.

use std::sync::Arc;

use ringway_xds::api::envoy::extensions::filters::network::http_connection_manager::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::scalar::data_source;
use super::{access_log, headers, log_filter};
use crate::plan::reply::{LocalReplies, ReplyMapper};

/// Compiles the rules for local replies; `None` where there are none.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    config: Option<&api::LocalReplyConfig>,
) -> Option<Box<LocalReplies>> {
    let api::LocalReplyConfig { mappers, body_format } = config?;
    let format = body_format
        .clone()
        .and_then(|format| access_log::body_format(cx, &at.field("body_format"), format));
    let mappers_at = at.field("mappers");
    let each = mappers.iter().enumerate();
    let mappers: Vec<_> =
        each.filter_map(|(index, config)| mapper(cx, &mappers_at.index(index), config)).collect();
    if mappers.is_empty() && format.is_none() {
        return None;
    }
    Some(Box::new(LocalReplies { mappers, format }))
}

fn mapper(cx: &mut Cx<'_>, at: &At<'_>, config: &api::ResponseMapper) -> Option<ReplyMapper> {
    let api::ResponseMapper { filter, status_code, body, body_format_override, headers_to_add } =
        config;
    let filter = match filter {
        Some(filter) => log_filter::compile(cx, &at.field("filter"), filter),
        None => {
            cx.invalid(&at.field("filter"), "value is required");
            None
        }
    };
    let body = body.as_ref().and_then(|body| data_source(cx, &at.field("body"), body));
    let format = body_format_override
        .clone()
        .and_then(|format| access_log::body_format(cx, &at.field("body_format_override"), format));
    let headers = headers::additions(cx, &at.field("headers_to_add"), headers_to_add);
    Some(ReplyMapper {
        filter: filter?,
        status: status_code.and_then(|code| u16::try_from(code).ok()),
        body: body.map(Arc::from),
        format,
        headers,
    })
}
