use super::*;
use std::net::TcpListener;
use std::time::Duration;

fn pair(settings: &[(u16, u32)]) -> (Conn, Conn) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = Peer::connect(listener.local_addr().unwrap()).unwrap();
    let mut b = Peer::new(socket2::Socket::from(listener.accept().unwrap().0));
    let client = Conn::client(a, &[]);
    b.exactly(PREFACE.len(), soon()).unwrap();
    (client, Conn::server(b, settings))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

fn lines(pairs: &[(&str, &str)]) -> Vec<Line> {
    pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
}

#[test]
fn a_request_arrives_in_its_parts() {
    let (mut client, mut server) = pair(&[]);
    let id = client.open();
    client.headers(id, &lines(&[(":method", "POST"), (":path", &"x".repeat(20_000))]), false);
    client.data(id, b"body", false);
    client.headers(id, &lines(&[("t", "1")]), true);
    while !server.stream(1).is_some_and(Stream::is_over) {
        server.pump(soon()).unwrap();
    }
    let events = &server.stream(1).unwrap().events;
    assert_eq!(events.len(), 3);
    assert_eq!(events[1], Event::Data(b"body".to_vec()));
    assert_eq!(events[2], Event::Headers(lines(&[("t", "1")])));
}

#[test]
fn data_waits_for_the_window() {
    let (mut client, mut server) = pair(&[(4, 10)]);
    client.pump(soon()).unwrap();
    let id = client.open();
    server.manual = true;
    client.data(id, b"0123456789abc", true);
    assert!(client.waits(id));
    server.pump(soon()).unwrap();
    while server.stream(1).is_none() {
        server.pump(soon()).unwrap();
    }
    assert_eq!(server.stream(1).unwrap().body(), b"0123456789");
    server.frame(kind::WINDOW_UPDATE, 0, id, &3_u32.to_be_bytes());
    while client.waits(id) {
        client.pump(soon()).unwrap();
    }
    server.pump(soon()).unwrap();
    assert!(server.stream(1).unwrap().ended);
}

#[test]
fn a_reset_and_goaway_are_noted() {
    let (mut client, mut server) = pair(&[]);
    server.rst(1, 8);
    server.send_goaway(5, 11);
    while client.goaway.is_none() {
        client.pump(soon()).unwrap();
    }
    assert_eq!(client.stream(1).unwrap().reset, Some(8));
    assert_eq!(client.goaway, Some((5, 11)));
    assert_eq!((code_name(11).as_str(), code("CANCEL")), ("ENHANCE_YOUR_CALM", Some(8)));
}

#[test]
fn integers_need_more_bytes_from_127() {
    let long = vec![b'a'; 300];
    let block = encode(&[(b"n".to_vec(), long.clone())]);
    assert_eq!(Decoder::new().decode(&block).unwrap(), vec![(b"n".to_vec(), long)]);
}
