//! The walk: messages, fields, lists, maps, `Any`.

use std::borrow::Cow;

use super::values::{Scalar, scalar, scalars};
use super::{Checker, DEPTH_MAX, FindingKind, Shape, Special};
use crate::api::validate::field_rules::Type;
use crate::api::validate::{FieldRules, MapRules, RepeatedRules};
use crate::path::Path;
use crate::schema::{self, Field, MessageType};
use crate::transcode::{self, entry_fields};
use crate::wire::{Record, Records, WireValue};

impl Checker {
    /// Checks one message, all below it too.
    pub(super) fn message(&mut self, message: MessageType, bytes: &[u8]) {
        let outer = self.current.replace(message);
        let shape = self.shape(message);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let text = format!("more than {DEPTH_MAX} messages inside one another");
            self.report(FindingKind::Malformed, text);
        } else if shape.special == Special::Any {
            self.any(message, bytes);
        } else if shape.special != Special::FreeForm {
            self.fields(message, &shape, bytes);
        }
        self.depth -= 1;
        self.current = outer;
    }

    fn fields(&mut self, message: MessageType, shape: &Shape, bytes: &[u8]) {
        let Ok(mut records) = Records(bytes).collect::<Result<Vec<_>, _>>() else {
            let text = format!("these bytes are no {}", message.full_name());
            self.report(FindingKind::Malformed, text);
            return;
        };
        // Stable: several records of one field keep their order.
        records.sort_by_key(|record| record.number);
        let mut rest = records.as_slice();
        let mut oneofs = vec![false; if shape.has_required { shape.oneofs } else { 0 }];
        for (number, field, ruled) in shape.fields.iter().copied() {
            // An absent field without rules is always right.
            if !ruled && rest.first().is_none_or(|record| record.number > number) {
                continue;
            }
            let group;
            (group, rest) = self.group(message, number, rest);
            if group.is_empty() && !ruled {
                continue;
            }
            if let Some(slot) = field.oneof_index().and_then(|index| oneofs.get_mut(index)) {
                *slot |= !group.is_empty();
            }
            let mark = self.path.field(field.name());
            self.field(message, field, group);
            self.path.back(mark);
        }
        self.group(message, u32::MAX, rest);
        for (index, oneof) in message.oneofs().enumerate().take(oneofs.len()) {
            if oneof.is_required() && oneofs.get(index) == Some(&false) {
                let text = format!("one of {} is required", member_names(message, index));
                self.report(FindingKind::OneofRequired(message, index), text);
            }
        }
        if shape.special == Special::TypedStruct {
            self.typed_struct(bytes);
        }
    }

    /// The records of field `number` at the front of `rest`, after unknown ones.
    fn group<'r, 'a>(
        &mut self,
        message: MessageType,
        number: u32,
        rest: &'r [Record<'a>],
    ) -> (&'r [Record<'a>], &'r [Record<'a>]) {
        let unknown = rest.iter().take_while(|record| record.number < number).count();
        let (skipped, rest) = rest.split_at(unknown);
        let mut last = 0;
        for record in skipped {
            if record.number != last {
                last = record.number;
                let text = format!("{} has no field number {last}", message.full_name());
                self.report(FindingKind::UnknownField, text);
            }
        }
        rest.split_at(rest.iter().take_while(|record| record.number == number).count())
    }

    fn field(&mut self, message: MessageType, field: Field, records: &[Record<'_>]) {
        if !records.is_empty() {
            self.deprecation(message, field, records);
        }
        let rules = if message.skips_rules() { None } else { self.rules_of(field) };
        let rules = rules.as_deref();
        if field.is_map() {
            self.map(field, records, rules);
        } else if field.is_repeated() {
            self.list(field, records, rules);
        } else if let Some(child) = field.message() {
            let bytes = (!records.is_empty()).then(|| joined(records));
            self.child(field, child, bytes.as_deref(), rules);
        } else if let Some(rules) = rules {
            let value = scalars(field, records).last().copied();
            let absent = (!field.has_presence()).then(|| Scalar::default_of(field.kind()));
            if let Some(value) = value.or(absent) {
                self.value(field, value, rules);
            }
        }
    }

    fn deprecation(&mut self, message: MessageType, field: Field, records: &[Record<'_>]) {
        if field.is_disallowed() {
            let text =
                format!("{}.{} is deprecated and switched off", message.full_name(), field.name());
            self.report(FindingKind::Disallowed, text);
        } else if field.is_deprecated() {
            let text = format!("{}.{} is deprecated", message.full_name(), field.name());
            self.report(FindingKind::Deprecated, text);
        }
        let Some(kind) = field.enumeration() else { return };
        for value in scalars(field, records) {
            let Scalar::Signed(number) = value else { continue };
            let Some(value) = i32::try_from(number).ok().and_then(|n| kind.numbered(n)) else {
                continue;
            };
            if value.is_disallowed() {
                let text = format!("the value {} is deprecated and switched off", value.name());
                self.report(FindingKind::Disallowed, text);
            } else if value.is_deprecated() {
                let text = format!("the value {} is deprecated", value.name());
                self.report(FindingKind::Deprecated, text);
            }
        }
    }

    /// A message in a field, absent or not.
    fn child(
        &mut self,
        field: Field,
        child: MessageType,
        bytes: Option<&[u8]>,
        rules: Option<&FieldRules>,
    ) {
        let Some(bytes) = bytes else {
            if rules.is_some_and(is_required) && field.oneof_index().is_none() {
                self.broken("value is required");
            }
            return;
        };
        if let Some(rules) = rules {
            self.message_value(child, bytes, rules);
            if rules.message.as_ref().is_some_and(|message| message.skip == Some(true)) {
                return;
            }
        }
        self.message(child, bytes);
    }

    fn list(&mut self, field: Field, records: &[Record<'_>], rules: Option<&FieldRules>) {
        let repeated = match rules.and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::Repeated(repeated)) => Some(repeated.as_ref()),
            _ => None,
        };
        let items = repeated.and_then(|repeated| repeated.items.as_deref());
        if let Some(child) = field.message() {
            self.count(records.len(), repeated);
            for (index, record) in records.iter().enumerate() {
                if let WireValue::Bytes(bytes) = record.value {
                    let mark = self.path.index(index);
                    self.child(field, child, Some(bytes), items);
                    self.path.back(mark);
                }
            }
            return;
        }
        if repeated.is_none() {
            return;
        }
        let values = scalars(field, records);
        self.count(values.len(), repeated);
        if repeated.is_some_and(|repeated| repeated.unique == Some(true)) {
            self.unique(&values);
        }
        let Some(items) = items else { return };
        for (index, value) in values.into_iter().enumerate() {
            let mark = self.path.index(index);
            self.value(field, value, items);
            self.path.back(mark);
        }
    }

    fn count(&mut self, found: usize, rules: Option<&RepeatedRules>) {
        let Some(rules) = rules else { return };
        if rules.ignore_empty == Some(true) && found == 0 {
            return;
        }
        self.amount(found, rules.min_items, rules.max_items, "item(s)");
    }

    fn amount(&mut self, found: usize, min: Option<u64>, max: Option<u64>, what: &str) {
        let found = found as u64;
        let short = min.is_some_and(|min| found < min);
        let long = max.is_some_and(|max| found > max);
        if !short && !long {
            return;
        }
        self.broken(match (min, max) {
            (Some(min), Some(max)) if min == max => {
                format!("value must contain exactly {min} {what}")
            }
            (Some(min), Some(max)) => {
                format!("value must contain between {min} and {max} {what}, inclusive")
            }
            (Some(min), None) => format!("value must contain at least {min} {what}"),
            (None, max) => {
                format!("value must contain no more than {} {what}", max.unwrap_or_default())
            }
        });
    }

    fn unique(&mut self, values: &[Scalar<'_>]) {
        let mut keys: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            self.broken("repeated value must contain unique items");
        }
    }

    fn map(&mut self, field: Field, records: &[Record<'_>], rules: Option<&FieldRules>) {
        let rules = match rules.and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::Map(map)) => Some(map.as_ref()),
            _ => None,
        };
        if let Some(rules) = rules
            && !(rules.ignore_empty == Some(true) && records.is_empty())
        {
            self.amount(records.len(), rules.min_pairs, rules.max_pairs, "pair(s)");
        }
        let Some((key_field, value_field)) = field.message().and_then(entry_fields) else {
            return;
        };
        for record in records {
            let WireValue::Bytes(bytes) = record.value else { continue };
            let Ok(entry) = Records(bytes).collect::<Result<Vec<_>, _>>() else {
                self.report(FindingKind::Malformed, "these bytes are no entry of a map");
                continue;
            };
            self.entry(key_field, value_field, &entry, rules);
        }
    }

    fn entry(
        &mut self,
        key_field: Field,
        value_field: Field,
        entry: &[Record<'_>],
        rules: Option<&MapRules>,
    ) {
        let of = |number| -> Vec<Record<'_>> {
            entry.iter().filter(|record| record.number == number).copied().collect()
        };
        let keys = of(1);
        let key = scalar(key_field, &keys);
        let mark = self.path.key(&key.text());
        if let Some(rules) = rules.and_then(|rules| rules.keys.as_deref()) {
            self.value(key_field, key, rules);
        }
        let rules = rules.and_then(|rules| rules.values.as_deref());
        let records = of(2);
        match value_field.message() {
            Some(child) => {
                let bytes = joined(&records);
                self.child(value_field, child, Some(&bytes), rules);
            }
            None => {
                if let Some(rules) = rules {
                    self.value(value_field, scalar(value_field, &records), rules);
                }
            }
        }
        self.path.back(mark);
    }

    /// Enters the message inside an `Any`.
    fn any(&mut self, any: MessageType, bytes: &[u8]) {
        let (url, value) = any_parts(bytes);
        let Some(url) = url.filter(|url| !url.is_empty()) else { return };
        let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
        match schema::message(name) {
            Some(message) if message != any => self.message(message, value),
            Some(_) => self.any(any, value),
            None => {
                let diagnostic = transcode::unknown_type(name);
                self.report(FindingKind::UnknownType, diagnostic.message);
            }
        }
    }

    /// Enters the message a `TypedStruct` stands for.
    fn typed_struct(&mut self, bytes: &[u8]) {
        let Some(inner) = transcode::typed_struct_bytes(bytes) else { return };
        let mark = self.path.field("value");
        for error in inner.errors {
            let inner = Path::within(&self.path, &error.path);
            let path = std::mem::replace(&mut self.path, inner);
            self.broken(error.message);
            self.path = path;
        }
        self.message(inner.message, &inner.bytes);
        self.path.back(mark);
    }
}

/// The type URL and the bytes of an `Any`.
pub(crate) fn any_parts(bytes: &[u8]) -> (Option<&str>, &[u8]) {
    let (mut url, mut value): (Option<&str>, &[u8]) = (None, &[]);
    for record in Records(bytes).map_while(Result::ok) {
        match record {
            Record { number: 1, value: WireValue::Bytes(text) } => {
                url = std::str::from_utf8(text).ok();
            }
            Record { number: 2, value: WireValue::Bytes(bytes) } => value = bytes,
            _ => {}
        }
    }
    (url, value)
}

fn is_required(rules: &FieldRules) -> bool {
    rules.message.as_ref().is_some_and(|rules| rules.required == Some(true))
        || match &rules.r#type {
            Some(Type::Any(rules)) => rules.required == Some(true),
            Some(Type::Duration(rules)) => rules.required == Some(true),
            Some(Type::Timestamp(rules)) => rules.required == Some(true),
            _ => false,
        }
}

/// A message in several records is the records one after the other.
fn joined<'a>(records: &[Record<'a>]) -> Cow<'a, [u8]> {
    let bytes = |record: &Record<'a>| match record.value {
        WireValue::Bytes(bytes) => bytes,
        _ => &[],
    };
    match records {
        [only] => Cow::Borrowed(bytes(only)),
        many => Cow::Owned(many.iter().flat_map(bytes).copied().collect()),
    }
}

fn member_names(message: MessageType, oneof: usize) -> String {
    let members = message.fields().filter(|field| field.oneof_index() == Some(oneof));
    let names: Vec<&str> = members.filter(|f| !f.is_deprecated()).map(Field::name).collect();
    names.join(", ")
}
