//! Unit tests of the model: order, windows, ends.

use super::net::{Net, Pulled};
use super::{Faults, Network};
use crate::driver::{Kind, Token};
use crate::net::SockAddr;
use std::net::SocketAddr;

fn addr() -> SockAddr {
    SockAddr::from(SocketAddr::from(([10, 0, 0, 1], 80)))
}

fn token(index: u32) -> Token {
    Token::new(Kind::Stream, index, 1)
}

/// A network with one connection: its client's and server's socket.
fn connected(faults: Faults) -> (Net, u32, u32) {
    let mut net = Net::new(3, faults);
    let driver = net.add_driver();
    let listener = net.bind(&addr(), false).expect("free");
    net.listen(listener);
    net.attach_listener(listener, driver, token(0));
    let client = net.connect(driver, &addr(), None);
    net.attach(client, driver, token(1));
    while net.advance(None) {}
    let server = net.accept(listener).expect("a connection");
    net.attach(server, driver, token(2));
    assert_eq!(net.connected(client), Some(Ok(())));
    (net, client, server)
}

fn settle(net: &mut Net) {
    while net.advance(None) {}
}

#[test]
fn bytes_arrive_in_order_and_once() {
    let (mut net, client, server) = connected(Faults { split: 0.9, ..Faults::default() });
    let mut sent = Vec::new();
    for i in 0..200_u8 {
        let data = vec![i; 100];
        let mut rest = &data[..];
        while !rest.is_empty() {
            match net.send(client, rest) {
                Ok(n) => rest = &rest[n..],
                Err(errno) => assert_eq!(errno, libc::EAGAIN),
            }
        }
        sent.extend(data);
    }
    net.shutdown(client);
    settle(&mut net);
    let mut got = Vec::new();
    loop {
        match net.pull(server, 77) {
            Pulled::Data(bytes) => got.extend(bytes),
            Pulled::End => break,
            Pulled::Nothing => {}
            Pulled::Failed(errno) => panic!("failed: {errno}"),
        }
    }
    assert!(got == sent);
}

#[test]
fn a_full_window_blocks_until_it_is_read() {
    let (mut net, client, server) = connected(Faults::none());
    let mut sent = 0;
    while let Ok(n) = net.send(client, &[0; 10_000]) {
        sent += n;
    }
    assert_eq!(sent, 64 << 10);
    settle(&mut net);
    assert_eq!(net.send(client, b"x"), Err(libc::EAGAIN));
    assert!(matches!(net.pull(server, 1000), Pulled::Data(bytes) if bytes.len() == 1000));
    settle(&mut net);
    assert_eq!(net.send(client, &[0; 10_000]), Ok(1000));
}

#[test]
fn closing_with_unread_bytes_resets() {
    let (mut net, client, server) = connected(Faults::none());
    assert_eq!(net.send(client, b"unread"), Ok(6));
    settle(&mut net);
    net.close(server, false);
    settle(&mut net);
    assert!(matches!(net.pull(client, 10), Pulled::Failed(libc::ECONNRESET)));
    assert_eq!(net.send(client, b"x"), Err(libc::EPIPE));
}

#[test]
fn sending_to_a_closed_end_resets() {
    let (mut net, client, server) = connected(Faults::none());
    net.close(server, false);
    assert_eq!(net.send(client, b"too late"), Ok(8));
    settle(&mut net);
    assert!(matches!(net.pull(client, 10), Pulled::Failed(libc::ECONNRESET)));
}

#[test]
fn nobody_listens() {
    let mut net = Net::new(3, Faults::none());
    let driver = net.add_driver();
    let client = net.connect(driver, &addr(), None);
    net.attach(client, driver, token(1));
    settle(&mut net);
    assert_eq!(net.connected(client), Some(Err(libc::ECONNREFUSED)));
}

#[test]
fn a_network_used_elsewhere_says_so() {
    let net = Network::new(1, Faults::none());
    let there = std::thread::spawn(move || {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        let refused = catch_unwind(AssertUnwindSafe(|| net.now())).is_err();
        (net, refused)
    });
    let (net, refused) = there.join().expect("thread");
    assert!(refused);
    // At home it works, and is freed.
    assert_eq!(net.now().as_nanos(), 0);
}
