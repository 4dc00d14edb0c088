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
fn talk(pieces: &[&'static str]) -> String {
    let backend = Backend::Sim(Network::new(7, Faults::default()));
    let mut runtime = Runtime::new(Config { backend, ..Config::default() }).unwrap();
    let pieces: Vec<Chunk> = pieces.iter().map(|&piece| Chunk::from(piece)).collect();
    runtime.block_on(async move {
        let addr = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let listener = Listener::bind(&addr, &ListenOptions::default()).unwrap();
        spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            connection::serve(stream, Rc::new(Replies::new()), Duration::ZERO).await;
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
        String::from_utf8(out).unwrap()
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
