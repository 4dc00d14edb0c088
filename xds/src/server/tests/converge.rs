//! Client and server over a stream that breaks: whatever happened, in the end the client has what
//! the server's snapshot says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::client::{self, Mux, Verdict};

/// What the client rejects.
const BAD: &str = "bad";

#[derive(Clone, Debug)]
enum Step {
    /// Whole snapshot: (kind, name, content).
    Set(Vec<(bool, u8, u8)>),
    Update(bool, u8, u8),
    Remove(bool, u8),
    Subscribe(bool, u8),
    Unsubscribe(bool, u8),
    All(bool),
    Disconnect,
    Connect,
    /// So many messages go either way.
    Deliver(u8),
    /// The client pauses or resumes endpoints.
    Pause(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let one = (any::<bool>(), 0..5_u8, 0..4_u8);
    prop_oneof![
        1 => vec(one.clone(), 0..8).prop_map(Step::Set),
        3 => one.clone().prop_map(|(kind, name, content)| Step::Update(kind, name, content)),
        1 => (any::<bool>(), 0..5_u8).prop_map(|(kind, name)| Step::Remove(kind, name)),
        2 => (any::<bool>(), 0..5_u8).prop_map(|(kind, name)| Step::Subscribe(kind, name)),
        1 => (any::<bool>(), 0..5_u8).prop_map(|(kind, name)| Step::Unsubscribe(kind, name)),
        1 => any::<bool>().prop_map(Step::All),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Connect),
        6 => (1..6_u8).prop_map(Step::Deliver),
        1 => any::<bool>().prop_map(Step::Pause),
    ]
}

fn url(is_cluster: bool) -> &'static str {
    if is_cluster { CLUSTER } else { ENDPOINTS }
}

fn name(at: u8) -> Arc<str> {
    format!("r{at}").into()
}

fn encoded(is_cluster: bool, at: u8, content: u8) -> Encoded {
    let content = if content == 3 { BAD.to_owned() } else { content.to_string() };
    if is_cluster { cluster(&name(at), &content) } else { assignment(&name(at), &content) }
}

/// Both ends, what is under way, and what whoever uses the client has.
struct World {
    protocol: Protocol,
    cache: Cache,
    mux: Mux,
    session: Option<Session>,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    has: BTreeMap<(&'static str, Arc<str>), u64>,
    named: BTreeSet<(&'static str, Arc<str>)>,
    all: bool,
    paused: bool,
}

impl World {
    fn new(protocol: Protocol) -> Self {
        let mux = Mux::new(client::Options {
            protocol,
            node: node().unwrap().encode_to_vec().into(),
            node_on_first_only: true,
            context_params: Vec::new(),
            watch_all: false,
            limits: client::Limits::default(),
        });
        let (to_server, to_client) = (VecDeque::new(), VecDeque::new());
        Self {
            protocol,
            cache: cache(&[]),
            mux,
            session: None,
            to_server,
            to_client,
            has: BTreeMap::new(),
            named: BTreeSet::new(),
            all: false,
            paused: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Set(list) => {
                let mut snapshot = Snapshot::default();
                for (kind, at, content) in list {
                    snapshot.insert(url(kind), encoded(kind, at, content));
                }
                self.cache.set(GROUP, snapshot);
            }
            Step::Update(kind, at, content) => {
                self.cache.update(GROUP, url(kind), encoded(kind, at, content));
            }
            Step::Remove(kind, at) => self.cache.remove(GROUP, url(kind), &name(at)),
            Step::Subscribe(kind, at) => {
                if self.named.insert((url(kind), name(at))) {
                    self.mux.subscribe(url(kind), &[name(at)]).unwrap();
                }
            }
            Step::Unsubscribe(kind, at) => {
                if self.named.remove(&(url(kind), name(at))) {
                    self.mux.unsubscribe(url(kind), &[name(at)]);
                    self.drop_unwanted();
                }
            }
            Step::All(on) => self.set_all(on),
            Step::Disconnect => self.disconnect(),
            Step::Connect => self.connect(),
            Step::Deliver(count) => {
                for _ in 0..count {
                    self.deliver();
                }
            }
            Step::Pause(on) if on != self.paused => {
                self.paused = on;
                if on { self.mux.pause(ENDPOINTS) } else { self.mux.resume(ENDPOINTS) }
            }
            Step::Pause(_) => {}
        }
    }

    fn set_all(&mut self, on: bool) {
        if on && !self.all {
            self.mux.subscribe_all(CLUSTER).unwrap();
        } else if !on && self.all {
            self.mux.unsubscribe_all(CLUSTER);
        }
        self.all = on;
        self.drop_unwanted();
    }

    fn wants(&self, url: &'static str, name: &Arc<str>) -> bool {
        (self.all && url == CLUSTER) || self.named.contains(&(url, Arc::clone(name)))
    }

    fn drop_unwanted(&mut self) {
        let mut has = std::mem::take(&mut self.has);
        has.retain(|(url, name), _| self.wants(url, name));
        self.has = has;
    }

    /// What is under way is lost.
    fn disconnect(&mut self) {
        self.session = None;
        self.to_server.clear();
        self.to_client.clear();
        self.mux.disconnected();
    }

    fn connect(&mut self) {
        if self.session.is_none() {
            self.session = Some(session(self.protocol));
            self.mux.connected();
        }
    }

    /// One message each way; `false`: there is none.
    fn deliver(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        self.to_server.extend(std::iter::from_fn(|| self.mux.poll_request()).take(3));
        let request = self.to_server.pop_front();
        if let Some(request) = &request {
            session.request(&self.cache, request).unwrap();
        }
        self.to_client.extend(session.poll_response(&self.cache, NOW));
        let response = self.to_client.pop_front();
        if let Some(response) = &response {
            self.take(response);
        }
        request.is_some() || response.is_some()
    }

    fn take(&mut self, response: &[u8]) {
        let update = self.mux.received(response, NOW).unwrap();
        let url = if *update.type_url == *CLUSTER { CLUSTER } else { ENDPOINTS };
        let mut rejected = Vec::new();
        for resource in update.changed {
            let is_bad = resource.body.windows(BAD.len()).any(|bytes| bytes == BAD.as_bytes());
            let before = self.has.get(&(url, Arc::clone(&resource.name)));
            assert_ne!(before, Some(&resource.hash), "what is as it was is not told");
            assert!(self.wants(url, &resource.name));
            if is_bad {
                rejected.push((resource.name, BAD.to_owned()));
            } else {
                self.has.insert((url, resource.name), resource.hash);
            }
        }
        for name in update.removed {
            self.has.remove(&(url, name));
        }
        self.mux.answer(update.receipt, Verdict { rejected });
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        self.connect();
        if std::mem::take(&mut self.paused) {
            self.mux.resume(ENDPOINTS);
        }
        let mut rounds = 0;
        while self.deliver() {
            rounds += 1;
            assert!(rounds < 10_000, "they never come to rest");
        }
    }

    /// The client has what the snapshot has of what it wants.
    fn check(&self) {
        for kind in [true, false] {
            let url = url(kind);
            for at in 0..5 {
                let name = name(at);
                let there = self.cache.get(GROUP, url, &name).map(|resource| resource.hash);
                let wanted = there.filter(|_| self.wants(url, &name));
                let has = self.has.get(&(url, Arc::clone(&name))).copied();
                // State of the world has no word for endpoints that are gone.
                let may_stay = !kind && self.protocol == Protocol::Sotw && there.is_none();
                if !may_stay {
                    assert_eq!(has, wanted, "{url} {name}");
                }
            }
        }
        let session = self.session.as_ref().unwrap();
        for (name, status) in statuses(session, &self.cache) {
            // A rejection is of a whole response: what came with a bad one counts as rejected
            // until it changes.
            use ClientResourceStatus::{Acked, DoesNotExist, Nacked};
            assert!(matches!(status, Acked | DoesNotExist | Nacked), "{name}: {status:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_happened_both_agree_in_the_end(
        is_delta in any::<bool>(),
        steps in vec(step(), 0..60),
        last in vec((any::<bool>(), 0..5_u8, 0..3_u8), 0..8),
        is_kept in any::<bool>(),
    ) {
        let mut world = World::new(if is_delta { Protocol::Delta } else { Protocol::Sotw });
        for step in steps {
            world.step(step);
        }
        // What the client rejects cannot be agreed upon: the last snapshot has nothing of it.
        if is_kept {
            for kind in [true, false] {
                for at in 0..5 {
                    let there = world.cache.get(GROUP, url(kind), &name(at));
                    if there.is_some_and(|there| there.hash == encoded(kind, at, 3).hash) {
                        world.step(Step::Update(kind, at, 0));
                    }
                }
            }
        } else {
            world.step(Step::Set(last));
        }
        world.settle();
        world.check();
    }

    #[test]
    fn any_bytes_are_taken_or_refused(
        bytes in vec(any::<u8>(), 0..120),
        is_delta in any::<bool>(),
    ) {
        let cache = cache(&["a"]);
        let mut session = session(if is_delta { Protocol::Delta } else { Protocol::Sotw });
        let _ = session.request(&cache, &bytes);
        while session.poll_response(&cache, NOW).is_some() {}
        let _ = session.client_status(&cache, true);
    }
}
