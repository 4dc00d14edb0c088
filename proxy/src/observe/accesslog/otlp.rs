//! Records of OpenTelemetry's log protocol (opentelemetry/proto/logs/v1/logs.proto), written from
//! the same view of a stream that format strings read.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::entry::{Tag, TagValue};
use super::proto::Fields;
use crate::observe::format::{Format, LogContext};

/// What a record tells.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// `body`
    pub body: Option<RecordValue>,
    /// `attributes`
    pub attributes: Vec<(Arc<str>, RecordValue)>,
    /// `filter_state_objects_to_log`: keys, and what prints their objects.
    pub filter_state: Vec<(Arc<str>, Format)>,
    /// `custom_tags`
    pub tags: Vec<Tag>,
}

/// An `AnyValue` whose texts are formats.
#[derive(Debug, Clone)]
pub enum RecordValue {
    /// `string_value`
    Text(Format),
    /// `array_value`
    List(Vec<Self>),
    /// `kvlist_value`
    Map(Vec<(Arc<str>, Self)>),
}

impl Record {
    /// Appends the stream as a `log_records` of `ScopeLogs`.
    pub fn write(&self, cx: &LogContext<'_>, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        Fields(out).message(2, |record| {
            record.fixed64(1, cx.start_unix_ns);
            if let Some(body) = &self.body {
                record.message(5, |value| body.write(cx, &mut text, value));
            }
            for (key, value) in &self.attributes {
                attribute(record, 6, key, |out| value.write(cx, &mut text, out));
            }
            for (key, format) in &self.filter_state {
                text.clear();
                if format.eval_present(cx, &mut text) {
                    attribute(record, 6, key, |out| out.chosen_text(1, &text));
                }
            }
            for Tag { name, value } in &self.tags {
                let value = match value {
                    TagValue::Literal(value) => value.as_bytes(),
                    TagValue::RequestHeader { name, default } => {
                        let value = cx.request_headers.and_then(|headers| headers.get(name));
                        value.unwrap_or(default.as_bytes())
                    }
                };
                if !value.is_empty() {
                    attribute(record, 6, name, |out| out.chosen_text(1, value));
                }
            }
        });
    }

    /// As [`Format::needs_random`].
    pub fn needs_random(&self) -> bool {
        self.body
            .iter()
            .chain(self.attributes.iter().map(|(_, value)| value))
            .any(|value| value.needs_random())
    }
}

impl RecordValue {
    fn needs_random(&self) -> bool {
        match self {
            Self::Text(format) => format.needs_random(),
            Self::List(list) => list.iter().any(Self::needs_random),
            Self::Map(map) => map.iter().any(|(_, value)| value.needs_random()),
        }
    }

    fn write(&self, cx: &LogContext<'_>, text: &mut Vec<u8>, out: &mut Fields<'_>) {
        match self {
            Self::Text(format) => {
                text.clear();
                format.eval(cx, text);
                out.chosen_text(1, text);
            }
            Self::List(list) => out.message(5, |out| {
                for value in list {
                    out.message(1, |out| value.write(cx, text, out));
                }
            }),
            Self::Map(map) => out.message(6, |out| {
                for (key, value) in map {
                    attribute(out, 1, key, |out| value.write(cx, text, out));
                }
            }),
        }
    }
}

/// A `KeyValue`.
fn attribute(out: &mut Fields<'_>, field: u32, key: &str, value: impl FnOnce(&mut Fields<'_>)) {
    out.message(field, |pair| {
        pair.text(1, key);
        pair.message(2, value);
    });
}

/// A `Resource` whose attributes are texts.
pub(crate) fn resource(attributes: &[(Arc<str>, Arc<str>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields = Fields(&mut out);
    for (key, value) in attributes {
        attribute(&mut fields, 1, key, |out| out.chosen_text(1, value.as_bytes()));
    }
    out
}

/// An `ExportLogsServiceRequest` of one resource and its records.
pub(crate) fn request(resource: &[u8], records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(resource.len() + records.len() + 32);
    Fields(&mut out).message(1, |logs| {
        logs.raw(1, resource);
        logs.raw(2, records);
    });
    out
}

/// `ExportLogsServiceResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `ExportLogsPartialSuccess`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

impl Response {
    /// How many records were not taken.
    pub(crate) fn rejected(&self) -> u64 {
        let partial = self.partial_success.as_ref();
        partial.map_or(0, |partial| u64::try_from(partial.rejected_log_records).unwrap_or(0))
    }
}
