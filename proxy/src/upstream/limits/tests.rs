use super::*;
use proptest::prelude::*;

fn thresholds(max: u32) -> Thresholds {
    Thresholds {
        max_connections: max,
        max_pending: max,
        max_requests: max,
        max_retries: max,
        max_pools: None,
        track_remaining: false,
        retry_budget: None,
    }
}

fn shards(max: u32, n: u32) -> (Arc<Limits>, Vec<ShardLimits>) {
    let limits = Arc::new(Limits::new(&[thresholds(max), thresholds(max)]));
    let shards = (0..n).map(|_| ShardLimits::new(limits.clone(), n)).collect();
    (limits, shards)
}

#[test]
fn small_limits_are_exact_over_all_shards() {
    let (_, shards) = shards(3, 4);
    let edges: Vec<_> = shards.iter().map(|s| s.take(0, Resource::Requests)).collect();
    assert_eq!(edges, [Ok(Edge::None), Ok(Edge::None), Ok(Edge::Opened), Err(Overflow)]);
    assert_eq!(shards[3].take(1, Resource::Requests), Ok(Edge::None), "priorities are separate");
    assert_eq!(shards[0].give(0, Resource::Requests), Edge::Closed);
    assert_eq!(shards[3].take(0, Resource::Requests), Ok(Edge::Opened));
}

#[test]
fn forced_permits_open_and_close_once() {
    let (_, shards) = shards(1, 2);
    assert_eq!(shards[0].take(0, Resource::Connections), Ok(Edge::Opened));
    assert_eq!(shards[1].take(0, Resource::Connections), Err(Overflow));
    assert_eq!(shards[1].take_anyway(0, Resource::Connections), Edge::None);
    assert_eq!(shards[0].give(0, Resource::Connections), Edge::None);
    assert_eq!(shards[1].give(0, Resource::Connections), Edge::Closed);
}

#[test]
fn retry_budget_follows_active_requests() {
    let mut with_budget = thresholds(1024);
    with_budget.retry_budget = Some((20.0, 3));
    let limits = Arc::new(Limits::new(&[with_budget, with_budget]));
    let shard = ShardLimits::new(limits.clone(), 2);
    assert_eq!(limits.max(0, Resource::Retries), 3);
    for _ in 0..50 {
        shard.take(0, Resource::Requests).expect("far below max_requests");
    }
    assert_eq!(limits.max(0, Resource::Retries), 10);
    for _ in 0..10 {
        shard.take(0, Resource::Retries).expect("within the budget");
    }
    assert_eq!(shard.take(0, Resource::Retries), Err(Overflow));
}

#[test]
fn leases_keep_little_and_are_given_back() {
    let (limits, shards) = shards(1024, 2);
    assert_eq!(shards[0].lease(0).block, 16);
    for _ in 0..1000 {
        shards[0].take(0, Resource::Requests).expect("free");
        shards[0].give(0, Resource::Requests);
    }
    assert_eq!(limits.taken(0, Resource::Requests), 16, "one block is kept");
    shards[0].give_leases(|_, _| {});
    assert_eq!(limits.taken(0, Resource::Requests), 0);
}

proptest! {
    /// Never more than the limit in use; refused only near it; all gauges balance.
    #[test]
    fn any_order_of_takes_and_gives(
        max in 1u32..3000,
        n in 1u32..6,
        ops in prop::collection::vec((0u32..6, any::<bool>()), 1..4000),
    ) {
        let (limits, shards) = shards(max, n);
        let mut used = vec![0u32; n as usize];
        let mut open = 0i64;
        let mut count = |edge| match edge {
            Edge::Opened => open += 1,
            Edge::Closed => open -= 1,
            Edge::None => {}
        };
        for (who, take) in ops {
            let who = (who % n) as usize;
            if take {
                match shards[who].take(0, Resource::Requests) {
                    Ok(edge) => { used[who] += 1; count(edge); }
                    Err(Overflow) => {
                        let sum: u32 = used.iter().sum();
                        prop_assert!(sum + max / 16 >= max, "refused at {sum} of {max}");
                    }
                }
            } else if used[who] > 0 {
                used[who] -= 1;
                count(shards[who].give(0, Resource::Requests));
            }
            prop_assert!(used.iter().sum::<u32>() <= max);
        }
        for (shard, used) in shards.iter().zip(&used) {
            for _ in 0..*used {
                count(shard.give(0, Resource::Requests));
            }
            shard.give_leases(|_, edge| count(edge));
        }
        prop_assert_eq!(limits.taken(0, Resource::Requests), 0);
        prop_assert_eq!(open, 0);
    }
}
