use std::rc::Rc;

use super::{Balance, Loads, Share};

fn shards(count: usize) -> Vec<Rc<Balance>> {
    let loads = Loads::new(count);
    (0..count).map(|own| Balance::new(loads.clone(), own)).collect()
}

/// A connection accepted on `shard`; answers where it is served.
fn accept(shards: &[Rc<Balance>], shard: usize, exact: bool) -> (usize, Share) {
    match shards[shard].elsewhere(exact) {
        None => (shard, shards[shard].share(None)),
        Some(other) => {
            shards[shard].sent(other);
            shards[other].arrived();
            (other, shards[other].share(None))
        }
    }
}

#[test]
fn eight_long_lived_connections_over_four_shards_are_two_each() {
    for exact in [false, true] {
        let shards = shards(4);
        // All come in on one socket, as the hash of the kernel may have it.
        let open: Vec<_> = (0..8).map(|_| accept(&shards, 2, exact)).collect();
        for shard in 0..4 {
            assert_eq!(open.iter().filter(|(at, _)| *at == shard).count(), 2, "shard {shard}");
        }
    }
}

#[test]
fn what_is_under_way_counts() {
    let shards = shards(3);
    let _first = shards[0].share(None);
    assert_eq!(shards[0].elsewhere(true), Some(1));
    shards[0].sent(1);
    assert_eq!(shards[0].elsewhere(true), Some(2));
    shards[0].sent(2);
    assert_eq!(shards[0].elsewhere(true), None);
    shards[0].not_sent(2);
    assert_eq!(shards[0].elsewhere(true), Some(2));
}

#[test]
fn a_small_difference_stays_unless_it_must_not() {
    let shards = shards(2);
    let mut open: Vec<_> = (0..8).map(|_| shards[1].share(None)).collect();
    open.extend((0..10).map(|_| shards[0].share(None)));
    assert_eq!(shards[0].elsewhere(false), None);
    assert_eq!(shards[0].elsewhere(true), Some(1));
    open.push(shards[0].share(None));
    assert_eq!(shards[0].elsewhere(false), Some(1));
    drop(open);
    assert_eq!(shards[0].elsewhere(true), None);
}

#[test]
fn weight_counts() {
    let shards = shards(2);
    let heavy = shards[0].share(None);
    heavy.weigh(4);
    let _light: Vec<_> = (0..3).map(|_| shards[1].share(None)).collect();
    assert_eq!(shards[0].elsewhere(false), Some(1));
    assert_eq!(shards[1].elsewhere(false), None);
    drop(heavy);
    assert_eq!(shards[1].elsewhere(false), Some(0));
}

#[test]
fn one_shard_has_no_choice() {
    let shards = shards(1);
    let _open: Vec<_> = (0..100).map(|_| shards[0].share(None)).collect();
    assert_eq!(shards[0].elsewhere(true), None);
}
