//! The values of a field as they lie on the wire.

use std::borrow::Cow;

use crate::schema::{Field, Kind};
use crate::wire::{Record, WireValue, take, varint};

/// One value of a scalar field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
    Bytes(&'a [u8]),
}

impl<'a> Scalar<'a> {
    /// What an absent field without presence holds.
    pub(crate) fn default_of(kind: Kind) -> Self {
        Self::of(kind, WireValue::Varint(0)).unwrap_or(Scalar::Bytes(&[]))
    }

    /// The value of a record, if its wire type fits the kind.
    pub(crate) fn of(kind: Kind, value: WireValue<'a>) -> Option<Self> {
        match value {
            WireValue::Bytes(bytes) => kind.is_length_delimited().then_some(Self::Bytes(bytes)),
            WireValue::Varint(bits) => Self::of_varint(kind, bits),
            WireValue::Fixed64(bits) => match kind {
                Kind::Double => Some(Self::Float(f64::from_bits(bits))),
                Kind::Fixed64 => Some(Self::Unsigned(bits)),
                Kind::Sfixed64 => Some(Self::Signed(bits.cast_signed())),
                _ => None,
            },
            WireValue::Fixed32(bits) => match kind {
                Kind::Float => Some(Self::Float(f64::from(f32::from_bits(bits)))),
                Kind::Fixed32 => Some(Self::Unsigned(u64::from(bits))),
                Kind::Sfixed32 => Some(Self::Signed(i64::from(bits.cast_signed()))),
                _ => None,
            },
        }
    }

    /// As the key of a map is written.
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes),
            Self::Signed(number) => number.to_string().into(),
            Self::Unsigned(number) => number.to_string().into(),
            Self::Bool(flag) => flag.to_string().into(),
            Self::Float(number) => number.to_string().into(),
        }
    }

    fn of_varint(kind: Kind, bits: u64) -> Option<Self> {
        match kind {
            Kind::Bool => Some(Self::Bool(bits != 0)),
            Kind::Uint32 => Some(Self::Unsigned(bits & u64::from(u32::MAX))),
            Kind::Uint64 => Some(Self::Unsigned(bits)),
            Kind::Int64 => Some(Self::Signed(bits.cast_signed())),
            // Negative numbers of 32 bits come in 64; what is above is cut off, as protobuf does.
            Kind::Int32 | Kind::Enum => Some(Self::Signed(i64::from(bits as u32 as i32))),
            Kind::Sint32 | Kind::Sint64 => {
                let magnitude = (bits >> 1).cast_signed();
                Some(Self::Signed(magnitude ^ -((bits & 1).cast_signed())))
            }
            Kind::Double | Kind::Float => (bits == 0).then_some(Self::Float(0.0)),
            Kind::Fixed32 | Kind::Fixed64 => (bits == 0).then_some(Self::Unsigned(0)),
            Kind::Sfixed32 | Kind::Sfixed64 => (bits == 0).then_some(Self::Signed(0)),
            _ => None,
        }
    }
}

/// Every value of the records of one field, packed ones unpacked; those of a wrong wire type are
/// passed over, as protobuf does.
pub(crate) fn scalars<'a>(field: Field, records: &[Record<'a>]) -> Vec<Scalar<'a>> {
    let kind = field.kind();
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        match record.value {
            WireValue::Bytes(packed) if !kind.is_length_delimited() => {
                unpack(kind, packed, &mut all)
            }
            value => all.extend(Scalar::of(kind, value)),
        }
    }
    all
}

/// The value of a field that is no list: the last one, or else the default.
pub(crate) fn scalar<'a>(field: Field, records: &[Record<'a>]) -> Scalar<'a> {
    let last = scalars(field, records).last().copied();
    last.unwrap_or_else(|| Scalar::default_of(field.kind()))
}

fn unpack<'a>(kind: Kind, mut packed: &'a [u8], all: &mut Vec<Scalar<'a>>) {
    while !packed.is_empty() {
        let value = match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
                take(&mut packed).map(|bytes| WireValue::Fixed64(u64::from_le_bytes(bytes)))
            }
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => {
                take(&mut packed).map(|bytes| WireValue::Fixed32(u32::from_le_bytes(bytes)))
            }
            _ => varint(&mut packed).map(WireValue::Varint),
        };
        let Some(value) = value else { return };
        all.extend(Scalar::of(kind, value));
    }
}
