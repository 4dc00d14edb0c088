use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::blocks::*;
use super::histogram::BOUNDS;
use super::histogram::{Buckets, QUANTILES, bucket_of, bucket_range};
use super::render::{BucketsMode, PageFormat, StatsPage, StatsParams};
use super::tags::{CustomTag, TagRegex, TagRules};
use super::*;

mod settings;

/// What real Envoy printed, if this machine has it.
fn recorded(file: &str) -> Option<String> {
    let root = std::env::var_os("RINGWAY_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let path = root.join("envoy/admin").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: no {}", path.display());
    }
    text
}

fn page(registry: &mut Registry, merger: &Merger, params: StatsParams) -> String {
    registry.publish();
    let page = StatsPage::new(merger.view(), params, Arc::new(TagRules::default()));
    String::from_utf8(page.collect()).expect("text")
}

fn all(format: PageFormat) -> StatsParams {
    StatsParams::all(format)
}

/// Handles of all blocks of a proxy with one listener (`h`), one cluster (`up`), two workers.
struct Proxy {
    registry: Registry,
    merger: Merger,
    stats: ShardStats,
    _blocks: Vec<Box<dyn std::any::Any>>,
}

fn small_proxy() -> Proxy {
    let mut r = Registry::new(3);
    let stats = r.writer(2).expect("page");
    let merger = r.merger();
    let up = ClusterStats::new(&mut r, "up");
    up.http1_codec().open(&stats);
    let codec = Http1CodecStats::new(&mut r);
    codec.slots().open(&stats);
    let address = "127.0.0.1_31001";
    let mut keep: Vec<Box<dyn std::any::Any>> = vec![Box::new((up, codec))];
    keep.push(Box::new((
        HttpStats::new(&mut r, "h"),
        HcmStats::new(&mut r, "admin"),
        RouterStats::new(&mut r, "async-client"),
        ListenerStats::new(&mut r, address),
        ListenerStats::new(&mut r, "admin"),
        ListenerExtensionStats::new(&mut r, address),
        ListenerHttpStats::new(&mut r, address, "h"),
        ListenerHttpStats::new(&mut r, "admin", "admin"),
        WorkerListenerStats::new(&mut r, address, "worker_0"),
        WorkerListenerStats::new(&mut r, address, "worker_1"),
        WorkerListenerStats::new(&mut r, "admin", "main_thread"),
    )));
    keep.push(Box::new((
        ListenerManagerStats::new(&mut r),
        ClusterManagerStats::new(&mut r),
        ServerStats::new(&mut r),
        RuntimeStats::new(&mut r),
        FilesystemStats::new(&mut r),
        OverloadStats::new(&mut r),
        OverloadActionStats::new(&mut r),
    )));
    for owner in
        ["main_thread", "workers", "server.main_thread", "server.worker_0", "server.worker_1"]
    {
        keep.push(Box::new(WatchdogStats::new(&mut r, owner)));
    }
    for thread in ["main_thread", "worker_0", "worker_1"] {
        keep.push(Box::new(ThreadLocalClusterStats::new(&mut r, thread)));
    }
    Proxy { registry: r, merger, stats, _blocks: keep }
}

/// Writes a value under a full name, as the owner of the block would.
fn set(stats: &ShardStats, view: &View, name: &str, value: u64) {
    for scope in view.names().scopes() {
        let Some(suffix) = name.strip_prefix(&*scope.prefix) else { continue };
        for stat in scope.def.stats.iter().filter(|stat| stat.suffix == suffix) {
            if let Source::Dense(i) = stat.source {
                stats.gauge_set(Gauge(scope.dense + u32::from(i)), value);
                return;
            }
        }
    }
    assert_eq!(value, 0, "{name} has no cell");
}

#[test]
fn text_is_what_envoy_prints() {
    let Some(golden) = recorded("stats.txt") else { return };
    let mut proxy = small_proxy();
    proxy.registry.publish();
    let view = proxy.merger.view();
    for line in golden.lines() {
        if let Some((name, value)) = line.split_once(": ")
            && let Ok(value) = value.parse()
        {
            set(&proxy.stats, &view, name, value);
        }
    }
    let ours = page(&mut proxy.registry, &proxy.merger, all(PageFormat::Text));
    assert_eq!(ours, golden);
}

#[test]
fn used_only_is_what_envoy_prints() {
    let Some(golden) = recorded("stats_used.txt") else { return };
    let mut proxy = small_proxy();
    proxy.registry.publish();
    let view = proxy.merger.view();
    for line in golden.lines() {
        let (name, value) = line.split_once(": ").expect("name: value");
        set(&proxy.stats, &view, name, value.parse().expect("number"));
    }
    let params = StatsParams::parse("usedonly", PageFormat::Text).expect("params");
    let ours = page(&mut proxy.registry, &proxy.merger, params);
    assert_eq!(ours, golden);
}

#[test]
fn json_is_what_envoy_prints() {
    let Some(golden) = recorded("stats.json") else { return };
    let mut proxy = small_proxy();
    proxy.registry.publish();
    let view = proxy.merger.view();
    let parsed: serde_json::Value = serde_json::from_str(&golden).expect("JSON");
    for stat in parsed["stats"].as_array().expect("list") {
        if let (Some(name), Some(value)) = (stat["name"].as_str(), stat["value"].as_u64()) {
            set(&proxy.stats, &view, name, value);
        }
    }
    let params = StatsParams::parse("format=json", PageFormat::Text).expect("params");
    let ours = page(&mut proxy.registry, &proxy.merger, params);
    assert_eq!(ours, golden.trim_end());
}

#[test]
fn prometheus_is_what_envoy_prints() {
    let Some(golden) = recorded("prometheus.txt") else { return };
    let mut proxy = small_proxy();
    let ours = page(&mut proxy.registry, &proxy.merger, all(PageFormat::Prometheus));
    // Values depend on what was going on; names, labels, types and order do not.
    let names = |text: &str| -> Vec<String> {
        let line = |line: &str| line.rsplit_once(' ').map_or(line, |(name, _)| name).to_owned();
        text.lines().map(|l| if l.starts_with('#') { l.to_owned() } else { line(l) }).collect()
    };
    assert_eq!(names(&ours), names(&golden));
}

#[test]
fn shards_are_summed_and_slots_come_back() {
    let mut registry = Registry::new(2);
    let (a, b) = (registry.writer(0).expect("page"), registry.writer(1).expect("page"));
    assert!(registry.writer(0).is_none(), "one writer a page");
    let up = ClusterStats::new(&mut registry, "up");
    a.inc(up.upstream_rq_total());
    b.add(up.upstream_rq_total(), 2);
    a.gauge_add(up.upstream_rq_active(), 1);
    b.gauge_sub(up.upstream_rq_active(), 1);
    registry.publish();
    let merger = registry.merger();
    assert_eq!(merger.view().counter(up.upstream_rq_total()), 3);
    assert_eq!(merger.view().gauge(up.upstream_rq_active()), 0);

    let again = ClusterStats::new(&mut registry, "up");
    assert_eq!(again.upstream_rq_total(), up.upstream_rq_total(), "shared by name");
    registry.sweep();
    assert_eq!(registry.blocks(), 1);
    let slot = up.upstream_rq_total();
    drop((up, again));
    registry.sweep();
    assert_eq!(registry.blocks(), 0);
    let other = ClusterStats::new(&mut registry, "other");
    assert_eq!(other.upstream_rq_total(), slot, "slots are reused");
    assert_eq!(merger.view().counter(slot), 0, "and start at zero");
}

#[test]
fn response_codes_appear_on_first_use() {
    let mut registry = Registry::new(2);
    let (a, b) = (registry.writer(0).expect("page"), registry.writer(1).expect("page"));
    let mut merger = registry.merger();
    let up = ClusterStats::new(&mut registry, "up");
    let filter = "filter=(rq_(.xx|...$|completed|unknown|time)$)";
    let params = || StatsParams::parse(filter, PageFormat::Text).expect("params");
    assert_eq!(page(&mut registry, &merger, params()), "cluster.up.upstream_rq_completed: 0\n");
    a.response(up.upstream_rq_codes(), 200, Variant::External);
    b.response(up.upstream_rq_codes(), 200, Variant::Internal);
    b.response(up.upstream_rq_codes(), 503, Variant::External);
    b.response(up.upstream_rq_codes(), 700, Variant::External);
    b.response(up.upstream_rq_codes(), 200, Variant::Canary);
    a.response_time(up.upstream_rq_time(), 5, Variant::External);
    b.response_time(up.upstream_rq_time(), 7, Variant::Internal);
    merger.flush();
    let text = page(&mut registry, &merger, params());
    let expected = "cluster.up.canary.upstream_rq_200: 1\n\
        cluster.up.canary.upstream_rq_2xx: 1\n\
        cluster.up.canary.upstream_rq_completed: 1\n\
        cluster.up.external.upstream_rq_200: 1\n\
        cluster.up.external.upstream_rq_2xx: 1\n\
        cluster.up.external.upstream_rq_503: 1\n\
        cluster.up.external.upstream_rq_5xx: 1\n\
        cluster.up.external.upstream_rq_completed: 3\n\
        cluster.up.external.upstream_rq_unknown: 1\n\
        cluster.up.internal.upstream_rq_200: 1\n\
        cluster.up.internal.upstream_rq_2xx: 1\n\
        cluster.up.internal.upstream_rq_completed: 1\n\
        cluster.up.upstream_rq_200: 2\n\
        cluster.up.upstream_rq_2xx: 2\n\
        cluster.up.upstream_rq_503: 1\n\
        cluster.up.upstream_rq_5xx: 1\n\
        cluster.up.upstream_rq_completed: 4\n\
        cluster.up.upstream_rq_unknown: 1\n";
    assert!(text.starts_with(expected), "{text}");
    let times = text.strip_prefix(expected).expect("times").lines().count();
    assert_eq!(times, 3, "{text}");

    merger.reset_counters();
    let text = page(&mut registry, &merger, params());
    assert!(text.contains("cluster.up.external.upstream_rq_200: 0\n"), "{text}");
    assert!(text.contains("cluster.up.upstream_rq_completed: 0\n"), "{text}");
}

#[test]
fn one_page_merges_scopes_whose_names_interleave() {
    let mut registry = Registry::new(1);
    let merger = registry.merger();
    let mut keep = Vec::new();
    for name in ["b.z", "a", "b", "a.m", "b.z.c", "b-", "a.l.x"] {
        keep.push(registry.counter(name));
    }
    let pair = WorkerListenerStats::new(&mut registry, "x", "y");
    let middle = registry.counter("listener.x.y.downstream_cx_b");
    let text = page(&mut registry, &merger, all(PageFormat::Text));
    let names: Vec<&str> = text.lines().filter_map(|l| l.split(':').next()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), 10);
    drop((pair, middle));
}

/// Samples 0, 0, 0, 2, 3, 41, 41, 42, and what Envoy 1.40 printed for them.
#[test]
fn quantiles_are_envoys() {
    let values = [0, 0, 0, 2, 3, 41, 41, 42];
    let buckets = Buckets::from_unsorted(values.iter().map(|&v| (bucket_of(v), 1)).collect());
    let q: Vec<String> = buckets.quantiles().iter().map(|q| q.to_string()).collect();
    let expected =
        ["0", "0", "2.05", "41.333333333333336", "42.5", "42.5", "42.5", "42.5", "42.5", "42.5"];
    assert_eq!(q, expected);
    assert_eq!(buckets.sum().to_string(), "130.58003026996147");
    assert_eq!(buckets.cumulative(&BOUNDS)[..6], [3, 3, 5, 5, 5, 8]);
    assert_eq!(buckets.disjoint(&BOUNDS)[..6], [3, 0, 2, 0, 0, 3]);
}

#[test]
fn histogram_lines_are_envoys() {
    let mut registry = Registry::new(1);
    let stats = registry.writer(0).expect("page");
    let mut merger = registry.merger();
    let (_keep, h) = registry.histogram("t");
    let mode = |mode| StatsParams { buckets: Some(mode), ..all(PageFormat::Text) };
    let line = page(&mut registry, &merger, all(PageFormat::Text));
    assert_eq!(line, "t: No recorded values\n");
    for value in [0, 0, 0, 2, 3, 41, 41, 42] {
        stats.record(h, value);
    }
    registry.publish();
    merger.flush();
    merger.flush();
    assert_eq!(
        page(&mut registry, &merger, mode(BucketsMode::Summary)),
        "t: P0(nan,0) P25(nan,0) P50(nan,2.05) P75(nan,41.333333333333336) P90(nan,42.5) \
         P95(nan,42.5) P99(nan,42.5) P99.5(nan,42.5) P99.9(nan,42.5) P100(nan,42.5)\n"
    );
    let detailed = page(&mut registry, &merger, mode(BucketsMode::Detailed));
    let expected = "t:\n  totals=0,0:3, 2,0.1:1, 3,0.1:1, 41,1:2, 42,1:1\n  intervals=\n  summary=";
    assert!(detailed.starts_with(expected), "{detailed}");
    let text = page(&mut registry, &merger, mode(BucketsMode::Cumulative));
    assert!(text.starts_with("t: B0.5(0,3) B1(0,3) B5(0,5) "), "{text}");
    assert!(text.ends_with("B600000(0,8) B1.8e+06(0,8) B3.6e+06(0,8)\n"), "{text}");
    let params = StatsParams { format: PageFormat::Json, ..mode(BucketsMode::Cumulative) };
    let json = page(&mut registry, &merger, params);
    assert!(json.contains("{\"upper_bound\":3e+05,\"interval\":0,\"cumulative\":8}"), "{json}");
    assert!(json.contains("{\"upper_bound\":1800000,"), "{json}");
    let prometheus = page(&mut registry, &merger, all(PageFormat::Prometheus));
    assert!(prometheus.contains("envoy_t_sum{} 130.58003026996146900273743085563\n"));
    assert!(prometheus.contains("envoy_t_bucket{le=\"1800000\"} 8\n"), "{prometheus}");
}

proptest! {
    /// The k-th of c samples of a bucket is taken at k/(c+1) of it; k and c from sorted samples.
    #[test]
    fn quantiles_agree_with_sorting(mut values in prop::collection::vec(any_size(), 1..300)) {
        let mut registry = Registry::new(2);
        let shards = [registry.writer(0).expect("page"), registry.writer(1).expect("page")];
        let (_keep, h) = registry.histogram("h");
        for (i, &value) in values.iter().enumerate() {
            shards[i % 2].record(h, value);
        }
        registry.publish();
        let mut merger = registry.merger();
        merger.flush();
        let view = merger.view();
        let scope = view.names().scopes().next().expect("scope").clone();
        let ours = &view.histogram(&scope, 0).expect("samples").interval;
        prop_assert_eq!(ours.samples(), values.len() as u64);
        values.sort_unstable();
        for (q, got) in QUANTILES.iter().zip(ours.quantiles()) {
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let bucket = bucket_of(values[rank - 1]);
            let before = values.iter().filter(|v| bucket_of(**v) < bucket).count();
            let inside = values.iter().filter(|v| bucket_of(**v) == bucket).count();
            let (low, width) = bucket_range(bucket);
            let expected = low + width * ((rank - before) as f64 / (inside + 1) as f64);
            prop_assert_eq!(got, expected);
        }
    }

    /// Two significant digits: a value lies in its bucket, and buckets are in order.
    #[test]
    fn a_value_lies_in_its_bucket(value in any_size()) {
        let (low, width) = bucket_range(bucket_of(value));
        let v = value as f64;
        prop_assert!(low <= v * (1.0 + 1e-9) && v <= (low + width) * (1.0 + 1e-9));
        prop_assert!(bucket_of(value) <= bucket_of(value.saturating_add(1)));
    }

    /// What one interval adds is what two states differ by.
    #[test]
    fn intervals_add_up(
        a in prop::collection::vec((0u16..1801, 1u64..9), 0..50),
        b in prop::collection::vec((0u16..1801, 1u64..9), 0..50),
    ) {
        let before = Buckets::from_unsorted(a.clone());
        let after = Buckets::from_unsorted(a.into_iter().chain(b.clone()).collect());
        prop_assert_eq!(after.since(&before), Buckets::from_unsorted(b));
    }

    /// Tags never lose or invent a byte of the name, except dots next to what was cut.
    #[test]
    fn extraction_is_total(name in "[a-z_]{1,8}(\\.[a-zA-Z0-9_|:-]{0,6}){0,6}") {
        let rules = TagRules::default();
        let (mut base, mut tags) = (String::new(), Vec::new());
        rules.extract(&name, &mut base, &mut tags);
        let kept: usize = base.len() + tags.iter().map(|tag| tag.1.len()).sum::<usize>();
        prop_assert!(kept <= name.len(), "{name} -> {base} {tags:?}");
    }
}

fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![0..120u64, 0..100_000u64, any::<u64>()]
}

/// Name, what is left of it, tags.
const TAGS: &[(&str, &str, &str)] = &[
    (
        "cluster.up.upstream_rq_200",
        "cluster.upstream_rq",
        "envoy_response_code=200 envoy_cluster_name=up",
    ),
    (
        "cluster.up.external.upstream_rq_5xx",
        "cluster.external.upstream_rq_xx",
        "envoy_response_code_class=5 envoy_cluster_name=up",
    ),
    (
        "cluster.down.x.y.membership_total",
        "cluster.x.y.membership_total",
        "envoy_cluster_name=down",
    ),
    (
        "http.ingress.http.downstream_rq_2xx",
        "http.http.downstream_rq_xx",
        "envoy_response_code_class=2 envoy_http_conn_manager_prefix=ingress",
    ),
    (
        "listener.127.0.0.1_31001.http.h.downstream_rq_1xx",
        "listener.http.downstream_rq_xx",
        "envoy_response_code_class=1 envoy_http_conn_manager_prefix=h \
             envoy_listener_address=127.0.0.1_31001",
    ),
    (
        "listener.127.0.0.1_31001.worker_1.downstream_cx_total",
        "listener.worker_downstream_cx_total",
        "envoy_worker_id=1 envoy_listener_address=127.0.0.1_31001",
    ),
    (
        "listener.[__1]_80.downstream_cx_total",
        "listener.downstream_cx_total",
        "envoy_listener_address=[__1]_80",
    ),
    (
        "listener.my_name.downstream_cx_total",
        "listener.downstream_cx_total",
        "envoy_listener_address=my_name",
    ),
    (
        "listener.admin.http.admin.downstream_rq_2xx",
        "listener.admin.http.downstream_rq_xx",
        "envoy_response_code_class=2 envoy_http_conn_manager_prefix=admin",
    ),
    (
        "listener.admin.main_thread.downstream_cx_total",
        "listener.admin.main_thread.downstream_cx_total",
        "",
    ),
    ("server.worker_12.watchdog_miss", "server.worker_watchdog_miss", "envoy_worker_id=12"),
    (
        "vhost.vh.vcluster.vc.upstream_rq_time",
        "vhost.vcluster.upstream_rq_time",
        "envoy_virtual_cluster=vc envoy_virtual_host=vh",
    ),
    (
        "vhost.vh.route.r.upstream_rq_404",
        "vhost.route.upstream_rq",
        "envoy_response_code=404 envoy_virtual_host=vh envoy_route=r",
    ),
    (
        "http.p.rds.a.b.update_success",
        "http.rds.update_success",
        "envoy_rds_route_config=a.b envoy_http_conn_manager_prefix=p",
    ),
    (
        "x.http_local_rate_limit.ok",
        "http_local_rate_limit.ok",
        "envoy_local_http_ratelimit_prefix=x",
    ),
    ("tcp.t.downstream_cx_total", "tcp.downstream_cx_total", "envoy_tcp_prefix=t"),
    (
        "connection_limit.c.active_connections",
        "connection_limit.active_connections",
        "envoy_connection_limit_prefix=c",
    ),
    ("proxy_proto.not_found_allowed", "proxy_proto.not_found_allowed", ""),
    ("proxy_proto.versions.v1.found", "proxy_proto.found", "envoy_proxy_protocol_version=1"),
    (
        "proxy_proto.p.versions.v2.error",
        "proxy_proto.error",
        "envoy_proxy_protocol_prefix=p envoy_proxy_protocol_version=2",
    ),
    (
        "proxy_proto.p.q.versions.v2.error",
        "proxy_proto.q.versions.v2.error",
        "envoy_proxy_protocol_prefix=p",
    ),
    ("cluster_manager.active_clusters", "cluster_manager.active_clusters", ""),
    ("workers.watchdog_miss", "workers.watchdog_miss", ""),
];

#[test]
fn tags_are_envoys() {
    let rules = TagRules::default();
    let (mut base, mut tags) = (String::new(), Vec::new());
    for (name, wanted_base, wanted_tags) in TAGS {
        rules.extract(name, &mut base, &mut tags);
        let found: Vec<String> = tags.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(
            (base.as_str(), found.join(" ").as_str()),
            (*wanted_base, *wanted_tags),
            "{name}"
        );
    }
}

#[test]
fn tags_of_a_bootstrap() {
    let regex = |name: &str, regex: &str| CustomTag::Regex {
        name: name.into(),
        regex: TagRegex::new(regex).expect("a regex of this test"),
    };
    let fixed = CustomTag::Fixed { name: "mesh.id".into(), value: "m".into() };
    let custom =
        vec![regex("cluster_name", r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"), fixed];
    let rules = TagRules::new(custom, false, vec!["envoy.response_code".into()]);
    let (mut base, mut tags) = (String::new(), Vec::new());
    let name = "cluster.outbound|80||a.b.svc.cluster.local.upstream_rq_200";
    rules.extract(name, &mut base, &mut tags);
    assert_eq!(base, "cluster.upstream_rq");
    let cluster = "outbound|80||a.b.svc.cluster.local";
    let wanted = [("envoy_response_code", "200"), ("mesh_id", "m"), ("cluster_name", cluster)];
    assert_eq!(tags, wanted);
}

#[test]
fn wrong_parameters_get_envoys_answers() {
    let parse = |query| StatsParams::parse(query, PageFormat::Text).expect_err(query).0;
    assert_eq!(parse("type=xx"), "invalid &type= param");
    assert_eq!(
        parse("format=xx"),
        "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"
    );
    assert_eq!(
        parse("histogram_buckets=xx"),
        "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
    );
    assert!(parse("filter=x(").starts_with("Invalid re2 regex: "));
    let prometheus = StatsParams::parse("histogram_buckets=detailed", PageFormat::Prometheus);
    assert_eq!(prometheus.expect_err("mode").0, "unsupported prometheus histogram bucket mode");
}

#[test]
fn text_readouts() {
    let mut registry = Registry::new(1);
    let merger = registry.merger();
    let readout = registry.text_readout("a.text");
    assert_eq!(registry.text_readout("a.text"), readout);
    registry.set_text(readout, &"v \"1\"".into());
    assert_eq!(page(&mut registry, &merger, all(PageFormat::Text)), "a.text: \"v \"1\"\"\n");
    assert_eq!(
        page(&mut registry, &merger, all(PageFormat::Json)),
        r#"{"stats":[{"name":"a.text","value":"v \"1\""}]}"#
    );
    assert_eq!(page(&mut registry, &merger, all(PageFormat::Prometheus)), "");
    let params = StatsParams { text_readouts: true, ..all(PageFormat::Prometheus) };
    assert_eq!(
        page(&mut registry, &merger, params),
        "# TYPE envoy_a_text gauge\nenvoy_a_text{text_value=\"v \\\"1\\\"\"} 1\n"
    );
    registry.remove_text(readout);
    assert_eq!(page(&mut registry, &merger, all(PageFormat::Text)), "");
    assert_eq!(registry.text_readout("b.text"), readout, "its place is used again");
    assert_eq!(page(&mut registry, &merger, all(PageFormat::Text)), "b.text: \"\"\n");
}

#[test]
fn readers_see_whole_values_while_a_shard_writes() {
    let mut registry = Registry::new(1);
    let stats = registry.writer(0).expect("page");
    let up = ClusterStats::new(&mut registry, "up");
    let (slot, codes) = (up.upstream_rq_total(), up.upstream_rq_codes());
    registry.publish();
    let view = registry.merger().view();
    let scope = view.names().scopes().next().expect("scope").clone();
    let writer = std::thread::spawn(move || {
        for i in 0..200_000u64 {
            stats.response(codes, 100 + (i % 300) as u16, Variant::External);
            stats.inc(slot);
        }
        drop(up);
    });
    let mut last = 0;
    while last < 200_000 {
        let now = view.counter(slot);
        let (counted, _) = view.number(&scope, Kind::Counter, Source::CodesTotal);
        assert!(now >= last && counted <= 200_000);
        view.codes(&scope, |key, _| assert!((800..3200).contains(&key)));
        last = now;
    }
    writer.join().expect("writer");
    let (counted, _) = view.number(&scope, Kind::Counter, Source::CodesTotal);
    assert_eq!(counted, 200_000);
}

#[test]
fn a_busy_histogram_is_small() {
    let table = sparse::Sparse::default();
    for value in 1..60u64 {
        table.add(bucket_of(value), 1);
    }
    assert!(table.bytes() <= 1024, "{}", table.bytes());
    let mut samples = 0;
    table.each(|_, n| samples += n);
    assert_eq!(samples, 59);
}

/// 5,000 clusters whose control thread has set some gauges, with pages for 4 writers.
#[test]
fn a_cluster_costs_little() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
        pages.unwrap_or(0) * 4096
    };
    let before = resident();
    let mut registry = Registry::new(4);
    let control = registry.writer(3).expect("page");
    let clusters: Vec<ClusterStats> = (0..5000)
        .map(|i| {
            let name = format!("outbound|80||service-{i}.default.svc.cluster.local");
            ClusterStats::new(&mut registry, &name)
        })
        .collect();
    for cluster in &clusters {
        control.gauge_set(cluster.membership_total(), 3);
        control.gauge_set(cluster.membership_healthy(), 3);
    }
    registry.publish();
    let each = resident().saturating_sub(before) / clusters.len();
    assert!(each <= 5 * 1024, "{each} bytes a cluster");
    eprintln!("{each} bytes a cluster");
}

#[test]
fn labels_that_a_name_carries_need_no_guessing() {
    let mut registry = Registry::new(1);
    let stats = registry.writer(0).expect("a page");
    let mut name = format!("{}istio_requests_total", tags::LABELLED);
    for (label, value) in
        [("reporter", "source"), ("host", "a.b.svc"), ("none", ""), ("x", "\u{2}y")]
    {
        tags::label_into(label, value, &mut name);
    }
    let (_block, counter) = registry.counter(&name);
    stats.add(counter, 3);
    let merger = registry.merger();
    let text = page(&mut registry, &merger, all(PageFormat::Prometheus));
    let line = "istio_requests_total{reporter=\"source\",host=\"a.b.svc\",none=\"\",x=\"y\"} 3";
    assert!(text.contains(&format!("# TYPE istio_requests_total counter\n{line}\n")), "{text}");
    let text = page(&mut registry, &merger, all(PageFormat::Text));
    let line = "istiocustom.istio_requests_total.reporter.source.host.a.b.svc.none.x.y: 3";
    assert!(text.contains(line), "{text}");
}
