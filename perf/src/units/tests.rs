use super::*;

#[test]
fn durations() {
    assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
    assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
    assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
    assert_eq!(duration("3").unwrap(), Duration::from_secs(3));
    for wrong in ["", "s", "5x", "-1s", "1e9s", "99999h", "1.2.3s"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sizes() {
    assert_eq!(size("100").unwrap(), 100);
    assert_eq!(size("100b").unwrap(), 100);
    assert_eq!(size("10k").unwrap(), 10_240);
    assert_eq!(size("1MB").unwrap(), 1 << 20);
    for wrong in ["", "k", "1.5k", "10x", "99999999999999999999", "18446744073709551615k"] {
        assert!(size(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn figures() {
    assert_eq!(micros(87.24), "87.2 µs");
    assert_eq!(micros(1236.0), "1.24 ms");
    assert_eq!(micros(23_456.0), "23.5 ms");
    assert_eq!(micros(2e6), "2.00 s");
    assert_eq!(grouped(1_234_567.0), "1 234 567");
    assert_eq!(grouped(999.0), "999");
    assert_eq!(bytes(15_872.0), "15.5 KB");
    assert_eq!(bytes(66.0 * 1024.0 * 1024.0), "66.0 MB");
}
