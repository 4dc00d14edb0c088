//! The static table (RFC 7541, appendix A).

use super::Field;
use crate::names::KnownName;

/// Entries of the static table; the dynamic table is numbered from 62.
pub(super) const STATIC_LEN: usize = 61;

/// A row of the table: its line, and where the parts are.
struct Row {
    line: &'static str,
    name: &'static str,
    value: &'static str,
}

macro_rules! rows {
    ($($name:literal, $value:literal;)+) => {
        [$(Row { line: concat!($name, ": ", $value, "\r\n"), name: $name, value: $value },)+]
    };
}

static ROWS: [Row; STATIC_LEN] = rows! {
    ":authority", "";
    ":method", "GET";
    ":method", "POST";
    ":path", "/";
    ":path", "/index.html";
    ":scheme", "http";
    ":scheme", "https";
    ":status", "200";
    ":status", "204";
    ":status", "206";
    ":status", "304";
    ":status", "400";
    ":status", "404";
    ":status", "500";
    "accept-charset", "";
    "accept-encoding", "gzip, deflate";
    "accept-language", "";
    "accept-ranges", "";
    "accept", "";
    "access-control-allow-origin", "";
    "age", "";
    "allow", "";
    "authorization", "";
    "cache-control", "";
    "content-disposition", "";
    "content-encoding", "";
    "content-language", "";
    "content-length", "";
    "content-location", "";
    "content-range", "";
    "content-type", "";
    "cookie", "";
    "date", "";
    "etag", "";
    "expect", "";
    "expires", "";
    "from", "";
    "host", "";
    "if-match", "";
    "if-modified-since", "";
    "if-none-match", "";
    "if-range", "";
    "if-unmodified-since", "";
    "last-modified", "";
    "link", "";
    "location", "";
    "max-forwards", "";
    "proxy-authenticate", "";
    "proxy-authorization", "";
    "range", "";
    "referer", "";
    "refresh", "";
    "retry-after", "";
    "server", "";
    "set-cookie", "";
    "strict-transport-security", "";
    "transfer-encoding", "";
    "user-agent", "";
    "vary", "";
    "via", "";
    "www-authenticate", "";
};

/// What the rows say, for decoding.
static FIELDS: [Field; STATIC_LEN] = build_fields();

/// For each known name: the number of the first row that has it, 0 for none.
static BY_NAME: [u8; KnownName::COUNT] = build_by_name();

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn known(name: &str) -> Option<KnownName> {
    let mut id = 0;
    while id < KnownName::COUNT {
        if let Some(known) = KnownName::from_id(id as u8)
            && same(known.as_str(), name)
        {
            return Some(known);
        }
        id += 1;
    }
    None
}

const fn build_fields() -> [Field; STATIC_LEN] {
    const EMPTY: Field = Field {
        name_len: 0,
        value_len: 0,
        known: None,
        broken: None,
        underscore: false,
        sensitive: false,
    };
    let mut fields = [EMPTY; STATIC_LEN];
    let mut i = 0;
    while i < STATIC_LEN {
        let row = &ROWS[i];
        fields[i] = Field {
            name_len: row.name.len() as u32,
            value_len: row.value.len() as u32,
            known: known(row.name),
            ..EMPTY
        };
        i += 1;
    }
    fields
}

const fn build_by_name() -> [u8; KnownName::COUNT] {
    let mut by_name = [0; KnownName::COUNT];
    let mut i = STATIC_LEN;
    while i > 0 {
        i -= 1;
        if let Some(known) = FIELDS[i].known {
            by_name[known as usize] = i as u8 + 1;
        }
    }
    by_name
}

/// The line of a row, by its number from 1 on.
#[inline]
pub(super) fn row(index: usize) -> Option<(&'static [u8], Field)> {
    let at = index.checked_sub(1)?;
    Some((ROWS.get(at)?.line.as_bytes(), *FIELDS.get(at)?))
}

/// The number of the first row with this name; 0: there is none.
#[inline]
pub(super) fn index_of(name: KnownName) -> usize {
    usize::from(BY_NAME[name as usize])
}

/// The number of the first row with a name that is not a [`KnownName`]; 0: there is none.
pub(super) fn index_of_other(name: &[u8]) -> usize {
    let same = |row: &Row| row.name.as_bytes() == name;
    ROWS.iter().position(same).map_or(0, |at| at + 1)
}
