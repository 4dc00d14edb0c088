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
fn resources_are_read_with_their_names_and_versions() {
    let parsed = parse(&file("two.yaml", TWO), Kind::Cluster).expect("it is fine");
    let found: Vec<(&str, &str)> =
        parsed.resources.iter().map(|r| (&*r.name, &*r.version)).collect();
    assert_eq!((&*parsed.version, found), ("7", vec![("a", "7"), ("b", "own")]));
}

#[test]
fn what_is_wrong_is_said() {
    let wrong = parse(&file("kind.yaml", TWO), Kind::Listener).expect_err("clusters");
    assert!(wrong.contains("Unexpected type URL"), "{wrong}");
    let wrong = parse(&file("syntax.yaml", "resources: {"), Kind::Cluster).expect_err("syntax");
    assert!(wrong.contains("syntax.yaml"), "{wrong}");
    let wrong = parse(&PathBuf::from("/dev/zero"), Kind::Cluster).expect_err("a device");
    assert!(wrong.contains("/dev"), "{wrong}");
}
