use prost::Message;
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};

use super::{Local, MAGIC, METADATA_KEY, Workload, string};

fn metadata() -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let labels = [
        ("app", "reviews"),
        ("app.kubernetes.io/name", "reviews-k8s"),
        ("version", "v1"),
        ("service.istio.io/canonical-name", "reviews"),
        ("service.istio.io/canonical-revision", "v1"),
        ("role", "leader"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), text(value)));
    let labels = Struct { fields: labels.into_iter().collect() };
    let fields = [
        ("NAME", "reviews-v1-abc"),
        ("NAMESPACE", "app"),
        ("WORKLOAD_NAME", "reviews-v1"),
        ("CLUSTER_ID", "Kubernetes"),
        ("OWNER", "kubernetes://apis/apps/v1/namespaces/app/deployments/reviews-v1"),
        ("SECRET", "not told"),
    ];
    let mut out: Struct =
        Struct { fields: fields.map(|(key, value)| (key.to_owned(), text(value))).into() };
    out.fields.insert("LABELS".into(), Value { kind: Some(Kind::StructValue(labels)) });
    out
}

#[test]
fn what_is_told_is_what_is_understood() {
    let local = Local::new("sidecar~a", metadata(), ("eu", "eu-1"));
    let labels = [Box::from("role")];
    let told = local.workload_with(&labels);
    assert_eq!((told.kind, &*told.name), ("deployment", "reviews-v1"));
    assert_eq!((&*told.app, &*told.region), ("reviews-k8s", "eu"));
    let heard = Workload::of_struct(&told.to_struct(), &labels);
    assert_eq!(heard, told);
    assert!(string(&told.to_struct(), "SECRET").is_none());
}

#[test]
fn short_forms() {
    let short = Workload::of_endpoint("httpbin-v1;app;httpbin;v1;Kubernetes").expect("five parts");
    assert_eq!((&*short.name, &*short.cluster), ("httpbin-v1", "Kubernetes"));
    assert_eq!(Workload::of_endpoint("a;b;c;d"), None);
    let told = Local::new("", metadata(), ("", "")).workload;
    let text = told.baggage();
    assert!(text.starts_with("k8s.deployment.name=reviews-v1,service.name=reviews,"), "{text}");
    let heard = Workload::of_baggage(&text).expect("it says something");
    assert_eq!((heard.kind, &heard.name, &heard.app), (told.kind, &told.name, &told.app));
    assert_eq!(Workload::of_baggage("userid=alice"), None);
}

#[test]
fn the_first_bytes_of_a_tcp_connection() {
    let local = Local::new("sidecar~a", metadata(), ("", ""));
    let hello = local.hello(&[]);
    assert_eq!(hello[..4], MAGIC.to_be_bytes());
    let length = u32::from_be_bytes(hello[4..8].try_into().unwrap()) as usize;
    assert_eq!(length, hello.len() - 8);
    let any = Any::decode(&hello[8..]).unwrap();
    assert_eq!(any.type_url, "type.googleapis.com/google.protobuf.Struct");
    let said = Struct::decode(any.value.as_slice()).unwrap();
    assert!(said.fields.contains_key(METADATA_KEY));
    assert_eq!(string(&said, "x-envoy-peer-metadata-id"), Some("sidecar~a"));
}
