//! Compares a response with what was accepted.

use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

use super::kind::Kind;
use super::response::{self, Head, Item, Raw};
use super::table::{PENDING, REJECTED, WATCHED};
use super::update::{
    Limits, Malformed, Options, Pending, Problem, Protocol, Receipt, Resource, ResourceError,
    Update,
};
use crate::names;

/// What a response that is no message is called.
const NO_MESSAGE: &str = "its bytes are no message of the protocol";

/// Compares the response `bytes` with what `kind` has; nothing of it counts as accepted yet.
pub(super) fn compare(
    kind: &mut Kind,
    head: &Head<'_>,
    (options, stream): (&Options, u64),
    bytes: &[u8],
    now: Duration,
) -> Result<Update, Malformed> {
    let &Options { protocol, ref limits, .. } = options;
    let mut comparison = Comparison::new(kind, head, options, stream, now);
    if head.items > limits.resources {
        let text = format!("{} resources; at most {} are taken", head.items, limits.resources);
        comparison.problem(None, text);
        return Ok(comparison.update);
    }
    for item in response::items(protocol, bytes) {
        match item.map_err(|_| Malformed(NO_MESSAGE.into()))? {
            Item::Resource(raw) => comparison.resource(&raw),
            Item::Removed(name) => comparison.removed(name),
        }
    }
    comparison.errors(head);
    // Heartbeats alone renew, and say nothing of the rest; a resource that cannot even be named
    // may be any of those that seem absent.
    let is_whole = comparison.kind.full_state && !head.only_heartbeats;
    let all_named = comparison.update.receipt.problems.iter().all(|p| p.name.is_some());
    if protocol == Protocol::Sotw && is_whole && all_named {
        comparison.absent();
    }
    comparison.kind.table.tidy();
    Ok(comparison.update)
}

struct Comparison<'a> {
    kind: &'a mut Kind,
    limits: &'a Limits,
    protocol: Protocol,
    watch_all: bool,
    now: Duration,
    generation: u16,
    update: Update,
    /// The version last made into an `Arc`: often the same for resource after resource.
    shared: Arc<str>,
}

impl<'a> Comparison<'a> {
    fn new(
        kind: &'a mut Kind,
        head: &Head<'_>,
        options: &'a Options,
        stream: u64,
        now: Duration,
    ) -> Self {
        let version: Arc<str> = if *head.version == *kind.version {
            Arc::clone(&kind.version)
        } else {
            head.version.into()
        };
        let nonce: Arc<str> = head.nonce.into();
        let receipt = Receipt {
            type_url: Arc::clone(&kind.url),
            version: Arc::clone(&version),
            nonce: Arc::clone(&nonce),
            stream,
            pending: Vec::new(),
            problems: Vec::new(),
            silent: false,
        };
        let update = Update {
            type_url: Arc::clone(&kind.url),
            version: Arc::clone(&version),
            nonce,
            control_plane: head.control_plane.map(Arc::from),
            changed: Vec::new(),
            removed: Vec::new(),
            restored: Vec::new(),
            renewed: Vec::new(),
            aliased: Vec::new(),
            unresolved: Vec::new(),
            errors: Vec::new(),
            unchanged: 0,
            ignored: 0,
            receipt,
        };
        let generation = kind.table.next_generation();
        let &Options { protocol, watch_all, ref limits, .. } = options;
        Self { kind, limits, protocol, watch_all, now, generation, update, shared: version }
    }

    fn problem(&mut self, name: Option<&Arc<str>>, text: String) {
        self.update.receipt.problems.push(Problem { name: name.cloned(), text });
    }

    fn resource(&mut self, raw: &Raw<'_>) {
        if raw.body.is_some() && raw.type_url != &*self.kind.url {
            let (found, wanted) = (raw.type_url, &self.kind.url);
            let text = format!("a resource of type {found} in a response of type {wanted}");
            return self.problem(None, text);
        }
        let Some(body) = raw.body else { return self.no_body(raw) };
        let hash = xxh64(body, 0);
        // A body that is known needs no second look at its name.
        let guess = if raw.name.is_empty() { response::leading_name(body) } else { Some(raw.name) };
        let known = guess.and_then(|name| self.kind.table.find(name));
        if let Some(slot) = known.filter(|slot| self.same(*slot, hash)) {
            return self.unchanged(slot, raw);
        }
        let name = if raw.name.is_empty() { response::name(body) } else { Ok(raw.name) };
        let Ok(name) = name else {
            let text = format!("a resource that is no message: {} bytes", body.len());
            return self.problem(None, text);
        };
        let Some(name) = self.checked(name) else { return };
        match self.kind.table.find(&name).filter(|slot| self.same(*slot, hash)) {
            Some(slot) => self.unchanged(slot, raw),
            None => self.changed(&name, raw, hash, body),
        }
    }

    /// Whether what was accepted is this.
    fn same(&self, slot: u32, hash: u64) -> bool {
        let entry = self.kind.table.get(slot);
        entry.is_some_and(|entry| entry.hash == hash && entry.version.is_some())
    }

    fn unchanged(&mut self, slot: u32, raw: &Raw<'_>) {
        if !self.mark(slot) {
            return;
        }
        self.update.unchanged += 1;
        let deadline = self.deadline(raw);
        self.kind.expire_at(slot, deadline);
        let version = self.version(raw);
        let Some(entry) = self.kind.table.get_mut(slot) else { return };
        if entry.version.as_deref() != Some(&*version) {
            entry.version = Some(version);
        }
        if entry.is(REJECTED) {
            entry.set(REJECTED, false);
            self.update.restored.push(Arc::clone(&entry.name));
        }
        if self.watch_all || entry.is(WATCHED) {
            let version = entry.version.clone().unwrap_or_default();
            self.update.renewed.push((Arc::clone(&entry.name), version));
        }
        if !raw.aliases.is_empty() {
            let name = Arc::clone(&entry.name);
            let aliases = self.aliases(&name, raw).into_vec();
            self.update.aliased.extend(aliases.into_iter().map(|a| (a, Arc::clone(&name))));
        }
    }

    fn changed(&mut self, name: &Arc<str>, raw: &Raw<'_>, hash: u64, body: &[u8]) {
        let aliases = self.aliases(name, raw);
        let slot = match self.kind.table.find(name) {
            Some(slot) if self.kind.wants(self.kind.table.get(slot)) => slot,
            None if self.kind.wildcard > 0 => {
                if self.kind.table.len() >= self.limits.resources {
                    let text = format!("more than {} resources", self.limits.resources);
                    return self.problem(Some(name), text);
                }
                self.kind.table.find_or_add(name)
            }
            _ => {
                self.update.ignored += 1;
                return;
            }
        };
        if !self.mark(slot) {
            return;
        }
        let ttl = match raw.ttl {
            Some(Err(())) => {
                let text = "its ttl is no positive duration".to_owned();
                return self.problem(Some(name), text);
            }
            Some(Ok(ttl)) => Some(ttl),
            None => None,
        };
        let (version, deadline) = (self.version(raw), self.deadline(raw));
        let Some(entry) = self.kind.table.get_mut(slot) else { return };
        entry.set(PENDING, true);
        let name = Arc::clone(&entry.name);
        self.update.receipt.pending.push(Pending {
            name: Arc::clone(&name),
            version: Arc::clone(&version),
            hash,
            deadline,
        });
        self.update.changed.push(Resource { name, version, hash, body: body.into(), ttl, aliases });
    }

    /// A heartbeat, or a name the server has nothing for.
    fn no_body(&mut self, raw: &Raw<'_>) {
        let Some(name) = self.checked(raw.name) else { return };
        let slot = self.kind.table.find(&name);
        let accepted =
            slot.and_then(|slot| self.kind.table.get(slot)).and_then(|entry| entry.version.clone());
        let (Some(slot), Some(accepted)) = (slot, accepted) else {
            self.update.unresolved.push(Arc::clone(&name));
            let aliases: Vec<_> = raw.aliases.iter().filter_map(|a| self.checked(a)).collect();
            self.update.unresolved.extend(aliases.into_iter().filter(|alias| *alias != name));
            return;
        };
        if self.protocol == Protocol::Delta && raw.version != &*accepted {
            let text = format!("no body at version {}; here it is at {accepted}", raw.version);
            return self.problem(Some(&name), text);
        }
        if self.mark(slot) {
            self.update.unchanged += 1;
            let deadline = self.deadline(raw);
            self.kind.expire_at(slot, deadline);
        }
    }

    fn removed(&mut self, name: &str) {
        let Some(name) = self.checked(name) else { return };
        let Some(slot) = self.kind.table.find(&name) else { return };
        let entry = self.kind.table.get(slot);
        if entry.is_some_and(|entry| entry.seen == self.generation) {
            let text = "both among the resources and among the removed ones".to_owned();
            return self.problem(Some(&name), text);
        }
        let told = entry.is_some_and(|entry| entry.wanted > 0 || entry.was_delivered());
        if let Some(name) = self.kind.forget(slot).filter(|_| told) {
            self.update.removed.push(name);
        }
    }

    /// What the response of a full-state type does not have is gone.
    fn absent(&mut self) {
        let generation = self.generation;
        let gone =
            self.kind.table.slots_where(|entry| entry.seen != generation && entry.was_delivered());
        for slot in gone {
            self.update.removed.extend(self.kind.forget(slot));
        }
    }

    fn errors(&mut self, head: &Head<'_>) {
        for raw in &head.errors {
            let Some(name) = self.checked(raw.name) else { continue };
            let message = raw.message.chars().take(self.limits.name_bytes).collect();
            self.update.errors.push(ResourceError { name, code: raw.code, message });
        }
    }

    /// Notes that the response has this resource; `false`: not for the first time.
    fn mark(&mut self, slot: u32) -> bool {
        let Some(entry) = self.kind.table.get_mut(slot) else { return false };
        if entry.seen == self.generation {
            let name = Arc::clone(&entry.name);
            let text = format!("duplicate {} {name} found", names::noun(&self.kind.url));
            self.problem(Some(&name), text);
            return false;
        }
        entry.seen = self.generation;
        true
    }

    /// The name in canonical form, if it is one we can take.
    fn checked(&mut self, name: &str) -> Option<Arc<str>> {
        if name.len() > self.limits.name_bytes {
            let text = format!("a name of {} bytes: {}…", name.len(), names::start(name));
            self.problem(None, text);
            return None;
        }
        if let Some(slot) = self.kind.table.find(name) {
            return self.kind.table.get(slot).map(|entry| Arc::clone(&entry.name));
        }
        match names::canonical(name) {
            Ok(name) => Some(Arc::from(&*name)),
            Err(reason) => {
                self.problem(Some(&name.into()), reason);
                None
            }
        }
    }

    /// The aliases in canonical form; who asked by them is subscribed to the name from now on.
    fn aliases(&mut self, name: &Arc<str>, raw: &Raw<'_>) -> Box<[Arc<str>]> {
        if raw.aliases.len() > self.limits.aliases {
            let text = format!("{} aliases, more than can be taken", raw.aliases.len());
            self.problem(Some(name), text);
            return Box::default();
        }
        let aliases: Box<[_]> = raw.aliases.iter().filter_map(|a| self.checked(a)).collect();
        for alias in aliases.iter().filter(|alias| *alias != name) {
            self.kind.resolve_alias(alias, name);
        }
        aliases
    }

    fn version(&mut self, raw: &Raw<'_>) -> Arc<str> {
        let own = if raw.version.is_empty() && self.protocol == Protocol::Sotw {
            return Arc::clone(&self.update.version);
        } else {
            raw.version
        };
        if *self.shared != *own {
            let end = own.floor_char_boundary(self.limits.name_bytes);
            self.shared = own.get(..end).unwrap_or_default().into();
        }
        Arc::clone(&self.shared)
    }

    fn deadline(&self, raw: &Raw<'_>) -> Option<Duration> {
        raw.ttl.and_then(Result::ok).map(|ttl| self.now.saturating_add(ttl))
    }
}
