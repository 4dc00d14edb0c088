//! The local time zone, for `%START_TIME_LOCAL%`: `/etc/localtime` or `TZ`, in TZif format
//! (RFC 9636), read once.

use std::sync::OnceLock;

static ZONE: OnceLock<Zone> = OnceLock::new();

/// Offsets from UTC in seconds, by the second from which on they hold.
#[derive(Debug, Default, PartialEq)]
struct Zone {
    first: i64,
    changes: Vec<(i64, i64)>,
}

/// Offset of local time from UTC in seconds, at a time in seconds since 1970.
pub(super) fn offset_at(unix: u64) -> i64 {
    ZONE.get_or_init(|| read().unwrap_or_default()).at(unix as i64)
}

impl Zone {
    fn at(&self, unix: i64) -> i64 {
        let after = self.changes.partition_point(|change| change.0 <= unix);
        match after.checked_sub(1).and_then(|i| self.changes.get(i)) {
            Some(change) => change.1,
            None => self.first,
        }
    }
}

fn read() -> Option<Zone> {
    let path = match std::env::var("TZ") {
        Ok(tz) if tz.is_empty() => return None,
        Ok(tz) => {
            let name = tz.strip_prefix(':').unwrap_or(&tz);
            if name.starts_with('/') {
                name.to_owned()
            } else {
                format!("/usr/share/zoneinfo/{name}")
            }
        }
        Err(_) => "/etc/localtime".to_owned(),
    };
    parse(&std::fs::read(path).ok()?)
}

/// Reads the version-2 part, whose times have 64 bits.
fn parse(file: &[u8]) -> Option<Zone> {
    let (counts, body) = header(file)?;
    let second = body.get(counts.len(4)..)?;
    let (counts, body) = header(second)?;
    let (times, rest) = body.split_at_checked(counts.times * 8)?;
    let (kinds, rest) = rest.split_at_checked(counts.times)?;
    let types = rest.get(..counts.types * 6)?;
    let offset = |kind: u8| {
        let entry = types.get(usize::from(kind) * 6..)?.first_chunk::<4>()?;
        Some(i64::from(i32::from_be_bytes(*entry)))
    };
    let mut changes = Vec::with_capacity(counts.times);
    for (time, &kind) in times.as_chunks::<8>().0.iter().zip(kinds) {
        changes.push((i64::from_be_bytes(*time), offset(kind)?));
    }
    Some(Zone { first: offset(0)?, changes })
}

struct Counts {
    is_ut: usize,
    is_std: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

impl Counts {
    fn len(&self, time: usize) -> usize {
        self.times * (time + 1)
            + self.types * 6
            + self.chars
            + self.leaps * (time + 4)
            + self.is_std
            + self.is_ut
    }
}

fn header(file: &[u8]) -> Option<(Counts, &[u8])> {
    let (head, body) = file.split_at_checked(44)?;
    if head.get(..4)? != b"TZif" || *head.get(4)? < b'2' {
        return None;
    }
    let mut counts = head.get(20..)?.as_chunks::<4>().0.iter().map(|n| u32::from_be_bytes(*n));
    let mut next = || counts.next().map(|n| n as usize);
    let counts = Counts {
        is_ut: next()?,
        is_std: next()?,
        leaps: next()?,
        times: next()?,
        types: next()?,
        chars: next()?,
    };
    Some((counts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_with_summer_time() {
        let mut file = Vec::new();
        let head = |times: u32, types: u32| {
            let mut h = b"TZif2".to_vec();
            h.resize(20, 0);
            for n in [0, 0, 0, times, types, 4] {
                h.extend_from_slice(&n.to_be_bytes());
            }
            h
        };
        file.extend(head(0, 1));
        file.extend([0; 6]);
        file.extend(*b"UTC\0");
        file.extend(head(2, 2));
        file.extend(1000i64.to_be_bytes());
        file.extend(2000i64.to_be_bytes());
        file.extend([1, 0]);
        file.extend(3600i32.to_be_bytes());
        file.extend([0, 0]);
        file.extend(7200i32.to_be_bytes());
        file.extend([1, 0]);
        file.extend(*b"CET\0");
        let zone = parse(&file).expect("well formed");
        assert_eq!((zone.at(0), zone.at(1000), zone.at(2000)), (3600, 7200, 3600));
        for cut in 0..file.len() - 4 {
            assert!(parse(&file[..cut]).is_none(), "cut at {cut}");
        }
    }
}
