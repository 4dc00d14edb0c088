use super::*;

#[test]
fn own_process() {
    let before = cpu_time(std::process::id()).unwrap();
    let mut sum = 0_u64;
    while cpu_time(std::process::id()).unwrap() < before + Duration::from_millis(2) {
        sum = (0..10_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
    }
    assert_ne!(sum, 0);
    assert!(resident(std::process::id()).unwrap() > 100_000);
    assert!(cpu_time(u32::MAX).is_err());
}

#[test]
fn busy_time_is_all_but_idle_and_iowait() {
    let stat = "cpu  1 1 1 1\ncpu0 1 2 3 1000 2000 4 5 6 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n";
    assert_eq!(busy_of(stat, 0), Some(Duration::from_millis(210)));
    assert_eq!(busy_of(stat, 1), Some(Duration::ZERO));
    assert_eq!(busy_of(stat, 2), None);
}
