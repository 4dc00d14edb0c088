//! Header blocks that have come: requests, responses, trailers.

use ringway_runtime::Instant;
use ringway_wire::HeaderMap;
use ringway_wire::http2::{
    ErrorCode, H2Rule, HeaderBlock, MESSAGING_RULE, Role, StreamError, frame,
};

use super::{IDLE, Outcome, STREAM_CLOSED, check_length};
use crate::http2::closed::How;
use crate::http2::state::{Fail, Setup, State};
use crate::http2::stream::Key;
use crate::http2::{Ended, StreamEnd};

/// Interim responses that may wait for their reader.
const INTERIM_MAX: usize = 16;

/// A header block that has come.
pub(super) struct Arrived {
    pub(super) id: u32,
    pub(super) end: bool,
    /// Bytes of the frame that ended it.
    pub(super) len: u32,
    pub(super) verdict: Result<(), StreamError>,
    pub(super) now: Instant,
}

impl State {
    pub(super) fn headers(
        &mut self,
        setup: &Setup,
        arrived: Arrived,
        block: &mut HeaderBlock,
    ) -> Outcome {
        if let Err(error) = arrived.verdict {
            self.count_refusal(setup, error);
        }
        if block.dropped_underscores() > 0 {
            let dropped = setup.env.codec.dropped_headers_with_underscores();
            setup.env.stats.add(dropped, u64::from(block.dropped_underscores()));
        }
        match self.streams.find(arrived.id) {
            Some(key) => self.more_headers(setup, key, arrived, block),
            None if setup.role == Role::Server => self.request(setup, arrived, block),
            None if self.is_idle_id(setup, arrived.id) => Err(IDLE),
            None => Ok(()),
        }
    }

    /// What Envoy counts of blocks it does not take.
    fn count_refusal(&self, setup: &Setup, error: StreamError) {
        let codec = &setup.env.codec;
        let counter = match error.rule {
            H2Rule::HeadersTooLarge => {
                setup.env.stats.inc(codec.header_list_size_too_large());
                codec.header_overflow()
            }
            H2Rule::TooManyHeaders => codec.header_overflow(),
            H2Rule::Underscore => codec.requests_rejected_with_underscores_in_headers(),
            _ if error.is_messaging() => codec.rx_messaging_error(),
            _ => return,
        };
        setup.env.stats.inc(counter);
    }

    /// HEADERS of a stream the client opens.
    fn request(&mut self, setup: &Setup, arrived: Arrived, block: &mut HeaderBlock) -> Outcome {
        let id = arrived.id;
        if id.is_multiple_of(2) {
            let reason = "a client's streams have odd numbers";
            return Err(Fail::violation(ErrorCode::PROTOCOL_ERROR, reason));
        }
        if id <= self.last_peer {
            return match self.recent.find(id) {
                Some(How::ResetHere) => Ok(()),
                Some(How::ByPeer) => Err(STREAM_CLOSED),
                None => {
                    let reason = "the number of a new stream must be higher than all before";
                    Err(Fail::violation(ErrorCode::PROTOCOL_ERROR, reason))
                }
            };
        }
        if id > self.last_allowed {
            // The final GOAWAY has said that it would not be answered.
            return Ok(());
        }
        self.last_peer = id;
        if self.active >= setup.options.max_concurrent_streams {
            return self.refuse(setup, id);
        }
        self.accept_request(setup, arrived, block)
    }

    fn refuse(&mut self, setup: &Setup, id: u32) -> Outcome {
        setup.env.stats.inc(setup.env.codec.stream_refused_errors());
        self.recent.push(id, How::ResetHere);
        self.write_reset(setup, id, ErrorCode::REFUSED_STREAM, true);
        // One that knows the limit makes work on purpose, and so does one that never wants to know.
        let early = !self.guard.may_be_refused() || self.acknowledged;
        if !self.guard.stream_ended(&setup.options, early, std::time::Duration::ZERO) {
            let reason = "too many streams beyond MAX_CONCURRENT_STREAMS";
            let code = ErrorCode::ENHANCE_YOUR_CALM;
            return Err(Fail { code, reason, ended: Ended::PrematureResets });
        }
        Ok(())
    }

    fn accept_request(
        &mut self,
        setup: &Setup,
        arrived: Arrived,
        block: &mut HeaderBlock,
    ) -> Outcome {
        let (protocol, expected) = (block.protocol().map(Box::from), block.content_length());
        let mut head = setup.env.heads.request();
        let verdict = arrived
            .verdict
            .and_then(|()| block.into_request(&mut head))
            .and_then(|()| check_fields(setup, &head.headers));
        if let (Ok(()), Err(error)) = (arrived.verdict, verdict) {
            self.count_refusal(setup, error);
        }
        if let Err(error) = verdict
            && error.is_messaging()
            && setup.options.close_on_invalid_message
        {
            setup.env.heads.put_request(head);
            return Err(Fail::violation(error.code(), error.details()));
        }
        let key = self.streams.insert(arrived.id, &setup.env.heads);
        self.active += 1;
        self.stream_opened(setup, key);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.held = true;
        stream.began = arrived.now;
        stream.wire_received = u64::from(arrived.len) + frame::HEADER_LEN as u64;
        stream.request = Some(head);
        stream.refusal = verdict.err();
        stream.protocol = protocol;
        stream.has_body = !arrived.end;
        stream.head_received = true;
        stream.expected = expected;
        stream.remote_ended = arrived.end;
        self.accept.push_back(key);
        match verdict {
            Err(error) if error.status().is_none() => {
                self.reset(setup, key, error.code(), StreamEnd::Violation(error.details()));
                Ok(())
            }
            _ if arrived.end && expected.is_some_and(|bytes| bytes > 0) => {
                self.break_rule(setup, key, ErrorCode::PROTOCOL_ERROR, MESSAGING_RULE)
            }
            _ => Ok(()),
        }
    }

    /// HEADERS on a stream that is open: a response, or trailers.
    fn more_headers(
        &mut self,
        setup: &Setup,
        key: Key,
        arrived: Arrived,
        block: &mut HeaderBlock,
    ) -> Outcome {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        stream.wire_received += u64::from(arrived.len) + frame::HEADER_LEN as u64;
        if stream.remote_ended {
            return self.break_rule(setup, key, ErrorCode::STREAM_CLOSED, MESSAGING_RULE);
        }
        let verdict = match (arrived.verdict, stream.head_received) {
            (Err(error), _) => Err(error),
            (Ok(()), true) => {
                let mut map = setup.env.heads.trailers();
                let verdict = block.into_trailers(&mut map);
                stream.trailers = Some(map);
                setup.env.stats.inc(setup.env.codec.trailers());
                verdict
            }
            (Ok(()), false) => return self.response(setup, key, arrived, block),
        };
        if let Err(error) = verdict {
            return self.invalid(setup, key, error, arrived.verdict.is_ok());
        }
        if !arrived.end || check_length(stream, 0, true) {
            return self.break_rule(setup, key, ErrorCode::PROTOCOL_ERROR, MESSAGING_RULE);
        }
        self.ended_there(setup, key);
        Ok(())
    }

    fn response(
        &mut self,
        setup: &Setup,
        key: Key,
        arrived: Arrived,
        block: &mut HeaderBlock,
    ) -> Outcome {
        let (interim, expected) = (block.is_interim(), block.content_length());
        let mut head = setup.env.heads.response();
        let taken = block.into_response(&mut head, arrived.end);
        let verdict = taken.and_then(|()| check_fields(setup, &head.headers));
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if let Err(error) = verdict {
            setup.env.heads.put_response(head);
            return self.invalid(setup, key, error, true);
        }
        let code = head.status;
        stream.responses.push_back(head);
        stream.wake_reader();
        if interim {
            if stream.responses.len() > INTERIM_MAX {
                let end = StreamEnd::Violation(MESSAGING_RULE);
                self.reset(setup, key, ErrorCode::ENHANCE_YOUR_CALM, end);
            }
            return Ok(());
        }
        stream.head_received = true;
        let bodiless = stream.bodiless || matches!(code, 204 | 304);
        stream.expected = expected.filter(|_| !bodiless);
        if arrived.end {
            if check_length(stream, 0, true) {
                return self.break_rule(setup, key, ErrorCode::PROTOCOL_ERROR, MESSAGING_RULE);
            }
            self.ended_there(setup, key);
        }
        Ok(())
    }

    /// An open stream got a block that breaks a rule.
    fn invalid(&mut self, setup: &Setup, key: Key, error: StreamError, uncounted: bool) -> Outcome {
        if uncounted {
            self.count_refusal(setup, error);
        }
        if error.is_messaging() && setup.options.close_on_invalid_message {
            return Err(Fail::violation(error.code(), error.details()));
        }
        self.reset(setup, key, error.code(), StreamEnd::Violation(error.details()));
        Ok(())
    }
}

/// Limits of single fields, which few messages come near to.
fn check_fields(setup: &Setup, headers: &HeaderMap) -> Result<(), StreamError> {
    let max = setup.options.max_header_field_bytes as usize;
    if headers.byte_size() > max
        && headers.iter().any(|(name, value)| name.len() + value.len() > max)
    {
        return Err(StreamError { rule: H2Rule::HeadersTooLarge });
    }
    if setup.options.disallow_obs_text && headers.iter().any(|(_, value)| !value.is_ascii()) {
        return Err(StreamError { rule: H2Rule::HeaderValue });
    }
    Ok(())
}
