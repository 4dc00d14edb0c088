//! The secrets of a process, on the control thread: those of the bootstrap, the slots of all that
//! are named, and who uses them.
//!
//! LIFECYCLE of an entry: made with its slot → has users, one per context → its slot is dropped by
//! the last of them → swept.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;

use super::Role;
use crate::config::files::Stamp;
use crate::observe::stats::{BlockHandle, Gauge, Registry, ShardStats};
use crate::plan::certificate::sha256;
use crate::plan::tls::{
    Context, Params, Secret, SecretKind, SecretSlot, SharedTrust, SlotKey, Trust,
};

/// Sets of parameters kept to be shared; most configurations have one or two.
const PARAMS_MAX: usize = 64;
/// Entries after which those that are dead are looked for, at the earliest.
const SWEEP_MIN: usize = 256;

/// All secrets and their users.
#[derive(Debug, Default)]
pub struct SecretStore {
    /// `static_resources.secrets`.
    statics: Vec<api::Secret>,
    /// Slots by name.
    named: HashMap<SlotKey, Weak<SecretSlot>, RandomState>,
    /// Slots of what stands in contexts, by their bytes: thousands of clusters may say the same.
    inline: HashMap<(SecretKind, Box<[u8]>), Weak<SecretSlot>, RandomState>,
    /// Roots by the hash of their PEM text.
    trust: HashMap<[u8; 32], Weak<Trust>, RandomState>,
    /// Parameters that were compiled without a finding.
    params: Vec<(Role, Option<api::TlsParameters>, Arc<Params>)>,
    /// Lists of protocols.
    alpn: Vec<Arc<[Vec<u8>]>>,
    /// By address of the slot, which is nobody else's while the entry is there.
    entries: HashMap<usize, Entry, RandomState>,
    /// By address of the context, likewise.
    users: HashMap<usize, User, RandomState>,
    sweep_at: usize,
}

/// What is known of a slot.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slot: Weak<SecretSlot>,
    /// Addresses of the contexts that use it.
    users: Vec<usize>,
    /// The files that were looked at, as they were then.
    pub(super) stamps: Vec<(PathBuf, Stamp)>,
}

/// A context.
#[derive(Debug)]
struct User {
    context: Weak<dyn Context>,
    /// Prefix of its statistics.
    scope: Arc<str>,
    /// Gauges of when the certificates it shows expire.
    expiry: Vec<Expiry>,
    /// They have values that nobody has written yet.
    unwritten: bool,
}

/// A gauge of when a certificate expires.
#[derive(Debug)]
struct Expiry {
    _block: BlockHandle,
    gauge: Gauge,
    seconds: u64,
}

fn address<T: ?Sized>(weak: &Weak<T>) -> usize {
    weak.as_ptr().cast::<()>() as usize
}

impl SecretStore {
    /// Takes a secret of the bootstrap; false where its name is taken.
    pub(crate) fn define(&mut self, secret: &api::Secret) -> bool {
        let new = self.find_static(&secret.name).is_none();
        if new {
            self.statics.push(secret.clone());
        }
        new
    }

    pub(super) fn find_static(&self, name: &str) -> Option<&api::Secret> {
        self.statics.iter().find(|secret| secret.name == name)
    }

    /// The slot of a name.
    pub(super) fn named(&self, key: &SlotKey) -> Option<Arc<SecretSlot>> {
        self.named.get(key)?.upgrade()
    }

    /// Makes the slot of a name.
    pub(super) fn add_named(
        &mut self,
        key: SlotKey,
        secret: Option<Arc<Secret>>,
    ) -> Arc<SecretSlot> {
        let slot = Arc::new(SecretSlot::new(key.clone(), secret));
        self.named.insert(key, Arc::downgrade(&slot));
        self.add_entry(&slot);
        slot
    }

    /// The slot of what stands in a context.
    pub(super) fn inline(&self, kind: SecretKind, bytes: &[u8]) -> Option<Arc<SecretSlot>> {
        self.inline.get(&(kind, bytes.into()))?.upgrade()
    }

    /// Makes the slot of what stands in a context.
    pub(super) fn add_inline(
        &mut self,
        kind: SecretKind,
        bytes: &[u8],
        secret: Arc<Secret>,
    ) -> Arc<SecretSlot> {
        let key = SlotKey { source: None, name: Arc::clone(&secret.name), kind };
        let slot = Arc::new(SecretSlot::new(key, Some(secret)));
        self.inline.insert((kind, bytes.into()), Arc::downgrade(&slot));
        self.add_entry(&slot);
        slot
    }

    fn add_entry(&mut self, slot: &Arc<SecretSlot>) {
        if self.entries.len() + self.users.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep();
        }
        let weak = Arc::downgrade(slot);
        let mut entry = Entry { slot: weak, users: Vec::new(), stamps: Vec::new() };
        entry.stamp(slot);
        self.entries.insert(address(&entry.slot), entry);
    }

    /// A context uses its slots from now on.
    pub(super) fn add_user(
        &mut self,
        registry: &mut Registry,
        scope: &str,
        context: &Arc<dyn Context>,
    ) {
        let weak = Arc::downgrade(context);
        let id = address(&weak);
        for slot in context.slots() {
            let entry = self.entries.get_mut(&address(&Arc::downgrade(slot)));
            if let Some(entry) = entry
                && !entry.users.contains(&id)
            {
                entry.users.push(id);
            }
        }
        let scope = Arc::from(scope);
        let mut user = User { context: weak, scope, expiry: Vec::new(), unwritten: false };
        user.look(registry, &**context);
        self.users.insert(id, user);
    }

    /// Contexts that use a slot.
    fn users_of(&self, slot: &Arc<SecretSlot>) -> impl Iterator<Item = (usize, Arc<dyn Context>)> {
        let entry = self.entries.get(&address(&Arc::downgrade(slot)));
        let ids = entry.into_iter().flat_map(|entry| &entry.users);
        ids.filter_map(|id| Some((*id, self.users.get(id)?.context.upgrade()?)))
    }

    /// Puts a secret into its slot: for all contexts, or for none if one of them cannot use it.
    ///
    /// # Errors
    /// Why one cannot, for a person.
    pub(super) fn put(
        &mut self,
        slot: &Arc<SecretSlot>,
        secret: Arc<Secret>,
        registry: &mut Registry,
        stats: &ShardStats,
    ) -> Result<(), String> {
        self.users_of(slot).try_for_each(|(_, context)| context.check(slot, &secret))?;
        slot.set(secret);
        let users: Vec<_> = self.users_of(slot).collect();
        for (id, context) in users {
            stats.inc(context.updates());
            if let Some(user) = self.users.get_mut(&id) {
                user.look(registry, &*context);
                user.write(stats);
            }
        }
        if let Some(entry) = self.entries.get_mut(&address(&Arc::downgrade(slot))) {
            entry.stamp(slot);
        }
        Ok(())
    }

    /// Writes the gauges of contexts that were compiled since.
    pub(crate) fn write_gauges(&mut self, stats: &ShardStats) {
        self.users.values_mut().filter(|user| user.unwritten).for_each(|user| user.write(stats));
    }

    /// Slots whose files are not as they were; what they are now is what counts from here on.
    pub(super) fn changed(&mut self) -> Vec<Arc<SecretSlot>> {
        let entries = self.entries.values_mut();
        let changed = entries.filter_map(|entry| entry.has_changed().then(|| entry.slot.upgrade()));
        changed.flatten().collect()
    }

    /// Whether there are files to look after.
    pub(crate) fn watches_files(&self) -> bool {
        self.entries.values().any(|entry| !entry.stamps.is_empty())
    }

    /// Lets go of what nobody uses any more.
    pub(crate) fn sweep(&mut self) {
        self.users.retain(|_, user| user.context.strong_count() > 0);
        self.entries.retain(|_, entry| entry.slot.strong_count() > 0);
        let users = &self.users;
        for entry in self.entries.values_mut() {
            entry.users.retain(|id| users.contains_key(id));
        }
        self.named.retain(|_, slot| slot.strong_count() > 0);
        self.inline.retain(|_, slot| slot.strong_count() > 0);
        self.trust.retain(|_, trust| trust.strong_count() > 0);
        self.sweep_at = 2 * (self.entries.len() + self.users.len());
    }

    /// Parameters that were compiled before.
    pub(super) fn params(
        &self,
        role: Role,
        params: Option<&api::TlsParameters>,
    ) -> Option<Arc<Params>> {
        let known = self.params.iter().find(|known| known.0 == role && known.1.as_ref() == params);
        known.map(|known| Arc::clone(&known.2))
    }

    /// Keeps parameters that may be shared.
    pub(super) fn keep_params(
        &mut self,
        role: Role,
        params: Option<&api::TlsParameters>,
        compiled: &Arc<Params>,
    ) {
        if self.params.len() < PARAMS_MAX {
            self.params.push((role, params.cloned(), Arc::clone(compiled)));
        }
    }

    /// One list for all that name the same protocols.
    pub(super) fn alpn(&mut self, names: Vec<Vec<u8>>) -> Arc<[Vec<u8>]> {
        if let Some(known) = self.alpn.iter().find(|known| ***known == *names) {
            return Arc::clone(known);
        }
        let names: Arc<[Vec<u8>]> = names.into();
        if self.alpn.len() < PARAMS_MAX {
            self.alpn.push(Arc::clone(&names));
        }
        names
    }
}

impl SharedTrust for SecretStore {
    fn trust(
        &mut self,
        pem: &[u8],
        parse: &mut dyn FnMut(&[u8]) -> Result<Trust, String>,
    ) -> Result<Arc<Trust>, String> {
        let hash = sha256(pem);
        if let Some(known) = self.trust.get(&hash).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let trust = Arc::new(parse(pem)?);
        self.trust.insert(hash, Arc::downgrade(&trust));
        Ok(trust)
    }
}

impl Entry {
    /// Takes down how the files of the slot are now.
    fn stamp(&mut self, slot: &SecretSlot) {
        let secret = slot.current();
        let named = secret.iter().flat_map(|secret| secret.files().iter().cloned());
        self.stamps = named.map(|path| (path.clone(), Stamp::of(&path))).collect();
    }

    fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, stamp) in &mut self.stamps {
            let now = Stamp::of(path);
            changed |= now != *stamp;
            *stamp = now;
        }
        changed
    }
}

impl User {
    /// Finds out when what the context shows expires.
    fn look(&mut self, registry: &mut Registry, context: &dyn Context) {
        let mut found: Vec<Expiry> = Vec::new();
        context.show(&mut |shown| {
            let roots = shown.roots.iter().map(|root| ("unnamed_ca_cert", root));
            let own = shown.own.iter().map(|own| ("unnamed_cert", own));
            for (unnamed, shown) in roots.chain(own) {
                // Envoy makes the name of a nameless one from the hash of its name: of nothing.
                let name = match &*shown.name {
                    "" => format!("{unnamed}_e3b0c442"),
                    name => name.to_owned(),
                };
                let scope = &self.scope;
                let name = format!("{scope}ssl.certificate.{name}.expiration_unix_time_seconds");
                let (block, gauge) = registry.gauge(&name);
                let seconds = u64::try_from(shown.facts.not_after).unwrap_or(0);
                found.push(Expiry { _block: block, gauge, seconds });
            }
        });
        self.unwritten = !found.is_empty();
        self.expiry = found;
    }

    fn write(&mut self, stats: &ShardStats) {
        self.expiry.iter().for_each(|expiry| stats.gauge_set(expiry.gauge, expiry.seconds));
        self.unwritten = false;
    }
}
