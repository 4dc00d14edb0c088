//! What single frames do: states of streams, windows, errors (RFC 9113).

use super::peer::{Peer, Said};
use super::*;

/// A server with options and a peer that talks to it.
struct Talk {
    peer: Peer,
    server: Client,
    bench: Bench,
}

async fn talk<F: Future<Output = ()> + 'static>(
    change: impl FnOnce(&mut Http2Options),
    handler: impl Fn(StreamHandle) -> F + 'static,
) -> Talk {
    let (near, far) = connection().await;
    let bench = Bench::new();
    let server = server(far, &options(change), &bench, handler);
    Talk { peer: Peer::client(near), server, bench }
}

/// One frame sequence, and the error the connection must end with.
fn ends_with(code: ErrorCode, say: impl FnOnce(&mut Peer) + 'static) {
    run(move || async move {
        let mut talk = talk(|_| {}, echo).await;
        say(&mut talk.peer);
        talk.peer.send();
        assert_eq!(talk.peer.goaway().await, Some(code));
        assert_eq!(talk.peer.until(|_| false).await, Said::Closed);
        drop(talk.peer);
        assert!(matches!(talk.server.driver.await, Ended::Violation { .. }));
        talk.server.session.check_rest().expect("at rest");
        talk.bench.check_rest();
    });
}

/// One frame sequence, and the error its stream must end with; the connection goes on.
fn resets_with(stream: u32, code: ErrorCode, say: impl FnOnce(&mut Peer) + 'static) {
    run(move || async move {
        let mut talk = talk(|_| {}, echo).await;
        say(&mut talk.peer);
        talk.peer.send();
        assert_eq!(talk.peer.stream_error().await, Some((stream, code)));
        talk.peer.ping(b"12345678").send();
        let pong = talk.peer.until(|said| matches!(said, Said::Pong(_))).await;
        assert_eq!(pong, Said::Pong(*b"12345678"), "the connection is alive");
        drop(talk.peer);
        talk.server.driver.await;
        talk.server.session.check_rest().expect("at rest");
        talk.bench.check_rest();
    });
}

#[test]
fn requests_are_answered_and_settings_acknowledged() {
    run(|| async {
        let mut talk = talk(|_| {}, echo).await;
        talk.peer.get(1).post(3, Some("5")).data(3, b"he", false).data(3, b"llo", true).send();
        let mut said = Vec::new();
        while said.len() < 6 {
            said.push(talk.peer.hear().await);
        }
        said.retain(|said| !matches!(said, Said::WindowUpdate(..) | Said::SettingsAck));
        assert_eq!(said[..2], [Said::Head(1, 200, true), Said::Head(3, 200, false)]);
        drop(talk.peer);
        assert_eq!(talk.server.driver.await, Ended::PeerClosed);
    });
}

#[test]
fn frames_on_idle_streams_end_the_connection() {
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.data(1, b"x", true);
    });
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.reset(1);
    });
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.window_update(1, 100);
    });
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.get(1).reset(2);
    });
}

#[test]
fn numbers_of_streams_are_odd_and_grow() {
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.get(2);
    });
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.get(5).get(3);
    });
}

#[test]
fn nothing_follows_the_end_of_a_request() {
    resets_with(1, ErrorCode::STREAM_CLOSED, |peer| {
        // The answer is not here yet: half closed.
        peer.post(1, None).data(1, b"x", true).data(1, b"y", true);
    });
    ends_with(ErrorCode::STREAM_CLOSED, |peer| {
        peer.get(1).reset(1).get(1);
    });
    resets_with(1, ErrorCode::STREAM_CLOSED, |peer| {
        peer.get(1).reset(1).data(1, b"late", true);
    });
}

#[test]
fn frames_on_closed_streams_that_may_be_late_are_ignored() {
    run(|| async {
        let mut talk = talk(|_| {}, |_| async {}).await;
        talk.peer.post(1, None).send();
        let error = talk.peer.stream_error().await;
        assert_eq!(error, Some((1, ErrorCode::INTERNAL_ERROR)), "nobody wanted it");
        talk.peer.data(1, b"sent before", false).window_update(1, 5).reset(1);
        talk.peer.ping(b"--here--").send();
        let wanted =
            |said: &Said| matches!(said, Said::Reset(..) | Said::GoAway(..) | Said::Pong(_));
        assert_eq!(talk.peer.until(wanted).await, Said::Pong(*b"--here--"));
        drop(talk.peer);
        talk.server.driver.await;
    });
}

#[test]
fn a_body_has_the_length_it_announces() {
    let error = ErrorCode::PROTOCOL_ERROR;
    resets_with(1, error, |peer| {
        peer.post(1, Some("5")).data(1, b"four", true);
    });
    resets_with(1, error, |peer| {
        peer.post(1, Some("5")).data(1, b"sixsix", false);
    });
    resets_with(1, error, |peer| {
        let mut head = request(Method::Get, "/");
        head.headers.append("content-length", b"5");
        peer.head(1, &head, true);
    });
}

#[test]
fn windows_are_kept() {
    ends_with(ErrorCode::FLOW_CONTROL_ERROR, |peer| {
        peer.window_update(0, (1 << 31) - 1);
    });
    resets_with(1, ErrorCode::FLOW_CONTROL_ERROR, |peer| {
        peer.post(1, None).window_update(1, (1 << 31) - 1);
    });
    ends_with(ErrorCode::FLOW_CONTROL_ERROR, |peer| {
        peer.post(1, None).window_update(1, 1 << 30).setting(4, (1 << 30) + (1 << 29));
        peer.window_update(1, 1 << 29);
        peer.setting(4, (1 << 31) - 1);
    });
    resets_with(1, ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.post(1, None).window_update(1, 0);
    });
    ends_with(ErrorCode::PROTOCOL_ERROR, |peer| {
        peer.window_update(0, 0);
    });
}

#[test]
fn more_data_than_a_window_is_an_error() {
    run(|| async {
        let mut talk = talk(
            |options| options.initial_stream_window = 65_535,
            |stream| async move {
                let _ = poll_fn(|cx| stream.poll_gone(cx)).await;
            },
        )
        .await;
        talk.peer.post(1, None);
        for _ in 0..5 {
            talk.peer.data(1, &[0; 16_000], false);
        }
        talk.peer.send();
        assert_eq!(talk.peer.stream_error().await, Some((1, ErrorCode::FLOW_CONTROL_ERROR)));
        drop(talk.peer);
        talk.server.driver.await;
    });
}

#[test]
fn another_initial_window_counts_for_open_streams() {
    run(|| async {
        let mut talk = talk(
            |_| {},
            |stream| async move {
                stream.send_response(&ResponseHead::new(200), false);
                stream.send_data(Chunk::from_static(b"hello"), true);
            },
        )
        .await;
        talk.peer.setting(4, 0).get(1).send();
        let head = talk.peer.until(|said| matches!(said, Said::Head(..))).await;
        assert_eq!(head, Said::Head(1, 200, false));
        talk.peer.setting(4, 1).send();
        let data = talk.peer.until(|said| matches!(said, Said::Data(..))).await;
        assert_eq!(data, Said::Data(1, 1, false));
        talk.peer.setting(4, 0).window_update(1, 2).send();
        let data = talk.peer.until(|said| matches!(said, Said::Data(..))).await;
        assert_eq!(data, Said::Data(1, 1, false), "one less from the setting, two more");
        talk.peer.window_update(1, 2).send();
        let data = talk.peer.until(|said| matches!(said, Said::Data(..))).await;
        assert_eq!(data, Said::Data(1, 2, false));
        talk.peer.window_update(1, 100).send();
        let data = talk.peer.until(|said| matches!(said, Said::Data(..))).await;
        assert_eq!(data, Said::Data(1, 1, true));
        drop(talk.peer);
        talk.server.driver.await;
        talk.bench.check_rest();
    });
}

#[test]
fn wrong_greetings_end_the_connection() {
    run(|| async {
        let (near, far) = connection().await;
        let bench = Bench::new();
        let server = server(far, &options(|_| {}), &bench, echo);
        near.write(Chunk::from_static(b"GET / HTTP/1.1\r\n\r\n"));
        let mut peer = Peer::client(near);
        assert_eq!(peer.goaway().await, None, "no frame to one that does not speak HTTP/2");
        drop(peer);
        let code = ErrorCode::PROTOCOL_ERROR;
        assert!(matches!(server.driver.await, Ended::Violation { code: it, .. } if it == code));
    });
}

#[test]
fn a_message_that_is_none_ends_its_stream() {
    let wrong = |peer: &mut Peer| {
        // GET, http, /, and a literal `connection: close`.
        let block = b"\x82\x86\x84\x41\x03sim\x00\x0aconnection\x05close";
        peer.raw(1, 5, 1, block);
    };
    resets_with(1, ErrorCode::PROTOCOL_ERROR, wrong);
    run(move || async move {
        let mut talk = talk(|options| options.close_on_invalid_message = true, echo).await;
        wrong(&mut talk.peer);
        talk.peer.send();
        assert_eq!(talk.peer.goaway().await, Some(ErrorCode::PROTOCOL_ERROR));
        assert_eq!(talk.bench.count(Http2CodecStats::rx_messaging_error), 1);
        drop(talk.peer);
        talk.server.driver.await;
    });
}

#[test]
fn requests_after_the_final_goaway_are_not_answered() {
    run(|| async {
        let mut talk = talk(|_| {}, echo).await;
        talk.peer.get(1).send();
        talk.peer.until(|said| matches!(said, Said::Head(..))).await;
        talk.server.session.drain(Duration::from_secs(3));
        let first = talk.peer.until(|said| matches!(said, Said::GoAway(..))).await;
        assert_eq!(first, Said::GoAway((1 << 31) - 1, ErrorCode::NO_ERROR));
        // The peer answers no ping, so the second comes by the clock; until then it may go on.
        talk.peer.post(3, None).send();
        let second = talk.peer.until(|said| matches!(said, Said::GoAway(..))).await;
        assert_eq!(second, Said::GoAway(3, ErrorCode::NO_ERROR));
        talk.peer.get(5).data(3, b"x", true).send();
        let end = talk.peer.until(|said| matches!(said, Said::Head(5, ..))).await;
        assert_eq!(end, Said::Closed);
        drop(talk.peer);
        assert_eq!(talk.server.driver.await, Ended::Drained);
    });
}
