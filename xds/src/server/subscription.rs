//! One type on one client's stream: what it wants, and what it has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::cache::{Resources, Since};
use super::request::Request;
use super::response::Content;
use super::snapshot::Encoded;
use crate::client::Protocol;
use crate::types::{self, VIRTUAL_HOST, WILDCARD};

/// What a client subscribed to of one type, and what it was sent.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) url: Arc<str>,
    pub(super) wildcard: bool,
    pub(super) names: HashSet<Arc<str>>,
    /// Content by name, as sent or as the client said it has.
    pub(super) sent: HashMap<Arc<str>, u64>,
    /// The response that waits for its answer.
    pub(super) in_flight: Option<InFlight>,
    /// What of the last responses the client did not take, and why.
    pub(super) rejected: HashMap<Arc<str>, Arc<str>>,
    pub(super) last_nonce: u64,
    full_state: bool,
    started: bool,
    /// State of the world: a list of names came that was not empty.
    named_before: bool,
    /// The change of the cache up to which all is compared.
    at: u64,
    /// Everything is to be compared.
    scan: bool,
    /// Names to be answered although nothing of them changed.
    due: Vec<Arc<str>>,
    /// The client waits for a response, be it empty.
    answer_due: bool,
    heartbeat_at: Option<Duration>,
}

/// A response that was sent and not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    pub(super) names: Vec<Arc<str>>,
}

impl Subscription {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            wildcard: false,
            names: HashSet::new(),
            sent: HashMap::new(),
            in_flight: None,
            rejected: HashMap::new(),
            last_nonce: 0,
            full_state: types::is_full_state(url),
            started: false,
            named_before: false,
            at: 0,
            scan: false,
            due: Vec::new(),
            answer_due: false,
            heartbeat_at: None,
        }
    }

    /// The group of the client is another: all is to be compared.
    pub(super) fn regroup(&mut self) {
        self.scan = true;
    }

    /// Notes an ACK or NACK; `false`: of a response that is not the last.
    pub(super) fn answered(&mut self, nonce: &str, error: Option<&str>) -> bool {
        if nonce.parse() != Ok(self.last_nonce) {
            return false;
        }
        if let Some(in_flight) = self.in_flight.take_if(|sent| sent.nonce == self.last_nonce) {
            let error = error.map(Arc::<str>::from);
            for name in in_flight.names {
                match &error {
                    Some(text) => self.rejected.insert(name, Arc::clone(text)),
                    None => self.rejected.remove(&name),
                };
            }
        }
        true
    }

    /// Takes over the list of names of a state-of-the-world request.
    pub(super) fn request_sotw(&mut self, request: &Request<'_>, resources: Option<&Resources>) {
        let is_first = !std::mem::replace(&mut self.started, true);
        let star = request.names.contains(&WILDCARD);
        let wildcard = star || (request.names.is_empty() && !self.named_before);
        self.named_before |= !request.names.is_empty();
        let came_or_went = std::mem::replace(&mut self.wildcard, wildcard) != wildcard;
        let added = self.replace_names(request);
        if came_or_went || is_first {
            self.scan = true;
            self.answer_due = true;
        }
        self.answer_due |= added && self.full_state;
        let current = resources.filter(|_| is_first && wildcard && self.full_state);
        if let Some(current) = current.filter(|r| r.version() == request.version) {
            // The version is made of the content: the client has exactly this.
            self.sent = current.all().map(|r| (Arc::clone(&r.name), r.hash)).collect();
            (self.at, self.scan, self.answer_due) = (current.latest(), false, false);
            self.due.clear();
        }
    }

    /// Whether any name is new.
    fn replace_names(&mut self, request: &Request<'_>) -> bool {
        let is_same = request.names.len() == self.names.len()
            && request.names.iter().all(|name| self.names.contains(*name));
        if is_same {
            return false;
        }
        let before = self.due.len();
        let listed: HashSet<&str> =
            request.names.iter().copied().filter(|name| *name != WILDCARD).collect();
        self.names.retain(|name| listed.contains(&**name));
        for name in listed {
            if !self.names.contains(name) {
                let name = Arc::<str>::from(name);
                self.due.push(Arc::clone(&name));
                self.names.insert(name);
            }
        }
        self.forget_unwanted();
        self.due.len() > before
    }

    /// What the client does not subscribe to, it drops.
    fn forget_unwanted(&mut self) {
        if !self.wildcard {
            self.sent.retain(|name, _| self.names.contains(name));
            self.rejected.retain(|name, _| self.names.contains(name));
        }
    }

    /// Takes over the changes of an incremental request.
    pub(super) fn request_delta(&mut self, request: &Request<'_>, resources: Option<&Resources>) {
        let is_first = !std::mem::replace(&mut self.started, true);
        if is_first {
            self.wildcard = request.names.is_empty();
            (self.scan, self.answer_due) = (true, self.wildcard);
            for (name, version) in &request.initial {
                let current = resources.and_then(|resources| resources.get(name));
                let same = current.filter(|resource| resource.version() == *version);
                self.sent.insert((*name).into(), same.map_or(0, |resource| resource.hash));
            }
        }
        for name in &request.names {
            if *name == WILDCARD {
                self.answer_due |= !self.wildcard;
                self.scan |= !self.wildcard;
                self.wildcard = true;
                continue;
            }
            let name = Arc::<str>::from(*name);
            if !(is_first && self.sent.contains_key(&name)) {
                self.ask_again(&name, resources);
            }
            self.names.insert(name);
        }
        for name in &request.leaving {
            if *name == WILDCARD {
                self.wildcard = false;
                self.forget_unwanted();
                continue;
            }
            let Some(name) = self.names.take(*name) else { continue };
            // Under the wildcard the client cannot tell whether it still has a right to it.
            if self.wildcard {
                self.ask_again(&name, resources);
            } else {
                self.sent.remove(&name);
                self.rejected.remove(&name);
            }
        }
    }

    /// Whoever subscribes is sent the resource, whatever was sent before.
    fn ask_again(&mut self, name: &Arc<str>, resources: Option<&Resources>) {
        let resource = resources.and_then(|resources| resources.get(name));
        self.sent.remove(resource.map_or(name, |resource| &resource.name));
        self.due.push(Arc::clone(name));
    }

    /// What is to be sent now, if anything is.
    pub(super) fn poll(
        &mut self,
        protocol: Protocol,
        resources: &Resources,
        now: Duration,
    ) -> Option<Content> {
        if !self.started || self.in_flight.is_some() {
            return None;
        }
        let mut content = self.compare(resources);
        let answer = std::mem::take(&mut self.answer_due) && (self.wildcard || self.full_state);
        if protocol == Protocol::Sotw {
            let is_due = answer || !content.is_empty();
            // Nothing but absence says in state of the world that something is gone, and only in
            // the types of which every response is complete.
            content.removed.clear();
            content.unresolved.clear();
            if self.full_state && is_due {
                content.resources = self.wanted(resources).cloned().collect();
            }
            if !(is_due && self.full_state) && content.is_empty() && !answer {
                return self.heartbeat(protocol, resources, now);
            }
        } else if content.is_empty() && !answer {
            return self.heartbeat(protocol, resources, now);
        }
        self.plan_heartbeat(resources, now);
        Some(content)
    }

    /// Compares what changed with what was sent, and counts the difference as sent.
    fn compare(&mut self, resources: &Resources) -> Content {
        let mut content = Content::default();
        let since = if self.scan { Since::Everything } else { resources.since(self.at) };
        match since {
            Since::Nothing => {}
            Since::Names(names) => {
                for name in names {
                    self.examine(name, false, resources, &mut content);
                }
            }
            Since::Everything => self.examine_all(resources, &mut content),
        }
        for name in std::mem::take(&mut self.due) {
            self.examine(&name, true, resources, &mut content);
        }
        (self.at, self.scan) = (resources.latest(), false);
        content
    }

    fn examine_all(&mut self, resources: &Resources, content: &mut Content) {
        let gone: Vec<Arc<str>> =
            self.sent.keys().filter(|name| resources.get(name).is_none()).cloned().collect();
        for name in gone {
            self.examine(&name, false, resources, content);
        }
        if self.wildcard {
            for resource in resources.all() {
                self.offer(resource, content);
            }
        } else {
            let wanted: Vec<_> =
                self.names.iter().filter_map(|name| resources.get(name)).cloned().collect();
            for resource in &wanted {
                self.offer(resource, content);
            }
        }
    }

    fn examine(
        &mut self,
        name: &Arc<str>,
        is_asked: bool,
        resources: &Resources,
        content: &mut Content,
    ) {
        if let Some(resource) = resources.get(name) {
            if self.wants(resource) {
                self.offer(resource, content);
            }
            return;
        }
        self.rejected.remove(name);
        let had = self.sent.remove(name).is_some();
        if had || (is_asked && *self.url != *VIRTUAL_HOST) {
            content.removed.push(Arc::clone(name));
        } else if is_asked {
            content.unresolved.push(Arc::clone(name));
        }
    }

    fn offer(&mut self, resource: &Arc<Encoded>, content: &mut Content) {
        if self.sent.get(&resource.name) != Some(&resource.hash) {
            self.sent.insert(Arc::clone(&resource.name), resource.hash);
            content.resources.push(Arc::clone(resource));
        }
    }

    fn wants(&self, resource: &Encoded) -> bool {
        self.wildcard
            || self.names.contains(&resource.name)
            || resource.aliases.iter().any(|alias| self.names.contains(alias))
    }

    /// All that is there of what the client wants.
    fn wanted<'a>(&'a self, resources: &'a Resources) -> impl Iterator<Item = &'a Arc<Encoded>> {
        resources.all().filter(|resource| self.wants(resource))
    }

    /// Renews what would expire; `None` if it is not time yet.
    fn heartbeat(
        &mut self,
        protocol: Protocol,
        resources: &Resources,
        now: Duration,
    ) -> Option<Content> {
        self.heartbeat_at.filter(|at| *at <= now)?;
        let mut content = Content::default();
        // A list of a full-state type without the immortal would remove them.
        let all = self.full_state && protocol == Protocol::Sotw;
        for resource in self.wanted(resources) {
            if resource.ttl.is_some() {
                content.heartbeats.push(Arc::clone(resource));
            } else if all {
                content.resources.push(Arc::clone(resource));
            }
        }
        self.plan_heartbeat(resources, now);
        (!content.heartbeats.is_empty()).then_some(content)
    }

    fn plan_heartbeat(&mut self, resources: &Resources, now: Duration) {
        self.heartbeat_at = None;
        if resources.has_mortal() {
            let shortest = self.wanted(resources).filter_map(|resource| resource.ttl).min();
            self.heartbeat_at = shortest.map(|ttl| now.saturating_add(ttl / 2));
        }
    }

    /// When something has to be renewed.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.heartbeat_at.filter(|_| self.in_flight.is_none())
    }
}
