use super::connection;
use super::reply::Replies;
use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, connect,
    spawn,
};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Sends `pieces` one after the other and returns all that came back.
fn talk(pieces: &[&str]) -> String {
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
    String::from_utf8(talk_bytes(&pieces)).unwrap()
}

fn talk_bytes(pieces: &[&[u8]]) -> Vec<u8> {
    let backend = Backend::Sim(Network::new(7, Faults::default()));
    let mut runtime = Runtime::new(Config { backend, ..Config::default() }).unwrap();
    let pieces: Vec<Chunk> = pieces.iter().map(|piece| Chunk::copy_from(piece)).collect();
    runtime.block_on(async move {
        let addr = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let listener = Listener::bind(&addr, &ListenOptions::default()).unwrap();
        spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = connection::serve(stream, Rc::new(Replies::new()), Duration::ZERO).await;
        });
        let client = connect(&addr, &ConnectOptions::default()).await.unwrap();
        for piece in pieces {
            client.write(piece);
            client.flush().await.unwrap();
            ringway_runtime::sleep(Duration::from_millis(5)).await;
        }
        client.shutdown_write();
        let mut out = Vec::new();
        while let Ok(Some(chunk)) = client.recv().await {
            out.extend_from_slice(&chunk);
        }
        out
    })
}

fn answers(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 ").skip(1).collect()
}

#[test]
fn keeps_alive_and_pipelines() {
    let one = "GET /100b HTTP/1.1\r\nhost: a\r\n\r\n";
    let two =
        "GET /x/bytes/3 HTTP/1.1\r\nhost: a\r\n\r\nGET /x/bytes/3 HTTP/1.1\r\nhost: a\r\n\r\n";
    let text = talk(&[one, one, two]);
    let answers = answers(&text);
    assert_eq!(answers.len(), 4, "{text}");
    assert!(answers[0].starts_with("200 OK") && answers[0].ends_with(&"x".repeat(100)));
    assert_eq!(answers[0], answers[1]);
    assert!(answers[3].contains("content-length: 3\r\n") && answers[3].ends_with("\r\n\r\nxxx"));
}

#[test]
fn heads_and_bodies_in_pieces() {
    let text = talk(&[
        "POST /bytes/1 HTTP/1.1\r\nho",
        "st: a\r\ncontent-length: 5\r\n\r",
        "\nab",
        "cdeGET /bytes/2 HTTP/1.1\r\nhost: a\r\n",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HEAD /100b HTTP/1.1\r\nhost: a\r\n\r\n",
    ]);
    let answers = answers(&text);
    assert_eq!(answers.len(), 3, "{text}");
    assert!(answers[0].ends_with("\r\n\r\nx") && answers[1].ends_with("\r\n\r\nxx"));
    assert!(answers[2].contains("content-length: 100\r\n") && answers[2].ends_with("\r\n\r\n"));
}

#[test]
fn closes_when_asked_or_wronged() {
    let close = concat!(
        "GET /100b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET /100b HTTP/1.1\r\nhost: a\r\n\r\n"
    );
    assert_eq!(answers(&talk(&[close])).len(), 1);
    let text = talk(&["GET /100b HTTP/1.1\r\nhost: a\r\n\r\n", "nonsense\r\n\r\n"]);
    assert!(answers(&text)[1].starts_with("400 "), "{text}");
    let text = talk(&["GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n"]);
    assert!(answers(&text)[0].starts_with("404 "), "{text}");
}

#[test]
fn large_bodies_come_whole() {
    let text = talk(&["GET /bytes/3000000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"]);
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), 3_000_000);
}

#[test]
fn websocket_sends_messages_back() {
    // The handshake of RFC 6455 §1.3, then "Hello" (§5.7) in two pieces, a ping and a close.
    let text = talk_bytes(&[
        b"GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
          sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n\x81",
        b"\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x81\0\0\0\0!",
        b"\x88\x80\0\0\0\0",
    ]);
    let (head, frames) = text.split_at(text.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4);
    let head = String::from_utf8_lossy(head);
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(frames, b"\x81\x05Hello\x8a\x01!\x88\x00");
}

#[test]
fn long_websocket_messages() {
    let mut input = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-key: a\r\n\r\n\x82\xfe\x01\x00\x01\x02\x03\x04"
        .to_vec();
    input.extend_from_slice(&[0; 256]);
    let out = talk_bytes(&[&input, b"\x82\x00"]);
    let frame = &out[out.len() - 260..];
    assert_eq!(frame[..4], *b"\x82\x7e\x01\x00");
    assert_eq!(frame[4..12], *b"\x01\x02\x03\x04\x01\x02\x03\x04");
}
