use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{PageFormat, StatsPage, StatsParams, float, number};
use super::lines::LE;
use crate::observe::stats::blocks::*;
use crate::observe::stats::histogram::BOUNDS;
use crate::observe::stats::tags::{CustomTag, TagRegex, TagRules, mangled};
use crate::observe::stats::{Kind, Registry, ShardStats, Variant, View};

#[test]
fn bounds_are_printed_as_numbers() {
    for (text, bound) in LE.iter().zip(BOUNDS) {
        assert_eq!(*text, float::thirty_two_digits(bound));
    }
}

#[test]
fn numbers_are_decimal() {
    for n in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
        let mut out = Vec::new();
        number::push(n, &mut out);
        assert_eq!(out, n.to_string().into_bytes());
    }
}

#[test]
fn a_page_comes_in_small_steps() {
    let (mut registry, mut keep) = (Registry::new(1), Vec::new());
    for i in 0..3000 {
        keep.push(ClusterStats::new(&mut registry, &format!("c{i}")));
    }
    registry.publish();
    let params = StatsParams::all(PageFormat::Prometheus);
    let mut page = StatsPage::new(registry.merger().view(), params, Arc::default());
    let (mut len, mut steps) = (0, 0);
    loop {
        let mut out = Vec::new();
        let more = page.next(&mut out);
        assert!(out.len() < 80 << 10, "{} bytes at once", out.len());
        len += out.len();
        steps += 1;
        if !more {
            break;
        }
    }
    assert!(steps > len >> 17, "{steps} steps for {len} bytes");
}

/// The page, found the long way: every name by itself.
fn reference(view: &View, rules: &TagRules, used_only: bool) -> String {
    type Lines = Vec<(Vec<String>, String)>;
    let mut metrics: BTreeMap<(u8, Vec<String>), Lines> = BTreeMap::new();
    let parts = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
    for scope in view.names().scopes() {
        for entry in super::super::entries::of_scope(view, scope, false) {
            let (value, used) = entry.number(view, scope);
            if used_only && !used {
                continue;
            }
            let name = format!("{}{}", scope.prefix, entry.suffix);
            let (mut base, mut tags) = (String::new(), Vec::new());
            rules.extract(&name, &mut base, &mut tags);
            let labels: Vec<String> = tags
                .iter()
                .map(|(tag, value)| {
                    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                    format!("{tag}=\"{value}\"")
                })
                .collect();
            let line = format!("envoy_{}{{{}}} {value}\n", mangled(&base), labels.join(","));
            let order = u8::from(entry.kind == Kind::Gauge);
            metrics.entry((order, parts(&base))).or_default().push((parts(&name), line));
        }
    }
    let mut out = String::new();
    for ((order, base), mut members) in metrics {
        let kind = if order == 0 { "counter" } else { "gauge" };
        let _ = writeln!(out, "# TYPE envoy_{} {kind}", mangled(&base.join(".")));
        members.sort();
        members.iter().for_each(|(_, line)| out.push_str(line));
    }
    out
}

/// Blocks under names that share parts, nest, and look like what rules look for.
fn blocks(registry: &mut Registry, stats: &ShardStats, kinds: &[(u8, String)]) -> Vec<Keep> {
    let mut keep: Vec<Keep> = Vec::new();
    for (kind, name) in kinds {
        match kind {
            0..=3 => {
                let cluster = ClusterStats::new(registry, name);
                stats.add(cluster.upstream_rq_total(), name.len() as u64);
                if kind % 2 == 0 {
                    stats.response(cluster.upstream_rq_codes(), 200, Variant::External);
                    stats.response(cluster.upstream_rq_codes(), 503, Variant::Internal);
                }
                keep.push(Box::new((cluster, OutlierDetectionStats::new(registry, name))));
            }
            4 => keep.push(Box::new(HttpStats::new(registry, name))),
            5 => keep.push(Box::new(RouteStats::new(registry, "v", "route", name))),
            6 => keep.push(Box::new(TcpStats::new(registry, name))),
            7 => keep.push(Box::new(ListenerStats::new(registry, name))),
            8 => keep.push(Box::new(registry.counter(name))),
            9 => keep.push(Box::new(registry.gauge(&format!("cluster.{name}")))),
            _ => keep.push(Box::new(ProxyProtocolErrorStats::new(registry))),
        }
    }
    keep
}

type Keep = Box<dyn std::any::Any>;

fn rules() -> impl Strategy<Value = TagRules> {
    let regex = CustomTag::Regex {
        name: "cluster_name".into(),
        regex: TagRegex::new(r"^cluster\.((.+?)\.)").expect("a regex of this test"),
    };
    let fixed = CustomTag::Fixed { name: "mesh".into(), value: "m\"".into() };
    let only = vec!["envoy.response_code".to_owned()];
    prop_oneof![
        Just(TagRules::default()),
        Just(TagRules::new(vec![fixed.clone()], true, Vec::new())),
        Just(TagRules::new(vec![regex, fixed], true, Vec::new())),
        Just(TagRules::new(Vec::new(), false, only)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_is_what_single_names_make(
        kinds in prop::collection::vec((0u8..11, NAMES), 1..12),
        rules in rules(),
        used_only: bool,
    ) {
        let mut registry = Registry::new(1);
        let stats = registry.writer(0).expect("page");
        let _keep = blocks(&mut registry, &stats, &kinds);
        registry.publish();
        let view = registry.merger().view();
        let wanted = reference(&view, &rules, used_only);
        let params = StatsParams { used_only, ..StatsParams::all(PageFormat::Prometheus) };
        let page = StatsPage::new(view, params, Arc::new(rules)).collect();
        let page = String::from_utf8(page).expect("text");
        let numbers: String = page
            .split_inclusive('\n')
            .take_while(|line| !line.ends_with(" histogram\n"))
            .collect();
        prop_assert_eq!(numbers, wanted);
    }
}

const NAMES: &str = "(ssl|grpc|ext_authz|http|admin|a|b|c|a-b|q\"|\\\\|rds|_rq_200|1)\
                     (\\.(ssl|ciphers|grpc|svc|a|worker_0|outlier_detection|rds|x)){0,3}";
