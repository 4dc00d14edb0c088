use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn waits_double_up_to_a_bound_and_begin_anew() {
    let mut backoff = Backoff::new((500 * MS, 3000 * MS));
    let waits: Vec<Duration> = (0..5).map(|_| backoff.wait(1.0)).collect();
    assert_eq!(waits, [500 * MS, 1000 * MS, 2000 * MS, 3000 * MS, 3000 * MS]);
    backoff.reset();
    assert_eq!(backoff.wait(0.5), 250 * MS);
}

#[test]
fn a_burst_is_free_and_a_flood_gets_a_share_of_the_thread() {
    let mut governor = Governor::new();
    let start = ringway_runtime::now();
    assert_eq!(governor.charge(900 * MS, start), Duration::ZERO);
    // 100 ms of each 100 ms: after the burst two thirds of the time are waiting.
    let (mut now, mut worked, mut waited) = (start, Duration::ZERO, Duration::ZERO);
    for _ in 0..100 {
        now += 100 * MS;
        worked += 100 * MS;
        let wait = governor.charge(100 * MS, now);
        now += wait;
        waited += wait;
    }
    assert!(waited > worked * 17 / 10 && waited < worked * 21 / 10, "{waited:?} for {worked:?}");
    // Rare and short: never.
    let mut governor = Governor::new();
    for second in 1..100 {
        let now = start + Duration::from_secs(second);
        assert_eq!(governor.charge(300 * MS, now), Duration::ZERO);
    }
}

#[test]
fn a_bucket_gives_what_it_has_and_then_what_flows_in() {
    let mut bucket = Bucket::new((2, 10_000));
    let start = ringway_runtime::now();
    assert_eq!((bucket.take(start), bucket.take(start)), (Ok(()), Ok(())));
    let wait = bucket.take(start).expect_err("empty");
    assert!(wait > 99 * MS && wait < 103 * MS, "{wait:?}");
    assert_eq!(bucket.take(start + wait), Ok(()));
    assert!(bucket.take(start + wait).is_err());
}
