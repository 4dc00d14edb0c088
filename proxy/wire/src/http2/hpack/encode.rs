//! Lines of a head to field lines of a block (RFC 7541 section 6).

use super::dynamic::Table;
use super::statics::{self, STATIC_LEN};
use super::{ENTRY_OVERHEAD, Field, huffman, integer};
use crate::headers::LineRef;
use crate::http2::HEADER_TABLE_SIZE;
use crate::names::KnownName;

/// Most a table is let grow to, whatever the peer allows: it costs memory on every connection.
const TABLE_BYTES_MAX: usize = HEADER_TABLE_SIZE as usize;

/// What one line may take of the table: `1 / LINE_SHARE`.
const LINE_SHARE: usize = 4;

/// The encoding half of a connection's compression state.
///
/// A line enters the table when it is seen for the second time within a short while. So what
/// changes with every message (paths, request ids, lengths) never pushes out what comes again and
/// again, whatever its name. Names whose values always change enter once, for their name.
#[derive(Debug)]
pub(in crate::http2) struct Encoder {
    table: Table,
    /// Where to find what is in the table; made with the first entry.
    index: Option<Box<Index>>,
    /// How many entries were ever added, wrapping: the number of the next.
    added: u16,
    /// Sizes to be told at the start of the next block: the least since the last, the last.
    updates: Option<(usize, usize)>,
    /// Strings are written as they are, without Huffman code.
    plain: bool,
}

/// Places for lines with the same few bits of hash.
const WAYS: usize = 4;
const LINE_SETS: usize = 32;
const SEEN_SETS: usize = 16;

/// Small hash tables: a set holds the newest few of the lines whose hashes fall into it. Numbers of
/// entries that have left the table are told by their age.
#[derive(Debug)]
struct Index {
    /// By hash of the line: entries of the table.
    lines: [[Place; WAYS]; LINE_SETS],
    /// By known name: the number of the newest entry of that name.
    names: [u16; KnownName::COUNT],
    /// By hash: more of the hashes of lines seen and not added.
    seen: [[u16; WAYS]; SEEN_SETS],
}

/// An entry of the table, by its number and more of its hash.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    number: u16,
    tag: u16,
}

impl Index {
    /// Whether a line was seen; it is from now on.
    fn see(&mut self, hash: u32) -> bool {
        let set = &mut self.seen[hash as usize % SEEN_SETS];
        let tag = tag(hash);
        if set.contains(&tag) {
            return true;
        }
        set.rotate_right(1);
        set[0] = tag;
        false
    }

    /// Notes an entry in the place of the oldest of its set.
    fn note(&mut self, hash: u32, number: u16) {
        let set = &mut self.lines[hash as usize % LINE_SETS];
        set.rotate_right(1);
        set[0] = Place { number, tag: tag(hash) };
    }
}

/// Bits of a hash besides those that choose a set.
const fn tag(hash: u32) -> u16 {
    (hash >> 16) as u16
}

/// What is done with lines of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Into the table on second sight.
    Adaptive,
    /// Its values always change: only the name is worth an entry.
    NameOnly,
    /// A secret: never into a table, here or further on (RFC 7541 section 7.1.3).
    Secret,
    /// Belongs to HTTP/1.1 connections and is not written.
    Absent,
}

/// The policy of each known name, by id.
static POLICIES: [Policy; KnownName::COUNT] = build_policies();

const fn build_policies() -> [Policy; KnownName::COUNT] {
    use KnownName as K;
    let mut policies = [Policy::Adaptive; K::COUNT];
    let mut id = 0;
    while id < K::COUNT {
        if let Some(known) = K::from_id(id as u8) {
            policies[id] = match known {
                K::Authorization | K::ProxyAuthorization | K::Cookie | K::SetCookie => {
                    Policy::Secret
                }
                K::XRequestId
                | K::Traceparent
                | K::XB3TraceId
                | K::XB3SpanId
                | K::XB3ParentSpanId
                | K::XClientTraceId
                | K::Etag => Policy::NameOnly,
                K::Host
                | K::Connection
                | K::KeepAlive
                | K::ProxyConnection
                | K::TransferEncoding
                | K::Upgrade => Policy::Absent,
                _ => Policy::Adaptive,
            };
        }
        id += 1;
    }
    policies
}

/// First bits of a field line and the length of the prefix behind them.
#[derive(Clone, Copy)]
struct Form(u8, u32);

const INDEXED: Form = Form(0x80, 7);
const ADDED: Form = Form(0x40, 6);
const PASSING: Form = Form(0x00, 4);
const NEVER: Form = Form(0x10, 4);

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_MAX),
            index: None,
            added: 0,
            updates: None,
            plain: false,
        }
    }
}

impl Encoder {
    /// See [`Encoder::set_huffman`](crate::http2::Encoder::set_huffman).
    pub(in crate::http2) fn set_huffman(&mut self, on: bool) {
        self.plain = !on;
    }

    /// The peer's SETTINGS: `least` and then `last` is what its table may hold, in bytes.
    pub(in crate::http2) fn set_limit(&mut self, least: usize, last: usize) {
        let (least, last) = (least.min(TABLE_BYTES_MAX), last.min(TABLE_BYTES_MAX));
        let least = least.min(last);
        if least == self.table.size_max() && last == least && self.updates.is_none() {
            return;
        }
        self.table.resize(least);
        self.table.resize(last);
        let before = self.updates.map_or(least, |(before, _)| before);
        self.updates = Some((before.min(least), last));
    }

    /// Starts a block.
    #[inline]
    pub(in crate::http2) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.updates.take() {
            if least < last {
                integer::write(least, 5, 0x20, out);
            }
            integer::write(last, 5, 0x20, out);
        }
    }

    /// Writes a row of the static table, by its number.
    #[inline]
    pub(in crate::http2) fn row(&self, number: u8, out: &mut Vec<u8>) {
        out.push(INDEXED.0 | number);
    }

    /// Writes a line of a known name.
    #[inline]
    pub(in crate::http2) fn known(&mut self, known: KnownName, value: &[u8], out: &mut Vec<u8>) {
        let name = known.as_bytes();
        self.line(&LineRef { known: Some(known), name, value, sensitive: false }, out);
    }

    /// Writes a line.
    #[inline]
    pub(in crate::http2) fn line(&mut self, line: &LineRef<'_>, out: &mut Vec<u8>) {
        let policy = line.known.map_or(Policy::Adaptive, |known| POLICIES[known as usize]);
        match policy {
            Policy::Absent => {}
            _ if line.sensitive => self.literal(NEVER, line, out),
            Policy::Secret => self.literal(NEVER, line, out),
            Policy::NameOnly => {
                let add = self.name_index(line) == 0 && self.fits(line);
                if add {
                    self.add(line, hash(line), out);
                } else {
                    self.literal(PASSING, line, out);
                }
            }
            Policy::Adaptive => self.adaptive(line, out),
        }
    }

    #[inline]
    fn adaptive(&mut self, line: &LineRef<'_>, out: &mut Vec<u8>) {
        let hash = hash(line);
        if let Some(age) = self.find(line, hash) {
            return integer::write(STATIC_LEN + 1 + age, INDEXED.1, INDEXED.0, out);
        }
        if !self.fits(line) {
            return self.literal(PASSING, line, out);
        }
        if self.index.get_or_insert_default().see(hash) {
            self.add(line, hash, out);
        } else {
            self.literal(PASSING, line, out);
        }
    }

    /// Whether a line is small enough to be worth its place in the table.
    fn fits(&self, line: &LineRef<'_>) -> bool {
        let size = line.name.len() + line.value.len() + ENTRY_OVERHEAD;
        size <= self.table.size_max() / LINE_SHARE
    }

    /// How old the entry with this line is.
    #[inline]
    fn find(&self, line: &LineRef<'_>, hash: u32) -> Option<usize> {
        let set = &self.index.as_ref()?.lines[hash as usize % LINE_SETS];
        let tag = tag(hash);
        let places = set.iter().filter(|place| place.tag == tag);
        places.map(|place| self.age(place.number)).find(|age| self.is_entry(*age, line))
    }

    /// How many entries were added after that number.
    #[inline]
    fn age(&self, number: u16) -> usize {
        usize::from(self.added.wrapping_sub(1).wrapping_sub(number))
    }

    #[inline]
    fn is_entry(&self, age: usize, line: &LineRef<'_>) -> bool {
        let Some((entry, field)) = self.table.get(age) else { return false };
        let same_name = match line.known {
            Some(known) => field.known == Some(known),
            None => {
                field.known.is_none()
                    && field.name_len as usize == line.name.len()
                    && entry.get(..line.name.len()) == Some(line.name)
            }
        };
        same_name && field.value(entry) == line.value
    }

    /// Writes a line and adds it to the table.
    fn add(&mut self, line: &LineRef<'_>, hash: u32, out: &mut Vec<u8>) {
        self.literal(ADDED, line, out);
        let field = Field {
            name_len: line.name.len() as u32,
            value_len: line.value.len() as u32,
            known: line.known,
            broken: None,
            underscore: false,
            sensitive: false,
        };
        if !self.table.insert(line.name, line.value, field) {
            return;
        }
        let index = self.index.get_or_insert_default();
        index.note(hash, self.added);
        if let Some(known) = line.known {
            index.names[known as usize] = self.added;
        }
        self.added = self.added.wrapping_add(1);
    }

    /// Writes a literal.
    #[inline]
    fn literal(&self, form: Form, line: &LineRef<'_>, out: &mut Vec<u8>) {
        let index = self.name_index(line);
        integer::write(index, form.1, form.0, out);
        if index == 0 {
            self.string(line.name, out);
        }
        self.string(line.value, out);
    }

    /// Writes a string, Huffman-coded where that is shorter.
    #[inline]
    fn string(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let coded = if self.plain { bytes.len() } else { huffman::encoded_len(bytes) };
        if coded < bytes.len() {
            integer::write(coded, 7, 0x80, out);
            huffman::encode(bytes, out);
        } else {
            integer::write(bytes.len(), 7, 0, out);
            out.extend_from_slice(bytes);
        }
    }

    /// The number of an entry with the name of the line; 0: there is none.
    #[inline]
    fn name_index(&self, line: &LineRef<'_>) -> usize {
        let Some(known) = line.known else { return statics::index_of_other(line.name) };
        let row = statics::index_of(known);
        if row > 0 {
            return row;
        }
        let Some(index) = &self.index else { return 0 };
        let age = self.age(index.names[known as usize]);
        match self.table.get(age) {
            Some((_, field)) if field.known == Some(known) => STATIC_LEN + 1 + age,
            _ => 0,
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self { lines: Default::default(), names: [0; KnownName::COUNT], seen: Default::default() }
    }
}

/// A hash of name and value. The peer's choice of lines can make it collide, which costs the peer
/// some compression.
#[inline]
fn hash(line: &LineRef<'_>) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let bytes = |mut hash: u64, bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash = mix(hash, u64::from_le_bytes(*word));
        }
        let tail = rest.iter().fold(rest.len() as u64, |tail, b| tail << 8 | u64::from(*b));
        mix(hash, tail)
    };
    let name = match line.known {
        Some(known) => mix(1, known as u64),
        None => bytes(2, line.name),
    };
    let hash = bytes(name, line.value);
    (hash >> 32) as u32
}
