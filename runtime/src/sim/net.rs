//! The model of the network: sockets with bounded receive windows, segments under way, listeners.
//!
//! LIFECYCLE of a connection: SYN under way → queued at a listener (the server's socket exists and
//! may receive) and SYN-ACK under way → connected → FIN or reset each way → both sockets closed.
//! Segments of one direction arrive in the order they were sent.

use super::Faults;
use super::passing::Passing;
use crate::driver::Token;
use crate::net::SockAddr;
use crate::rand::Rng;
use crate::shard::Shared;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Weak;
use std::time::Duration;

/// Bytes that fit between a sender and a reader.
const WINDOW: usize = 64 << 10;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// One end of a connection.
struct Socket {
    driver: u32,
    /// How its runtime knows it; none while it waits to be accepted.
    token: Option<Token>,
    peer: Option<u32>,
    local: SockAddr,
    remote: SockAddr,
    /// Where the client wanted to go, if it was redirected.
    original: Option<SockAddr>,
    inbox: VecDeque<Vec<u8>>,
    inbox_len: usize,
    /// Bytes on their way to this socket.
    coming: usize,
    /// When the last segment it sent arrives: later ones do not arrive before.
    last_arrival: Instant,
    connected: Option<Result<(), i32>>,
    fin_received: bool,
    fin_sent: bool,
    reset: bool,
    /// A send found the window full.
    wants_room: bool,
}

pub(super) struct Listening {
    /// Whom to tell of a connection: a runtime, and how it knows this listener.
    pub(super) handles: Vec<(u32, Token)>,
    addr: SockAddr,
    queue: VecDeque<u32>,
    /// It is more than bound.
    accepts: bool,
}

enum What {
    Syn { client: u32, to: SockAddr },
    Connected { client: u32, outcome: Result<(), i32> },
    Data { from: u32, to: u32, bytes: Vec<u8> },
    Fin { to: u32 },
    Reset { to: u32 },
    Room { to: u32 },
    Notify { driver: u32, token: Token },
}

/// Something that happens at a time; the sequence number keeps the order of equal times.
struct Event {
    at: Instant,
    seq: u64,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// What a read of a socket found.
pub(crate) enum Pulled {
    Data(Vec<u8>),
    End,
    Failed(i32),
    Nothing,
}

/// The network.
pub(crate) struct Net {
    now: Instant,
    rng: Rng,
    faults: Faults,
    sockets: BTreeMap<u32, Socket>,
    pub(super) listeners: BTreeMap<u32, Listening>,
    /// Sockets that descriptors stand for.
    pub(super) passing: Vec<Passing>,
    by_addr: BTreeMap<SockAddr, Vec<u32>>,
    redirects: BTreeMap<SockAddr, SockAddr>,
    /// Per runtime: who has something to look at.
    ready: Vec<VecDeque<Token>>,
    runtimes: Vec<Weak<Shared>>,
    events: BinaryHeap<Reverse<Event>>,
    next_seq: u64,
    next_id: u32,
    next_port: u16,
}

impl Net {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            now: Instant::from_nanos(0),
            rng: Rng::new(seed),
            faults,
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            passing: Vec::new(),
            by_addr: BTreeMap::new(),
            redirects: BTreeMap::new(),
            ready: Vec::new(),
            runtimes: Vec::new(),
            events: BinaryHeap::new(),
            next_seq: 0,
            next_id: 0,
            next_port: 40_000,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u64) as usize
    }

    /// A seed for somebody else.
    pub(crate) fn seed(&mut self) -> u64 {
        self.rng.next() | 1
    }

    /// Adds a runtime's driver; its number.
    pub(crate) fn add_driver(&mut self) -> u32 {
        self.ready.push(VecDeque::new());
        self.ready.len() as u32 - 1
    }

    pub(super) fn add_runtime(&mut self, shared: Weak<Shared>) {
        self.runtimes.retain(|known| known.strong_count() > 0);
        self.runtimes.push(shared);
    }

    pub(super) fn runtimes(&self) -> impl Iterator<Item = &Weak<Shared>> {
        self.runtimes.iter()
    }

    /// What a driver has to look at, after everything due has happened.
    pub(crate) fn take_ready(&mut self, driver: u32) -> VecDeque<Token> {
        self.deliver_due();
        std::mem::take(&mut self.ready[driver as usize])
    }

    /// Jumps to the next event or to `timer`, whichever is first. False when there is neither.
    pub(crate) fn advance(&mut self, timer: Option<Instant>) -> bool {
        let event = self.events.peek().map(|Reverse(event)| event.at);
        let Some(next) = event.into_iter().chain(timer).min() else { return false };
        self.now = self.now.max(next);
        self.deliver_due();
        true
    }

    /// Binds a socket to an address, on which several may be if they are all `shared_port`:
    /// connections are spread at random over those that listen.
    pub(crate) fn bind(&mut self, addr: &SockAddr, shared_port: bool) -> Result<u32, i32> {
        let addr = match addr {
            SockAddr::Inet(inet) if inet.port() == 0 => {
                SockAddr::from(SocketAddr::new(inet.ip(), self.port()))
            }
            other => other.clone(),
        };
        let id = self.id();
        let listening = self.by_addr.entry(addr.clone()).or_default();
        if !listening.is_empty() && !shared_port {
            return Err(libc::EADDRINUSE);
        }
        listening.push(id);
        let queue = VecDeque::new();
        let listener = Listening { handles: Vec::new(), addr, queue, accepts: false };
        self.listeners.insert(id, listener);
        Ok(id)
    }

    /// Begins to listen.
    pub(crate) fn listen(&mut self, id: u32) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.accepts = true;
        }
    }

    /// Ties a listener to a slot of a runtime.
    pub(crate) fn attach_listener(&mut self, id: u32, driver: u32, token: Token) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.handles.push((driver, token));
            self.ready[driver as usize].push_back(token);
        }
    }

    /// A slot of a runtime has done with a listener, which is closed with the last.
    pub(crate) fn detach_listener(&mut self, id: u32, driver: u32, token: Token) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        listener.handles.retain(|handle| *handle != (driver, token));
        if listener.handles.is_empty() {
            self.sweep_passing();
            self.close_unless_passing(id);
        }
    }

    pub(crate) fn listener_addr(&self, id: u32) -> Option<SockAddr> {
        Some(self.listeners.get(&id)?.addr.clone())
    }

    /// The next connection that waits at a listener.
    pub(crate) fn accept(&mut self, listener: u32) -> Option<u32> {
        self.listeners.get_mut(&listener)?.queue.pop_front()
    }

    /// Starts a connection attempt from a new socket.
    pub(crate) fn connect(&mut self, driver: u32, to: &SockAddr, bind: Option<&SockAddr>) -> u32 {
        let local = match (bind, to) {
            (Some(bind), _) if bind.port() != 0 => bind.clone(),
            (Some(SockAddr::Inet(bind)), _) => {
                SockAddr::from(SocketAddr::new(bind.ip(), self.port()))
            }
            (_, SockAddr::Inet(_)) => {
                SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port())))
            }
            _ => SockAddr::Unix(crate::net::UnixAddr::Unnamed),
        };
        let id = self.add_socket(driver, local, to.clone());
        let at = self.arrival(id);
        self.schedule(at, What::Syn { client: id, to: to.clone() });
        id
    }

    /// Ties a socket to the slot of its runtime, which is told when something happens.
    pub(crate) fn attach(&mut self, id: u32, driver: u32, token: Token) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.driver = driver;
            socket.token = Some(token);
        }
        self.notify(id);
    }

    /// Nobody is told of what happens to a socket, until it is attached again.
    pub(crate) fn detach(&mut self, id: u32) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.token = None;
        }
    }

    /// How a connection attempt stands.
    pub(crate) fn connected(&self, id: u32) -> Option<Result<(), i32>> {
        self.sockets.get(&id)?.connected
    }

    /// The address of either end.
    pub(crate) fn addr(&self, id: u32, peer: bool) -> Option<SockAddr> {
        let socket = self.sockets.get(&id)?;
        Some(if peer { socket.remote.clone() } else { socket.local.clone() })
    }

    /// Where a connection went before it was redirected.
    pub(crate) fn original(&self, id: u32) -> Option<SockAddr> {
        self.sockets.get(&id)?.original.clone()
    }

    pub(super) fn redirect(&mut self, from: SockAddr, to: SockAddr) {
        self.redirects.insert(from, to);
    }

    /// Takes up to `max` received bytes.
    pub(crate) fn pull(&mut self, id: u32, max: usize) -> Pulled {
        if self.rng.chance(ppm(self.faults.no_buffers)) {
            self.notify(id);
            return Pulled::Nothing;
        }
        let Some(socket) = self.sockets.get_mut(&id) else { return Pulled::Failed(libc::EBADF) };
        if socket.reset {
            return Pulled::Failed(libc::ECONNRESET);
        }
        let Some(mut bytes) = socket.inbox.pop_front() else {
            return if socket.fin_received { Pulled::End } else { Pulled::Nothing };
        };
        if bytes.len() > max {
            socket.inbox.push_front(bytes.split_off(max));
        }
        socket.inbox_len -= bytes.len();
        let peer = socket.peer;
        if let Some(peer) = peer
            && self.sockets.get_mut(&peer).is_some_and(|peer| std::mem::take(&mut peer.wants_room))
        {
            let at = self.arrival(id);
            self.schedule(at, What::Room { to: peer });
        }
        Pulled::Data(bytes)
    }

    /// Sends as much of `data` as the window, and luck, allow.
    pub(crate) fn send(&mut self, id: u32, data: &[u8]) -> Result<usize, i32> {
        let short = self.rng.chance(ppm(self.faults.short_send));
        let lost = self.rng.chance(ppm(self.faults.reset));
        let (peer, dead) = match self.sockets.get(&id) {
            Some(socket) => (socket.peer, socket.reset || socket.fin_sent),
            None => (None, true),
        };
        let Some(to) = peer else { return Err(libc::EPIPE) };
        if dead {
            return Err(libc::EPIPE);
        }
        if lost {
            let at = self.arrival(id);
            self.schedule(at, What::Reset { to });
            self.schedule(at, What::Reset { to: id });
            return Ok(data.len());
        }
        let room = match self.sockets.get(&to) {
            Some(peer) => WINDOW.saturating_sub(peer.inbox_len + peer.coming),
            // It has closed: the bytes go, and a reset comes back.
            None => WINDOW,
        };
        let mut take = data.len().min(room);
        if short && take > 1 {
            take = 1 + self.below(take - 1);
        }
        if take < data.len()
            && let Some(socket) = self.sockets.get_mut(&id)
        {
            socket.wants_room = true;
        }
        if take == 0 {
            return Err(libc::EAGAIN);
        }
        if take < data.len() && take < room {
            // Taken in part by chance, not for want of room: nobody else would tell of it.
            let at = self.arrival(id);
            self.schedule(at, What::Room { to: id });
        }
        self.transmit(id, to, &data[..take]);
        Ok(take)
    }

    /// Sends a FIN after what was sent.
    pub(crate) fn shutdown(&mut self, id: u32) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if std::mem::replace(&mut socket.fin_sent, true) || socket.reset {
            return;
        }
        if let Some(to) = socket.peer {
            let at = self.arrival(id);
            self.schedule(at, What::Fin { to });
        }
    }

    /// Closes a socket: a FIN goes out, or a reset when bytes were left unread or it was asked for.
    pub(crate) fn close(&mut self, id: u32, reset: bool) {
        let unread = self.sockets.get(&id).is_some_and(|socket| socket.inbox_len > 0);
        if reset || unread {
            if let Some(to) = self.sockets.get(&id).and_then(|socket| socket.peer) {
                let at = self.arrival(id);
                self.schedule(at, What::Reset { to });
            }
        } else {
            self.shutdown(id);
        }
        self.sockets.remove(&id);
    }

    /// What should not be there once everything is closed.
    pub(super) fn leftovers(&mut self) -> Vec<String> {
        self.sweep_passing();
        let sockets = self.sockets.values().map(|s| format!("socket {} → {}", s.local, s.remote));
        let listeners = self.listeners.values().map(|l| format!("listener {}", l.addr));
        sockets.chain(listeners).collect()
    }

    pub(super) fn close_listener(&mut self, id: u32) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        if let Some(ids) = self.by_addr.get_mut(&listener.addr) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_addr.remove(&listener.addr);
            }
        }
        for waiting in listener.queue {
            self.close(waiting, true);
        }
    }

    /// Puts bytes on their way, in one or two segments.
    fn transmit(&mut self, from: u32, to: u32, data: &[u8]) {
        let cut = if data.len() > 1 && self.rng.chance(ppm(self.faults.split)) {
            1 + self.below(data.len() - 1)
        } else {
            data.len()
        };
        for part in [&data[..cut], &data[cut..]] {
            if part.is_empty() {
                continue;
            }
            if let Some(peer) = self.sockets.get_mut(&to) {
                peer.coming += part.len();
            }
            let at = self.arrival(from);
            self.schedule(at, What::Data { from, to, bytes: part.to_vec() });
        }
    }

    fn deliver_due(&mut self) {
        while let Some(Reverse(event)) = self.events.peek()
            && event.at <= self.now
        {
            if let Some(Reverse(event)) = self.events.pop() {
                self.deliver(event.what);
            }
        }
    }

    fn deliver(&mut self, what: What) {
        match what {
            What::Syn { client, to } => self.syn(client, &to),
            What::Connected { client, outcome } => {
                if let Some(socket) = self.sockets.get_mut(&client) {
                    socket.connected = Some(outcome);
                }
                self.notify(client);
            }
            What::Data { from, to, bytes } => {
                let Some(socket) = self.sockets.get_mut(&to) else {
                    let at = self.now + self.delay();
                    return self.schedule(at, What::Reset { to: from });
                };
                socket.coming = socket.coming.saturating_sub(bytes.len());
                socket.inbox_len += bytes.len();
                socket.inbox.push_back(bytes);
                self.notify(to);
            }
            What::Fin { to } => {
                if let Some(socket) = self.sockets.get_mut(&to) {
                    socket.fin_received = true;
                }
                self.notify(to);
            }
            What::Reset { to } => {
                if let Some(socket) = self.sockets.get_mut(&to) {
                    socket.reset = true;
                    socket.inbox.clear();
                    socket.inbox_len = 0;
                }
                self.notify(to);
            }
            What::Room { to } => self.notify(to),
            What::Notify { driver, token } => self.ready[driver as usize].push_back(token),
        }
    }

    /// An attempt reaches the address it is for.
    fn syn(&mut self, client: u32, to: &SockAddr) {
        let Some(from) = self.sockets.get(&client).map(|socket| socket.local.clone()) else {
            return;
        };
        let refused = self.rng.chance(ppm(self.faults.refuse));
        let original = self.redirects.get(to).map(|_| to.clone());
        let to = &self.redirects.get(to).unwrap_or(to).clone();
        let listener = if refused { None } else { self.find_listener(to) };
        let at = self.now + self.delay();
        let Some(listener) = listener else {
            let outcome = Err(libc::ECONNREFUSED);
            return self.schedule(at, What::Connected { client, outcome });
        };
        let Some(found) = self.listeners.get(&listener) else { return };
        // Whoever accepts it is another's business.
        let driver = found.handles.first().map_or(0, |(driver, _)| *driver);
        let server = self.add_socket(driver, to.clone(), from);
        if let Some(socket) = self.sockets.get_mut(&server) {
            socket.peer = Some(client);
            socket.original = original;
            socket.connected = Some(Ok(()));
            socket.last_arrival = at;
        }
        if let Some(socket) = self.sockets.get_mut(&client) {
            socket.peer = Some(server);
        }
        self.schedule(at, What::Connected { client, outcome: Ok(()) });
        if let Some(found) = self.listeners.get_mut(&listener) {
            found.queue.push_back(server);
            for (driver, token) in &found.handles {
                self.ready[*driver as usize].push_back(*token);
            }
        }
    }

    /// A listener for `to` with room in its queue.
    fn find_listener(&mut self, to: &SockAddr) -> Option<u32> {
        let any = match to {
            SockAddr::Inet(inet) if inet.is_ipv4() => {
                SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, inet.port())))
            }
            SockAddr::Inet(inet) => {
                SockAddr::from(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, inet.port())))
            }
            other => other.clone(),
        };
        if !self.passing.is_empty() {
            self.sweep_passing();
        }
        let ids = self.by_addr.get(to).or_else(|| self.by_addr.get(&any))?;
        let takes = |l: &Listening| l.accepts && l.queue.len() < BACKLOG;
        let open = ids.iter().copied();
        let open: Vec<u32> = open.filter(|id| self.listeners.get(id).is_some_and(takes)).collect();
        if open.is_empty() {
            return None;
        }
        let pick = self.below(open.len());
        open.get(pick).copied()
    }

    /// Tells a socket's runtime to look at it, perhaps late.
    fn notify(&mut self, id: u32) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let Some(token) = socket.token else { return };
        let driver = socket.driver;
        if self.rng.chance(ppm(self.faults.late_completion)) {
            let at = self.now + self.delay();
            self.schedule(at, What::Notify { driver, token });
        } else {
            self.ready[driver as usize].push_back(token);
        }
    }

    fn add_socket(&mut self, driver: u32, local: SockAddr, remote: SockAddr) -> u32 {
        let id = self.id();
        let socket = Socket {
            driver,
            token: None,
            peer: None,
            local,
            remote,
            original: None,
            inbox: VecDeque::new(),
            inbox_len: 0,
            coming: 0,
            last_arrival: self.now,
            connected: None,
            fin_received: false,
            fin_sent: false,
            reset: false,
            wants_room: false,
        };
        self.sockets.insert(id, socket);
        id
    }

    /// When the next segment sent by `from` arrives.
    fn arrival(&mut self, from: u32) -> Instant {
        let at = self.now + self.delay();
        match self.sockets.get_mut(&from) {
            Some(socket) => {
                socket.last_arrival = socket.last_arrival.max(at);
                socket.last_arrival
            }
            None => at,
        }
    }

    fn delay(&mut self) -> Duration {
        let spread = self.faults.delay_max.saturating_sub(self.faults.delay_min);
        let nanos = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
        self.faults.delay_min + Duration::from_nanos(self.rng.below(nanos.saturating_add(1)))
    }

    fn schedule(&mut self, at: Instant, what: What) {
        self.next_seq += 1;
        self.events.push(Reverse(Event { at, seq: self.next_seq, what }));
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(40_000);
        self.next_port
    }
}

/// A probability in parts per million.
fn ppm(probability: f64) -> u32 {
    (probability.clamp(0.0, 1.0) * 1_000_000.0) as u32
}
