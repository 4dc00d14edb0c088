//! Closing a listening socket without losing anybody.
//!
//! What waits in a socket's queue when it is closed is reset, and so are handshakes under way; the
//! other sockets of a `SO_REUSEPORT` group do not get them (`net.ipv4.tcp_migrate_req` is off
//! unless somebody switches it on). So first nobody new must come: [`steer_away`], a pause for
//! handshakes to end, [`refuse_new`], the queue accepted to its end, [`steer_no_more`], close.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Loads a byte of the packet.
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Has the kernel give new connections of this socket's `SO_REUSEPORT` group to the socket that
/// came after the first `own` ones. Groups are in the order of their sockets' `listen`, so that is
/// the first socket of the process that began to listen next. If there is none, the kernel goes on
/// choosing among those there are.
///
/// # Errors
/// That of `setsockopt`: no such group.
pub fn steer_away(socket: &impl AsFd, own: u32) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &mut [step(RETURN, own)])
}

/// Takes [`steer_away`] back, for the whole group.
///
/// # Errors
/// That of `setsockopt`: nothing was attached.
pub fn steer_no_more(socket: &impl AsFd) -> io::Result<()> {
    super::options::set_raw(
        socket,
        &super::SocketOption::int(libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, 0),
    )
}

/// Drops the packets that begin a TCP connection to this listening socket. Whoever sends one
/// sends it again a second later, to whatever listens there by then. Handshakes that have begun go
/// on.
///
/// # Errors
/// That of `setsockopt`.
pub fn refuse_new(socket: &impl AsFd) -> io::Result<()> {
    /// Where a TCP header has its flags, and two of them.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let unless_syn_skip_one = libc::sock_filter { jf: 1, ..step(JUMP_IF_EQUAL, SYN) };
    attach(
        socket,
        libc::SO_ATTACH_FILTER,
        &mut [
            step(LOAD_BYTE, FLAGS),
            step(AND, SYN | ACK),
            unless_syn_skip_one,
            step(RETURN, 0),
            step(RETURN, u32::MAX),
        ],
    )
}

fn step(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn attach(
    socket: &impl AsFd,
    option: libc::c_int,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads the program, whose length is that of a live slice, and keeps a copy.
    // Safe wrappers do not exist for options that hold pointers.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
