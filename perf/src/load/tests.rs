use super::pacer::{Queue, Times};
use super::{Failure, Load, Target, Wish, storm};
use crate::upstream::Background;
use ringway_runtime::Instant;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn load(url: &str) -> Load {
    Load {
        connections: 4,
        duration: Duration::from_millis(200),
        warmup: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        watch: Some(std::process::id()),
        ..Load::trial(Target::get(url, true).unwrap())
    }
}

#[test]
fn times_are_evenly_spaced() {
    let start = Instant::from_nanos(1_000);
    let times = Times::new(start, 1_000.0, Duration::from_millis(10));
    assert_eq!(times.count, 10);
    assert_eq!(times.at(3), Instant::from_nanos(3_001_000));
    assert_eq!(times.due(Instant::from_nanos(999)), 0);
    assert_eq!(times.due(start), 1);
    assert_eq!(times.due(start + Duration::from_millis(3)), 4);
    assert_eq!(times.due(start + Duration::from_secs(1)), 10);
}

#[test]
fn queue_hands_out_each_time_once() {
    let queue = Queue::new(Times { start: Instant::from_nanos(1), interval: 1.0, count: 3 });
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(queue.overdue(), 3);
    for at in 1..=3 {
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(Some(Instant::from_nanos(at))));
    }
    assert_eq!(queue.poll_next(&mut cx), Poll::Ready(None));
    let later = Times { start: Instant::FAR_FUTURE, interval: 1.0, count: 3 };
    assert_eq!(Queue::new(later).poll_next(&mut cx), Poll::Pending);
}

#[test]
fn closed_loop() {
    let addr = Background::start(None).unwrap().addr;
    let load = Load { threads: 2, ..load(&format!("http://{addr}/100b")) };
    let report = load.run(false).unwrap();
    assert!(report.answered > 100, "{report:?}");
    assert_eq!(report.failures.len(), 0, "{report:?}");
    assert_eq!(report.statuses.keys().collect::<Vec<_>>(), [&200]);
    assert!(report.latency.p50 > 0.0 && report.latency.p50 <= report.latency.p99);
    assert!(report.watched.unwrap().micros_per_request > 0.0);
}

#[test]
fn open_loop_keeps_its_rate() {
    let addr = Background::start(None).unwrap().addr;
    let load = Load { rate: Some(500.0), ..load(&format!("http://{addr}/100b")) };
    let report = load.run(false).unwrap();
    assert_eq!(report.statuses[&200], 100, "{report:?}");
    assert!(report.sent_late.unwrap().p50 <= report.latency.p50);
}

#[test]
fn a_slow_server_is_charged_for_all_it_kept_waiting() {
    let addr = Background::start(None).unwrap().addr;
    // One connection can do 20 requests per second: of 100 per second most wait for long.
    let load = Load {
        connections: 1,
        rate: Some(100.0),
        timeout: Duration::from_millis(300),
        warmup: Duration::ZERO,
        ..load(&format!("http://{addr}/100b?delay=50"))
    };
    let report = load.run(false).unwrap();
    let sent: u64 = report.statuses.values().sum();
    assert_eq!(sent + report.failed(), 20, "{report:?}");
    assert!(report.failures[Failure::NotSent.name()] > 0, "{report:?}");
    assert!(report.latency.p99 > 150_000.0, "{report:?}");
    // Waiting for a busy connection is not the generator's fault.
    assert!(report.sent_late.unwrap().max < 100_000.0, "{report:?}");
}

#[test]
fn new_connection_for_each_request() {
    let addr = Background::start(None).unwrap().addr;
    let url = format!("http://{addr}/bytes/5");
    let target = Target::get(&url, false).unwrap();
    let report = Load { target, keep_alive: false, ..load(&url) }.run(false).unwrap();
    assert!(report.answered > 10 && report.failures.is_empty(), "{report:?}");
}

#[test]
fn failures_are_counted_by_kind() {
    let addr = Background::start(None).unwrap().addr;
    let report = load(&format!("http://{addr}/nowhere")).run(false).unwrap();
    assert_eq!(report.failures["status"], report.statuses[&404]);
    let slow = Load {
        timeout: Duration::from_millis(30),
        ..load(&format!("http://{addr}/100b?delay=5000"))
    };
    assert!(slow.run(false).unwrap().failures["timeout"] > 0);
    let nobody = load("http://127.0.0.1:1/").run(false).unwrap_err();
    assert!(nobody.to_string().contains("127.0.0.1:1"), "{nobody}");
}

#[test]
fn urls() {
    for wrong in [
        "",
        "gopher://a/",
        "tcp://a",
        "127.0.0.1/",
        "http:///",
        "http://127.0.0.1?x",
        "http://a b/",
    ] {
        assert!(Target::get(wrong, true).is_err(), "{wrong}");
    }
    let target = Target::get("http://127.0.0.1/a?b", true).unwrap();
    assert_eq!(target.addr.port(), 80);
    assert_eq!(target.request, b"GET /a?b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    assert_eq!(Target::get("http://[::1]:81", true).unwrap().addr.port(), 81);
}

#[test]
fn messages_come_back() {
    let upstream = Background::start(None).unwrap();
    let urls = [format!("tcp://{}", upstream.echo), format!("ws://{}/chat", upstream.addr)];
    for url in urls {
        for body in [1, 125, 126, 70_000] {
            let target = Target::wish(&Wish { body, ..Wish::get(&url) }).unwrap();
            let load = Load { duration: Duration::from_millis(100), ..load(&url) };
            let report = Load { target, ..load }.run(false).unwrap();
            assert!(report.answered > 10 && report.failures.is_empty(), "{url} {body}: {report:?}");
        }
    }
    // No echo.
    let url = format!("tcp://{}", upstream.addr);
    let silent = Load { timeout: Duration::from_millis(30), ..load(&url) }.run(false).unwrap();
    assert!(silent.failures["timeout"] > 0, "{silent:?}");
}

/// A TLS server that closes each connection after one answer; returns its address.
fn tls_server() -> std::net::SocketAddr {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::io::{Read, Write};
    use std::sync::Arc;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || -> std::io::Result<()> {
                let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
                let mut stream = StreamOwned::new(session, socket?);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request)?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
                stream.write_all(&[b'x'; 100_000])?;
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    addr
}

#[test]
fn tls_with_full_and_resumed_handshakes() {
    let url = format!("https://{}/", tls_server());
    for resume in [false, true] {
        let wish = Wish { keep_alive: false, resume, ..Wish::get(&url) };
        let load = Load { keep_alive: false, connections: 2, ..load(&url) };
        let report = Load { target: Target::wish(&wish).unwrap(), ..load }.run(false).unwrap();
        assert!(report.answered > 5 && report.failures.is_empty(), "{report:?}");
        let resumed = report.handshakes.get("resumed").copied().unwrap_or(0);
        let full = report.handshakes.get("full").copied().unwrap_or(0);
        // The first of each connection has no ticket.
        match resume {
            true => assert!(full == 2 && resumed > 5, "{report:?}"),
            false => assert!(resumed == 0 && full > 5, "{report:?}"),
        }
    }
}

#[test]
fn storms_of_handshakes() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let target = Target::get(&format!("https://{}/", tls_server()), true).unwrap();
    for pace in [storm::Pace::Closed, storm::Pace::Rate(200.0)] {
        let stop = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let thread = scope.spawn(|| storm::handshakes(&target, pace, None, &stop));
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap().unwrap()
        });
        assert!(seen.completed > 10 && seen.failed == 0, "{pace:?}: {seen:?}");
        if pace != storm::Pace::Closed {
            assert!(seen.begun <= 80, "{seen:?}");
        }
    }
    let plain = Target::get("http://127.0.0.1:1/", true).unwrap();
    let stop = AtomicBool::new(true);
    assert!(storm::handshakes(&plain, storm::Pace::Closed, None, &stop).is_err());
}

#[test]
fn http2_with_many_streams() {
    let addr = Background::start(None).unwrap().addr;
    for (url, body, streaming) in [
        (format!("h2c://{addr}/100b"), 0, false),
        (format!("h2c://{addr}/1m"), 0, false),
        // Larger than the windows a connection begins with.
        (format!("h2c://{addr}/bytes/5"), 300_000, false),
        (format!("grpc://{addr}/echo.Echo/Say"), 10, false),
        (format!("grpc://{addr}/echo.Echo/Say"), 200_000, true),
    ] {
        let wish = Wish { body, streaming, streams: 8, ..Wish::get(&url) };
        let target = Target::wish(&wish).unwrap();
        let report = Load { target, connections: 2, ..load(&url) }.run(false).unwrap();
        assert!(report.answered > 20 && report.failures.is_empty(), "{url}: {report:?}");
        assert_eq!(report.statuses.keys().collect::<Vec<_>>(), [&200]);
    }
    let url = format!("h2c://{addr}/100b");
    let target = Target::wish(&Wish { streams: 4, ..Wish::get(&url) }).unwrap();
    let open = Load { target, connections: 2, rate: Some(500.0), ..load(&url) };
    let report = open.run(false).unwrap();
    assert_eq!(report.statuses[&200], 100, "{report:?}");
    assert!(report.sent_late.unwrap().p50 <= report.latency.p50);
}

#[test]
fn http2_failures_are_counted_by_kind() {
    let upstream = Background::start(None).unwrap();
    let report = load(&format!("h2c://{}/nowhere", upstream.addr)).run(false).unwrap();
    assert_eq!(report.failures["status"], report.statuses[&404]);
    // An echo sends the client's own preface back.
    let report = load(&format!("h2c://{}/", upstream.echo)).run(false).unwrap();
    assert!(report.failures["malformed"] > 0, "{report:?}");
    let grpc = load(&format!("grpc://{}/a/b", upstream.echo)).run(false).unwrap();
    assert!(grpc.failures["malformed"] > 0 && grpc.answered == 0, "{grpc:?}");
    let nobody = load("h2c://127.0.0.1:1/").run(false).unwrap_err();
    assert!(nobody.to_string().contains("127.0.0.1:1"), "{nobody}");
}

#[test]
fn wishes_that_do_not_fit() {
    let wish = |url| Wish::get(url);
    for wrong in [
        Wish { streams: 2, ..wish("http://127.0.0.1:1/") },
        Wish { streams: 0, ..wish("h2c://127.0.0.1:1/") },
        Wish { streaming: true, ..wish("h2c://127.0.0.1:1/") },
        Wish { keep_alive: false, ..wish("grpc://127.0.0.1:1/a/b") },
        Wish { headers: vec![("a b", "c")], ..wish("h2c://127.0.0.1:1/") },
    ] {
        assert!(Target::wish(&wrong).is_err(), "{wrong:?}");
    }
}
