//! Times in format strings: `strftime` with Envoy's sub-second fields.

use super::write::{number, padded, two_digits};

/// A compiled time format.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimeFormat {
    parts: Vec<Part>,
    local: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(Box<[u8]>),
    /// A calendar field by its `strftime` letter.
    Field(u8),
    /// Digits of the fraction of a second, 1 to 9.
    Fraction(u8),
    /// Seconds with a fraction of this many digits; 0: as many as it takes.
    Seconds(u8),
}

impl TimeFormat {
    /// `%Y-%m-%dT%H:%M:%S.mmmZ`, Envoy's default.
    pub(super) fn default_utc() -> Self {
        Self::parse("%Y-%m-%dT%H:%M:%E3SZ", false)
    }

    /// The default in local time, with its offset.
    pub(super) fn default_local() -> Self {
        Self::parse("%Y-%m-%dT%H:%M:%E3S%z", true)
    }

    /// Every text is a format: a `%` that starts nothing known stands for itself, as in
    /// `strftime`.
    pub(super) fn parse(format: &str, local: bool) -> Self {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = format.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            if byte == b'%'
                && let Some((part, after)) = specifier(after)
            {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                match part {
                    Part::Text(literal) => text.extend_from_slice(&literal),
                    part => parts.push(part),
                }
                rest = after;
            } else {
                text.push(byte);
                rest = after;
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Self { parts, local }
    }

    /// Appends the time, given in ns since 1970.
    pub(super) fn write(&self, unix_ns: u64, out: &mut Vec<u8>) {
        let seconds = unix_ns / 1_000_000_000;
        let nanos = unix_ns % 1_000_000_000;
        let offset = if self.local { super::zone::offset_at(seconds) } else { 0 };
        let civil = Civil::new(seconds, offset);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Field(letter) => civil.field(*letter, out),
                Part::Fraction(digits) => fraction(nanos, *digits, out),
                Part::Seconds(digits) => {
                    padded(civil.second, 2, b'0', out);
                    seconds_fraction(nanos, *digits, out);
                }
            }
        }
    }
}

fn specifier(rest: &[u8]) -> Option<(Part, &[u8])> {
    let (&first, after) = rest.split_first()?;
    match first {
        b'%' => Some((Part::Text(Box::new(*b"%")), after)),
        b'n' => Some((Part::Text(Box::new(*b"\n")), after)),
        b't' => Some((Part::Text(Box::new(*b"\t")), after)),
        b'f' => Some((Part::Fraction(9), after)),
        b'1'..=b'9' => match after.split_first() {
            Some((b'f', after)) => Some((Part::Fraction(first - b'0'), after)),
            _ => None,
        },
        b'E' => match after {
            [b'*', b'S', after @ ..] => Some((Part::Seconds(0), after)),
            [b'*', b'f', after @ ..] => Some((Part::Fraction(0), after)),
            [digit @ b'1'..=b'9', b'S', after @ ..] => Some((Part::Seconds(digit - b'0'), after)),
            [digit @ b'1'..=b'9', b'f', after @ ..] => Some((Part::Fraction(digit - b'0'), after)),
            [b'z', after @ ..] => Some((Part::Field(b':'), after)),
            [b'4', b'Y', after @ ..] => Some((Part::Field(b'Y'), after)),
            _ => None,
        },
        letter if FIELDS.contains(&letter) => Some((Part::Field(letter), after)),
        _ => None,
    }
}

const FIELDS: &[u8] = b"aAbBcCdDeFgGhHIjklmMpPrRsSTuUVwWxXyYzZ";
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn fraction(nanos: u64, digits: u8, out: &mut Vec<u8>) {
    if digits == 0 {
        let start = out.len();
        padded(nanos, 9, b'0', out);
        while out.len() > start + 1 && out.last() == Some(&b'0') {
            out.pop();
        }
        return;
    }
    let digits = digits.min(9);
    padded(nanos / 10u64.pow(9 - u32::from(digits)), usize::from(digits), b'0', out);
}

fn seconds_fraction(nanos: u64, digits: u8, out: &mut Vec<u8>) {
    if digits == 0 && nanos == 0 {
        return;
    }
    out.push(b'.');
    fraction(nanos, digits, out);
}

/// A moment in the calendar.
struct Civil {
    unix: u64,
    offset: i64,
    year: i64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    /// 0: Sunday.
    weekday: u64,
    /// 0: January 1st.
    day_of_year: u64,
}

impl Civil {
    fn new(unix: u64, offset: i64) -> Self {
        let local = unix as i64 + offset;
        let days = local.div_euclid(86_400);
        let time = local.rem_euclid(86_400) as u64;
        // Years from March, so that the leap day is the last of its year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year =
            if month > 2 { from_march + 59 + i64::from(leap) } else { from_march - 306 };
        Self {
            unix,
            offset,
            year,
            month: month as u64,
            day: day as u64,
            hour: time / 3600,
            minute: time / 60 % 60,
            second: time % 60,
            weekday: (days + 4).rem_euclid(7) as u64,
            day_of_year: day_of_year as u64,
        }
    }

    fn field(&self, letter: u8, out: &mut Vec<u8>) {
        let year = self.year.max(0) as u64;
        match letter {
            b'Y' if year < 10_000 => {
                two_digits(year / 100, out);
                two_digits(year % 100, out);
            }
            b'Y' => number(year, out),
            b'C' => padded(year / 100, 2, b'0', out),
            b'y' => padded(year % 100, 2, b'0', out),
            b'm' => padded(self.month, 2, b'0', out),
            b'd' => padded(self.day, 2, b'0', out),
            b'e' => padded(self.day, 2, b' ', out),
            b'H' => padded(self.hour, 2, b'0', out),
            b'k' => padded(self.hour, 2, b' ', out),
            b'I' => padded(self.hour_12(), 2, b'0', out),
            b'l' => padded(self.hour_12(), 2, b' ', out),
            b'M' => padded(self.minute, 2, b'0', out),
            b'S' => padded(self.second, 2, b'0', out),
            b's' => number(self.unix, out),
            b'j' => padded(self.day_of_year + 1, 3, b'0', out),
            b'u' => number(if self.weekday == 0 { 7 } else { self.weekday }, out),
            b'w' => number(self.weekday, out),
            b'p' => out.extend_from_slice(if self.hour < 12 { b"AM" } else { b"PM" }),
            b'P' => out.extend_from_slice(if self.hour < 12 { b"am" } else { b"pm" }),
            b'a' => name(&DAYS, self.weekday, Some(3), out),
            b'A' => name(&DAYS, self.weekday, None, out),
            b'b' | b'h' => name(&MONTHS, self.month - 1, Some(3), out),
            b'B' => name(&MONTHS, self.month - 1, None, out),
            b'U' => padded((self.day_of_year + 7 - self.weekday) / 7, 2, b'0', out),
            b'W' => {
                padded((self.day_of_year + 7 - (self.weekday + 6) % 7) / 7, 2, b'0', out);
            }
            b'z' => self.zone("", out),
            b':' => self.zone(":", out),
            b'Z' => self.zone_name(out),
            _ => self.composed(letter, out),
        }
    }

    fn composed(&self, letter: u8, out: &mut Vec<u8>) {
        let fields: &[u8] = match letter {
            b'c' => b"a b e T Y",
            b'D' | b'x' => b"m/d/y",
            b'F' => b"Y-m-d",
            b'T' | b'X' => b"H:M:S",
            b'R' => b"H:M",
            b'r' => b"I:M:S p",
            _ => return self.iso_week(letter, out),
        };
        for &field in fields {
            if field.is_ascii_alphabetic() {
                self.field(field, out);
            } else {
                out.push(field);
            }
        }
    }

    /// Week and year of ISO 8601: weeks begin on Monday, the first one has January 4th.
    fn iso_week(&self, letter: u8, out: &mut Vec<u8>) {
        let monday_based = (self.weekday as i64 + 6) % 7;
        let mut week = (self.day_of_year as i64 - monday_based + 10) / 7;
        let mut year = self.year;
        if week < 1 {
            year -= 1;
            week = weeks_in(year);
        } else if week > weeks_in(year) {
            year += 1;
            week = 1;
        }
        let year = year.max(0) as u64;
        match letter {
            b'V' => padded(week as u64, 2, b'0', out),
            b'G' => number(year, out),
            _ => padded(year % 100, 2, b'0', out),
        }
    }

    fn hour_12(&self) -> u64 {
        (self.hour + 11) % 12 + 1
    }

    fn zone(&self, separator: &str, out: &mut Vec<u8>) {
        let minutes = self.offset.unsigned_abs() / 60;
        out.push(if self.offset < 0 { b'-' } else { b'+' });
        padded(minutes / 60, 2, b'0', out);
        out.extend_from_slice(separator.as_bytes());
        padded(minutes % 60, 2, b'0', out);
    }

    fn zone_name(&self, out: &mut Vec<u8>) {
        match self.offset {
            0 => out.extend_from_slice(b"UTC"),
            _ => self.zone("", out),
        }
    }
}

fn weeks_in(year: i64) -> i64 {
    let last_weekday = |y: i64| (y + y / 4 - y / 100 + y / 400) % 7;
    if last_weekday(year) == 4 || last_weekday(year - 1) == 3 { 53 } else { 52 }
}

fn name(names: &[&str], index: u64, len: Option<usize>, out: &mut Vec<u8>) {
    let name = names.get(index as usize).copied().unwrap_or_default().as_bytes();
    out.extend_from_slice(name.get(..len.unwrap_or(name.len())).unwrap_or(name));
}
