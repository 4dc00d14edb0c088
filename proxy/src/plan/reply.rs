//! `local_reply_config`, compiled: how answers the proxy makes itself are reworded.

use std::sync::Arc;

use super::route::HeaderAdd;
use crate::observe::accesslog::{LogFilter, LogFormat};

/// `LocalReplyConfig`.
#[derive(Debug, Default)]
pub struct LocalReplies {
    /// `mappers`: the first whose filter takes the reply rewrites it.
    pub mappers: Vec<ReplyMapper>,
    /// `body_format`: of replies whose mapper brings no format of its own.
    pub format: Option<BodyFormat>,
}

/// `ResponseMapper`.
#[derive(Debug)]
pub struct ReplyMapper {
    /// Which replies.
    pub filter: LogFilter,
    /// `status_code`: what it becomes.
    pub status: Option<u16>,
    /// `body`: what its text becomes, before it is formatted.
    pub body: Option<Arc<[u8]>>,
    /// `body_format_override`.
    pub format: Option<BodyFormat>,
    /// `headers_to_add`.
    pub headers: Vec<HeaderAdd>,
}

/// `SubstitutionFormatString` of a body.
#[derive(Debug)]
pub struct BodyFormat {
    /// What is written; `%LOCAL_REPLY_BODY%` is the text so far.
    pub format: LogFormat,
    /// `content_type`, or what the kind of format implies.
    pub content_type: Arc<str>,
}
