//! Route tables with requests and what Envoy's router answers to each: the goldens of its "route
//! table check tool". Compared are virtual host, cluster, kind and code of the action; rewritten
//! paths and headers are the business of the end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};

use ringway::config::{Loaded, load_text};
use ringway::observe::stats::Registry;
use ringway::plan::listener::Terminal;
use ringway::plan::route::{
    Action, ClusterChoice, Lookup, RouteRequest, RouteTable, WeightedTarget,
};
use ringway_xds::Format;
use serde_json::Value;

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("RINGWAY_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join("router-check");
    let found = folder.is_dir();
    if !found {
        println!("skipped: no route tables in {}", folder.display());
    }
    found.then_some(folder)
}

/// A block of YAML without the fields that change no choice of a route.
fn without(text: &str, fields: &[&str]) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut out = Vec::new();
    let mut skipping = None;
    for line in text.lines() {
        if let Some(depth) = skipping {
            let inside = indent(line) > depth || line.trim_start().starts_with("- ");
            if line.trim().is_empty() || (inside && indent(line) >= depth) {
                continue;
            }
            skipping = None;
        }
        match fields.iter().any(|field| line.trim_start().starts_with(field)) {
            true => skipping = Some(indent(line)),
            false => out.push(line),
        }
    }
    out.join("\n")
}

/// The smallest bootstrap around a route table.
fn bootstrap(table: &str) -> String {
    const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                       http_connection_manager.v3.HttpConnectionManager";
    let table = without(table, &["virtual_clusters:", "internal_only_headers:"]);
    let table: String = table.lines().map(|line| format!("            {line}\n")).collect();
    format!(
        "static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          '@type': {HCM}
          stat_prefix: t
          http_filters:
          - name: router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            validate_clusters: false
{table}"
    )
}

/// A request of the check tool.
struct Request<'a>(&'a Value);

impl Request<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }
}

impl RouteRequest for Request<'_> {
    fn path(&self) -> Option<&[u8]> {
        self.text("path").map(str::as_bytes)
    }

    fn authority(&self) -> Option<&[u8]> {
        self.text("authority").map(str::as_bytes)
    }

    fn is_connect(&self) -> bool {
        self.text("method") == Some("CONNECT")
    }

    fn is_https(&self) -> bool {
        self.flag("ssl")
    }

    fn is_internal(&self) -> bool {
        self.flag("internal")
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let pseudo = name.strip_prefix(':').and_then(|name| self.text(name));
        let extra = self.0.get("additional_request_headers").and_then(Value::as_array);
        let extra = extra.into_iter().flatten().filter_map(move |header| {
            let key = header.get("key")?.as_str()?;
            key.eq_ignore_ascii_case(name).then(|| header.get("value")?.as_str()).flatten()
        });
        pseudo.into_iter().chain(extra).map(str::as_bytes)
    }
}

/// What the table does with a request, in the words of the check tool: it knows no virtual host of
/// a route that forwards nothing, and calls a direct response a redirect.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    host: String,
    cluster: String,
    code: u64,
    redirects: bool,
}

fn ask(loaded: &Loaded, table: &RouteTable, request: &Request<'_>) -> Answer {
    let random = request.0.get("random_value").and_then(Value::as_u64).unwrap_or_default();
    let host = |number| table.host(number).map(|host| host.name.to_string()).unwrap_or_default();
    let id = match table.find(request, random) {
        Lookup::NotFound => return Answer::default(),
        Lookup::RedirectToTls { .. } => {
            return Answer { code: 301, redirects: true, ..Answer::default() };
        }
        Lookup::Route(id) => id,
    };
    let (_, route) = table.route(id).expect("the table names its own routes");
    match &route.action {
        Action::Forward(forward) => {
            let name = |id| {
                let mut ids = loaded.plan.cluster_ids.iter();
                ids.find(|(_, other)| **other == id).map(|(name, _)| name.to_string())
            };
            let header = |name: &str| {
                let value = request.header(name).next().unwrap_or_default();
                Some(String::from_utf8_lossy(value).into_owned())
            };
            let cluster = match &forward.cluster {
                ClusterChoice::One(id) => name(*id),
                ClusterChoice::Header(of) => header(of),
                ClusterChoice::Weighted(clusters) => {
                    match &clusters.clusters[clusters.pick(random)].cluster {
                        WeightedTarget::Cluster(id) => name(*id),
                        WeightedTarget::Header(of) => header(of),
                    }
                }
            };
            let (host, cluster) = (host(id.host), cluster.unwrap_or_default());
            Answer { host, cluster, ..Answer::default() }
        }
        Action::Redirect(redirect) => {
            Answer { code: redirect.status.into(), redirects: true, ..Answer::default() }
        }
        Action::Direct(direct) => {
            Answer { code: direct.status.into(), redirects: true, ..Answer::default() }
        }
        Action::NonForwarding => Answer::default(),
    }
}

/// Compares one test; answers what differs.
fn differences(answer: &Answer, wanted: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (name, found) in [("virtual_host_name", &answer.host), ("cluster_name", &answer.cluster)] {
        if let Some(wanted) = wanted.get(name).and_then(Value::as_str)
            && wanted != found
        {
            out.push(format!("{name}: wanted '{wanted}', found '{found}'"));
        }
    }
    if let Some(code) = wanted.get("code").and_then(Value::as_u64)
        && code != answer.code
    {
        out.push(format!("code: wanted {code}, found {}", answer.code));
    }
    if let Some(path) = wanted.get("path_redirect").and_then(Value::as_str)
        && path.is_empty() == answer.redirects
    {
        out.push(format!("path_redirect: wanted '{path}', found {}", answer.redirects));
    }
    out
}

#[test]
fn routes_are_those_of_envoy() {
    let Some(folder) = data() else { return };
    let mut checked = 0;
    let mut failures = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    for table in files.iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        let stem = table.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let golden = folder.join(format!("{stem}.golden.proto.json"));
        if !golden.exists() {
            continue;
        }
        let text = fs::read_to_string(table).expect("a table");
        let tests = fs::read_to_string(golden).expect("its tests");
        // The tool's JSON has commas before closing brackets.
        let tests: String = tests.split_whitespace().collect::<Vec<_>>().join(" ");
        let tests = tests.replace(", ]", " ]").replace(", }", " }");
        let tests: Value = serde_json::from_str(&tests).expect("JSON");
        let loaded = load_text(&bootstrap(&text), &stem, Format::Yaml, 1, &mut Registry::new(1));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(found) => {
                println!("skipped: {stem}: {found}");
                continue;
            }
        };
        let Terminal::Http(manager, _) = &loaded.plan.listeners[0].chains[0].terminal else {
            panic!("{stem}: no connection manager");
        };
        for test in tests["tests"].as_array().expect("a list of tests") {
            let request = Request(&test["input"]);
            // The tool switches every share off that the test does not name.
            if text.contains("runtime_fraction") && request.text("runtime").is_none() {
                continue;
            }
            // And it finds the number 0 in a share of nothing.
            if request.text("path") == Some("/disabled") {
                continue;
            }
            checked += 1;
            let found = differences(
                &ask(&loaded, manager.routes.inline().expect("route_config"), &request),
                &test["validate"],
            );
            failures.extend(found.iter().map(|d| format!("{stem} {}: {d}", test["test_name"])));
        }
    }
    println!("{checked} requests checked");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked > 60, "only {checked} requests were checked");
}
