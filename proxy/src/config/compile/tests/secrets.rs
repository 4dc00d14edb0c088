//! Secrets that come from elsewhere: late, changed, wrong, and shared.

use std::path::PathBuf;
use std::sync::Arc;

use prost::Message;
use ringway_xds::Document;
use ringway_xds::api::envoy::extensions::transport_sockets::tls::v3 as api;

use super::tls::{bootstrap, client, inline, quoted, server};
use super::*;
use crate::config::sds::redact;
use crate::observe::stats::ShardStats;
use crate::plan::tls::testing::{Ca, Pair};
use crate::plan::tls::{Context, SecretSlot};

/// A proxy whose secrets come from a file that holds none yet.
struct World {
    stats: ShardStats,
    loaded: Loaded,
    folder: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

const OWN: &str = "tls_certificate_sds_secret_configs: [{name: own, sds_config: SDS}]";

impl World {
    /// With these contexts, in which `SDS` stands for the source.
    fn new(test: &str, listener: &str, cluster: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringway-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("sds.yaml");
        std::fs::write(&file, "resources: []").unwrap();
        let source = format!("{{path_config_source: {{path: '{}'}}}}", file.display());
        let [listener, cluster] = [listener, cluster].map(|text| text.replace("SDS", &source));
        let mut registry = Registry::new(4);
        let stats = registry.writer(0).unwrap();
        let text = bootstrap("", &listener, &cluster);
        let mut loaded = load_text(&text, "t.yaml", Format::Yaml, 2, &mut registry).unwrap();
        loaded.compiler.own(registry);
        Self { stats, loaded, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("sds.yaml")
    }

    /// The slots that the listener waits for.
    fn slots(&self) -> Vec<Arc<SecretSlot>> {
        self.loaded.plan.listeners[0].needs.secrets.clone()
    }

    /// Serves a secret, as a control plane does.
    fn serve(&mut self, yaml: &str) -> Result<(), String> {
        let source = self.slots()[0].key.source.clone().unwrap();
        let Self { stats, loaded, .. } = self;
        let taken = loaded.compiler.secret(&source, &secret(yaml), stats).map(drop);
        taken.map_err(|found| found.into_iter().map(|f| f.message).collect::<Vec<_>>().join("; "))
    }

    fn updates(&self, context: &dyn Context) -> u64 {
        self.stats.counter_value(context.updates())
    }
}

fn secret(yaml: &str) -> api::Secret {
    const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
    let document = Document::parse(yaml, "s.yaml", Format::Yaml).unwrap();
    let (bytes, ..) = document.encode(SECRET).unwrap();
    api::Secret::decode(bytes.as_slice()).unwrap()
}

fn own(pair: &Pair) -> String {
    format!("{{name: own, tls_certificate: {}}}", inline(pair))
}

fn trusted(ca: &Ca) -> String {
    let ca = quoted(&ca.pem);
    format!("{{name: ca, validation_context: {{trusted_ca: {{inline_string: {ca}}}}}}}")
}

#[test]
fn a_context_waits_for_its_secrets() {
    let listener = format!("common_tls_context: {{{OWN}}}");
    let mut world = World::new("late", &listener, "sni: a.example");
    let context = server(&world.loaded);
    assert!(context.material().is_none() && !world.slots()[0].is_ready());
    let ca = Ca::new("root");
    let pair = ca.issue(&["a.example"]);
    world.serve(&own(&pair)).unwrap();
    let first = context.material().unwrap();
    assert!(Arc::ptr_eq(&first, &context.material().unwrap()), "made once");
    assert_eq!(world.updates(&*context), 1);
    // Another secret of the same name is for somebody else.
    world.serve("{name: own, session_ticket_keys: {keys: [{inline_string: x}]}}").unwrap_err();
    world.serve("{name: other, session_ticket_keys: {keys: [{inline_string: x}]}}").unwrap();
    world.serve(&own(&ca.issue(&["b.example"]))).unwrap();
    let second = context.material().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    let mut names = Vec::new();
    context.show(&mut |shown| {
        names.extend(shown.own[0].facts.dns_sans().map(str::to_owned));
        assert_eq!(&*shown.own[0].name, "own");
        assert_eq!(&*shown.own[0].path, "<inline>");
    });
    assert_eq!(names, ["b.example"]);
    let gauge = "listener.127.0.0.1_0.ssl.certificate.own.expiration_unix_time_seconds";
    let (_, gauge) = world.loaded.compiler.registry().gauge(gauge);
    assert!(world.stats.gauge_value(gauge) > 0);
}

#[test]
fn a_wrong_secret_leaves_the_old_one() {
    let listener = format!("common_tls_context: {{{OWN}}}");
    let mut world = World::new("wrong", &listener, "sni: a.example");
    let context = server(&world.loaded);
    let ca = Ca::new("root");
    let (one, two) = (ca.issue(&["a.example"]), ca.issue(&["a.example"]));
    world.serve(&own(&one)).unwrap();
    let before = context.material().unwrap();
    let crossed = Pair { chain: one.chain.clone(), key: two.key };
    let error = world.serve(&own(&crossed)).unwrap_err();
    assert!(error.contains("does not belong to the certificate in <inline>"), "{error}");
    let error = world.serve("{name: own, tls_certificate: {}}").unwrap_err();
    assert!(error.contains("Failed to load incomplete certificate"), "{error}");
    let garbage = Pair { chain: "x".to_owned(), key: one.key };
    let error = world.serve(&own(&garbage)).unwrap_err();
    assert!(error.contains("no PEM certificate"), "{error}");
    let error = world.serve(&trusted(&ca).replace("name: ca", "name: own")).unwrap_err();
    assert!(error.contains("secret 'own' is no tls_certificate"), "{error}");
    assert!(Arc::ptr_eq(&before, &context.material().unwrap()));
    assert_eq!(world.updates(&*context), 1);
}

#[test]
fn a_secret_that_a_context_cannot_use_is_refused() {
    let listener = format!("common_tls_context: {{{OWN}}}, ocsp_staple_policy: MUST_STAPLE");
    let mut world = World::new("policy", &listener, "sni: a.example");
    let error = world.serve(&own(&Ca::new("root").issue(&["a.example"]))).unwrap_err();
    assert!(error.contains("Required OCSP response is missing"), "{error}");
    assert!(server(&world.loaded).material().is_none());

    let combined = "combined_validation_context: {
        default_validation_context: {match_typed_subject_alt_names:
          [{san_type: URI, matcher: {exact: 'spiffe://td/x'}}]},
        validation_context_sds_secret_config: {name: ca, sds_config: SDS}}";
    let listener = format!("common_tls_context: {{{OWN}, {combined}}}");
    let mut world = World::new("combined", &listener, "sni: a.example");
    let error = world.serve("{name: ca, validation_context: {max_verify_depth: 1}}").unwrap_err();
    assert!(error.contains("without trusted CA is insecure"), "{error}");
    world.serve(&trusted(&Ca::new("root"))).unwrap();
    assert!(server(&world.loaded).material().is_none(), "its own certificate is still missing");
    world.serve(&own(&Ca::new("root").issue(&["a.example"]))).unwrap();
    assert!(server(&world.loaded).material().is_some());
}

#[test]
fn contexts_share_what_they_name() {
    let ca = "validation_context_sds_secret_config: {name: ca, sds_config: SDS}";
    let common = format!("common_tls_context: {{{OWN}, {ca}}}");
    let mut world = World::new("shared", &common, &format!("sni: a.example, {common}"));
    let (server, client) = (server(&world.loaded), client(&world.loaded));
    let slots = world.slots();
    assert_eq!(slots.len(), 2);
    let both = [server.slots(), client.slots()];
    for slots in &both {
        assert!(slots.iter().zip(&world.slots()).all(|(a, b)| Arc::ptr_eq(a, b)));
    }
    drop(both);
    let root = Ca::new("root");
    world.serve(&own(&root.issue(&["a.example"]))).unwrap();
    world.serve(&trusted(&root)).unwrap();
    assert_eq!((world.updates(&*server), world.updates(&*client)), (2, 2));
    assert!(server.material().is_some() && client.material().is_some());
    // The same roots under another name are not parsed again.
    let before = slots[1].current().unwrap().validator().unwrap().trust.clone().unwrap();
    world.serve(&trusted(&root).replace("}}}", "}, max_verify_depth: 2}}")).unwrap();
    let after = slots[1].current().unwrap().validator().unwrap().trust.clone().unwrap();
    assert!(Arc::ptr_eq(&before, &after));
}

/// As istiod writes them: thousands of clusters, each with its own names, all with one identity and
/// one root. A secret that changes costs each of them a look, and those that are used a handshake.
#[test]
fn a_secret_of_many_clusters_is_swapped_in_one_place() {
    use ringway_xds::api::envoy::config::cluster::v3::Cluster as Api;
    const MANY: usize = 200;
    let listener = format!("common_tls_context: {{{OWN}}}");
    let mut world = World::new("many", &listener, "sni: a.example");
    let source = world.slots()[0].key.source.clone().unwrap();
    let template = {
        let ca = "combined_validation_context: {
            default_validation_context: {match_typed_subject_alt_names:
              [{san_type: URI, matcher: {exact: 'spiffe://td/ns/NAME'}}]},
            validation_context_sds_secret_config: {name: ca, sds_config: SDS}}";
        let sds = format!("{{path_config_source: {{path: '{}'}}}}", world.file().display());
        let common = format!("common_tls_context: {{{OWN}, {ca}}}").replace("SDS", &sds);
        format!(
            "{{name: NAME, load_assignment: {{cluster_name: NAME}}, transport_socket: {{name: t, \
             typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3\
             .UpstreamTlsContext, sni: NAME, {common}}}}}}}"
        )
    };
    let clusters: Vec<_> = (0..MANY)
        .map(|number| {
            let text = template.replace("NAME", &format!("c{number}.example"));
            let document = Document::parse(&text, "c.yaml", Format::Yaml).unwrap();
            let (bytes, ..) = document.encode("envoy.config.cluster.v3.Cluster").unwrap();
            let config = Api::decode(bytes.as_slice()).unwrap();
            world.loaded.compiler.cluster(&config, &source).unwrap().value
        })
        .collect();
    let context = |number: usize| match &clusters[number].sockets.default.transport {
        crate::plan::transport::Upstream::Tls(context) => Arc::clone(context),
        crate::plan::transport::Upstream::Raw => panic!("no TLS"),
    };
    assert_eq!(clusters[0].needs.as_ref().unwrap().secrets.len(), 2);
    let root = Ca::new("root");
    world.serve(&trusted(&root)).unwrap();
    world.serve(&own(&root.issue(&["a.example"]))).unwrap();
    let before = context(7).material().unwrap();
    world.serve(&own(&root.issue(&["b.example"]))).unwrap();
    for number in 0..MANY {
        assert_eq!(world.updates(&*context(number)), 3);
    }
    let after = context(7).material().unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    let names = |number: usize| {
        let mut names = Vec::new();
        context(number).show(&mut |shown| names.push(shown.own[0].facts.subject.to_string()));
        names
    };
    assert_eq!(names(7), names(MANY - 1));
    // Who is gone is not asked any more.
    drop(clusters);
    world.loaded.compiler.sweep();
    world.serve(&own(&root.issue(&["c.example"]))).unwrap();
}

#[test]
fn files_are_read_again_when_they_change() {
    let listener = format!("common_tls_context: {{{OWN}}}");
    let mut world = World::new("files", &listener, "sni: a.example");
    let look = |world: &mut World| {
        let World { stats, loaded, .. } = world;
        let (read, findings) = loaded.compiler.look_at_secrets(stats);
        (read.len(), findings.into_iter().map(|f| f.message).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(look(&mut world), (0, String::new()));
    let ca = Ca::new("root");
    let pair = ca.issue(&["a.example"]);
    let (chain, key) = (world.folder.join("chain.pem"), world.folder.join("key.pem"));
    let named = format!(
        "{{name: own, tls_certificate: {{certificate_chain: {{filename: '{}'}}, \
         private_key: {{filename: '{}'}}}}}}",
        chain.display(),
        key.display()
    );
    let error = world.serve(&named).unwrap_err();
    assert!(error.contains("cannot read"), "{error}");
    std::fs::write(&chain, &pair.chain).unwrap();
    std::fs::write(&key, &pair.key).unwrap();
    // Nobody knows of those files before the secret is taken.
    assert_eq!(look(&mut world), (0, String::new()));
    world.serve(&named).unwrap();
    let context = server(&world.loaded);
    let first = context.material().unwrap();
    // From now on its files are looked after as well.
    let pair = ca.issue(&["b.example"]);
    std::fs::write(&chain, &pair.chain).unwrap();
    let (read, error) = look(&mut world);
    assert!(read == 0 && error.contains("does not belong"), "{error}");
    assert!(Arc::ptr_eq(&first, &context.material().unwrap()));
    std::fs::write(&key, &pair.key).unwrap();
    assert_eq!(look(&mut world), (1, String::new()));
    assert!(!Arc::ptr_eq(&first, &context.material().unwrap()));
    assert_eq!(world.updates(&*context), 2);
}

#[test]
fn what_is_secret_is_not_shown() {
    let pair = Ca::new("root").issue(&["a.example"]);
    let mut shown = secret(&own(&pair));
    redact(&mut shown);
    let text = format!("{shown:?}");
    assert!(!text.contains("PRIVATE") && text.contains("[redacted]"), "{text}");
    assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
    let mut keys = secret("{name: k, session_ticket_keys: {keys: [{inline_string: hush}]}}");
    redact(&mut keys);
    assert!(!format!("{keys:?}").contains("hush"));
    let mut generic = secret(
        "{name: g, generic_secret: {secret: {inline_string: hush}, \
         secrets: {a: {environment_variable: HUSH}}}}",
    );
    redact(&mut generic);
    assert!(!format!("{generic:?}").to_lowercase().contains("hush"));
}
