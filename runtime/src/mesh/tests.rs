//! Unit tests of the ring.

use super::CAPACITY;
use super::ring::Ring;
use std::sync::Arc;

#[test]
fn refuses_when_full_and_keeps_order() {
    let ring = Ring::new();
    for i in 0..CAPACITY {
        assert_eq!(ring.push(i), Ok(()));
    }
    assert!(ring.is_full());
    assert_eq!(ring.push(999), Err(999));
    assert_eq!(ring.pop(), Some(0));
    assert_eq!(ring.push(CAPACITY), Ok(()));
    for i in 1..=CAPACITY {
        assert_eq!(ring.pop(), Some(i));
    }
    assert_eq!(ring.pop(), None);
}

#[test]
fn drops_what_was_not_taken() {
    let message = Arc::new(());
    let ring = Ring::new();
    assert!(ring.push(Arc::clone(&message)).is_ok());
    drop(ring);
    assert_eq!(Arc::strong_count(&message), 1);
}

#[test]
fn crosses_threads_in_order() {
    let ring = Arc::new(Ring::new());
    let total = 100_000_usize;
    let sender = std::thread::spawn({
        let ring = Arc::clone(&ring);
        move || {
            for i in 0..total {
                let mut boxed = Box::new(i);
                while let Err(back) = ring.push(boxed) {
                    boxed = back;
                    std::thread::yield_now();
                }
            }
        }
    });
    for expected in 0..total {
        loop {
            if let Some(got) = ring.pop() {
                assert_eq!(*got, expected);
                break;
            }
            std::thread::yield_now();
        }
    }
    sender.join().expect("sender");
}
