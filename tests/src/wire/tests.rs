use super::*;
use std::net::TcpListener;

fn pair() -> (Peer, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = Peer::connect(listener.local_addr().unwrap()).unwrap();
    let (b, _) = listener.accept().unwrap();
    (a, Peer::new(Socket::from(b)))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

#[test]
fn takes_messages_one_after_another() {
    let (mut a, mut b) = pair();
    a.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nt: 1\r\n\r\n");
    a.send(b"HTTP/1.1 204 No\r\n\r\n");
    let head = b.head(soon()).unwrap();
    let body = b.response_body(&head, false, soon()).unwrap();
    assert_eq!(body, Body::Chunked(b"hi".to_vec(), vec!["t: 1".into()]));
    assert_eq!(b.head(soon()).unwrap().status(), 204);
    assert!(b.buf.is_empty());
}

#[test]
fn says_how_a_connection_ends() {
    let (a, mut b) = pair();
    drop(a);
    assert_eq!(b.to_end(soon()), End::Closed);
    let (a, mut b) = pair();
    a.reset();
    assert_eq!(b.to_end(soon()), End::Reset);
    let (_a, mut b) = pair();
    assert_eq!(b.to_end(Instant::now() + Duration::from_millis(20)), End::Timeout);
}

#[test]
fn a_broken_body_keeps_its_part() {
    let (mut a, mut b) = pair();
    a.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    a.fin();
    let head = b.head(soon()).unwrap();
    let (end, body) = b.response_body(&head, false, soon()).unwrap_err();
    assert_eq!((end, body), (End::Closed, Body::Length(b"abc".to_vec())));
}
