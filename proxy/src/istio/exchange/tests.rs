use super::{Found, Heard, SAID_MAX, workload};
use crate::plan::istio::Local;

fn hello() -> Vec<u8> {
    Local::new("sidecar~b", prost_types::Struct::default(), ("", "")).hello(&[]).into()
}

fn look(bytes: &[u8]) -> Option<Result<usize, ()>> {
    match (Heard { bytes: bytes.to_vec() }).look() {
        None => None,
        Some(Found::NoHello) => Some(Err(())),
        Some(Found::Hello(end)) => Some(Ok(end)),
    }
}

#[test]
fn a_hello_is_known_when_it_is_complete() {
    let mut bytes = hello();
    let whole = bytes.len();
    for end in 0..whole {
        assert_eq!(look(&bytes[..end]), None, "{end} bytes");
    }
    bytes.extend_from_slice(b"and more");
    assert_eq!(look(&bytes), Some(Ok(whole)));
    assert!(workload(&bytes[8..whole], &[]).is_some());
    assert!(workload(b"\xff\xff", &[]).is_none());
}

#[test]
fn something_else_is_known_at_once() {
    assert_eq!(look(b"GET / HTTP/1.1\r\n"), Some(Err(())));
    assert_eq!(look(b"\x3d\x23x"), Some(Err(())));
    let mut long = hello();
    long[4..8].copy_from_slice(&(SAID_MAX as u32 + 1).to_be_bytes());
    assert_eq!(look(&long), Some(Err(())));
}
