//! A management server that is polled (`api_type: REST`): a `DiscoveryRequest` in JSON goes out
//! with POST, what is there comes back at once.
//!
//! LIFECYCLE: asking → answered (the control loop works on what is new) → waiting → asking. New
//! subscriptions end the waiting. Every question is as the first of a stream: it says all names,
//! and the version that was accepted.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use prost::Message;
use ringway_runtime::{precise_now, sleep};
use ringway_wire::{KnownName as K, Method, RequestHead};
use ringway_xds::api::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use ringway_xds::client::{Mux, Update};
use ringway_xds::print::{self, JsonOptions};
use ringway_xds::{Document, Format};

use super::feeds::{FeedCx, FeedId, News};
use super::grpc::clock;
use super::kind::Kind;
use crate::control::log::log;
use crate::plan::source::RestSource;
use crate::upstream::fetch::fetch;

/// Longest answer taken.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Nothing has changed since the version that was told.
const NOT_MODIFIED: u16 = 304;

/// One kind of resource of one server.
pub(super) struct Polled {
    id: FeedId,
    cx: Rc<FeedCx>,
    source: Arc<RestSource>,
    path: &'static str,
    kind: Kind,
    pub(super) mux: RefCell<Mux>,
    waker: Cell<Option<Waker>>,
    /// What is asked for has changed.
    woken: Cell<bool>,
    /// The last time there was nothing to ask, or nothing might be asked.
    silent: Cell<bool>,
    /// An answer is being worked on.
    busy: Cell<bool>,
    /// What was asked for when the last answer came.
    answered: RefCell<HashSet<String, RandomState>>,
}

impl Polled {
    /// # Errors
    /// That this kind cannot be polled.
    pub(super) fn new(
        id: FeedId,
        cx: &Rc<FeedCx>,
        source: &Arc<RestSource>,
        kind: Kind,
        mux: Mux,
    ) -> Result<Rc<Self>, String> {
        let path = kind.rest_path();
        let path = path.ok_or_else(|| format!("{kind} cannot be polled: use a gRPC source"))?;
        Ok(Rc::new(Self {
            id,
            cx: cx.clone(),
            source: source.clone(),
            path,
            kind,
            mux: RefCell::new(mux),
            waker: Cell::new(None),
            woken: Cell::new(false),
            silent: Cell::new(false),
            busy: Cell::new(false),
            answered: RefCell::default(),
        }))
    }

    /// The cluster of its server.
    pub(super) fn cluster(&self) -> &Arc<str> {
        &self.source.cluster
    }

    /// What is asked for may have changed.
    pub(super) fn wake(&self) {
        self.woken.set(true);
        self.stir();
    }

    /// What could not be asked may be asked now.
    pub(super) fn resume(&self) {
        if self.silent.get() {
            self.wake();
        }
    }

    /// The answer that was handed over is done with.
    pub(super) fn done(&self) {
        self.busy.set(false);
        self.stir();
    }

    fn stir(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Asks again and again; never returns.
    pub(super) async fn run(self: Rc<Self>) {
        let mut problem = String::new();
        loop {
            self.woken.set(false);
            match self.ask().await {
                Ok(Some((update, used))) => {
                    problem.clear();
                    self.busy.set(true);
                    self.cx.tell(News::Update { feed: self.id, update: Box::new(update), used });
                    self.until(|polled| !polled.busy.get()).await;
                }
                Ok(None) => problem.clear(),
                Err(text) => {
                    if problem != text {
                        log!(Warning, Config, "REST config of {}: {text}", self.path);
                        problem = text;
                    }
                    self.cx.tell(News::Lost(self.id));
                }
            }
            let mut timer = pin!(sleep(self.source.refresh_delay));
            poll_fn(|cx| {
                self.waker.set(Some(cx.waker().clone()));
                match self.woken.get() {
                    true => Poll::Ready(()),
                    false => timer.as_mut().poll(cx),
                }
            })
            .await;
        }
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        poll_fn(|cx| {
            self.waker.set(Some(cx.waker().clone()));
            if done(self) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// One question; what came that is new, and what reading it has cost.
    async fn ask(&self) -> Result<Option<(Update, Duration)>, String> {
        let question = self.question();
        self.silent.set(question.is_none());
        let Some((question, names)) = question else { return Ok(None) };
        let name = &self.source.cluster;
        let cluster = self.cx.upstreams.by_name(name.as_bytes());
        let cluster = cluster.ok_or_else(|| format!("there is no cluster '{name}' (yet)"))?;
        let mut head = RequestHead {
            method: Method::Post,
            path: self.path.as_bytes().to_vec(),
            ..RequestHead::default()
        };
        head.headers.append(K::ContentType, b"application/json");
        let (body, timeout) = (question.as_bytes(), self.source.request_timeout);
        let fetched = fetch(&cluster, head, body, timeout, ANSWER_BYTES_MAX).await;
        let fetched = fetched.map_err(|error| format!("cluster '{name}': {error}"))?;
        match fetched.status {
            200 => {}
            NOT_MODIFIED => return Ok(None),
            status => return Err(format!("cluster '{name}': status {status}")),
        }
        let began = precise_now();
        let response = response(&fetched.body, self.kind)?;
        let update = self.mux.borrow_mut().received(&response, clock());
        let update = update.map_err(|malformed| malformed.to_string())?;
        self.answered.replace(names.into_iter().collect());
        Ok(Some((update, precise_now() - began)))
    }

    /// The request in JSON, and the names in it; `None` while nobody wants anything.
    fn question(&self) -> Option<(String, Vec<String>)> {
        let mut mux = self.mux.borrow_mut();
        mux.connected();
        let request = mux.poll_request()?;
        let mut request = DiscoveryRequest::decode(&*request).ok()?;
        // A version stands for what was asked for then: a server that goes by it would not send
        // what is asked for newly.
        let answered = self.answered.borrow();
        if !request.resource_names.iter().all(|name| answered.contains(name)) {
            request.version_info.clear();
        }
        let options = JsonOptions { pretty: false, redact: false, ..JsonOptions::default() };
        Some((print::json(&request, options), request.resource_names))
    }
}

/// A `DiscoveryResponse` in JSON, on the wire. Fields that are not known are left out: a server
/// may be newer.
fn response(body: &[u8], kind: Kind) -> Result<Vec<u8>, String> {
    const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
    let text = std::str::from_utf8(body).map_err(|_| "the answer is no text")?;
    let first = |found: Vec<ringway_xds::Diagnostic>| match found.first() {
        Some(diagnostic) => diagnostic.to_string(),
        None => "the answer is no JSON".to_owned(),
    };
    let document = Document::parse(text, "answer", Format::Json).map_err(first)?;
    let (mut bytes, problems) = document.encode_unchecked(RESPONSE);
    // The path has said of what type its resources are, and some servers leave it at that.
    let typed = DiscoveryResponse { type_url: kind.type_url().to_owned(), ..Default::default() };
    bytes.extend(typed.encode_to_vec());
    match problems.into_iter().find(|problem| !problem.message.contains(" has no field `")) {
        Some(problem) => Err(problem.to_string()),
        None => Ok(bytes),
    }
}
