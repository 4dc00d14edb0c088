//! What two sessions do with each other.

use super::*;

/// A client and an echoing server.
struct Pair {
    client: Client,
    server: Client,
    here: Bench,
    there: Bench,
}

async fn pair(change: impl Fn(&mut Http2Options)) -> Pair {
    let (near, far) = connection().await;
    let (here, there) = (Bench::new(), Bench::new());
    let options = options(&change);
    let server = server(far, &options, &there, echo);
    Pair { client: client(near, &options, &here), server, here, there }
}

impl Pair {
    /// Ends both sides; nothing may be left.
    async fn finish(self) {
        self.client.session.drain(Duration::ZERO);
        assert_eq!(self.client.driver.await, Ended::Drained);
        assert_eq!(self.server.driver.await, Ended::PeerClosed);
        for session in [&self.client.session, &self.server.session] {
            session.check_rest().expect("at rest");
        }
        self.here.check_rest();
        self.there.check_rest();
    }
}

#[test]
fn a_request_without_a_body_is_answered() {
    run(|| async {
        let pair = pair(|_| {}).await;
        for turn in 0..3 {
            let stream = pair.client.session.open().expect("a free slot");
            stream.send_request(&request(Method::Get, "/hello"), None, true);
            let (head, whole) = response(&stream).await.expect("an answer");
            assert_eq!((head.status, whole), (200, true));
            assert_eq!(head.headers.get("x-path"), Some(&b"/hello"[..]));
            assert_eq!(stream.id(), 2 * turn + 1);
        }
        assert_eq!(pair.there.count(Http2CodecStats::nghttp2_downstream_connections), 1);
        assert_eq!(pair.here.count(Http2CodecStats::nghttp2_upstream_connections), 1);
        pair.finish().await;
    });
}

#[test]
fn bodies_and_trailers_pass_tiny_windows() {
    run(|| async {
        let pair = pair(|options| options.initial_stream_window = 700).await;
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let stream = Rc::new(pair.client.session.open().expect("a free slot"));
        stream.send_request(&request(Method::Post, "/"), None, false);
        let writer = Rc::clone(&stream);
        let bytes = sent.clone();
        let writing = runtime::spawn(async move {
            for piece in bytes.chunks(1000) {
                poll_fn(|cx| writer.poll_queued_below(cx, 4000)).await.expect("alive");
                writer.send_data(Chunk::copy_from(piece), false);
            }
            let mut trailers = HeaderMap::new();
            trailers.append("x-sum", b"42");
            writer.send_trailers(&trailers);
        });
        let (head, whole) = response(&stream).await.expect("an answer");
        assert_eq!((head.status, whole), (200, false));
        let mut trailers = HeaderMap::new();
        let got = body(&stream, &mut trailers).await.expect("a body");
        assert!(got == sent, "{} of {} bytes came back right", got.len(), sent.len());
        assert_eq!(trailers.get("x-sum"), Some(&b"42"[..]));
        writing.await;
        drop(stream);
        assert_eq!(pair.there.count(Http2CodecStats::trailers), 1);
        pair.finish().await;
    });
}

#[test]
fn streams_share_a_connection_fairly() {
    run(|| async {
        let pair = pair(|_| {}).await;
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [400_000, 400_000, 1_000]
            .into_iter()
            .enumerate()
            .map(|(nr, len)| {
                let (session, order) = (Rc::clone(&pair.client.session), Rc::clone(&order));
                runtime::spawn(async move {
                    let stream = session.open().expect("a free slot");
                    stream.send_request(&request(Method::Post, "/"), None, false);
                    stream.send_data(Chunk::from(vec![nr as u8; len]), true);
                    response(&stream).await.expect("an answer");
                    let got = body(&stream, &mut HeaderMap::new()).await.expect("a body");
                    assert_eq!(got, vec![nr as u8; len]);
                    order.borrow_mut().push(nr);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(order.borrow().first(), Some(&2), "the short one does not wait for the long");
        pair.finish().await;
    });
}

#[test]
fn a_reader_that_stops_holds_its_sender_back() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let options = options(|options| options.initial_stream_window = 65_535);
        let server = server(far, &options, &there, |stream| async move {
            runtime::sleep(Duration::from_secs(1)).await;
            assert_eq!(stream.unread(), 65_535, "as much as the window allows");
            echo(stream).await;
        });
        let client = client(near, &options, &here);
        let stream = client.session.open().expect("a free slot");
        stream.send_request(&request(Method::Post, "/"), None, false);
        stream.send_data(Chunk::from(vec![7; 100_000]), true);
        runtime::sleep(Duration::from_millis(500)).await;
        assert_eq!(stream.queued(), 100_000 - 65_535);
        assert_eq!(here.gauge(Http2CodecStats::pending_send_bytes), 100_000 - 65_535);
        response(&stream).await.expect("an answer");
        let got = body(&stream, &mut HeaderMap::new()).await.expect("a body");
        assert_eq!(got.len(), 100_000);
        drop(stream);
        client.session.drain(Duration::ZERO);
        client.driver.await;
        server.driver.await;
        here.check_rest();
    });
}

#[test]
fn a_stream_given_up_is_reset() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let options = options(|_| {});
        let gone = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&gone);
        let server = server(far, &options, &there, move |stream| {
            let seen = Rc::clone(&seen);
            async move {
                let end = poll_fn(|cx| stream.poll_gone(cx)).await;
                *seen.borrow_mut() = Some(end);
            }
        });
        let client = client(near, &options, &here);
        let stream = client.session.open().expect("a free slot");
        stream.send_request(&request(Method::Get, "/"), None, true);
        runtime::sleep(Duration::from_millis(10)).await;
        assert_eq!(client.session.active_streams(), 1);
        drop(stream);
        runtime::sleep(Duration::from_millis(10)).await;
        assert_eq!(*gone.borrow(), Some(StreamEnd::Reset(ErrorCode::INTERNAL_ERROR)));
        assert_eq!(here.count(Http2CodecStats::tx_reset), 1);
        assert_eq!(there.count(Http2CodecStats::rx_reset), 1);
        // The other way round.
        client.session.drain(Duration::ZERO);
        assert_eq!(client.driver.await, Ended::Drained);
        server.driver.await;
    });
}

#[test]
fn an_early_answer_ends_the_request() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let options = options(|_| {});
        let server = server(far, &options, &there, |stream| async move {
            stream.send_response(&ResponseHead::new(413), true);
        });
        let client = client(near, &options, &here);
        let stream = client.session.open().expect("a free slot");
        stream.send_request(&request(Method::Post, "/"), None, false);
        stream.send_data(Chunk::from(vec![7; 1000]), false);
        let (head, whole) = response(&stream).await.expect("an answer");
        assert_eq!((head.status, whole), (413, true));
        let gone = poll_fn(|cx| stream.poll_gone(cx)).await;
        assert_eq!(gone, StreamEnd::Reset(ErrorCode::NO_ERROR));
        assert_eq!(body(&stream, &mut HeaderMap::new()).await, Ok(Vec::new()));
        drop(stream);
        client.session.drain(Duration::ZERO);
        client.driver.await;
        server.driver.await;
    });
}

#[test]
fn streams_above_the_limit_wait_or_are_refused() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let few = options(|options| options.max_concurrent_streams = 2);
        let server = server(far, &few, &there, |stream| async move {
            runtime::sleep(Duration::from_secs(1)).await;
            echo(stream).await;
        });
        let client = client(near, &options(|_| {}), &here);
        // The client does not know the limit yet.
        let streams: Vec<_> = (0..3)
            .map(|_| {
                let stream = client.session.open().expect("a free slot");
                stream.send_request(&request(Method::Get, "/"), None, true);
                stream
            })
            .collect();
        let mut ends = Vec::new();
        for stream in &streams {
            ends.push(response(stream).await.map(|(head, _)| head.status));
        }
        assert_eq!(ends, [Ok(200), Ok(200), Err(StreamEnd::Refused)]);
        assert_eq!(there.count(Http2CodecStats::stream_refused_errors), 1);
        drop(streams);
        assert_eq!(client.session.free_slots(), 2);
        let (one, two) = (client.session.open(), client.session.open());
        assert!(one.is_some() && two.is_some() && client.session.open().is_none());
        drop((one, two));
        assert_eq!(client.session.free_slots(), 2);
        client.session.drain(Duration::ZERO);
        client.driver.await;
        server.driver.await;
    });
}

#[test]
fn a_server_drains_in_two_steps() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let options = options(|_| {});
        let server = server(far, &options, &there, |stream| async move {
            runtime::sleep(Duration::from_secs(1)).await;
            echo(stream).await;
        });
        let client = client(near, &options, &here);
        let stream = client.session.open().expect("a free slot");
        stream.send_request(&request(Method::Get, "/"), None, true);
        runtime::sleep(Duration::from_millis(100)).await;
        server.session.drain(Duration::from_secs(5));
        runtime::sleep(Duration::from_millis(100)).await;
        assert!(client.session.is_draining() && client.session.open().is_none());
        assert_eq!(there.count(Http2CodecStats::goaway_sent), 2, "one before, one after the ping");
        let (head, _) = response(&stream).await.expect("what was begun is answered");
        assert_eq!(head.status, 200);
        drop(stream);
        let ended = client.driver.await;
        assert!(matches!(ended, Ended::Drained | Ended::PeerClosed), "{ended:?}");
        server.driver.await;
        client.session.check_rest().expect("at rest");
    });
}

#[test]
fn interim_responses_come_first() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let options = options(|_| {});
        let server = server(far, &options, &there, |stream| async move {
            stream.send_response(&ResponseHead::new(100), false);
            stream.send_response(&ResponseHead::new(103), false);
            stream.send_response(&ResponseHead::new(204), true);
        });
        let client = client(near, &options, &here);
        let stream = client.session.open().expect("a free slot");
        stream.send_request(&request(Method::Get, "/"), None, true);
        let mut seen = Vec::new();
        while seen.last() != Some(&(204, true)) {
            let (head, whole) = response(&stream).await.expect("an answer");
            seen.push((head.status, whole));
        }
        assert_eq!(seen, [(100, false), (103, false), (204, true)]);
        drop(stream);
        client.session.drain(Duration::ZERO);
        client.driver.await;
        server.driver.await;
    });
}

#[test]
fn the_last_bytes_are_sent_without_their_stream() {
    run(|| async {
        let (near, far) = connection().await;
        let (here, there) = (Bench::new(), Bench::new());
        let options = options(|options| options.initial_stream_window = 1000);
        let server = server(far, &options, &there, |stream| async move {
            stream.send_response(&ResponseHead::new(200), false);
            stream.send_data(Chunk::from(vec![1; 50_000]), true);
        });
        let client = client(near, &options, &here);
        let stream = client.session.open().expect("a free slot");
        stream.send_request(&request(Method::Get, "/"), None, true);
        response(&stream).await.expect("an answer");
        let got = body(&stream, &mut HeaderMap::new()).await.expect("all of it");
        assert_eq!(got.len(), 50_000);
        // One whose client takes nothing is given up after a while.
        let stuck = client.session.open().expect("a free slot");
        stuck.send_request(&request(Method::Get, "/"), None, true);
        runtime::sleep(TIMES.flush + Duration::from_secs(1)).await;
        assert_eq!(there.count(Http2CodecStats::tx_flush_timeout), 1);
        assert!(poll_fn(|cx| stuck.poll_gone(cx)).await != StreamEnd::ConnectionLost);
        drop((stream, stuck));
        client.session.drain(Duration::ZERO);
        client.driver.await;
        server.driver.await;
        there.check_rest();
    });
}

#[test]
fn a_silent_peer_is_found_out() {
    run(|| async {
        let (near, far) = connection().await;
        let here = Bench::new();
        let keepalive = crate::plan::http2::Keepalive {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            jitter_percent: 0.0,
            idle_interval: Duration::ZERO,
        };
        let options = options(|options| options.keepalive = Some(keepalive));
        let begun = runtime::now();
        let client = client(near, &options, &here);
        // `far` is open, and says nothing.
        assert_eq!(client.driver.await, Ended::KeepaliveTimeout);
        // Three seconds, and the one that the peer had for its FIN.
        assert_eq!(begun.elapsed().as_secs(), 4);
        assert_eq!(here.count(Http2CodecStats::keepalive_timeout), 1);
        drop(far);
    });
}

#[test]
fn pings_are_answered_while_the_connection_lives() {
    run(|| async {
        let keepalive = crate::plan::http2::Keepalive {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            jitter_percent: 10.0,
            idle_interval: Duration::from_secs(5),
        };
        let pair = pair(|options| options.keepalive = Some(keepalive)).await;
        runtime::sleep(Duration::from_secs(30)).await;
        assert!(!pair.client.session.is_draining());
        pair.finish().await;
    });
}
