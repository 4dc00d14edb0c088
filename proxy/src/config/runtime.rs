//! Runtime values of `layered_runtime`, flattened.
//!
//! The compiler resolves every `runtime_key` once; what asked is compiled again when a layer
//! changes.

use std::cell::Cell;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use ringway_xds::api::envoy::r#type::v3::FractionalPercent;
use ringway_xds::api::envoy::r#type::v3::fractional_percent::DenominatorType;
use ringway_xds::{Document, Format};
use xxhash_rust::xxh64::xxh64;

use crate::plan::route::Fraction;

/// Values by key, the last layer's where several have one.
#[derive(Debug, Default)]
pub struct Runtime {
    values: HashMap<Arc<str>, Entry, RandomState>,
    /// Somebody wanted a value since [`Runtime::forget_asked`].
    asked: Cell<bool>,
    /// Digest of what was answered since [`Runtime::forget_asked`].
    answers: Cell<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Number(f64),
    Bool(bool),
    Text(String),
    Fraction(Fraction),
}

impl Entry {
    fn digest(&self) -> u64 {
        match self {
            Self::Number(number) => number.to_bits(),
            Self::Bool(value) => 1 + u64::from(*value),
            Self::Text(text) => xxh64(text.as_bytes(), 0),
            Self::Fraction(share) => {
                u64::from(share.numerator) << 32 | u64::from(share.denominator)
            }
        }
    }
}

impl Runtime {
    /// Adds a static layer: nested keys are joined by dots, and what is there is overwritten.
    pub fn add_layer(&mut self, layer: &Struct) {
        for (key, value) in &layer.fields {
            self.add(key, value);
        }
    }

    fn add(&mut self, key: &str, value: &Value) {
        let entry = match &value.kind {
            Some(Kind::NumberValue(number)) => Entry::Number(*number),
            Some(Kind::BoolValue(value)) => Entry::Bool(*value),
            Some(Kind::StringValue(text)) => text_entry(text),
            Some(Kind::StructValue(inner)) => match fraction(inner) {
                Some(fraction) => Entry::Fraction(fraction),
                None => {
                    for (name, value) in &inner.fields {
                        self.add(&format!("{key}.{name}"), value);
                    }
                    return;
                }
            },
            // Envoy refuses lists and nulls; the compiler says so where it reads the layer.
            Some(Kind::ListValue(_) | Kind::NullValue(_)) | None => return,
        };
        self.values.insert(Arc::from(key), entry);
    }

    /// How many keys have a value.
    pub fn key_count(&self) -> usize {
        self.values.len()
    }

    /// Nobody has asked for a value yet.
    pub fn forget_asked(&self) {
        self.asked.set(false);
        self.answers.set(0);
    }

    /// Somebody has asked for a value since [`Runtime::forget_asked`].
    pub fn was_asked(&self) -> bool {
        self.asked.get()
    }

    /// Answers what `work` makes, with a digest of the values it was told: 0 if it asked for none.
    ///
    /// What is compiled from equal bytes is equal only if these are, too.
    pub fn digest_of<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let before = self.answers.replace(0);
        let made = work();
        (made, self.answers.replace(before))
    }

    /// Digest of what was answered since [`Runtime::forget_asked`], outside of
    /// [`Runtime::digest_of`].
    pub fn digest(&self) -> u64 {
        self.answers.get()
    }

    /// Is there a key with this prefix? The caller asks for it if there is.
    pub fn any_below(&self, prefix: &str) -> bool {
        self.asked.set(true);
        let found = self.values.keys().any(|key| key.starts_with(prefix));
        self.told(prefix, u64::from(found));
        found
    }

    fn get(&self, key: &str) -> Option<&Entry> {
        let entry = self.values.get(key);
        if !key.is_empty() {
            self.asked.set(true);
            self.told(key, entry.map_or(0, Entry::digest));
        }
        entry
    }

    fn told(&self, key: &str, answer: u64) {
        self.answers.set(xxh64(key.as_bytes(), self.answers.get().wrapping_add(answer)));
    }

    /// `snapshot.getInteger`.
    pub fn integer(&self, key: &str, default: u64) -> u64 {
        match self.get(key) {
            Some(Entry::Number(number)) if *number >= 0.0 && number.fract() == 0.0 => {
                // A float that is a whole number and not negative.
                *number as u64
            }
            _ => default,
        }
    }

    /// `snapshot.getDouble`.
    pub fn double(&self, key: &str, default: f64) -> f64 {
        match self.get(key) {
            Some(Entry::Number(number)) => *number,
            _ => default,
        }
    }

    /// `snapshot.getBoolean`.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        match self.get(key) {
            Some(Entry::Bool(value)) => *value,
            _ => default,
        }
    }

    /// The share of a `RuntimeFractionalPercent`: the runtime's if there is one, a plain number
    /// meaning percent.
    pub fn fraction(&self, key: &str, default: Fraction) -> Fraction {
        match self.get(key) {
            Some(Entry::Fraction(fraction)) => *fraction,
            Some(Entry::Number(_)) => {
                let percent = self.integer(key, u64::MAX);
                if percent == u64::MAX {
                    return default;
                }
                let numerator = u32::try_from(percent.min(100)).unwrap_or(100);
                Fraction { numerator, denominator: 100 }
            }
            _ => default,
        }
    }
}

/// Numbers, booleans and fractions may be given as text, as `/runtime_modify` does.
fn text_entry(text: &str) -> Entry {
    match (text.parse(), text) {
        (Ok(number), _) => Entry::Number(number),
        (Err(_), "true") => Entry::Bool(true),
        (Err(_), "false") => Entry::Bool(false),
        (Err(_), _) => match fraction_of_text(text) {
            Some(fraction) => Entry::Fraction(fraction),
            None => Entry::Text(text.to_owned()),
        },
    }
}

/// A `FractionalPercent` in YAML or JSON.
fn fraction_of_text(text: &str) -> Option<Fraction> {
    if !text.contains("numerator") && !text.contains("denominator") {
        return None;
    }
    let document = Document::parse(text, "runtime", Format::Yaml).ok()?;
    let percent = document.decode::<FractionalPercent>().ok()?.message;
    let denominator = match percent.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    Some(Fraction { numerator: percent.numerator, denominator })
}

/// A struct that is a `FractionalPercent` rather than more keys.
fn fraction(inner: &Struct) -> Option<Fraction> {
    let known = |name: &str| name == "numerator" || name == "denominator";
    if !inner.fields.contains_key("numerator") && !inner.fields.contains_key("denominator") {
        return None;
    }
    if !inner.fields.keys().all(|name| known(name)) {
        return None;
    }
    let numerator = match inner.fields.get("numerator").and_then(|v| v.kind.as_ref()) {
        Some(Kind::NumberValue(number)) if *number >= 0.0 => *number as u32,
        None => 0,
        Some(_) => return None,
    };
    let denominator = match inner.fields.get("denominator").and_then(|v| v.kind.as_ref()) {
        None => 100,
        Some(Kind::StringValue(name)) => match name.as_str() {
            "HUNDRED" => 100,
            "TEN_THOUSAND" => 10_000,
            "MILLION" => 1_000_000,
            _ => return None,
        },
        Some(_) => return None,
    };
    Some(Fraction { numerator, denominator })
}
