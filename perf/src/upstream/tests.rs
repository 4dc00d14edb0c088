use super::connection;
use super::reply::Replies;
use crate::http2::{Connection, Seen};
use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, connect,
    spawn,
};
use ringway_wire::http2::Role;
use ringway_wire::{HeaderMap, KnownName, Method, RequestHead, ResponseHead, Scheme};
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

/// Speaks HTTP/2 to the upstream: `requests` at once; what came back for each stream, 1, 3, 5, ….
fn talk_http2(requests: &[(RequestHead, Vec<u8>)]) -> Vec<(u16, Vec<u8>, Option<Vec<u8>>)> {
    let backend = Backend::Sim(Network::new(11, Faults::default()));
    let mut runtime = Runtime::new(Config { backend, ..Config::default() }).unwrap();
    let requests = requests.to_vec();
    runtime.block_on(async move {
        let addr = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let listener = Listener::bind(&addr, &ListenOptions::default()).unwrap();
        spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = connection::serve(stream, Rc::new(Replies::new()), Duration::ZERO).await;
        });
        let client = connect(&addr, &ConnectOptions::default()).await.unwrap();
        let mut wire = Connection::new(Role::Client);
        for (at, (head, body)) in requests.iter().enumerate() {
            let stream = 2 * at as u32 + 1;
            wire.send_request(stream, head, body.is_empty());
            if !body.is_empty() {
                wire.send_data(stream, body, true);
            }
        }
        let mut answers = vec![(0, Vec::new(), None); requests.len()];
        let (mut head, mut trailers) = (ResponseHead::default(), HeaderMap::new());
        let mut open = requests.len();
        while open > 0 {
            if let Some(chunk) = wire.out() {
                client.write(chunk);
            }
            wire.feed(client.recv().await.unwrap().expect("the connection stays"));
            while let Some(seen) = wire.next().unwrap() {
                match seen {
                    Seen::Head { stream, end } => {
                        let answer = &mut answers[stream as usize / 2];
                        if answer.0 == 0 {
                            assert!(wire.response(&mut head, end));
                            answer.0 = head.status;
                        } else {
                            assert!(wire.trailers(&mut trailers));
                            answer.2 = trailers.get(b"grpc-status".as_slice()).map(<[u8]>::to_vec);
                        }
                        open -= usize::from(end);
                    }
                    Seen::Data { stream, bytes, end } => {
                        answers[stream as usize / 2].1.extend_from_slice(&bytes);
                        open -= usize::from(end);
                    }
                    Seen::Reset { .. } | Seen::GoAway { .. } => panic!("{seen:?}"),
                    Seen::Window { .. } | Seen::Windows { .. } => {}
                }
            }
        }
        answers
    })
}

fn head(method: Method, path: &str) -> RequestHead {
    let mut head = RequestHead { method, scheme: Some(Scheme::Http), ..RequestHead::default() };
    head.path.extend_from_slice(path.as_bytes());
    head.authority.extend_from_slice(b"a");
    head
}

#[test]
fn http2_answers_as_http1_does() {
    let answers = talk_http2(&[
        (head(Method::Get, "/x/100b"), Vec::new()),
        (head(Method::Get, "/bytes/2000000"), Vec::new()),
        (head(Method::Post, "/bytes/0"), b"body".to_vec()),
        (head(Method::Head, "/10k"), Vec::new()),
        (head(Method::Get, "/nowhere"), Vec::new()),
    ]);
    let sizes: Vec<_> = answers.iter().map(|answer| (answer.0, answer.1.len())).collect();
    assert_eq!(sizes[..4], [(200, 100), (200, 2_000_000), (200, 0), (200, 0)]);
    assert_eq!(sizes[4].0, 404);
}

#[test]
fn grpc_messages_come_back() {
    let mut call = head(Method::Post, "/echo.Echo/Say");
    call.headers.append(KnownName::ContentType, b"application/grpc+proto");
    let message = b"\0\0\0\0\x05hello".to_vec();
    let answers = talk_http2(&[(call.clone(), message.clone()), (call, Vec::new())]);
    assert_eq!(answers[0], (200, message, Some(b"0".to_vec())));
    assert_eq!(answers[1], (200, Vec::new(), Some(b"0".to_vec())));
}
