//! A filter of tests: changes nothing, and does everything a filter may do on the way there.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use prost_types::Any;
use ringway_runtime::{Chain, Chunk, Sleep};

use super::{CONTINUE, HttpFilter, Kind, NoRoute, Phases, Step, StreamCx, no_route};
use crate::config::compile::{At, Cx};

/// It borrows the name of a filter that makes trouble as well.
pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.kill_request.v3.KillRequest",
    compile,
    route_type_name: "",
    compile_route: no_route,
};

#[derive(Debug)]
pub(crate) struct Config;

#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

fn compile(_: &mut Cx<'_>, _: &At<'_>, _: &Any) -> Option<Config> {
    Some(Config)
}

/// One stream, both ways.
#[derive(Default)]
pub(crate) struct Filter {
    request: Direction,
    response: Direction,
}

/// LIFECYCLE: decides what to do with what it is shown → waits for a while, if so → does it.
#[derive(Default)]
struct Direction {
    wait: Option<Sleep>,
    waited: bool,
    /// The end was seen: nothing may follow.
    over: bool,
}

impl Direction {
    /// Waits now and then, never twice for the same.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(wait) = &mut self.wait {
            if Pin::new(wait).poll(cx).is_pending() {
                return Poll::Pending;
            }
            (self.wait, self.waited) = (None, true);
        }
        if !self.waited && draw(4) == 0 {
            let mut wait = ringway_runtime::sleep(Duration::from_millis(1 + draw(20)));
            if Pin::new(&mut wait).poll(cx).is_pending() {
                self.wait = Some(wait);
                return Poll::Pending;
            }
        }
        self.waited = false;
        Poll::Ready(())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, end: bool) -> Poll<Step> {
        assert!(!self.over, "a head behind the end");
        if self.poll_wait(cx).is_pending() {
            return Poll::Pending;
        }
        self.over = end;
        Poll::Ready(if draw(3) == 0 { Step::Stop } else { Step::Continue })
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, data: &mut Chain, end: bool) -> Poll<Step> {
        assert!(!self.over, "data behind the end");
        assert!(end || !data.is_empty(), "nothing to see");
        if self.poll_wait(cx).is_pending() {
            return Poll::Pending;
        }
        self.over = end;
        match draw(4) {
            // No more than may be held back.
            0 if data.len() < 8000 => return Poll::Ready(Step::Stop),
            // The same bytes, in other pieces.
            1 => {
                let bytes = data.to_vec();
                data.clear();
                let step = 1 + draw(2000) as usize;
                bytes.chunks(step).for_each(|piece| data.push(Chunk::copy_from(piece)));
            }
            _ => {}
        }
        CONTINUE
    }
}

fn draw(below: u64) -> u64 {
    ringway_runtime::rand_below(below)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST | Phases::RESPONSE | Phases::END
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        cx: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        if draw(8) == 0 {
            s.ignore(Phases::REQUEST_DATA | Phases::REQUEST_TRAILERS);
            return CONTINUE;
        }
        self.request.poll_head(cx, end)
    }

    fn poll_request_data(
        &mut self,
        cx: &mut Context<'_>,
        _: &Config,
        _: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        self.request.poll_data(cx, data, end)
    }

    fn poll_response_headers(
        &mut self,
        cx: &mut Context<'_>,
        _: &Config,
        _: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        self.response.poll_head(cx, end)
    }

    fn poll_response_data(
        &mut self,
        cx: &mut Context<'_>,
        _: &Config,
        _: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        self.response.poll_data(cx, data, end)
    }

    fn end(&mut self, _: &Config, s: &mut StreamCx<'_>) {
        assert!(!s.name().is_empty());
    }
}
