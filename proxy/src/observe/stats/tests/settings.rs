//! `stats_config`: what real Envoy shows for the same settings.

use super::*;

#[test]
fn tags_follow_envoys_rules() {
    let regex = |name: &str, regex: &str| CustomTag::Regex {
        name: name.into(),
        regex: TagRegex::new(regex).expect("a regex of this test"),
    };
    let found = |rules: &TagRules, name: &str| {
        let (mut base, mut tags) = (String::new(), Vec::new());
        rules.extract(name, &mut base, &mut tags);
        let tags: Vec<_> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{base} {}", tags.join(" "))
    };
    let name = "cluster.c1.upstream_cx_total";
    // The first tag of a name counts, and what the second would cut stays.
    let rules = TagRules::new(
        vec![
            regex("dup", r"^cluster\.((.*?)\.)"),
            regex("dup", r"^cluster\.(c(.))"),
            regex("look", r"^cluster(?=\.).*?\.(upstream_cx_(total))"),
        ],
        true,
        Vec::new(),
    );
    assert_eq!(found(&rules, name), "cluster envoy_cluster_name=c1 dup=c1 look=total");
    // A fixed tag stands for the default one of its name.
    let fixed = CustomTag::Fixed { name: "envoy.cluster_name".into(), value: "F".into() };
    let rules = TagRules::new(vec![fixed], true, Vec::new());
    assert_eq!(found(&rules, name), "cluster.c1.upstream_cx_total envoy_cluster_name=F");
    // So does an expression, if it may, matched or not.
    let own = || vec![regex("envoy.cluster_name", r"^cluster\.(d)")];
    let rules = TagRules::new(own(), true, Vec::new());
    assert_eq!(found(&rules, name), "cluster.upstream_cx_total envoy_cluster_name=c1");
    let rules = TagRules::new(own(), true, Vec::new()).with_overrides();
    assert_eq!(found(&rules, name), "cluster.c1.upstream_cx_total ");
    // A group that took no part is an empty value, and dots at the end say nothing.
    let rules = TagRules::new(
        vec![regex("fine", "(c(z)?1)"), regex("dots", "(upstream_cx_(total))")],
        false,
        Vec::new(),
    );
    assert_eq!(found(&rules, name), "cluster fine= dots=total");
    // Cut as Istio's bootstrap does.
    let rules = TagRules::new(
        vec![
            regex("cluster_name", r"^cluster(\.(.+);)"),
            regex(
                "http_conn_manager_listener_prefix",
                r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
            ),
            regex(
                "listener_address",
                r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
            ),
        ],
        false,
        Vec::new(),
    );
    assert_eq!(
        found(&rules, "cluster.outbound|80||a.b.svc;.upstream_cx_total"),
        "cluster.upstream_cx_total cluster_name=outbound|80||a.b.svc"
    );
    assert_eq!(
        found(&rules, "listener.0.0.0.0_80.http.10.0.0.1_80.downstream_rq_2xx"),
        "listener.http.downstream_rq_2xx http_conn_manager_listener_prefix=10.0.0.1_80 \
         listener_address=0.0.0.0_80"
    );
    assert!(TagRegex::new("(a").is_err());
}

#[test]
fn a_matcher_decides_by_full_names() {
    use crate::observe::stats::settings::Matcher;
    use crate::plan::route::{CaseSensitivity::Sensitive, StringMatch};
    let text = |text: &str| Arc::<str>::from(text);
    let regex = regex::bytes::Regex::new(r"^(?:cluster\..*_ms)$").expect("a regex of this test");
    let list = || {
        vec![
            StringMatch::Prefix(text("cluster.x"), Sensitive),
            StringMatch::Prefix(text("cluster.a.upstream_rq"), Sensitive),
            StringMatch::Exact(text("cluster.b.version"), Sensitive),
            StringMatch::Suffix(text("b.warming_state"), Sensitive),
            StringMatch::Contains(text("_max_"), Sensitive),
            StringMatch::Regex(Arc::new(regex.clone())),
        ]
    };
    let page = |matcher| {
        let mut registry = Registry::new(1);
        let stats = registry.writer(0).expect("page");
        registry.configure(Settings { matcher, ..Settings::default() });
        let blocks = ["x1", "a", "b"].map(|name| ClusterStats::new(&mut registry, name));
        for block in &blocks {
            stats.response(block.upstream_rq_codes(), 200, Variant::External);
        }
        let text = registry.text_readout("cluster.x.text");
        registry.set_text(text, &Arc::from("t"));
        registry.publish();
        let view = registry.merger().view();
        let page = |format| {
            let params = StatsParams { text_readouts: true, ..StatsParams::all(format) };
            let page = StatsPage::new(view.clone(), params, Arc::default()).collect();
            String::from_utf8(page).expect("text")
        };
        (page(PageFormat::Text), page(PageFormat::Prometheus))
    };
    let names = |page: &str| -> Vec<String> {
        page.lines().filter_map(|l| l.split(": ").next()).map(str::to_owned).collect()
    };
    let (all, _) = page(Matcher::Everything);
    let (only, prometheus) = page(Matcher::Only(list()));
    let (except, _) = page(Matcher::Except(list()));
    let (all, only, except) = (names(&all), names(&only), names(&except));
    assert!(!only.is_empty() && !except.is_empty());
    for name in &all {
        let wanted = list().iter().any(|pattern| pattern.matches(name.as_bytes()));
        assert_eq!(only.contains(name), wanted, "{name}");
        assert_eq!(except.contains(name), !wanted, "{name}");
    }
    assert_eq!(only.len() + except.len(), all.len());
    assert!(only.iter().any(|name| name == "cluster.a.upstream_rq_200"));
    assert!(only.iter().any(|name| name == "cluster.x.text"));
    assert!(prometheus.contains("envoy_cluster_version{envoy_cluster_name=\"b\"} 0"));
    assert!(!prometheus.contains("envoy_cluster_version{envoy_cluster_name=\"a\"}"));
    let (none, prometheus) = page(Matcher::Nothing);
    assert_eq!(none + &prometheus, "");
}

#[test]
fn bounds_of_histograms_are_the_first_that_match() {
    use crate::plan::route::{CaseSensitivity::Sensitive, StringMatch};
    let prefix = |text: &str| StringMatch::Prefix(Arc::from(text), Sensitive);
    let mut registry = Registry::new(1);
    let stats = registry.writer(0).expect("page");
    let buckets = vec![(prefix("a"), Arc::from([0.1, 7.0])), (prefix(""), Arc::from([2.5]))];
    registry.configure(Settings { buckets, ..Settings::default() });
    let (_keep, a) = registry.histogram("a");
    let (_also, b) = registry.histogram("b");
    stats.record(a, 5);
    stats.record(b, 5);
    registry.publish();
    let mut merger = registry.merger();
    merger.flush();
    let page = |format, buckets| {
        let params = StatsParams { buckets, ..StatsParams::all(format) };
        let page = StatsPage::new(merger.view(), params, Arc::default()).collect();
        String::from_utf8(page).expect("text")
    };
    let text = page(PageFormat::Text, Some(BucketsMode::Cumulative));
    assert_eq!(text, "a: B0.1(0,0) B7(1,1)\nb: B2.5(0,0)\n");
    let prometheus = page(PageFormat::Prometheus, None);
    let bounds: Vec<_> = prometheus.lines().filter(|line| line.contains("le=")).collect();
    assert_eq!(
        bounds,
        [
            "envoy_a_bucket{le=\"0.10000000000000000555111512312578\"} 0",
            "envoy_a_bucket{le=\"7\"} 1",
            "envoy_a_bucket{le=\"+Inf\"} 1",
            "envoy_b_bucket{le=\"2.5\"} 0",
            "envoy_b_bucket{le=\"+Inf\"} 1",
        ]
    );
}
