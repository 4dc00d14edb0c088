//! Rules of single values: numbers, durations, enums, wrapped scalars.

use std::fmt::{self, Display};

use prost_types::Duration;

use super::Checker;
use super::check::any_parts;
use super::values::{Scalar, scalar};
use crate::api::validate::FieldRules;
use crate::api::validate::field_rules::Type;
use crate::schema::{Field, MessageType};
use crate::wire::{Record, Records};

/// The bounds of a number, in the type of the field.
struct Bounds<'a, T> {
    equal: Option<T>,
    lt: Option<T>,
    lte: Option<T>,
    gt: Option<T>,
    gte: Option<T>,
    one_of: &'a [T],
    none_of: &'a [T],
}

macro_rules! bounds {
    ($rules:expr) => {
        Bounds {
            equal: $rules.r#const,
            lt: $rules.lt,
            lte: $rules.lte,
            gt: $rules.gt,
            gte: $rules.gte,
            one_of: &$rules.r#in,
            none_of: &$rules.not_in,
        }
    };
}

impl Checker {
    /// Checks a scalar by the rules of its field.
    pub(super) fn value(&mut self, field: Field, value: Scalar<'_>, rules: &FieldRules) {
        let Some(rules) = &rules.r#type else { return };
        match value {
            Scalar::Signed(number) => self.signed(field, number, rules),
            Scalar::Unsigned(number) => self.unsigned(number, rules),
            Scalar::Float(number) => self.float(number, rules),
            Scalar::Bool(flag) => {
                if let Type::Bool(rules) = rules
                    && let Some(wanted) = rules.r#const.filter(|wanted| *wanted != flag)
                {
                    self.broken(format!("value must equal {wanted}"));
                }
            }
            Scalar::Bytes(bytes) => match rules {
                Type::String(rules) => self.string(&String::from_utf8_lossy(bytes), rules),
                Type::Bytes(rules) => self.bytes(bytes, rules),
                _ => {}
            },
        }
    }

    /// Checks what rules say of a message itself: a duration, an `Any`, a wrapped scalar.
    pub(super) fn message_value(&mut self, message: MessageType, bytes: &[u8], rules: &FieldRules) {
        let Some(kind) = &rules.r#type else { return };
        match kind {
            Type::Duration(rules) => {
                let (seconds, nanos) = crate::print::time(bytes);
                let found = Span(Duration { seconds, nanos });
                let wrap = |bound: &Option<Duration>| bound.map(Span);
                let bounds = Bounds {
                    equal: wrap(&rules.r#const),
                    lt: wrap(&rules.lt),
                    lte: wrap(&rules.lte),
                    gt: wrap(&rules.gt),
                    gte: wrap(&rules.gte),
                    one_of: &rules.r#in.iter().copied().map(Span).collect::<Vec<_>>(),
                    none_of: &rules.not_in.iter().copied().map(Span).collect::<Vec<_>>(),
                };
                self.within(&found, &bounds);
            }
            Type::Any(rules) => {
                let url = any_parts(bytes).0.unwrap_or_default().to_owned();
                self.listed(&url, &rules.r#in, &rules.not_in);
            }
            _ => {
                // Rules of a scalar on a message: the message wraps one.
                let Some(field) = message.field_numbered(1).filter(|f| f.message().is_none())
                else {
                    return;
                };
                let records: Vec<Record<'_>> = Records(bytes)
                    .map_while(Result::ok)
                    .filter(|record| record.number == 1)
                    .collect();
                self.value(field, scalar(field, &records), rules);
            }
        }
    }

    fn signed(&mut self, field: Field, number: i64, rules: &Type) {
        // The kinds of 32 bits hold nothing wider.
        let narrow = number as i32;
        match rules {
            Type::Int32(rules) if !passes(rules.ignore_empty, number == 0) => {
                self.within(&narrow, &bounds!(rules));
            }
            Type::Int64(rules) if !passes(rules.ignore_empty, number == 0) => {
                self.within(&number, &bounds!(rules));
            }
            Type::Sint32(rules) => self.within(&narrow, &bounds!(rules)),
            Type::Sint64(rules) => self.within(&number, &bounds!(rules)),
            Type::Sfixed32(rules) => self.within(&narrow, &bounds!(rules)),
            Type::Sfixed64(rules) => self.within(&number, &bounds!(rules)),
            Type::Enum(rules) => {
                let known = field.enumeration().is_none_or(|kind| kind.numbered(narrow).is_some());
                if rules.defined_only == Some(true) && !known {
                    self.broken("value must be one of the defined enum values");
                }
                if let Some(wanted) = rules.r#const.filter(|wanted| *wanted != narrow) {
                    self.broken(format!("value must equal {}", enum_name(field, wanted)));
                }
                self.enum_listed(field, narrow, &rules.r#in, &rules.not_in);
            }
            _ => {}
        }
    }

    fn unsigned(&mut self, number: u64, rules: &Type) {
        let narrow = number as u32;
        match rules {
            Type::Uint32(rules) if !passes(rules.ignore_empty, number == 0) => {
                self.within(&narrow, &bounds!(rules));
            }
            Type::Uint64(rules) if !passes(rules.ignore_empty, number == 0) => {
                self.within(&number, &bounds!(rules));
            }
            Type::Fixed32(rules) => self.within(&narrow, &bounds!(rules)),
            Type::Fixed64(rules) => self.within(&number, &bounds!(rules)),
            _ => {}
        }
    }

    fn float(&mut self, number: f64, rules: &Type) {
        match rules {
            Type::Double(rules) if !passes(rules.ignore_empty, number == 0.0) => {
                self.within(&number, &bounds!(rules));
            }
            Type::Float(rules) if !passes(rules.ignore_empty, number == 0.0) => {
                self.within(&(number as f32), &bounds!(rules));
            }
            _ => {}
        }
    }

    fn within<T: PartialOrd + Display>(&mut self, found: &T, bounds: &Bounds<'_, T>) {
        if let Some(wanted) = bounds.equal.as_ref().filter(|wanted| *wanted != found) {
            self.broken(format!("value must equal {wanted}"));
        }
        if let Some(range) = Range::of(bounds).filter(|range| !range.holds(found)) {
            self.broken(range.complaint());
        }
        self.listed(found, bounds.one_of, bounds.none_of);
    }

    /// Checks `in` and `not_in`.
    pub(super) fn listed<T: PartialEq + Display>(
        &mut self,
        found: &T,
        one_of: &[T],
        none_of: &[T],
    ) {
        if !one_of.is_empty() && !one_of.contains(found) {
            self.broken(format!("value must be in list {}", list(one_of)));
        }
        if none_of.contains(found) {
            self.broken(format!("value must not be in list {}", list(none_of)));
        }
    }

    fn enum_listed(&mut self, field: Field, found: i32, one_of: &[i32], none_of: &[i32]) {
        let names = |numbers: &[i32]| {
            list(&numbers.iter().map(|number| enum_name(field, *number)).collect::<Vec<_>>())
        };
        if !one_of.is_empty() && !one_of.contains(&found) {
            self.broken(format!("value must be in list {}", names(one_of)));
        }
        if none_of.contains(&found) {
            self.broken(format!("value must not be in list {}", names(none_of)));
        }
    }
}

/// A lower bound, an upper bound, or both; `true` if the bound itself is inside.
enum Range<'a, T> {
    From(&'a T, bool),
    To(&'a T, bool),
    Between(&'a T, bool, &'a T, bool),
}

impl<'a, T: PartialOrd + Display> Range<'a, T> {
    fn of(bounds: &'a Bounds<'_, T>) -> Option<Self> {
        let pick = |closed: &'a Option<T>, open: &'a Option<T>| match (closed, open) {
            (Some(bound), _) => Some((bound, true)),
            (None, Some(bound)) => Some((bound, false)),
            (None, None) => None,
        };
        match (pick(&bounds.gte, &bounds.gt), pick(&bounds.lte, &bounds.lt)) {
            (Some((low, closed)), None) => Some(Self::From(low, closed)),
            (None, Some((high, closed))) => Some(Self::To(high, closed)),
            (Some((low, from)), Some((high, to))) => Some(Self::Between(low, from, high, to)),
            (None, None) => None,
        }
    }

    fn holds(&self, found: &T) -> bool {
        let above = |low: &T, closed: bool| found > low || closed && found == low;
        let below = |high: &T, closed: bool| found < high || closed && found == high;
        match *self {
            Self::From(low, closed) => above(low, closed),
            Self::To(high, closed) => below(high, closed),
            // Bounds the wrong way round leave out what is between them.
            Self::Between(low, from, high, to) if high < low => above(low, from) || below(high, to),
            Self::Between(low, from, high, to) => above(low, from) && below(high, to),
        }
    }

    fn complaint(&self) -> String {
        match *self {
            Self::From(low, true) => format!("value must be greater than or equal to {low}"),
            Self::From(low, false) => format!("value must be greater than {low}"),
            Self::To(high, true) => format!("value must be less than or equal to {high}"),
            Self::To(high, false) => format!("value must be less than {high}"),
            Self::Between(low, from, high, to) => {
                let side = if high < low { "outside" } else { "inside" };
                let (open, close) = (if from { '[' } else { '(' }, if to { ']' } else { ')' });
                format!("value must be {side} range {open}{low}, {high}{close}")
            }
        }
    }
}

/// `ignore_empty`: the default passes whatever the rules say.
pub(super) fn passes(ignore_empty: Option<bool>, is_default: bool) -> bool {
    ignore_empty == Some(true) && is_default
}

fn enum_name(field: Field, number: i32) -> String {
    let value = field.enumeration().and_then(|kind| kind.numbered(number));
    value.map_or_else(|| number.to_string(), |value| value.name().to_owned())
}

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(" "))
}

/// A duration that compares and prints as Go does (`1h0m0s`, `20ms`), whose words PGV uses.
#[derive(Clone, Copy, PartialEq)]
struct Span(Duration);

impl PartialOrd for Span {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self.0.seconds, self.0.nanos).partial_cmp(&(other.0.seconds, other.0.nanos))
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Duration { seconds, nanos } = self.0;
        if seconds < 0 || nanos < 0 {
            f.write_str("-")?;
        }
        let (whole, part) = (seconds.unsigned_abs(), nanos.unsigned_abs());
        if whole == 0 && part != 0 {
            let (unit, name) = match part {
                1_000_000.. => (1_000_000.0, "ms"),
                1000.. => (1000.0, "µs"),
                _ => (1.0, "ns"),
            };
            return write!(f, "{}{name}", f64::from(part) / unit);
        }
        let (hours, minutes) = (whole / 3600, whole / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if whole >= 60 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", (whole % 60) as f64 + f64::from(part) / 1e9)
    }
}
