use super::*;

#[test]
fn a_weighted_target_shares_numbers_by_weight() {
    let target = Target::Weighted(vec![(ClusterId(4), 1), (ClusterId(5), 4), (ClusterId(6), 4)]);
    let picks: Vec<u32> = (0..8).map(|n| target.pick(|| n).0).collect();
    assert_eq!(picks, [4, 5, 5, 5, 4, 5, 5, 5], "the third has no weight of its own");
}

#[test]
fn one_cluster_needs_no_number() {
    assert_eq!(Target::Cluster(ClusterId(3)).pick(|| unreachable!()), ClusterId(3));
}
