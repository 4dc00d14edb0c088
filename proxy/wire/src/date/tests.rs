use super::*;

#[test]
fn known_dates() {
    let cases: [(u64, &str); 7] = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ];
    for (seconds, text) in cases {
        assert_eq!(String::from_utf8_lossy(&imf_fixdate(seconds)), text);
    }
}

#[test]
fn every_day_follows_the_one_before() {
    let mut last = civil(0);
    for day in 1..200_000 {
        let now = civil(day);
        let next = match now {
            (y, m, d) if d > 1 => (y, m, d - 1) == last,
            (y, m, 1) if m > 1 => last.0 == y && last.1 == m - 1 && last.2 >= 28,
            (y, 1, 1) => last == (y - 1, 12, 31),
            _ => false,
        };
        assert!(next, "{now:?} after {last:?}");
        last = now;
    }
}
