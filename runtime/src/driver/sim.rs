//! The simulated driver: sockets of a [`crate::sim::Network`], time that jumps.

use super::slots::Connecting;
use super::{Driver, Io, Kind, Sock, Token};
use crate::buf::BufMut;
use crate::net::SockAddr;
use crate::op::connect::connect_done;
use crate::op::poll::Interest;
use crate::sim::{Net, Network};
use crate::time::Instant;
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// A runtime's place in a simulated network.
pub(crate) struct Sim {
    pub(crate) net: Rc<RefCell<Net>>,
    pub(crate) id: u32,
}

impl Sim {
    pub(crate) fn new(network: &Network) -> Self {
        let net = network.share();
        let id = net.borrow_mut().add_driver();
        Self { net, id }
    }
}

impl Io {
    /// Virtual time, where it is.
    pub(crate) fn virtual_now(&self) -> Option<Instant> {
        match &self.driver {
            Driver::Sim(sim) => Some(sim.net.borrow().now()),
            _ => None,
        }
    }

    pub(super) fn sim_wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let events = self.sim_round();
        if events > 0 || timeout == Some(Duration::ZERO) {
            return Ok(events);
        }
        let Driver::Sim(sim) = &self.driver else { return Ok(0) };
        let mut net = sim.net.borrow_mut();
        let timer = timeout.map(|timeout| net.now() + timeout);
        assert!(
            net.advance(timer),
            "the simulation is stuck: this runtime waits, and nothing is under way to it (turn \
             several runtimes of one network with Network::run_until)"
        );
        drop(net);
        Ok(self.sim_round())
    }

    /// Looks at everything that has happened by now.
    fn sim_round(&mut self) -> usize {
        let Driver::Sim(sim) = &self.driver else { return 0 };
        let ready = sim.net.borrow_mut().take_ready(sim.id);
        let mut events = ready.len();
        for token in ready {
            match token.kind() {
                Some(Kind::Listener) => self.sim_listener(token),
                _ => self.sim_stream(token),
            }
        }
        events += self.sim_sources();
        events
    }

    fn sim_listener(&mut self, token: Token) {
        if let Some(slot) = self.listeners.get_mut(token.index())
            && slot.generation == token.generation()
        {
            slot.readable = true;
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Brings a stream up to date with its socket.
    fn sim_stream(&mut self, token: Token) {
        let Driver::Sim(sim) = &self.driver else { return };
        let net = Rc::clone(&sim.net);
        let index = token.index() as u32;
        let Some(slot) = self.streams.get_mut(token.index()) else { return };
        let Sock::Sim(id) = slot.sock else { return };
        if slot.generation != token.generation() {
            return;
        }
        if slot.connecting == Connecting::Pending {
            let outcome = net.borrow().connected(id);
            match outcome {
                Some(Ok(())) => connect_done(slot, 0),
                Some(Err(errno)) => return connect_done(slot, errno),
                None => return,
            }
        }
        slot.readable = true;
        if !slot.writable {
            slot.writable = true;
            self.mark_dirty(index);
        }
        if self.streams[index as usize].recv_armed {
            self.sim_recv(index);
        }
    }

    /// Takes every socket out of the network.
    pub(super) fn sim_shutdown(&mut self) {
        let Driver::Sim(sim) = &self.driver else { return };
        let mut net = sim.net.borrow_mut();
        for (_, slot) in &mut self.streams {
            if let Sock::Sim(id) = std::mem::replace(&mut slot.sock, Sock::None) {
                net.close(id, false);
            }
        }
        for (index, slot) in &mut self.listeners {
            if let Sock::Sim(id) = std::mem::replace(&mut slot.sock, Sock::None) {
                let token = Token::new(Kind::Listener, index as u32, slot.generation);
                net.detach_listener(id, sim.id, token);
            }
        }
    }

    /// Binds in the network, and listens there if `listen`.
    pub(crate) fn sim_bind(
        &mut self,
        addr: &SockAddr,
        shared_port: bool,
        listen: bool,
    ) -> io::Result<u32> {
        let Driver::Sim(sim) = &self.driver else { return Err(super::closed()) };
        let mut net = sim.net.borrow_mut();
        let id = net.bind(addr, shared_port).map_err(io::Error::from_raw_os_error)?;
        if listen {
            net.listen(id);
        }
        drop(net);
        self.add_listener(Sock::Sim(id))
    }

    /// Begins to listen, if it is a simulated socket.
    pub(crate) fn sim_listen(&self, index: u32) {
        if let (Sock::Sim(id), Driver::Sim(sim)) =
            (&self.listeners[index as usize].sock, &self.driver)
        {
            sim.net.borrow_mut().listen(*id);
        }
    }

    /// The simulated socket that a descriptor stands for; the descriptor itself elsewhere.
    pub(crate) fn sock_of(&mut self, fd: OwnedFd) -> io::Result<Sock> {
        match &self.driver {
            Driver::Sim(sim) => Ok(Sock::Sim(sim.net.borrow_mut().arrive(fd)?)),
            _ => Ok(Sock::Fd(fd)),
        }
    }

    /// Sends as much of the queue as the network takes.
    pub(crate) fn sim_send(&mut self, index: u32) {
        let Driver::Sim(sim) = &self.driver else { return };
        let net = Rc::clone(&sim.net);
        let slot = &mut self.streams[index as usize];
        let Sock::Sim(id) = slot.sock else { return };
        while slot.writable
            && let Some(chunk) = slot.send.front()
        {
            let sent = net.borrow_mut().send(id, chunk);
            match sent {
                Ok(sent) => {
                    slot.writable = sent == chunk.len();
                    slot.send.advance(sent);
                }
                Err(libc::EAGAIN) => slot.writable = false,
                Err(errno) => return self.write_failed(index, errno),
            }
        }
        slot.wake_send();
    }

    /// Receives what fits under the limit.
    pub(crate) fn sim_recv(&mut self, index: u32) {
        use crate::sim::Pulled;
        let Driver::Sim(sim) = &self.driver else { return };
        let net = Rc::clone(&sim.net);
        let slot = &mut self.streams[index as usize];
        let Sock::Sim(id) = slot.sock else { return };
        while slot.readable && slot.recv.len() < slot.recv_limit && slot.recv_error == 0 {
            match net.borrow_mut().pull(id, crate::op::recv::SMALL) {
                Pulled::Data(bytes) => {
                    let mut buf = BufMut::from_raw(self.pool.lease(bytes.len()));
                    buf.extend_from_slice(&bytes);
                    slot.recv.push(buf.freeze());
                }
                Pulled::End => {
                    slot.eof = true;
                    slot.readable = false;
                }
                Pulled::Failed(errno) => slot.recv_error = errno,
                Pulled::Nothing => slot.readable = false,
            }
        }
        slot.recv_armed = slot.recv.len() < slot.recv_limit && !slot.eof && slot.recv_error == 0;
        if !slot.recv.is_empty() || slot.eof || slot.recv_error != 0 {
            slot.wake_recv();
        }
    }

    /// Real descriptors (doorbells) are looked at, never waited for.
    fn sim_sources(&mut self) -> usize {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut events = 0;
        for (_, slot) in &mut self.sources {
            for interest in [Interest::Read, Interest::Write] {
                let (waker, flag, ready) = match interest {
                    Interest::Read => (&mut slot.read_waker, PollFlags::IN, &mut slot.readable),
                    Interest::Write => (&mut slot.write_waker, PollFlags::OUT, &mut slot.writable),
                };
                if waker.is_none() {
                    continue;
                }
                let mut fds = [PollFd::new(&slot.fd, flag)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0) {
                    *ready = true;
                    events += 1;
                    waker.take().into_iter().for_each(|waker| waker.wake());
                }
            }
        }
        events
    }
}
