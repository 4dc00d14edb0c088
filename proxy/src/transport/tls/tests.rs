//! Handshakes and connections over the simulated network, which delays, splits and loses.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    self as runtime, Backend, Chain, Chunk, Config, Listener, Runtime, SockAddr,
};

use super::*;
use crate::plan::source::ConfigSource;
use crate::plan::tls::testing::{Ca, Ends, client_recipe, ends, secret, server_recipe, trust};
use crate::plan::tls::{
    Context, SecretKind, SecretRecipe, SecretSlot, SlotKey, Unshared, Validation,
};
use crate::transport::{ConnectHints, HandshakeError};

mod matrix;

/// Runs a scenario over a network of this seed.
fn simulate<T>(seed: u64, faults: Faults, scenario: impl Future<Output = T>) -> T {
    let backend = Backend::Sim(Network::new(seed, faults));
    let mut runtime = Runtime::new(Config { backend, ..Config::default() }).expect("a runtime");
    runtime.block_on(scenario)
}

/// A connection of the network: the client's end and the server's.
async fn wire() -> (runtime::Stream, runtime::Stream) {
    let address = SockAddr::from(std::net::SocketAddr::from(([10, 0, 0, 1], 443)));
    let listener = Listener::bind(&address, &Default::default()).expect("free");
    let client =
        runtime::spawn(async move { runtime::connect(&address, &Default::default()).await });
    let (server, _) = listener.accept().await.expect("a connection");
    (client.await.expect("connected"), server)
}

type Both = (Result<TlsStream, HandshakeError>, Result<TlsStream, HandshakeError>);

/// A handshake: how it came out for the client and for the server.
async fn shake(ends: &Rc<Ends>, hints: ConnectHints<'_>) -> Both {
    let (client, server) = wire().await;
    let theirs = Rc::clone(ends);
    let gate = Gate::default();
    let other = gate.clone();
    let server = runtime::spawn(async move {
        let limit = Duration::from_secs(5);
        accept(&other, &theirs.stats, &theirs.server, server, limit).await
    });
    let client = connect(&gate, &ends.stats, &ends.client, client, &hints).await;
    (client, server.await)
}

async fn shaken(ends: &Rc<Ends>) -> (TlsStream, TlsStream) {
    let (client, server) = shake(ends, ConnectHints::default()).await;
    (client.expect("the client's end"), server.expect("the server's end"))
}

/// Versions to try: TLS 1.2 only, then both.
fn versions() -> [(bool, &'static str); 2] {
    [(false, "TLSv1.2"), (true, "TLSv1.3")]
}

/// Contexts that trust one another, the client without a certificate.
fn plain_ends(tls13: bool) -> Rc<Ends> {
    let ca = Ca::new("root");
    let server = server_recipe(vec![ca.issue(&["a.example"]).recipe()]);
    let mut client = client_recipe();
    client.common.validation = Some(trust(&ca).into());
    Arc::make_mut(&mut client.common.params).tls13 = tls13;
    Rc::new(ends(server, client))
}

async fn recv(stream: &TlsStream) -> std::io::Result<Option<Chunk>> {
    std::future::poll_fn(|cx| stream.poll_recv(cx)).await
}

async fn read_all(stream: &TlsStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = recv(stream).await.expect("no error") {
        assert!(!chunk.is_empty());
        all.extend_from_slice(&chunk);
    }
    all
}

/// Writes bytes in pieces of drawn sizes, one by one or several at once, with back-pressure.
async fn write_all(stream: &TlsStream, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut chain = Chain::new();
        for _ in 0..=runtime::rand_below(5) {
            let most = [40, 700, 20_000, 90_000][runtime::rand_below(4) as usize];
            let len = (1 + runtime::rand_below(most) as usize).min(rest.len());
            let (now, later) = rest.split_at(len);
            chain.push(Chunk::copy_from(now));
            rest = later;
        }
        if chain.count() == 1 {
            stream.write(chain.pop_front().expect("one"));
        } else {
            stream.write_chain(chain);
        }
        let queued = std::future::poll_fn(|cx| stream.raw().poll_queued_below(cx, 100_000));
        queued.await.expect("no error");
    }
    stream.shutdown_write();
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|_| runtime::rand_u64() as u8).collect()
}

#[test]
fn both_directions_carry_what_was_written() {
    for seed in 0..12 {
        for (tls13, version) in versions() {
            simulate(seed, Faults { split: 0.4, ..Faults::default() }, async {
                let (client, server) = shaken(&plain_ends(tls13)).await;
                assert_eq!(client.info().version, version);
                assert_eq!(server.info().version, version);
                let (up, down) = (noise(300_000), noise(400_000));
                let (sent_up, sent_down) = (up.clone(), down.clone());
                let client = Rc::new(client);
                let writer = Rc::clone(&client);
                let sending = runtime::spawn(async move { write_all(&writer, &sent_up).await });
                let serving = runtime::spawn(async move {
                    let got = read_all(&server).await;
                    write_all(&server, &sent_down).await;
                    std::future::poll_fn(|cx| server.raw().poll_queued_below(cx, 0)).await.ok();
                    got
                });
                let got_down = read_all(&client).await;
                sending.await;
                assert!(serving.await == up, "what the server got, seed {seed}");
                assert!(got_down == down, "what the client got, seed {seed}");
            });
        }
    }
}

#[test]
fn keys_are_renewed_before_they_wear_out() {
    simulate(1, Faults::default(), async {
        let (client, server) = shaken(&plain_ends(true)).await;
        client.wear_after(6);
        let up = noise(500_000);
        let sent = up.clone();
        let sending = runtime::spawn(async move {
            write_all(&client, &sent).await;
            // The answer to nothing: only the end.
            read_all(&client).await
        });
        assert!(read_all(&server).await == up);
        server.shutdown_write();
        assert!(sending.await.is_empty());
    });
}

#[test]
fn keys_of_tls_1_2_that_wear_out_end_the_connection() {
    simulate(1, Faults::default(), async {
        let (client, server) = shaken(&plain_ends(false)).await;
        client.wear_after(4);
        for _ in 0..8 {
            client.write(Chunk::from_static(b"x"));
        }
        assert!(recv(&client).await.is_err());
        drop(client);
        let mut got = 0;
        while let Ok(Some(chunk)) = recv(&server).await {
            got += chunk.len();
        }
        assert!(got < 8, "{got}");
    });
}

#[test]
fn sessions_are_resumed() {
    for (tls13, version) in versions() {
        for tickets in [true, false] {
            simulate(7, Faults::default(), async {
                let ca = Ca::new("root");
                let mut server = server_recipe(vec![ca.issue(&["a.example"]).recipe()]);
                if !tickets {
                    server.tickets = None;
                }
                let mut client = client_recipe();
                client.common.validation = Some(trust(&ca).into());
                Arc::make_mut(&mut client.common.params).tls13 = tls13;
                let ends = Rc::new(ends(server, client));
                for round in 0..3 {
                    let (client, server) = shaken(&ends).await;
                    let expected = round > 0;
                    assert_eq!(client.info().resumed, expected, "{version} {tickets} {round}");
                    assert_eq!(server.info().resumed, expected, "{version} {tickets} {round}");
                    assert!(client.info().peer_presented());
                    server.write(Chunk::from_static(b"hello"));
                    // Tickets come before the data, and are no data.
                    assert_eq!(&*recv(&client).await.unwrap().unwrap(), b"hello");
                }
                let reused = ends.server.stats.session_reused();
                assert_eq!(ends.stats.counter_value(reused), 2);
            });
        }
    }
}

#[test]
fn sessions_are_not_resumed_where_that_is_off() {
    simulate(7, Faults::default(), async {
        let ca = Ca::new("root");
        let mut server = server_recipe(vec![ca.issue(&["a.example"]).recipe()]);
        server.tickets = None;
        server.stateful = false;
        let ends = Rc::new(ends(server, client_recipe()));
        for _ in 0..2 {
            let (client, server) = shaken(&ends).await;
            assert!(!client.info().resumed);
            server.write(Chunk::from_static(b"x"));
            recv(&client).await.unwrap();
        }
    });
}

#[test]
fn an_end_without_goodbye_is_an_end_but_not_within_a_record() {
    simulate(3, Faults::default(), async {
        let (client, server) = shaken(&plain_ends(true)).await;
        client.raw().shutdown_write();
        assert!(matches!(recv(&server).await, Ok(None)));

        let (client, server) = shaken(&plain_ends(true)).await;
        client.raw().write(Chunk::from_static(&[23, 3, 3, 0, 100, 1, 2, 3]));
        client.raw().shutdown_write();
        let error = recv(&server).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_forged_record_ends_the_connection_and_the_peer_is_told() {
    for (tls13, _) in versions() {
        simulate(3, Faults::default(), async {
            let (client, server) = shaken(&plain_ends(tls13)).await;
            client.raw().write(Chunk::from(vec![
                23, 3, 3, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
            ]));
            assert!(recv(&server).await.unwrap_err().to_string().contains("MAC"));
            let told = recv(&client).await.unwrap_err().to_string();
            assert!(told.contains("BadRecordMac"), "{told}");
            // What is written now goes nowhere.
            server.write(Chunk::from_static(b"x"));
        });
    }
}

#[test]
fn a_dropped_connection_says_goodbye() {
    simulate(3, Faults::default(), async {
        let (client, server) = shaken(&plain_ends(true)).await;
        drop(client);
        assert!(matches!(recv(&server).await, Ok(None)));
        assert!(server.said_goodbye());
    });
}

#[test]
fn what_is_no_tls_is_refused_in_time() {
    simulate(3, Faults::default(), async {
        let ends = plain_ends(true);
        let limit = Duration::from_secs(5);
        let (client, server) = wire().await;
        client.write(Chunk::from_static(b"GET / HTTP/1.1\r\n\r\n"));
        let gate = Gate::default();
        let refused = accept(&gate, &ends.stats, &ends.server, server, limit).await;
        assert!(matches!(refused, Err(HandshakeError::Failed(_))));
        assert_eq!(ends.stats.counter_value(ends.server.stats.connection_error()), 1);
        // It is told by an alert.
        assert_eq!(client.recv().await.unwrap().unwrap().first(), Some(&21));

        let (_client, server) = wire().await;
        let began = runtime::now();
        let late = accept(&gate, &ends.stats, &ends.server, server, limit).await;
        assert_eq!(late.err(), Some(HandshakeError::TimedOut));
        assert!(began.elapsed() >= limit);
    });
}

#[test]
fn handshakes_over_a_bad_network_end_one_way_or_the_other() {
    for seed in 0..60 {
        let faults = Faults { reset: 0.03, split: 0.5, ..Faults::default() };
        simulate(seed, faults, async {
            let ends = plain_ends(seed % 2 == 0);
            for _ in 0..4 {
                let limit = Duration::from_secs(10);
                let Ok((client, server)) =
                    runtime::timeout(limit, shake(&ends, ConnectHints::default())).await
                else {
                    continue;
                };
                let (Ok(client), Ok(server)) = (client, server) else { continue };
                client.write(Chunk::from_static(b"ping"));
                if let Ok(Ok(Some(got))) = runtime::timeout(limit, recv(&server)).await {
                    assert_eq!(&*got, b"ping");
                }
            }
        });
    }
}

#[test]
fn a_storm_of_handshakes_takes_turns() {
    simulate(5, Faults::default(), async {
        let gate = Gate::default();
        let passed = Rc::new(std::cell::Cell::new(0));
        for _ in 0..40 {
            let (gate, passed) = (gate.clone(), Rc::clone(&passed));
            drop(runtime::spawn(async move {
                gate.pass().await.expect("room");
                passed.set(passed.get() + 1);
            }));
        }
        let (mut rounds, mut before) = (0, 0);
        while passed.get() < 40 {
            runtime::yield_now().await;
            let now = passed.get();
            assert!(now - before <= 4, "{} at once", now - before);
            before = now;
            rounds += 1;
            assert!(rounds < 100);
        }
        assert!(rounds >= 15, "{rounds}");
    });
}

#[test]
fn a_renewed_certificate_is_served_and_old_connections_stay() {
    let folder = std::env::temp_dir().join(format!("ringway-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    simulate(9, Faults::default(), async {
        let ca = Ca::new("root");
        let first = ca.issue(&["a.example", "one.example"]);
        let server = server_recipe(vec![first.write(&folder)]);
        let mut client = client_recipe();
        client.common.validation = Some(trust(&ca).into());
        client.session_keys = 0;
        let ends = Rc::new(ends(server, client));
        let slot = Arc::clone(ends.server.slots()[0]);
        let reload = || slot.current().unwrap().reload(&mut Unshared);
        assert_eq!(slot.current().unwrap().files().len(), 2);
        let second_name = |stream: &TlsStream| {
            stream.info().peer().unwrap().dns_sans().nth(1).unwrap().to_owned()
        };
        let (client, server) = shaken(&ends).await;
        assert_eq!(second_name(&client), "one.example");

        let second = ca.issue(&["a.example", "two.example"]);
        std::fs::write(folder.join("chain.pem"), &second.chain).unwrap();
        let error = reload().unwrap_err();
        assert!(error.contains("does not belong to the certificate"), "{error}");
        second.write(&folder);
        slot.set(Arc::new(reload().unwrap().unwrap()));
        let (newer, _other) = shaken(&ends).await;
        assert_eq!(second_name(&newer), "two.example");

        client.write(Chunk::from_static(b"still here"));
        assert_eq!(&*recv(&server).await.unwrap().unwrap(), b"still here");
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A slot whose secret has not come yet.
fn empty_slot(kind: SecretKind) -> Arc<SecretSlot> {
    let key = SlotKey { source: Some(ConfigSource::ads()), name: Arc::from("own"), kind };
    Arc::new(SecretSlot::new(key, None))
}

#[test]
fn connections_fail_until_the_secrets_are_there() {
    simulate(10, Faults::default(), async {
        let ca = Ca::new("root");
        let (own, roots) =
            (empty_slot(SecretKind::Certificate), empty_slot(SecretKind::Validation));
        let mut server = server_recipe(Vec::new());
        server.common.certificates = vec![Arc::clone(&own)];
        let mut client = client_recipe();
        client.common.validation = Some(Validation { default: None, slot: Arc::clone(&roots) });
        let ends = Rc::new(ends(server, client));
        let told = HandshakeError::Failed("TLS error: Secret is not supplied by SDS".to_owned());
        let (client, server) = shake(&ends, ConnectHints::default()).await;
        assert_eq!(client.err(), Some(told.clone()));
        assert_eq!(server.err(), Some(told.clone()));

        roots.set(secret(SecretRecipe::Validation(trust(&ca))).unwrap());
        let (client, server) = shake(&ends, ConnectHints::default()).await;
        assert!(matches!(client.err(), Some(HandshakeError::Failed(_))));
        assert_eq!(server.err(), Some(told));
        let pair = ca.issue(&["a.example"]);
        own.set(secret(SecretRecipe::Certificate(pair.recipe())).unwrap());
        let (client, server) = shaken(&ends).await;

        // Whoever is trusted now, connections that are up stay.
        let other = Ca::new("other");
        roots.set(secret(SecretRecipe::Validation(trust(&other))).unwrap());
        let (refused, _) = shake(&ends, ConnectHints::default()).await;
        assert!(refused.is_err());
        client.write(Chunk::from_static(b"still here"));
        assert_eq!(&*recv(&server).await.unwrap().unwrap(), b"still here");
        let renewed = other.issue(&["a.example"]);
        own.set(secret(SecretRecipe::Certificate(renewed.recipe())).unwrap());
        let (_client, _server) = shaken(&ends).await;
    });
}

#[test]
fn protocols_without_overlap_are_no_error() {
    simulate(9, Faults::default(), async {
        let ca = Ca::new("root");
        let mut server = server_recipe(vec![ca.issue(&["a.example"]).recipe()]);
        server.common.alpn = [b"h2".to_vec(), b"http/1.1".to_vec()].into();
        let ends = Rc::new(ends(server, client_recipe()));
        type Offer<'a> = (&'a [&'a [u8]], Option<&'a [u8]>);
        let offers: [Offer<'_>; 4] = [
            (&[b"http/1.1", b"h2"], Some(b"h2")),
            (&[b"http/1.1"], Some(b"http/1.1")),
            (&[b"spdy/3"], None),
            (&[], None),
        ];
        for (alpn, expected) in offers {
            let hints = ConnectHints { alpn, ..ConnectHints::default() };
            let (client, server) = shake(&ends, hints).await;
            assert_eq!(client.unwrap().info().alpn.as_deref(), expected);
            assert_eq!(server.unwrap().info().alpn.as_deref(), expected);
        }
    });
}

/// Carries bytes from one stream to the other, changing the one at `flip`.
async fn carry(from: Rc<runtime::Stream>, to: Rc<runtime::Stream>, flip: Option<usize>) {
    let mut at = 0;
    while let Ok(Some(chunk)) = from.recv().await {
        let mut bytes = chunk.to_vec();
        if let Some(byte) = flip.and_then(|flip| bytes.get_mut(flip.checked_sub(at)?)) {
            *byte ^= 1 << runtime::rand_below(8);
        }
        at += bytes.len();
        to.write(Chunk::from(bytes));
    }
    to.shutdown_write();
}

#[test]
fn changed_bytes_are_noticed() {
    for seed in 0..120 {
        simulate(seed, Faults::default(), async {
            let ends = plain_ends(seed % 2 == 0);
            let (client, near) = wire().await;
            let (far, server) = wire().await;
            let (near, far) = (Rc::new(near), Rc::new(far));
            let flip = Some(runtime::rand_below(900) as usize);
            let (up, down) = if seed % 3 == 0 { (flip, None) } else { (None, flip) };
            drop(runtime::spawn(carry(Rc::clone(&near), Rc::clone(&far), up)));
            drop(runtime::spawn(carry(far, near, down)));
            let theirs = Rc::clone(&ends);
            let limit = Duration::from_secs(2);
            let serving = runtime::spawn(async move {
                let gate = Gate::default();
                let server = accept(&gate, &theirs.stats, &theirs.server, server, limit).await?;
                while let Ok(Some(got)) = recv(&server).await {
                    assert_eq!(&*got, b"question");
                    server.write(Chunk::from_static(b"answer"));
                }
                Ok::<_, HandshakeError>(())
            });
            let (gate, hints) = (Gate::default(), ConnectHints::default());
            let client = connect(&gate, &ends.stats, &ends.client, client, &hints);
            if let Ok(Ok(client)) = runtime::timeout(limit, client).await {
                client.write(Chunk::from_static(b"question"));
                if let Ok(Ok(Some(got))) = runtime::timeout(limit, recv(&client)).await {
                    assert_eq!(&*got, b"answer");
                }
            }
            drop(runtime::timeout(limit, serving).await);
        });
    }
}
