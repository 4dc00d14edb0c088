//! The end of handles: operations are cancelled, and slots are freed with the last of them.

use crate::driver::{Driver, Io, Kind, Sock, Token};
use crate::net::options;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl Io {
    /// The handle of a stream is gone: what is queued is dropped, the socket closed.
    pub(crate) fn drop_stream(&mut self, index: u32) {
        let Some(slot) = self.streams.get_mut(index as usize) else { return };
        slot.orphaned = true;
        slot.recv.clear();
        slot.send.clear();
        slot.recv_waker = None;
        slot.send_waker = None;
        self.cancel_stream(index);
        self.release_stream(index);
    }

    /// io_uring: takes all operations of an orphaned stream back.
    fn cancel_stream(&mut self, index: u32) {
        self.cancel_recv(index);
        let Driver::Uring(driver) = &mut self.driver else { return };
        let slot = &self.streams[index as usize];
        if slot.send_armed
            && let Some(op) = driver.sends.get(slot.send_op as usize)
        {
            let (key, generation) = (slot.send_op, op.generation);
            driver.cancel(Token::new(Kind::Send, key, generation));
            driver.cancel(Token::new(Kind::SendPoll, key, generation));
        }
        if slot.connect_addr.is_some() {
            driver.cancel(Token::new(Kind::Connect, index, slot.generation));
        }
    }

    /// Makes the coming close send a reset.
    pub(crate) fn reset_stream(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        match (&slot.sock, &self.driver) {
            (Sock::Fd(fd), _) => {
                // It fails only for sockets that know no linger (unix): those are just closed.
                let _ = options::set_reset_on_close(fd);
            }
            (Sock::Sim(id), Driver::Sim(sim)) => {
                sim.net.borrow_mut().close(*id, true);
                slot.sock = Sock::None;
            }
            _ => {}
        }
    }

    /// Frees an orphaned slot that the kernel is done with.
    pub(crate) fn release_stream(&mut self, index: u32) {
        let Some(slot) = self.streams.get(index as usize) else { return };
        let simulated = matches!(self.driver, Driver::Sim(_));
        if slot.orphaned && (simulated || !slot.busy()) {
            let slot = self.streams.remove(index as usize);
            self.close_sock(slot.sock);
        }
    }

    /// Takes the descriptor out of a stream that has nothing in flight.
    pub(crate) fn take_stream(&mut self, index: u32) -> io::Result<OwnedFd> {
        let slot = &mut self.streams[index as usize];
        if let (Sock::Sim(id), Driver::Sim(sim)) = (&slot.sock, &self.driver) {
            let mut net = sim.net.borrow_mut();
            let fd = net.pass(*id)?;
            net.detach(*id);
            slot.sock = Sock::None;
            return Ok(fd);
        }
        slot.sock.fd()?;
        if slot.busy() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match std::mem::replace(&mut slot.sock, Sock::None) {
            Sock::Fd(fd) => {
                if let Driver::Epoll(epoll) = &self.driver {
                    epoll.remove(fd.as_fd());
                }
                Ok(fd)
            }
            Sock::Sim(_) | Sock::None => Err(crate::driver::closed()),
        }
    }

    /// Closes a socket of any kind.
    pub(crate) fn close_sock(&mut self, sock: Sock) {
        match (sock, &mut self.driver) {
            // With the next submission: no system call of its own.
            (Sock::Fd(fd), Driver::Uring(driver)) if !driver.closing => driver.close(fd),
            (Sock::Sim(id), Driver::Sim(sim)) => sim.net.borrow_mut().close(id, false),
            // A descriptor is closed by dropping it.
            (sock, _) => drop(sock),
        }
    }
}
