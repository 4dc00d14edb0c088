use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::file::AppendOptions;

use super::page::Request;
use super::query::Params;
use super::*;
use crate::control::state::State;
use crate::observe::stats::{ClusterStats, Registry, ShardStats};
use crate::plan::cluster::{
    Discovery, EdsHealth, Host, HostTemplate, Lb, Thresholds, UpstreamHttp,
};
use crate::plan::http::HeaderCase;
use crate::plan::{ClusterName, Plan};

fn host(port: u16, hostname: &str, health: EdsHealth) -> Arc<Host> {
    let info = HostTemplate {
        hostname: hostname.into(),
        weight: 1,
        priority: 0,
        locality: Arc::new(("r1".to_owned(), "z1".to_owned(), String::new())),
        health_port: None,
        health_hostname: "".into(),
        health_address: None,
        no_active_check: false,
        eds_health: health,
        canary: false,
        workload: None,
        socket: Default::default(),
        internal: None,
    };
    let address = Address::Ip(([127, 0, 0, 1], port).into());
    Arc::new(Host::new(address, info, false))
}

fn cluster(registry: &mut Registry, id: u32, name: &str, hosts: Vec<Arc<Host>>) -> Arc<Cluster> {
    let thresholds = Thresholds {
        max_connections: 1024,
        max_pending: 1024,
        max_requests: 1024,
        max_retries: 3,
        max_pools: None,
        track_remaining: false,
        retry_budget: None,
    };
    let circuit_breakers = [thresholds; 2];
    Arc::new(Cluster {
        id: ClusterId(id),
        lease: Arc::new(ClusterName { id: ClusterId(id), name: name.into() }),
        name: name.into(),
        stat_name: name.into(),
        stats: ClusterStats::new(registry, name),
        discovery: Discovery::Static,
        lb: Lb::RoundRobin,
        locality_weighted: false,
        dropped: Default::default(),
        panic_threshold_percent: 50.0,
        sockets: Default::default(),
        connect_timeout: Duration::from_secs(5),
        buffer_limit: 1 << 20,
        limits: Arc::new(crate::upstream::limits::Limits::new(&circuit_breakers)),
        circuit_breakers,
        health_checks: Vec::new(),
        health_stats: None,
        outlier: None,
        outlier_stats: None,
        remaining: [None, None],
        http: UpstreamHttp {
            protocol: Default::default(),
            http2: None,
            idle_timeout: Duration::from_secs(3600),
            max_connection_duration: Duration::ZERO,
            max_headers_count: 100,
            max_headers_bytes: 60 << 10,
            header_case: HeaderCase::Lower,
            enable_trailers: false,
            allow_chunked_length: false,
            full_urls: false,
        },
        bind: None,
        extra_bind: None,
        socket_options: Vec::new(),
        tcp_keepalive: None,
        close_on_health_failure: false,
        ignore_health_on_removal: false,
        max_requests_per_connection: 0,
        hosts: Arc::new(HostSet {
            version: 1,
            hosts,
            overprovisioning_percent: 140,
            ..HostSet::default()
        }),
        needs: None,
        istio: None,
        metadata_exchange: None,
        hash: 0,
    })
}

fn plan(clusters: Vec<Arc<Cluster>>) -> Plan {
    let cluster_ids = clusters.iter().map(|c| (c.name.clone(), c.id)).collect();
    Plan {
        version: 1,
        clusters: clusters.into_iter().map(Some).collect(),
        cluster_ids,
        ..Plan::default()
    }
}

pub(super) type Commands = Rc<RefCell<Vec<AdminCommand>>>;

pub(super) fn admin() -> (Admin, Commands) {
    let mut registry = Registry::new(1);
    let hosts = vec![host(27201, "", EdsHealth::Healthy), host(27202, "foo", EdsHealth::Draining)];
    let up = cluster(&mut registry, 0, "up", hosts);
    let empty = cluster(&mut registry, 1, "empty", Vec::new());
    let parts = Parts {
        server: Arc::new(Server::starting()),
        facts: Arc::default(),
        dump: Arc::default(),
        bound: Arc::new([Bound {
            name: "l".into(),
            addresses: vec![
                Address::Ip(([127, 0, 0, 1], 31001).into()),
                Address::Pipe { path: "/run/l.sock".into(), mode: 0o600 },
            ],
        }]),
        merger: registry.merger(),
        counters: Counters::new(counters::Names::new(&mut registry), ShardStats::detached()),
        access_logs: Vec::new(),
        log_options: AppendOptions::default(),
        allow_paths: Vec::new(),
        ceiling: Arc::default(),
        ignores_ceiling: false,
        runtime: runtime::Layers::new(),
        plan: plan(vec![up, empty]),
    };
    let commands = Commands::default();
    let sink = Rc::clone(&commands);
    let admin = Admin::new(parts, move |message| {
        if let Message::Admin(command) = message {
            sink.borrow_mut().push(command);
        }
        true
    });
    (admin, commands)
}

pub(super) fn ask(admin: &Admin, method: &str, target: &str) -> (u16, String) {
    let (path, params) = Params::of_target(target.as_bytes());
    let request = Request { method: method.to_owned(), path, params };
    let response = table::answer(&request, admin);
    (response.status, response.into_text())
}

#[test]
fn ready_follows_the_state_of_the_process() {
    let (admin, commands) = admin();
    assert_eq!(ask(&admin, "GET", "/ready"), (503, "PRE_INITIALIZING\n".to_owned()));
    assert_eq!(ask(&admin, "GET", "/live"), (200, "LIVE\n".to_owned()));
    admin.server.set(State::Live);
    assert_eq!(ask(&admin, "GET", "/ready?x"), (200, "LIVE\n".to_owned()));
    assert_eq!(ask(&admin, "POST", "/healthcheck/fail"), (200, "OK\n".to_owned()));
    assert_eq!(ask(&admin, "GET", "/ready"), (503, "DRAINING\n".to_owned()));
    assert_eq!(ask(&admin, "POST", "/healthcheck/ok").0, 200);
    assert_eq!(ask(&admin, "GET", "/ready").0, 200);
    let sent = commands.borrow();
    let wanted = [AdminCommand::HealthCheckFailed(true), AdminCommand::HealthCheckFailed(false)];
    assert_eq!(*sent, wanted);
}

#[test]
fn what_changes_something_needs_post_and_unknown_paths_get_help() {
    let (admin, commands) = admin();
    for page in table::PAGES.iter().filter(|page| page.mutates) {
        let (status, text) = ask(&admin, "GET", page.path);
        assert_eq!(status, 405, "{}", page.path);
        assert_eq!(text, "Method GET not allowed, POST required.");
    }
    assert!(commands.borrow().is_empty());
    let (status, text) = ask(&admin, "GET", "/ready/");
    assert_eq!(status, 404);
    assert!(text.starts_with("invalid path. admin commands are:\n  /: "), "{text}");
    assert_eq!(ask(&admin, "GET", "/help").1, text.trim_start_matches("invalid path. "));
}

#[test]
fn every_page_answers_and_is_on_the_start_page() {
    let (admin, _) = admin();
    let (_, home) = ask(&admin, "GET", "/");
    for page in table::PAGES {
        let method = if page.mutates { "POST" } else { "GET" };
        let (status, _) = ask(&admin, method, page.path);
        assert!(matches!(status, 200 | 400 | 501 | 503), "{} {status}", page.path);
        assert!(home.contains(&format!(">{}<", page.path)), "{}", page.path);
    }
}

#[test]
fn drain_listeners_passes_its_flags_on() {
    let (admin, commands) = admin();
    ask(&admin, "POST", "/drain_listeners?graceful&inboundonly");
    ask(&admin, "POST", "/drain_listeners?skip_exit");
    let sent = commands.borrow();
    let drain = |graceful, skip_exit, inbound_only| AdminCommand::DrainListeners {
        graceful,
        skip_exit,
        inbound_only,
    };
    assert_eq!(*sent, [drain(true, false, true), drain(false, true, false)]);
}

#[test]
fn clusters_as_text_has_envoys_lines_in_envoys_order() {
    let (admin, _) = admin();
    let (_, text) = ask(&admin, "GET", "/clusters?filter=^up$");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "up::observability_name::up");
    assert_eq!(lines[1], "up::default_priority::max_connections::1024");
    assert_eq!(lines[8], "up::high_priority::max_retries::3");
    assert_eq!(lines[9], "up::added_via_api::false");
    let names: Vec<&str> = lines[10..29].iter().map(|l| l.split("::").nth(2).unwrap()).collect();
    assert_eq!(
        names,
        [
            "cx_active",
            "cx_connect_fail",
            "cx_total",
            "rq_active",
            "rq_error",
            "rq_pending_active",
            "rq_success",
            "rq_timeout",
            "rq_total",
            "hostname",
            "health_flags",
            "weight",
            "region",
            "zone",
            "sub_zone",
            "canary",
            "priority",
            "success_rate",
            "local_origin_success_rate"
        ]
    );
    assert!(text.contains("up::127.0.0.1:27201::health_flags::healthy\n"));
    assert!(text.contains("up::127.0.0.1:27202::health_flags::/eds_status_draining\n"));
    assert!(text.contains("up::127.0.0.1:27202::hostname::foo\n"));
    assert!(text.contains("up::127.0.0.1:27202::success_rate::-1\n"));
    assert!(!text.contains("empty::"));
    assert_eq!(ask(&admin, "GET", "/clusters?filter=("), (400, "Invalid re2 regex".to_owned()));
}

#[test]
fn clusters_as_json_leaves_out_what_is_zero() {
    let (admin, _) = admin();
    let (_, text) = ask(&admin, "GET", "/clusters?format=json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let host = &json["cluster_statuses"][0]["host_statuses"][1];
    assert_eq!(host["address"]["socket_address"]["port_value"], 27202);
    assert_eq!(host["stats"][0], serde_json::json!({"name": "cx_connect_fail"}));
    assert_eq!(host["stats"][6], serde_json::json!({"type": "GAUGE", "name": "cx_active"}));
    assert_eq!(host["health_status"]["eds_health_status"], "DRAINING");
    assert_eq!(host["locality"], serde_json::json!({"region": "r1", "zone": "z1"}));
    assert!(json["cluster_statuses"][1].get("host_statuses").is_none());
    let (_, none) = ask(&admin, "GET", "/clusters?format=json&filter=nothing");
    assert_eq!(none, "{}\n");
}

#[test]
fn other_hosts_show_at_once_and_an_old_set_does_not_come_back() {
    let (admin, _) = admin();
    let hosts = vec![host(1, "", EdsHealth::Healthy)];
    let set = |version| HostSet {
        version,
        hosts: hosts.clone(),
        overprovisioning_percent: 140,
        ..HostSet::default()
    };
    admin.set_hosts(ClusterId(0), Arc::new(set(2)));
    assert!(ask(&admin, "GET", "/clusters").1.contains("up::127.0.0.1:1::cx_total::0"));
    admin.set_hosts(ClusterId(0), Arc::new(set(0)));
    assert!(ask(&admin, "GET", "/clusters").1.contains("up::127.0.0.1:27201::cx_total::0"));
}

#[test]
fn listeners_in_both_formats() {
    let (admin, _) = admin();
    let (_, text) = ask(&admin, "GET", "/listeners");
    assert_eq!(text, "l::127.0.0.1:31001\nl::/run/l.sock\n");
    let (_, text) = ask(&admin, "GET", "/listeners?format=json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let status = &json["listener_statuses"][0];
    assert_eq!(status["local_address"]["socket_address"]["port_value"], 31001);
    assert_eq!(status["additional_local_addresses"][0]["pipe"]["path"], "/run/l.sock");
}

#[test]
fn logging_refuses_what_it_does_not_know() {
    let (admin, _) = admin();
    let problem = |target| {
        let (status, text) = ask(&admin, "POST", target);
        assert_eq!(status, 400, "{target}");
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(problem("/logging?level=nope"), "error: unknown logger level");
    assert_eq!(problem("/logging?nosuch=info"), "error: unknown logger name");
    assert_eq!(problem("/logging?paths=admin:info,nosuch:info"), "error: unknown logger name");
    assert_eq!(problem("/logging?a=b&c=d"), "error: invalid number of parameters");
    let (status, text) = ask(&admin, "POST", "/logging?testing=trace");
    assert_eq!(status, 200);
    assert!(text.contains("  testing: trace\n") && text.ends_with("\n\n"), "{text}");
}

#[test]
fn runtime_needs_an_admin_layer_to_be_modified() {
    let (admin, _) = admin();
    assert_eq!(ask(&admin, "POST", "/runtime_modify?a=b").0, 503);
    admin.runtime.borrow_mut().push_admin("admin".to_owned());
    assert_eq!(ask(&admin, "POST", "/runtime_modify?a=b"), (200, "OK\n".to_owned()));
    assert!(ask(&admin, "GET", "/runtime").1.contains("\"final_value\": \"b\""));
}

#[test]
fn config_dump_without_a_configuration_has_its_sections() {
    let (admin, _) = admin();
    let (_, text) = ask(&admin, "GET", "/config_dump?include_eds");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let types: Vec<&str> = json["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| config["@type"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    let (_, text) = ask(&admin, "GET", "/config_dump?include_eds&resource=static_endpoint_configs");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let endpoints = &json["configs"][0]["endpoint_config"]["endpoints"][0]["lb_endpoints"];
    assert_eq!(endpoints[1]["health_status"], "DRAINING");
}

#[test]
fn config_dump_refuses_what_does_not_exist() {
    let (admin, _) = admin();
    let get = |query| ask(&admin, "GET", &format!("/config_dump?{query}"));
    assert_eq!(get("resource=nosuch"), (404, "nosuch not found in config dump".to_owned()));
    assert_eq!(
        get("mask=nosuch").1,
        "FieldMask nosuch could not be successfully applied to any configs."
    );
    assert_eq!(
        get("resource=bootstrap").1,
        "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"
    );
    assert_eq!(get("resource=dynamic_listeners"), (200, "{}\n".to_owned()));
    assert_eq!(get("name_regex=(").0, 400);
    assert_eq!(get("resource=static_clusters&mask=cluster.name").0, 200);
    assert_eq!(get("resource=static_clusters&mask=nosuch").0, 400);
}
