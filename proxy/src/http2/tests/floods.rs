//! Peers that make work: each ends with its counter, and at a bound.

use super::peer::Peer;
use super::*;

/// Sends `say` again and again; how the server ended, and after how many times.
fn flood(
    change: impl FnOnce(&mut Http2Options) + 'static,
    mut say: impl FnMut(&mut Peer, u32) + 'static,
    check: impl FnOnce(Ended, &Bench, u32) + 'static,
) {
    run(move || async move {
        let (near, far) = connection().await;
        let bench = Bench::new();
        let guarded = options(|options| {
            options.premature_resets = Some(Default::default());
            change(options);
        });
        let server = server(far, &guarded, &bench, |stream| async move {
            let _ = poll_fn(|cx| stream.poll_gone(cx)).await;
        });
        let mut peer = Peer::client(near);
        let mut times = 0;
        while times < 20_000 && peer.stream.write_error().is_none() {
            say(&mut peer, times);
            times += 1;
            peer.send();
            if times % 64 == 0 {
                runtime::sleep(Duration::from_millis(1)).await;
            }
            if server.session.is_draining() {
                break;
            }
        }
        drop(peer);
        let ended = server.driver.await;
        server.session.check_rest().expect("at rest");
        bench.check_rest();
        check(ended, &bench, times);
    });
}

#[test]
fn rapid_resets_end_the_connection() {
    flood(
        |_| {},
        |peer, times| {
            peer.get(2 * times + 1).reset(2 * times + 1);
        },
        |ended, _, times| {
            assert_eq!(ended, Ended::PrematureResets);
            assert!((250..400).contains(&times), "{times}");
        },
    );
}

#[test]
fn resets_that_we_are_made_to_send_count_too() {
    flood(
        |_| {},
        |peer, times| {
            peer.post(2 * times + 1, None).window_update(2 * times + 1, 0);
        },
        |ended, _, times| {
            assert_eq!(ended, Ended::PrematureResets);
            assert!((250..400).contains(&times), "{times}");
        },
    );
}

#[test]
fn resets_have_a_rate() {
    flood(
        |options| {
            options.premature_resets = None;
            options.reset_rate = crate::plan::http2::ResetRate { burst: 100, per_second: 1 };
        },
        |peer, times| {
            peer.get(2 * times + 1).reset(2 * times + 1);
        },
        |ended, _, times| {
            let calm = ErrorCode::ENHANCE_YOUR_CALM;
            assert!(matches!(ended, Ended::Violation { code, .. } if code == calm));
            assert!((100..200).contains(&times), "{times}");
        },
    );
}

#[test]
fn empty_frames_end_the_connection() {
    flood(
        |_| {},
        |peer, times| {
            if times == 0 {
                peer.post(1, None);
            }
            peer.data(1, b"", false);
        },
        |ended, bench, _| {
            assert_eq!(ended, Ended::Flood("http2.inbound_empty_frames_flood"));
            assert_eq!(bench.count(Http2CodecStats::inbound_empty_frames_flood), 1);
        },
    );
}

#[test]
fn frames_of_padding_are_empty() {
    flood(
        |_| {},
        |peer, times| {
            if times == 0 {
                peer.post(1, None);
            }
            // PADDED, with ten bytes of padding and nothing else.
            peer.raw(0, 8, 1, &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        },
        |ended, _, _| assert_eq!(ended, Ended::Flood("http2.inbound_empty_frames_flood")),
    );
}

#[test]
fn priorities_are_counted() {
    flood(
        |_| {},
        |peer, _| {
            peer.raw(2, 0, 1, &[0, 0, 0, 3, 0]);
        },
        |ended, bench, times| {
            assert_eq!(ended, Ended::Flood("http2.inbound_priority_frames_flood"));
            assert_eq!(bench.count(Http2CodecStats::inbound_priority_frames_flood), 1);
            assert!((100..200).contains(&times), "{times}");
        },
    );
}

#[test]
fn window_updates_are_counted() {
    flood(
        |_| {},
        |peer, _| {
            peer.window_update(0, 1);
        },
        |ended, bench, _| {
            assert_eq!(ended, Ended::Flood("http2.inbound_window_update_frames_flood"));
            assert_eq!(bench.count(Http2CodecStats::inbound_window_update_frames_flood), 1);
        },
    );
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    flood(
        |_| {},
        |peer, _| {
            for _ in 0..50 {
                peer.ping(b"12345678");
            }
        },
        |ended, bench, _| {
            assert_eq!(ended, Ended::Flood("http2.outbound_control_flood"));
            assert_eq!(bench.count(Http2CodecStats::outbound_control_flood), 1);
        },
    );
    flood(
        |_| {},
        |peer, _| {
            for _ in 0..50 {
                peer.setting(1, 4096);
            }
        },
        |ended, _, _| assert_eq!(ended, Ended::Flood("http2.outbound_control_flood")),
    );
}

#[test]
fn streams_beyond_the_limit_are_counted() {
    flood(
        |options| options.max_concurrent_streams = 10,
        |peer, times| {
            if times == 0 {
                peer.settings_ack();
            }
            peer.post(2 * times + 1, None);
        },
        |ended, bench, times| {
            assert_eq!(ended, Ended::PrematureResets);
            assert!(bench.count(Http2CodecStats::stream_refused_errors) >= 250);
            assert!(times < 500, "{times}");
        },
    );
}

#[test]
fn unknown_frames_are_passed_over() {
    flood(
        |_| {},
        |peer, times| {
            if times < 200 {
                peer.raw(0x77, 0, 0, &[0; 100]);
            } else {
                // What ends the test.
                peer.data(99, b"", true);
            }
        },
        |ended, _, times| {
            assert!(matches!(ended, Ended::Violation { .. }));
            assert!(times > 200);
        },
    );
}
