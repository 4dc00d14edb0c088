//! Resources in files: what is counted with each that takes the place of another, and how long
//! endpoints count. The expectations are Envoy's: it runs the same tests.

use anyhow::{Context, Result, ensure};
use ringway_tests::certs::{Spec, Store};
use ringway_tests::ports;
use ringway_tests::proxy::{self, Kind, Proxy};
use std::path::Path;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
admin: { address: { socket_address: { address: 127.0.0.1, port_value: {{admin}} } } }
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: {{listener}} } }
    stat_prefix: l
    filter_chains:
    - transport_socket:
       name: tls
       typed_config:
         "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
         common_tls_context:
            tls_certificate_sds_secret_configs:
            - name: cert
              sds_config: { path_config_source: { path: "{{dir}}/sds.yaml" } }
      filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: t
          cluster: c
  clusters:
  - name: c
    type: EDS
    eds_cluster_config: { eds_config: { path_config_source: { path: "{{dir}}/eds.yaml" } } }
"#;

const ASSIGNMENT: &str = r#"
resources:
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: c
  endpoints:
  - lb_endpoints:
    - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } }
"#;

const SECRET: &str = r#"
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: cert
  tls_certificate:
    certificate_chain: { filename: "{{cert:server}}" }
    private_key: { filename: "{{key:server}}" }
"#;

struct Bench {
    proxy: Proxy,
    secret: String,
}

impl Bench {
    fn start(kind: Kind, assignment: &str) -> Result<Self> {
        let words = ["server".to_owned(), "dns=server.example".to_owned()];
        let certs = Store::make(&[Spec::parse(&words)?])?;
        let dir = proxy::new_dir()?;
        let (admin, listener) = (ports::free(), ports::free());
        let lookup = |name: &str| match name {
            "admin" => Some(admin.to_string()),
            "listener" => Some(listener.to_string()),
            "dir" => Some(dir.display().to_string()),
            name => certs.placeholder(name, &dir).ok(),
        };
        let config = proxy::fill(CONFIG, lookup)?;
        let secret = proxy::fill(SECRET, lookup)?;
        put(&dir, "eds.yaml", &at_version("1", assignment))?;
        put(&dir, "sds.yaml", &at_version("1", &secret))?;
        let proxy = Proxy::start(kind, dir, &config, admin, &[])?;
        Ok(Self { proxy, secret })
    }

    fn put(&self, name: &str, text: &str) -> Result<()> {
        put(&self.proxy.dir, name, text)
    }

    /// Attempts, successes, failures and refusals of both subscriptions, once they are these.
    fn counts(&self, expected: [i64; 4], what: &str) -> Result<()> {
        for prefix in ["cluster.c", "sds.cert"] {
            let names = ["update_attempt", "update_success", "update_failure", "update_rejected"];
            let names = names.map(|name| format!("{prefix}.{name}"));
            self.until(&names, &expected).with_context(|| what.to_owned())?;
        }
        Ok(())
    }

    fn until(&self, names: &[String], expected: &[i64]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let found = self.proxy.stats(names);
            if found.iter().zip(expected).all(|(found, expected)| *found == Some(*expected)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{names:?} are {found:?}, not {expected:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is(&self, name: &str, expected: i64) -> Result<()> {
        self.until(&[name.to_owned()], &[expected])
    }
}

/// Replaces a file, as is asked of whoever writes one.
fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    let new = dir.join(format!("{name}.new"));
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(new, dir.join(name))?)
}

fn at_version(version: &str, text: &str) -> String {
    format!("version_info: \"{version}\"{text}")
}

/// What subscriptions to files count.
pub(crate) fn counted(kind: Kind) -> Result<()> {
    let bench = Bench::start(kind, ASSIGNMENT)?;
    let both = |assignment: &str, secret: &str| {
        bench.put("eds.yaml", assignment)?;
        bench.put("sds.yaml", secret)
    };
    let updates = "listener.l.server_ssl_socket_factory.ssl_context_update_by_sds";
    bench.counts([1, 1, 0, 0], "the first")?;
    bench.is(updates, 1)?;
    both(&at_version("2", ASSIGNMENT), &at_version("2", &bench.secret))?;
    bench.counts([2, 2, 0, 0], "the same again")?;
    bench.is("cluster.c.update_no_rebuild", 1)?;
    bench.is(updates, 1)?;
    let dump = bench.proxy.admin_get("/config_dump?resource=dynamic_active_secrets")?.1;
    for part in ["\"version_info\": \"1\"", "inline_bytes", "W3JlZGFjdGVkXQ=="] {
        ensure!(dump.contains(part), "{part} is not in {dump}");
    }
    both("resources: {", "resources: [")?;
    bench.counts([3, 2, 1, 0], "not YAML")?;
    let cluster = r#"resources: [{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster}]"#;
    both(cluster, cluster)?;
    bench.counts([4, 2, 1, 1], "another type")?;
    let unknown = |text: &str| at_version("3\"\nnonsense: \"1", text);
    both(&unknown(ASSIGNMENT), &unknown(&bench.secret))?;
    bench.counts([5, 3, 1, 1], "a field nobody knows")
}

/// Endpoints count for as long as they say, unless they come again.
pub(crate) fn stale(kind: Kind) -> Result<()> {
    let short = format!("{ASSIGNMENT}  policy: {{ endpoint_stale_after: 2s }}\n");
    let bench = Bench::start(kind, &short)?;
    let began = Instant::now();
    bench.is("cluster.c.membership_total", 1)?;
    bench.is("cluster.c.assignment_timeout_received", 1)?;
    std::thread::sleep(Duration::from_secs(1));
    bench.put("eds.yaml", &at_version("1", &short))?;
    bench.is("cluster.c.assignment_timeout_received", 2)?;
    std::thread::sleep(Duration::from_millis(2500).saturating_sub(began.elapsed()));
    ensure!(bench.proxy.stat("cluster.c.membership_total") == Some(1), "it was renewed");
    bench.is("cluster.c.membership_total", 0)?;
    bench.is("cluster.c.assignment_stale", 1)?;
    bench.put("eds.yaml", &at_version("1", ASSIGNMENT))?;
    bench.is("cluster.c.membership_total", 1)
}
