//! Version 4 UUIDs (RFC 9562 section 5.4), as `x-request-id` and `%STREAM_ID%` carry them.

/// A random UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uuid(u128);

impl Uuid {
    /// Makes one of 128 random bits; version and variant bits are set here.
    pub(crate) fn v4(random: u128) -> Self {
        let version = 0x4u128 << 76;
        let variant = 0x2u128 << 62;
        Self(random & !(0xf << 76) & !(0x3 << 62) | version | variant)
    }

    /// `xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx` in lower case.
    pub(crate) fn text(self) -> UuidText {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut nibble = 32u32;
        for (at, slot) in text.iter_mut().enumerate() {
            if !matches!(at, 8 | 13 | 18 | 23) {
                nibble -= 1;
                *slot = HEX[(self.0 >> (nibble * 4)) as usize & 15];
            }
        }
        UuidText(text)
    }
}

/// The 36 characters of a UUID.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UuidText([u8; 36]);

impl UuidText {
    /// As bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests;
