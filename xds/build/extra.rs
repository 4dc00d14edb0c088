//! Messages that Envoy has and the descriptor set lacks.

use crate::descriptor::{Field, FieldOptions, File, KIND_MESSAGE, MessageType};

const KIND_INT64: i32 = 3;
const KIND_INT32: i32 = 5;
const KIND_DOUBLE: i32 = 1;
const KIND_BOOL: i32 = 8;
const KIND_STRING: i32 = 9;

/// `validate.FieldRules { message { required: true } }` on the wire.
const REQUIRED: &[u8] = &[0x8a, 0x01, 0x02, 0x10, 0x01];
/// `validate.FieldRules { repeated { min_items: 1 } }` on the wire.
const MIN_ITEMS_1: &[u8] = &[0x92, 0x01, 0x02, 0x08, 0x01];

/// One file per package.
pub(crate) fn files() -> Vec<File> {
    vec![
        file("google/protobuf/field_mask.proto", "google.protobuf", {
            vec![message("FieldMask", vec![repeated(scalar("paths", 1, KIND_STRING))])]
        }),
        file("udpa/type/v1/typed_struct.proto", "udpa.type.v1", vec![typed_struct()]),
        file("xds/type/v3/typed_struct.proto", "xds.type.v3", {
            let mut all = vec![typed_struct()];
            all.extend(ranges());
            all
        }),
        file("xds/type/matcher/v3/more.proto", "xds.type.matcher.v3", matchers()),
        file("xds/data/orca/v3/orca_load_report.proto", "xds.data.orca.v3", vec![orca()]),
    ]
}

fn typed_struct() -> MessageType {
    message(
        "TypedStruct",
        vec![scalar("type_url", 1, KIND_STRING), child("value", 2, ".google.protobuf.Struct")],
    )
}

/// `Int64Range`, `Int32Range`, `DoubleRange`: half-open, `start` to `end`.
fn ranges() -> Vec<MessageType> {
    [("Int64Range", KIND_INT64), ("Int32Range", KIND_INT32), ("DoubleRange", KIND_DOUBLE)]
        .map(|(name, kind)| message(name, vec![scalar("start", 1, kind), scalar("end", 2, kind)]))
        .into()
}

fn matchers() -> Vec<MessageType> {
    let mut all = vec![
        message("HttpAttributesCelMatchInput", vec![]),
        message(
            "CelMatcher",
            vec![
                with_rules(child("expr_match", 1, ".xds.type.v3.CelExpression"), REQUIRED),
                scalar("description", 2, KIND_STRING),
            ],
        ),
        with_nested(
            message(
                "IPMatcher",
                vec![repeated(child(
                    "range_matchers",
                    1,
                    ".xds.type.matcher.v3.IPMatcher.IPRangeMatcher",
                ))],
            ),
            message(
                "IPRangeMatcher",
                vec![
                    with_rules(repeated(child("ranges", 1, ".xds.core.v3.CidrRange")), MIN_ITEMS_1),
                    child("on_match", 2, ON_MATCH),
                    scalar("exclusive", 3, KIND_BOOL),
                ],
            ),
        ),
        with_nested(
            message(
                "ServerNameMatcher",
                vec![repeated(child(
                    "domain_matchers",
                    1,
                    ".xds.type.matcher.v3.ServerNameMatcher.DomainMatcher",
                ))],
            ),
            message(
                "DomainMatcher",
                vec![
                    with_rules(repeated(scalar("domains", 1, KIND_STRING)), MIN_ITEMS_1),
                    child("on_match", 2, ON_MATCH),
                ],
            ),
        ),
    ];
    all.extend(["Int64", "Int32", "Double"].map(range_matcher));
    all
}

const ON_MATCH: &str = ".xds.type.matcher.v3.Matcher.OnMatch";

fn range_matcher(kind: &str) -> MessageType {
    let name = format!("{kind}RangeMatcher");
    let inner = format!(".xds.type.matcher.v3.{name}.RangeMatcher");
    let range = format!(".xds.type.v3.{kind}Range");
    with_nested(
        message(&name, vec![repeated(child("range_matchers", 1, &inner))]),
        message(
            "RangeMatcher",
            vec![
                with_rules(repeated(child("ranges", 1, &range)), MIN_ITEMS_1),
                child("on_match", 2, ON_MATCH),
            ],
        ),
    )
}

/// What a backend reports about its load (ORCA).
fn orca() -> MessageType {
    let scalars = [("cpu_utilization", 1), ("mem_utilization", 2)]
        .map(|(name, number)| scalar(name, number, KIND_DOUBLE));
    let mut report = message("OrcaLoadReport", scalars.into());
    report.fields.push(scalar("rps", 3, 4));
    for (name, number) in [("request_cost", 4), ("utilization", 5), ("named_metrics", 8)] {
        let entry = map_entry(name);
        let inner = format!(".xds.data.orca.v3.OrcaLoadReport.{}", entry.name);
        report.fields.push(repeated(child(name, number, &inner)));
        report.nested.push(entry);
    }
    for (name, number) in [("rps_fractional", 6), ("eps", 7), ("application_utilization", 9)] {
        report.fields.push(scalar(name, number, KIND_DOUBLE));
    }
    report
}

/// The entry message of `map<string, double> name`.
fn map_entry(name: &str) -> MessageType {
    let camel: String = name.split('_').map(capitalised).collect();
    let mut entry = message(
        &format!("{camel}Entry"),
        vec![scalar("key", 1, KIND_STRING), scalar("value", 2, KIND_DOUBLE)],
    );
    entry.options =
        Some(crate::descriptor::MessageOptions { map_entry: Some(true), ..Default::default() });
    entry
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

fn file(name: &str, package: &str, messages: Vec<MessageType>) -> File {
    File {
        name: name.into(),
        package: package.into(),
        syntax: "proto3".into(),
        messages,
        ..File::default()
    }
}

fn message(name: &str, fields: Vec<Field>) -> MessageType {
    MessageType { name: name.into(), fields, ..MessageType::default() }
}

fn with_nested(mut outer: MessageType, inner: MessageType) -> MessageType {
    outer.nested.push(inner);
    outer
}

fn scalar(name: &str, number: i32, kind: i32) -> Field {
    Field { name: name.into(), number, kind, label: 1, ..Field::default() }
}

fn child(name: &str, number: i32, type_name: &str) -> Field {
    Field { type_name: Some(type_name.into()), ..scalar(name, number, KIND_MESSAGE) }
}

fn repeated(field: Field) -> Field {
    Field { label: 3, ..field }
}

fn with_rules(field: Field, rules: &[u8]) -> Field {
    let options = FieldOptions { rules: Some(rules.to_vec()), ..FieldOptions::default() };
    Field { options: Some(options), ..field }
}
