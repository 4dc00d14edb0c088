//! TLS contexts: what is taken, with what; what is refused, and in which words.

use std::sync::Arc;

use super::*;
use crate::plan::tls::testing::{Ca, Pair};
use crate::plan::tls::{ClientContext, Context, ServerContext};
use crate::plan::transport::{Downstream, Upstream};

pub(super) fn quoted(pem: &str) -> String {
    format!("\"{}\"", pem.replace('\n', "\\n"))
}

/// A `tls_certificates` entry.
pub(super) fn inline(pair: &Pair) -> String {
    format!(
        "{{certificate_chain: {{inline_string: {}}}, private_key: {{inline_string: {}}}}}",
        quoted(&pair.chain),
        quoted(&pair.key)
    )
}

pub(super) fn bootstrap(secrets: &str, listener: &str, cluster: &str) -> String {
    const TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    let router = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    format!(
        "static_resources:
  secrets: [{secrets}]
  clusters:
  - name: c
    load_assignment: {{cluster_name: c}}
    transport_socket:
      name: tls
      typed_config: {{'@type': {TYPE}.UpstreamTlsContext, {cluster}}}
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config: {{'@type': {TYPE}.DownstreamTlsContext, {listener}}}
      filters:
      - name: tcp
        typed_config: {{'@type': {router}, stat_prefix: s, cluster: c}}
"
    )
}

pub(super) fn server(loaded: &Loaded) -> Arc<ServerContext> {
    match &loaded.plan.listeners[0].chains[0].transport {
        Downstream::Tls(context) => Arc::clone(context),
        Downstream::Raw => panic!("no TLS"),
    }
}

pub(super) fn client(loaded: &Loaded) -> Arc<ClientContext> {
    match &loaded.plan.clusters[0].as_ref().unwrap().sockets.default.transport {
        Upstream::Tls(context) => Arc::clone(context),
        Upstream::Raw => panic!("no TLS"),
    }
}

/// Messages of a listener's context with these fields besides a certificate.
fn findings(common: &str, context: &str) -> Vec<String> {
    let pair = Ca::new("root").issue(&["a.example"]);
    let certificate = inline(&pair);
    let common = format!("common_tls_context: {{tls_certificates: [{certificate}], {common}}}");
    match load(&bootstrap("", &format!("{common}, {context}"), "sni: a.example")) {
        Ok(loaded) => loaded.warnings.0.into_iter().map(|warning| warning.message).collect(),
        Err(errors) => errors.0.into_iter().map(|error| error.message).collect(),
    }
}

#[test]
fn secrets_are_found_by_name() {
    let ca = Ca::new("root");
    let pair = ca.issue(&["a.example"]);
    let secrets = format!(
        "{{name: own, tls_certificate: {}}}, \
         {{name: ca, validation_context: {{trusted_ca: {{inline_string: {}}}}}}}",
        inline(&pair),
        quoted(&ca.pem)
    );
    let listener = "common_tls_context: {
        tls_certificate_sds_secret_configs: [{name: own}],
        combined_validation_context: {
          default_validation_context: {verify_certificate_hash: ['HASH']},
          validation_context_sds_secret_config: {name: ca}}}";
    let wrong = listener.replace("HASH", &"0g".repeat(32));
    let error = load(&bootstrap(&secrets, &wrong, "sni: a.example")).unwrap_err();
    assert!(error.to_string().contains("Invalid hex-encoded SHA-256 0g"), "{error}");
    let listener = listener.replace("verify_certificate_hash: ['HASH']", "max_verify_depth: 3");
    let loaded = load(&bootstrap(&secrets, &listener, "sni: a.example")).unwrap();
    let mut names = Vec::new();
    server(&loaded).show(&mut |shown| {
        names.extend(shown.roots.iter().chain(&shown.own).map(|shown| shown.name.to_string()));
    });
    assert_eq!(names, ["ca", "own"]);
    let error = load(&bootstrap("", &listener, "sni: a.example")).unwrap_err();
    assert!(error.to_string().contains("Unknown static secret: own"), "{error}");
}

#[test]
fn versions_of_both_ends() {
    let found = |params: &str| findings(&format!("tls_params: {{{params}}}"), "");
    assert_eq!(found(""), Vec::<String>::new());
    assert_eq!(found("tls_maximum_protocol_version: TLSv1_2"), Vec::<String>::new());
    let found_old = found("tls_minimum_protocol_version: TLSv1_0");
    assert!(found_old[0].contains("peers need TLS 1.2 or 1.3"), "{found_old:?}");
    let none =
        found("tls_minimum_protocol_version: TLSv1_0, tls_maximum_protocol_version: TLSv1_1");
    assert!(none[0].contains("a connection of at most TLSv1_1 is not supported"), "{none:?}");
    let crossed =
        found("tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2");
    assert!(crossed[0].contains("is above the maximum"), "{crossed:?}");
    let pair = Ca::new("root").issue(&["a.example"]);
    let listener = format!("common_tls_context: {{tls_certificates: [{}]}}", inline(&pair));
    let loaded = load(&bootstrap("", &listener, "sni: a.example")).unwrap();
    let client = client(&loaded);
    let params = &client.recipe().common.params;
    assert!(params.tls12 && !params.tls13, "clients speak TLS 1.2 unless told otherwise");
}

#[test]
fn lists_of_suites_groups_and_schemes() {
    let found = |params: &str| findings(&format!("tls_params: {{{params}}}"), "");
    let mixed = found("cipher_suites: ['[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]']");
    assert!(mixed[0].starts_with("AES128-SHA: left out"), "{mixed:?}");
    let none = found("cipher_suites: [AES128-SHA, AES256-GCM-SHA384]");
    assert!(none[0].contains("is not supported"), "{none:?}");
    let wrong = found("cipher_suites: [ECDHE-RSA-AES128-GCM-SHA257]");
    assert!(wrong[0].contains("Failed to initialize cipher suites"), "{wrong:?}");
    let wrong = found("ecdh_curves: [X25519, P-255]");
    assert!(wrong[0].contains("Failed to initialize ECDH curves X25519:P-255"), "{wrong:?}");
    assert!(found("ecdh_curves: [P-521]")[0].contains("P-521 is not supported"));
    let wrong = found("signature_algorithms: [rsa_pss_rsae_sha255]");
    assert!(wrong[0].contains("Failed to initialize TLS signature algorithms"), "{wrong:?}");
    assert!(found("ecdh_curves: [P-256], signature_algorithms: [rsa_pss_rsae_sha256]").is_empty());
}

#[test]
fn trust_domains() {
    const TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    let bundle = quoted(&Ca::new("root").pem);
    let found = |name: &str, domains: &str, more: &str| {
        let domains = domains.replace("BUNDLE", &format!("{{inline_string: {bundle}}}"));
        findings(
            &format!(
                "validation_context: {{custom_validator_config: {{name: '{name}', typed_config: \
                 {{'@type': {TYPE}.{name}, {domains}}}}}{more}}}"
            ),
            "require_client_certificate: true",
        )
    };
    let spiffe = |domains: &str, more| found("SPIFFECertValidatorConfig", domains, more);
    let san = ", match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: a}}]";
    let one = "trust_domains: [{name: a, trust_bundle: BUNDLE}]";
    assert_eq!(spiffe(one, san), Vec::<String>::new());
    let twice = "trust_domains: [{name: a, trust_bundle: BUNDLE}, {name: a, trust_bundle: BUNDLE}]";
    let wrong = spiffe(twice, "");
    assert!(
        wrong[0].contains("Multiple trust bundles are given for one trust domain"),
        "{wrong:?}"
    );
    let wrong = spiffe("trust_domains: [{name: a, trust_bundle: {inline_string: x}}]", "");
    assert!(wrong[0].contains("no PEM certificate"), "{wrong:?}");
}

#[test]
fn what_is_refused_says_so() {
    let cases = [
        ("", "require_sni: true", "require_sni is not supported"),
        (
            "tls_certificate_provider_instance: {instance_name: x}",
            "",
            "tls_certificate_provider_instance is not supported",
        ),
        ("validation_context: {system_root_certs: {}}", "", "system_root_certs is not supported"),
        (
            "validation_context: {match_typed_subject_alt_names: \
             [{san_type: DNS, matcher: {exact: a}}]}",
            "",
            "without trusted CA is insecure",
        ),
        ("validation_context: {allow_expired_certificate: true}", "", "without trusted CA"),
        (
            "",
            "session_ticket_keys: {keys: [{inline_string: short}]}",
            "Incorrect TLS session ticket key length",
        ),
    ];
    for (common, context, expected) in cases {
        let found = findings(common, context);
        let told = found.iter().filter(|text| text.contains(expected)).count();
        assert_eq!(told, 1, "{expected}: {found:?}");
    }
    let error = load(&bootstrap("", "common_tls_context: {}", "sni: a")).unwrap_err();
    assert!(error.to_string().contains("No TLS certificates found for server context"), "{error}");
    let one = inline(&Ca::new("root").issue(&["a.example"]));
    let listener = format!("common_tls_context: {{tls_certificates: [{one}]}}");
    let error = load(&bootstrap("", &listener, "sni: 'a b'")).unwrap_err();
    assert!(error.to_string().contains("'a b' is no host name"), "{error}");
    let certificate = "common_tls_context: {tls_certificates: [{pkcs12: {inline_bytes: aaaa}}]}";
    let error = load(&bootstrap("", certificate, "sni: a")).unwrap_err();
    assert!(error.to_string().contains("a PKCS#12 container is not supported"), "{error}");
}
