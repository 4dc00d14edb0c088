//! Unit tests: chunks and chains against vectors, and the pool against leaks.

use super::header::HEADER;
use super::{BufMut, BufRing, BufferConfig, Chain, Chunk, Pool};
use proptest::prelude::*;
use std::fmt::Write;
use std::rc::Rc;

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| i as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    PushStatic,
    PushFront(u8),
    Pop,
    Advance(usize),
    SplitAndAppend(usize),
    SplitAndDrop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u8>().prop_map(Step::Push),
        1 => Just(Step::PushStatic),
        1 => any::<u8>().prop_map(Step::PushFront),
        1 => Just(Step::Pop),
        2 => (0_usize..400).prop_map(Step::Advance),
        1 => (0_usize..400).prop_map(Step::SplitAndAppend),
        1 => (0_usize..400).prop_map(Step::SplitAndDrop),
    ]
}

proptest! {
    #[test]
    fn chain_is_a_queue_of_bytes(steps in proptest::collection::vec(step(), 1..100)) {
        let mut chain = Chain::new();
        let mut model: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Push(n) => {
                    chain.push(Chunk::copy_from(&bytes(n.into())));
                    model.extend(bytes(n.into()));
                }
                Step::PushStatic => {
                    chain.push(Chunk::from_static(b"static"));
                    model.extend(b"static");
                }
                Step::PushFront(n) => {
                    chain.push_front(Chunk::from(bytes(n.into())));
                    model.splice(..0, bytes(n.into()));
                }
                Step::Pop => {
                    let chunk = chain.pop_front().unwrap_or_default();
                    prop_assert!(model.starts_with(&chunk));
                    model.drain(..chunk.len());
                }
                Step::Advance(n) => {
                    chain.advance(n);
                    model.drain(..n.min(model.len()));
                }
                Step::SplitAndAppend(n) => {
                    let mut head = chain.split_to(n);
                    prop_assert_eq!(head.len(), n.min(model.len()));
                    head.append(&mut chain);
                    prop_assert!(chain.is_empty());
                    chain = head;
                }
                Step::SplitAndDrop(n) => {
                    drop(chain.split_to(n));
                    model.drain(..n.min(model.len()));
                }
            }
            prop_assert_eq!(chain.len(), model.len());
            prop_assert!(chain == model[..]);
            prop_assert!(chain.iter().all(|chunk| !chunk.is_empty()));
        }
        prop_assert_eq!(chain.into_chunk().to_vec(), model);
    }

    #[test]
    fn chunk_slices_like_a_slice(
        n in 0_usize..600,
        cuts in proptest::collection::vec((0_usize..700, 0_usize..700), 0..10),
    ) {
        let mut model = bytes(n);
        let mut chunk = Chunk::copy_from(&model);
        for (from, len) in cuts {
            let head = chunk.split_to(from);
            let rest = model.split_off(from.min(model.len()));
            prop_assert_eq!(&head[..], &model[..]);
            let joined = head.unsplit(chunk);
            prop_assert!(joined.is_ok(), "neighbours of one buffer join");
            chunk = joined.unwrap_or_default();
            chunk.advance(from);
            chunk.truncate(len);
            model = rest;
            model.truncate(len);
            prop_assert_eq!(&chunk[..], &model[..]);
        }
    }

    #[test]
    fn writer_grows_and_keeps_its_bytes(parts in proptest::collection::vec(0_usize..9000, 0..40)) {
        let mut buf = BufMut::new();
        let mut model = Vec::new();
        for part in parts {
            buf.extend_from_slice(&bytes(part));
            model.extend(bytes(part));
        }
        prop_assert_eq!(&buf[..], &model[..]);
        prop_assert_eq!(&buf.freeze()[..], &model[..]);
    }
}

#[test]
fn slices_of_different_buffers_do_not_join() {
    let (a, b) = (Chunk::copy_from(b"aa"), Chunk::copy_from(b"bb"));
    assert!(a.clone().unsplit(b).is_err());
    let (first, second) = (a.slice(..1), a.slice(1..));
    assert!(second.unsplit(first).is_err(), "in the wrong order");
}

#[test]
fn only_the_sole_owner_may_change_bytes() {
    let mut chunk = Chunk::copy_from(b"secret");
    let copy = chunk.clone();
    assert!(chunk.try_mut().is_none());
    drop(copy);
    chunk.try_mut().expect("unique").fill(b'x');
    assert_eq!(chunk, b"xxxxxx");
    assert!(Chunk::from_static(b"rom").try_mut().is_none());
}

#[test]
fn held_capacity_is_that_of_the_buffer() {
    let pool = Pool::new(&BufferConfig::default());
    let chunk = Chunk::from_raw(pool.lease(5000), 5000);
    assert_eq!(chunk.slice(..1).capacity_held(), 16 << 10);
    assert_eq!(Chunk::from_static(b"x").capacity_held(), 0);
}

#[test]
fn buffers_come_back_once_and_are_reused() {
    let pool = Pool::new(&BufferConfig::default());
    let first = Chunk::from_raw(pool.lease(100), 100);
    let address = first.as_ptr();
    let part = first.slice(10..20);
    assert_eq!(pool.leased(), 1);
    drop(first);
    assert_eq!(pool.leased(), 1, "a slice keeps it");
    drop(part);
    assert_eq!(pool.leased(), 0);
    assert_eq!(Chunk::from_raw(pool.lease(100), 1).as_ptr(), address);
}

#[test]
fn chunks_outlive_their_pool() {
    let pool = Pool::new(&BufferConfig::default());
    let mut buf = BufMut::from_raw(pool.lease(100));
    buf.extend_from_slice(b"still here");
    let chunk = buf.freeze();
    let weak = Rc::downgrade(&pool);
    drop(pool);
    assert_eq!(chunk, b"still here");
    drop(chunk);
    assert!(weak.upgrade().is_none(), "and take it with them");
}

#[test]
fn writer_formats_text() {
    let mut buf = BufMut::with_capacity(10);
    write!(buf, "content-{}", 17).expect("infallible");
    buf.put_u8(b'!');
    buf.put_bytes(b'.', 3);
    assert_eq!(&buf[..], b"content-17!...");
    let room = buf.spare();
    room[..2].copy_from_slice(b"ok");
    buf.advance(2);
    buf.truncate(15);
    assert_eq!(&buf.freeze()[..], b"content-17!...o");
}

#[test]
fn ring_hands_each_buffer_out_once() {
    let pool = Pool::new(&BufferConfig::default());
    let mut ring = BufRing::new(64, 4096).expect("a ring");
    ring.fill();
    pool.install_ring(ring);
    let chunk = Chunk::from_raw(pool.lease_ring(3).expect("in the ring"), 10);
    assert_eq!(chunk.capacity_held(), 4096 - HEADER);
    assert!(pool.lease_ring(3).is_none(), "the kernel does not have it");
    assert!(pool.lease_ring(63).is_none(), "never put into the ring");
    assert!(pool.lease_ring(64).is_none(), "there is no such buffer");
    drop(chunk);
    assert!(pool.lease_ring(3).is_some());
}

#[test]
fn ring_grows_when_it_was_found_empty() {
    let mut ring = BufRing::new(128, 4096).expect("a ring");
    ring.fill();
    let taken = (0..128).filter(|&bid| ring.consume(bid).is_some()).count();
    assert_eq!(taken, 32);
    ring.starved();
    ring.refill();
    let more = (0..128).filter(|&bid| ring.consume(bid).is_some()).count();
    assert!(more >= 64, "{more}");
    while (0..128).any(|bid| ring.consume(bid).is_some()) {
        ring.starved();
        ring.refill();
    }
    assert!(!ring.has_buffers());
    ring.give_back(5);
    assert!(ring.has_buffers());
    assert!(BufRing::new(100, 4096).is_err(), "not a power of two");
    assert!(BufRing::new(64, 1000).is_err(), "not whole pages");
}
