use std::time::Duration;

use ringway_wire::{KnownName as K, RequestHead};

use super::*;

fn told(value: &str) -> Option<Duration> {
    let mut head = RequestHead::default();
    assert!(head.headers.append(K::GrpcTimeout, value.as_bytes()));
    grpc_timeout(&head)
}

#[test]
fn grpc_timeouts_are_read_in_milliseconds() {
    for (text, ms) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("0m", 0)] {
        assert_eq!(told(text), Some(Duration::from_millis(ms)), "{text}");
    }
    assert_eq!(told("1001u"), Some(Duration::from_millis(2)));
    assert_eq!(told("1n"), Some(Duration::from_millis(1)));
    for text in ["", "m", "1", "1s", "-1m", "123456789m", "1 m", "\u{e4}"] {
        assert_eq!(told(text), None, "{text}");
    }
}

#[test]
fn the_request_may_shorten_its_stream() {
    let ms = Duration::from_millis;
    let rules = |grpc_max, grpc_offset| MaxStreamDuration {
        duration: Some(ms(100)),
        grpc_max,
        grpc_offset: ms(grpc_offset),
    };
    assert_eq!(stream_limit(&rules(None, 0), Some(ms(5))), Some(ms(100)));
    assert_eq!(stream_limit(&rules(Some(ms(50)), 0), None), Some(ms(100)));
    assert_eq!(stream_limit(&rules(Some(ms(50)), 0), Some(ms(5))), Some(ms(5)));
    assert_eq!(stream_limit(&rules(Some(ms(50)), 0), Some(ms(70))), Some(ms(50)));
    assert_eq!(stream_limit(&rules(Some(ms(0)), 10), Some(ms(70))), Some(ms(60)));
    assert_eq!(stream_limit(&rules(Some(ms(50)), 90), Some(ms(70))), Some(Duration::from_nanos(1)));
}
