use super::*;

fn totals(rq_total: u64, rq_success: u64, rq_error: u64, rq_active: u64) -> HostTotals {
    HostTotals { rq_total, rq_success, rq_error, rq_active, ..HostTotals::default() }
}

#[test]
fn counts_are_what_came_since_and_what_is_open_is_as_it_is() {
    let delta = Delta::between(&totals(10, 7, 2, 1), &totals(15, 10, 2, 3));
    let expected = Delta {
        success: 3,
        error: 0,
        issued: 5,
        in_progress: 3,
        ..Delta::between(&totals(0, 0, 0, 0), &totals(0, 0, 0, 0))
    };
    assert_eq!(delta, expected);
    assert!(!delta.is_nothing());
    // A host that was made anew counts from the start, never below zero.
    let again = Delta::between(&totals(10, 7, 2, 1), &totals(1, 1, 0, 0));
    assert!(again.is_nothing());
}

#[test]
fn a_place_is_told_once_with_the_sum_of_its_hosts() {
    let mut stats = locality_stats(&("r".to_owned(), "z".to_owned(), "s".to_owned()), 2);
    for _ in 0..2 {
        Delta::between(&totals(0, 0, 0, 0), &totals(4, 3, 1, 0)).add_to(&mut stats, None);
    }
    assert_eq!((stats.total_issued_requests, stats.total_successful_requests), (8, 6));
    assert_eq!((stats.total_error_requests, stats.priority), (2, 2));
    assert_eq!(stats.locality.map(|l| l.sub_zone), Some("s".to_owned()));
    assert!(stats.upstream_endpoint_stats.is_empty());
}

#[test]
fn what_was_dropped_counts_from_the_last_report_or_from_zero() {
    assert_eq!(dropped_since((3, 1), (5, 1)), (2, 0));
    assert_eq!(dropped_since((3, 7), (2, 0)), (2, 0));
}
