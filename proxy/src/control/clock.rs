//! Wall clock and dates for threads that may have no runtime yet: log lines, admin pages.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970, UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "a log line may come while the thread has no runtime; never on the data path"
)]
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The kernel's number of this thread, as `ps -L` and Envoy's `%t` show it.
pub fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// A moment of the Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names say it; month and day count from 1, weekday from Sunday"
)]
pub struct Civil {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub weekday: usize,
}

/// Splits a time since 1970 into its calendar parts.
pub fn civil(time: Duration) -> Civil {
    const DAY_S: u64 = 86_400;
    let days = (time.as_secs() / DAY_S).cast_signed();
    let second_of_day = u32::try_from(time.as_secs() % DAY_S).unwrap_or(0);
    // Years begin in March here, so that the leap day is the last of its year; eras are the 400
    // years after which the calendar repeats.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: u32::try_from(month).unwrap_or(1),
        day: u32::try_from(day).unwrap_or(1),
        hour: second_of_day / 3_600,
        minute: second_of_day / 60 % 60,
        second: second_of_day % 60,
        weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
    }
}

/// `IMF-fixdate` of RFC 9110, for the `date` header.
pub fn http_date(time: Duration) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let c = civil(time);
    let weekday = DAYS.get(c.weekday).copied().unwrap_or_default();
    let month = MONTHS.get(c.month as usize - 1).copied().unwrap_or_default();
    let mut out = String::with_capacity(29);
    let _infallible = write!(
        out,
        "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        c.day, c.year, c.hour, c.minute, c.second
    );
    out
}

/// RFC 3339 with milliseconds, as protobuf JSON prints a `Timestamp`.
pub fn rfc3339(time: Duration) -> String {
    let c = civil(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        c.year,
        c.month,
        c.day,
        c.hour,
        c.minute,
        c.second,
        time.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_across_leap_years() {
        let at = |seconds| http_date(Duration::from_secs(seconds));
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(951_868_800), "Wed, 01 Mar 2000 00:00:00 GMT");
        assert_eq!(at(1_795_411_999), "Mon, 23 Nov 2026 05:33:19 GMT");
        assert_eq!(at(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
    }

    #[test]
    fn timestamps_carry_milliseconds() {
        assert_eq!(rfc3339(Duration::from_millis(1_500)), "1970-01-01T00:00:01.500Z");
    }
}
