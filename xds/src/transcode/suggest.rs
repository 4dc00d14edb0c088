//! What may stand there, and what was probably meant.

use crate::schema::{self, EnumType, EnumValue, Field, MessageType};

/// Names listed at most; a longer list helps nobody.
const LISTED_MAX: usize = 24;
/// From this likeness on (1 is equal) a name is offered.
const LIKENESS_MIN: f64 = 0.75;

/// The candidate most like `given`.
fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_ascii_lowercase()), name))
        .map(|(edits, name)| {
            let longest = given.chars().count().max(name.len()).max(1);
            (1.0 - edits as f64 / longest as f64, name)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN - 0.1)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN || given.len() <= 6)
        .map(|(_, name)| name)
}

/// A field of the message like `given`; a long text is compared with nothing.
pub(super) fn field(message: MessageType, given: &str) -> Option<String> {
    if given.len() > 80 {
        return None;
    }
    nearest(given, message.fields().map(Field::name)).map(str::to_owned)
}

pub(super) fn field_list(message: MessageType) -> String {
    if message.fields().len() == 0 {
        return "no fields: this message is empty".into();
    }
    list(message.fields().filter(|f| !f.is_deprecated()).map(Field::name).collect())
}

pub(super) fn enum_value(kind: EnumType, given: &str) -> Option<String> {
    if given.len() > 80 {
        return None;
    }
    let given = given.replace(['-', ' '], "_");
    nearest(&given, kind.values().map(EnumValue::name)).map(str::to_owned)
}

pub(super) fn enum_list(kind: EnumType) -> String {
    list(kind.values().map(EnumValue::name).collect())
}

/// A message type like the unknown one: the same short name, or nearly the same full name.
pub(super) fn message(given: &str) -> Option<String> {
    if given.len() > 200 {
        return None;
    }
    let short = given.rsplit_once('.').map_or(given, |(_, name)| name);
    let mut same = schema::messages().filter(|m| m.name() == short).map(MessageType::full_name);
    let first = same.next();
    let found = match (first, same.next()) {
        (Some(only), None) => Some(only),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(same);
            all.max_by(|a, b| strsim::jaro(given, a).total_cmp(&strsim::jaro(given, b)))
        }
        _ => nearest(given, schema::messages().map(MessageType::full_name)),
    };
    found.map(str::to_owned)
}

fn list(names: Vec<&str>) -> String {
    let mut text = names.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_MAX {
        text += &format!(", … ({} in all)", names.len());
    }
    text
}
