//! Upstreams that say who they are: `/…/<milliseconds>/<bytes>` asks for an answer after so long,
//! of so many bytes.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{Chunk, ListenOptions, Listener, SockAddr, Stream, now, sleep, spawn};
use ringway_wire::{RequestHead, ResponseHead};

use super::traffic::{Log, Whose};
use crate::http2::{Session, StreamHandle};
use crate::shard::tests::client::body_of;
use crate::shard::tests::http2::{Bench, TIMES, read, send};
use crate::shard::tests::server::{number_of, read_body, read_head};

/// What a path asks for: how long to wait, and how many bytes.
fn asked(path: &[u8]) -> (Duration, usize) {
    let path = String::from_utf8_lossy(path).into_owned();
    let mut words = path.rsplit('/').map(|word| word.parse().unwrap_or(0));
    let bytes = words.next().unwrap_or(0);
    (Duration::from_millis(words.next().unwrap_or(0) as u64), bytes)
}

/// Speaks HTTP/1.
pub(in crate::shard) async fn http1(log: Rc<Log>, at: SockAddr, port: u16) {
    let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (log, opened) = (Rc::clone(&log), now());
        spawn(async move {
            requests(stream, port).await;
            log.ended(Whose::Server(port), opened);
        });
    }
}

async fn requests(stream: Stream, port: u16) {
    let (mut inbox, mut head) = (Vec::new(), RequestHead::default());
    while let Some(parsed) = read_head(&stream, &mut inbox, &mut head).await {
        let Some(_body) = read_body(&stream, &mut inbox, &parsed).await else { return };
        let (after, bytes) = asked(&head.path);
        sleep(after).await;
        let number = number_of(&head);
        let said = format!(
            "HTTP/1.1 200 OK\r\nx-server: {port}\r\nx-number: {number}\r\n\
             content-length: {bytes}\r\n\r\n"
        );
        stream.write(Chunk::copy_from(said.as_bytes()));
        stream.write(Chunk::copy_from(&body_of(number, bytes)));
        if stream.flush().await.is_err() {
            return;
        }
    }
}

/// Speaks HTTP/2.
pub(in crate::shard) async fn http2(log: Rc<Log>, at: SockAddr, port: u16) {
    let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
    let bench = Bench::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let session = Session::server(stream.into(), &bench.options, bench.env.clone(), TIMES);
        let (log, opened) = (Rc::clone(&log), now());
        spawn(async move {
            poll_fn(|cx| {
                let ended = session.poll_drive(cx);
                while let Poll::Ready(Some(stream)) = session.poll_accept() {
                    spawn(respond(stream, port));
                }
                ended
            })
            .await;
            log.ended(Whose::Server(port), opened);
        });
    }
}

async fn respond(stream: StreamHandle, port: u16) {
    let mut head = RequestHead::default();
    let has_body = stream.take_request(&mut head).expect("the proxy sends valid requests");
    if has_body && read(&stream).await.is_err() {
        return;
    }
    let (after, bytes) = asked(&head.path);
    sleep(after).await;
    let number = number_of(&head);
    let mut answer = ResponseHead::new(200);
    answer.headers.append("x-server", port.to_string().as_bytes());
    answer.headers.append("x-number", number.to_string().as_bytes());
    stream.send_response(&answer, false);
    send(&stream, &body_of(number, bytes), 1500).await;
}

/// Greets with its port, then gives back what comes.
pub(super) async fn tcp(at: SockAddr, port: u16) {
    let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        spawn(async move {
            stream.write(Chunk::copy_from(format!("{port}\n").as_bytes()));
            while let Ok(Some(chunk)) = stream.recv().await {
                stream.write(chunk);
            }
        });
    }
}
