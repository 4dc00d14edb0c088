//! Reads the bytes of `schema.bin`; `build/table.rs` writes them and describes the layout.
//!
//! The bytes are ours and fixed when the crate is built, so out of range is a bug here, not input:
//! the tests walk every record.

/// The table.
pub(super) static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));

const SECTIONS: usize = 7;
/// Where each section begins and ends.
static RANGES: [(usize, usize); SECTIONS] = ranges();

#[derive(Clone, Copy)]
pub(super) enum Section {
    Messages,
    Fields,
    Oneofs,
    Enums,
    Values,
    Rules,
    Names,
}

impl Section {
    pub(super) const fn record_bytes(self) -> usize {
        match self {
            Self::Messages | Self::Values => 12,
            Self::Fields => 16,
            Self::Oneofs | Self::Enums => 8,
            Self::Rules => 4,
            Self::Names => 1,
        }
    }
}

const fn ranges() -> [(usize, usize); SECTIONS] {
    let mut ranges = [(0, 0); SECTIONS];
    let mut start = 4 * SECTIONS;
    let mut at = 0;
    while at < SECTIONS {
        let i = 4 * at;
        let size = u32::from_le_bytes([BYTES[i], BYTES[i + 1], BYTES[i + 2], BYTES[i + 3]]);
        ranges[at] = (start, start + size as usize);
        start += size as usize;
        at += 1;
    }
    assert!(start == BYTES.len(), "schema.bin is cut short");
    ranges
}

pub(super) fn section(of: Section) -> &'static [u8] {
    let (start, end) = RANGES[of as usize];
    &BYTES[start..end]
}

/// The name a record begins with.
pub(super) fn name_at(of: Section, record: u16) -> &'static str {
    let packed = number_at(of, record, 0);
    let (start, length) = ((packed & 0x00ff_ffff) as usize, (packed >> 24) as usize);
    std::str::from_utf8(&section(Section::Names)[start..start + length]).unwrap_or_default()
}

pub(super) fn number_at(of: Section, record: u16, at: usize) -> u32 {
    let i = usize::from(record) * of.record_bytes() + at;
    let bytes = section(of);
    u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]])
}

pub(super) fn short_at(of: Section, record: u16, at: usize) -> u16 {
    let i = usize::from(record) * of.record_bytes() + at;
    let bytes = section(of);
    u16::from_le_bytes([bytes[i], bytes[i + 1]])
}

pub(super) fn byte_at(of: Section, record: u16, at: usize) -> u8 {
    section(of)[usize::from(record) * of.record_bytes() + at]
}

pub(super) fn rules_at(index: u16) -> Option<&'static [u8]> {
    if index == u16::MAX {
        return None;
    }
    let length = usize::from(short_at(Section::Rules, index, 0));
    let start = usize::from(index) * 4 + 2;
    Some(&section(Section::Rules)[start..start + length])
}
