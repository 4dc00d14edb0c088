use std::path::PathBuf;

use super::*;

fn file(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ringway-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

const TWO: &str = r#"
version_info: "7"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
- "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
  name: b
  version: "own"
  resource:
    "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: b
"#;

#[test]
fn a_file_is_a_response_of_its_kind() {
    let more = format!("nonsense: 1{TWO}");
    let bytes = response(&file("two.yaml", &more), Kind::Cluster).expect("it is fine");
    let found = DiscoveryResponse::decode(bytes.as_slice()).expect("a response");
    assert_eq!((&*found.version_info, &*found.type_url), ("7", Kind::Cluster.type_url()));
    let again = response(&file("two.pb", ""), Kind::Cluster).expect("an empty one");
    assert!(again.len() < bytes.len());
}

#[test]
fn what_is_wrong_is_said() {
    let wrong = response(&file("kind.yaml", TWO), Kind::Listener).expect_err("clusters");
    assert!(matches!(&wrong, Unread::Rejected(text) if text.contains("Unexpected type URL")));
    let failed = |path: &Path| match response(path, Kind::Cluster) {
        Err(Unread::Failed(text)) => text,
        other => panic!("{other:?}"),
    };
    let wrong = failed(&file("syntax.yaml", "resources: {"));
    assert!(wrong.contains("syntax.yaml"), "{wrong}");
    let wrong = failed(&file("value.yaml", "resources: 7"));
    assert!(wrong.contains("value.yaml"), "{wrong}");
    let wrong = failed(&PathBuf::from("/dev/zero"));
    assert!(wrong.contains("/dev"), "{wrong}");
}
