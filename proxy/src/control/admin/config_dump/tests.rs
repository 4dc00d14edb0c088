//! What xDS brought, printed.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::api::envoy::config::cluster::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::listener::v3 as listener;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::super::tests::{admin, ask};
use crate::control::xds::{
    DumpSnapshot, Dumped, DumpedKind, Kind, Raw, Refused, ResourceState, Unready,
};

/// A snapshot with a listener of two versions, of which the newer was refused once, and what else
/// there is to print.
fn snapshot() -> DumpSnapshot {
    use prost::Message as _;
    let raw = |name: &str, version: &str, body: Vec<u8>| {
        Arc::new(Raw {
            name: name.into(),
            version: version.into(),
            hash: 0,
            body: body.into(),
            updated: Duration::from_secs(1),
        })
    };
    let listener = |name: &str, prefix: &str| {
        let listener = listener::Listener {
            name: name.to_owned(),
            stat_prefix: prefix.to_owned(),
            ..listener::Listener::default()
        };
        listener.encode_to_vec()
    };
    let cluster =
        |name: &str| api::Cluster { name: name.to_owned(), ..Default::default() }.encode_to_vec();
    let secret = tls::Secret {
        name: "own".to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            private_key: Some(core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString("SECRET".to_owned())),
                ..Default::default()
            }),
            ..Default::default()
        })),
    };
    let dumped = |raw: &Arc<Raw>, state| Dumped {
        name: raw.name.clone(),
        state,
        raw: Some(raw.clone()),
        refused: None,
    };
    let bad = raw("l", "3", listener("l", "bad"));
    let refused = Some(Arc::new(Refused { raw: bad, details: "no such filter".into() }));
    let active = raw("l", "1", listener("l", "one"));
    let listeners = vec![
        Dumped { refused, ..dumped(&active, ResourceState::Active) },
        dumped(&raw("l", "2", listener("l", "two")), ResourceState::Warming),
        dumped(&raw("m", "", listener("m", "")), ResourceState::Active),
    ];
    let clusters = vec![
        dumped(&raw("a", "1", cluster("a")), ResourceState::Active),
        dumped(&raw("b", "1", cluster("b")), ResourceState::Warming),
    ];
    let own = raw("own", "7", secret.encode_to_vec());
    let missing =
        Dumped { name: "root".into(), state: ResourceState::Warming, raw: None, refused: None };
    let secrets = vec![dumped(&own, ResourceState::Active), missing];
    let kind =
        |kind, version: &str, resources| DumpedKind { kind, version: version.into(), resources };
    DumpSnapshot {
        kinds: vec![
            kind(Kind::Cluster, "1", clusters),
            kind(Kind::Listener, "2", listeners),
            kind(Kind::Secret, "", secrets),
        ],
        unready: vec![Unready { name: "init manager l".into(), targets: vec!["target x".into()] }],
    }
}

fn dump(query: &str) -> serde_json::Value {
    let (admin, _) = admin();
    admin.take_snapshot(Arc::new(snapshot()));
    let (status, text) = ask(&admin, "GET", &format!("/config_dump{query}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn config_dump_shows_every_version_of_what_xds_brought() {
    let json = dump("");
    let section = |name: &str| {
        let configs = json["configs"].as_array().expect("sections");
        let found = configs.iter().find(|c| c["@type"].as_str().is_some_and(|t| t.ends_with(name)));
        found.expect(name).clone()
    };
    let clusters = section("ClustersConfigDump");
    assert_eq!(clusters["version_info"], "1");
    assert_eq!(clusters["dynamic_active_clusters"][0]["cluster"]["name"], "a");
    assert_eq!(clusters["dynamic_active_clusters"][0]["version_info"], "1");
    assert_eq!(clusters["dynamic_warming_clusters"][0]["cluster"]["name"], "b");
    let listeners = section("ListenersConfigDump");
    let all = listeners["dynamic_listeners"].as_array().expect("listeners");
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["name"], "l");
    assert_eq!(all[0]["active_state"]["listener"]["stat_prefix"], "one");
    assert_eq!(all[0]["warming_state"]["version_info"], "2");
    assert_eq!(all[0]["error_state"]["details"], "no such filter");
    assert_eq!(all[0]["error_state"]["failed_configuration"]["stat_prefix"], "bad");
    assert_eq!(all[1]["active_state"]["last_updated"], "1970-01-01T00:00:01.000Z");
    assert!(all[1]["active_state"].get("version_info").is_none());
    let secrets = section("SecretsConfigDump");
    assert_eq!(secrets["dynamic_active_secrets"][0]["name"], "own");
    assert_eq!(secrets["dynamic_warming_secrets"][0]["name"], "root");
    assert!(!json.to_string().contains("SECRET"), "keys are struck out");
}

#[test]
fn config_dump_of_one_list_and_with_masks() {
    let json = dump("?resource=dynamic_listeners&name_regex=m");
    let configs = json["configs"].as_array().expect("elements");
    assert_eq!(configs.len(), 1);
    let url = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener";
    assert_eq!((&configs[0]["@type"], &configs[0]["name"]), (&url.into(), &"m".into()));
    let json = dump("?mask=dynamic_active_clusters.version_info");
    let configs = json["configs"].as_array().expect("sections");
    assert_eq!(configs.len(), 1);
    assert_eq!(configs[0]["dynamic_active_clusters"][0]["version_info"], "1");
    assert!(configs[0]["dynamic_active_clusters"][0].get("cluster").is_none());
    assert!(configs[0].get("version_info").is_none());
}

#[test]
fn init_dump_says_who_waits_for_what() {
    let (admin, _) = admin();
    assert_eq!(ask(&admin, "GET", "/init_dump").1, "{}\n");
    admin.take_snapshot(Arc::new(snapshot()));
    let json: serde_json::Value =
        serde_json::from_str(&ask(&admin, "GET", "/init_dump").1).expect("JSON");
    let first = &json["unready_targets_dumps"][0];
    assert_eq!(
        (&first["name"], &first["target_names"][0]),
        (&"init manager l".into(), &"target x".into())
    );
    assert_eq!(ask(&admin, "GET", "/init_dump?mask=nosuch").0, 400);
}
