//! Session resumption: tickets, and the stores of both roles. No locks: every shard uses them.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use foldhash::fast::FixedState;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::{ProducesTickets, StoresServerSessions};

/// Bytes of a key in `session_ticket_keys`: name, MAC key, cipher key.
pub const TICKET_KEY: usize = 80;
/// Bytes of a key's name.
const NAME: usize = 16;
/// A generated key makes tickets for this long; the one before it still opens them.
const ROTATION_S: u64 = 12 * 3600;

/// Makes and opens tickets.
#[derive(Debug)]
pub(super) struct Tickets {
    keys: ArcSwap<Keys>,
    /// Keys are generated and change with time.
    generated: bool,
    lifetime_s: u32,
    /// What a session must not outlive: certificates and what clients have to show.
    context: [u8; 32],
}

/// The first makes tickets, all open them.
#[derive(Debug)]
struct Keys {
    list: Vec<Arc<Key>>,
    born_s: u64,
}

struct Key {
    name: [u8; NAME],
    key: LessSafeKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// A key made of configured or random bytes. Tickets of another context do not open.
    fn new(secret: &[u8; TICKET_KEY], context: &[u8; 32]) -> Option<Self> {
        let (name, rest) = secret.split_at(NAME);
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"ticket");
        hash.update(rest);
        hash.update(context);
        let key = UnboundKey::new(&AES_256_GCM, hash.finish().as_ref()).ok()?;
        Some(Self { name: name.try_into().ok()?, key: LessSafeKey::new(key) })
    }

    fn random(context: &[u8; 32]) -> Option<Self> {
        let mut secret = [0; TICKET_KEY];
        rand::fill(&mut secret).ok()?;
        Self::new(&secret, context)
    }

    /// Name, nonce, sealed session.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.name);
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, aad, &mut sealed).ok()?;
        Some([&self.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let len = self.key.open_in_place(nonce, Aad::from(self.name), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

impl Tickets {
    /// With configured keys, or generated ones where the list is empty. `None` where the system
    /// gives no random bytes.
    pub(super) fn new(
        keys: &[[u8; TICKET_KEY]],
        lifetime_s: u32,
        context: [u8; 32],
    ) -> Option<Self> {
        let generated = keys.is_empty();
        let list: Option<Vec<_>> = if generated {
            Key::random(&context).map(|key| vec![Arc::new(key)])
        } else {
            keys.iter().map(|key| Key::new(key, &context).map(Arc::new)).collect()
        };
        let born_s = ringway_runtime::unix_now().as_secs();
        let keys = ArcSwap::from_pointee(Keys { list: list?, born_s });
        Some(Self { keys, generated, lifetime_s, context })
    }

    /// Replaces a generated key that is old enough. Of several shards that find it old one wins.
    fn rotate(&self, now_s: u64) {
        let old = self.keys.load();
        if !self.generated || now_s < old.born_s.saturating_add(ROTATION_S) {
            return;
        }
        let Some(fresh) = Key::random(&self.context) else { return };
        let list = std::iter::once(Arc::new(fresh)).chain(old.list.first().cloned()).collect();
        self.keys.compare_and_swap(&*old, Arc::new(Keys { list, born_s: now_s }));
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.rotate(ringway_runtime::unix_now().as_secs());
        self.keys.load().list.first()?.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys.load();
        keys.list.iter().find(|key| key.name == name)?.open(nonce, sealed)
    }
}

/// No tickets.
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Sessions of a server, for clients without tickets: a table in which a new session takes the
/// place of another that falls on the same slot.
#[derive(Debug)]
pub(super) struct SessionTable {
    slots: Box<[ArcSwapOption<Stored>]>,
    hasher: FixedState,
    lifetime_s: u64,
}

#[derive(Debug)]
struct Stored {
    key: Vec<u8>,
    value: Vec<u8>,
    until_s: u64,
}

impl SessionTable {
    /// A table of `slots` sessions.
    pub(super) fn new(slots: usize, lifetime_s: u64) -> Self {
        Self {
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            hasher: FixedState::default(),
            lifetime_s,
        }
    }

    fn slot(&self, key: &[u8]) -> Option<&ArcSwapOption<Stored>> {
        let slots = u64::try_from(self.slots.len()).ok().filter(|slots| *slots > 0)?;
        self.slots.get(usize::try_from(self.hasher.hash_one(key) % slots).ok()?)
    }
}

impl Stored {
    fn good_for(&self, key: &[u8]) -> bool {
        self.key == key && ringway_runtime::unix_now().as_secs() < self.until_s
    }
}

impl StoresServerSessions for SessionTable {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let Some(slot) = self.slot(&key) else { return false };
        let until_s = ringway_runtime::unix_now().as_secs().saturating_add(self.lifetime_s);
        slot.store(Some(Arc::new(Stored { key, value, until_s })));
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let stored = self.slot(key)?.load_full()?;
        stored.good_for(key).then(|| stored.value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let slot = self.slot(key)?;
        let stored = slot.load_full()?;
        if !stored.good_for(key) {
            return None;
        }
        // Somebody else may have taken it in between: then it is theirs.
        let before = slot.compare_and_swap(&stored, None);
        let ours = before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &stored));
        ours.then(|| stored.value.clone())
    }

    fn can_cache(&self) -> bool {
        !self.slots.is_empty()
    }
}

/// Sessions of a client, as many as `max_session_keys`, shared by all hosts of a cluster.
#[derive(Debug)]
pub(super) struct ClientSessions {
    slots: Box<[ArcSwapOption<ClientSession>]>,
    hint: ArcSwapOption<(ServerName<'static>, NamedGroup)>,
    next: std::sync::atomic::AtomicUsize,
}

struct ClientSession {
    name: ServerName<'static>,
    value: Value,
}

enum Value {
    Tls12(Tls12ClientSessionValue),
    Tls13(Tls13ClientSessionValue),
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Sessions kept at most: a table is looked through slot by slot.
const CLIENT_SESSIONS_MAX: usize = 256;

impl ClientSessions {
    /// A store of `keys` sessions; more than a few hundred are not kept.
    pub(super) fn new(keys: usize) -> Self {
        Self {
            slots: (0..keys.min(CLIENT_SESSIONS_MAX)).map(|_| ArcSwapOption::empty()).collect(),
            hint: ArcSwapOption::empty(),
            next: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    fn put(&self, name: ServerName<'static>, value: Value) {
        let Some(last) = self.slots.len().checked_sub(1) else { return };
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % (last + 1);
        if let Some(slot) = self.slots.get(next) {
            slot.store(Some(Arc::new(ClientSession { name, value })));
        }
    }
}

impl ClientSessionStore for ClientSessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        let same = self.hint.load().as_ref().is_some_and(|h| h.0 == server_name && h.1 == group);
        if !same {
            self.hint.store(Some(Arc::new((server_name, group))));
        }
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.hint.load().as_ref().filter(|hint| hint.0 == *server_name).map(|hint| hint.1)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.put(server_name, Value::Tls12(value));
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.slots.iter().find_map(|slot| match &**slot.load().as_ref()? {
            ClientSession { name, value: Value::Tls12(value) } if name == server_name => {
                Some(value.clone())
            }
            _ => None,
        })
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        for slot in &self.slots {
            let found = slot.load().as_ref().is_some_and(|session| {
                session.name == *server_name && matches!(session.value, Value::Tls12(_))
            });
            if found {
                slot.store(None);
            }
        }
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.put(server_name, Value::Tls13(value));
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let wanted = |session: &ClientSession| {
            session.name == *server_name && matches!(session.value, Value::Tls13(_))
        };
        self.slots.iter().find_map(|slot| {
            if !slot.load().as_ref().is_some_and(|session| wanted(session)) {
                return None;
            }
            // A ticket is used once: of two who find it one gets it. One that somebody looks at
            // in this moment is lost, and so is what was put there in between: a handshake more.
            let session = Arc::into_inner(slot.swap(None)?)?;
            match session.value {
                Value::Tls13(value) if session.name == *server_name => Some(value),
                _ => None,
            }
        })
    }
}
