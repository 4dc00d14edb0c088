use prost::Message;
use ringway_xds::api::opentelemetry::proto::common::v1 as otel;

use super::*;

/// `LogRecord`
#[derive(Clone, PartialEq, prost::Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<otel::AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<otel::KeyValue>,
}

/// `ScopeLogs`
#[derive(Clone, PartialEq, prost::Message)]
struct ScopeLogs {
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

/// `ResourceLogs`; a `Resource` begins as a list of pairs does.
#[derive(Clone, PartialEq, prost::Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<otel::KeyValueList>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

/// `ExportLogsServiceRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

fn text(text: &str) -> RecordValue {
    RecordValue::Text(Format::parse(text).expect("a format of this test"))
}

fn value(text: &str) -> otel::AnyValue {
    otel::AnyValue { value: Some(otel::any_value::Value::StringValue(text.to_owned())) }
}

fn pair(key: &str, value: otel::AnyValue) -> otel::KeyValue {
    otel::KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 }
}

#[test]
fn a_request_is_what_a_collector_reads() {
    use otel::any_value::Value;
    let tag = |name: &str, value| Tag { name: Arc::from(name), value };
    let header = |name: &str, default: &str| TagValue::RequestHeader {
        name: Arc::from(name),
        default: Arc::from(default),
    };
    let record = Record {
        body: Some(RecordValue::Map(vec![
            (Arc::from("code"), text("%RESPONSE_CODE% %REQ(none)%")),
            (Arc::from("list"), RecordValue::List(vec![text("a"), text("")])),
        ])),
        attributes: vec![(Arc::from("m"), text("%REQ(:METHOD)%"))],
        filter_state: vec![(Arc::from("key"), Format::filter_state("key"))],
        tags: vec![
            tag("t", TagValue::Literal(Arc::from("v"))),
            tag("h", header("x-a", "")),
            tag("d", header("x-none", "d")),
            tag("absent", header("x-none", "")),
        ],
    };
    let headers = [(":method", "GET"), ("x-a", "1")];
    let cx = LogContext {
        request_headers: Some(&headers),
        response_code: 503,
        start_unix_ns: 1_700_000_000_000_000_007,
        ..LogContext::default()
    };
    let mut records = Vec::new();
    record.write(&cx, &mut records);
    record.write(&cx, &mut records);
    let own = resource(&[(Arc::from("log_name"), Arc::from("l")), (Arc::from("e"), Arc::from(""))]);
    let request = Request::decode(&*request(&own, &records)).expect("a request");
    let [logs] = &*request.resource_logs else { panic!("{request:?}") };
    let named = logs.resource.as_ref().expect("a resource");
    assert_eq!(named.values, [pair("log_name", value("l")), pair("e", value(""))]);
    let [scope] = &*logs.scope_logs else { panic!("{logs:?}") };
    assert_eq!(scope.log_records.len(), 2);
    let first = &scope.log_records[0];
    assert_eq!(first.time_unix_nano, 1_700_000_000_000_000_007);
    let list = otel::ArrayValue { values: vec![value("a"), value("")] };
    let list = otel::AnyValue { value: Some(Value::ArrayValue(list)) };
    let pairs = vec![pair("code", value("503 -")), pair("list", list)];
    let body = Value::KvlistValue(otel::KeyValueList { values: pairs });
    assert_eq!(first.body, Some(otel::AnyValue { value: Some(body) }));
    let wanted = [("m", "GET"), ("t", "v"), ("h", "1"), ("d", "d")];
    let wanted = wanted.map(|(key, text)| pair(key, value(text)));
    assert_eq!(first.attributes, wanted);
}

#[test]
fn an_answer_may_refuse_some() {
    let refused = |rejected_log_records| Response {
        partial_success: Some(PartialSuccess {
            rejected_log_records,
            error_message: "no".to_owned(),
        }),
    };
    assert_eq!(Response::default().rejected(), 0);
    assert_eq!(refused(3).rejected(), 3);
    assert_eq!(refused(-1).rejected(), 0);
}
