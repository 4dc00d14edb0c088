//! `/certs`: `envoy.admin.v3.Certificates`.

use std::time::Duration;

use super::Admin;
use super::page::{JSON, Request, Response};
use crate::control::clock;
use crate::control::json::Json;
use crate::plan::tls::{Shown, ShownCertificate};

/// The certificates of every TLS context.
pub(super) fn certs(_: &Request, admin: &Admin) -> Response {
    let mut json = Json::new();
    json.object().key("certificates").array();
    for context in admin.view().plan.tls_contexts() {
        context.show(&mut |shown| write_context(&mut json, shown));
    }
    json.end_array().end_object();
    Response::ok(JSON, json.finish())
}

fn write_context(json: &mut Json, shown: &Shown) {
    json.object();
    for (key, list) in [("ca_cert", &shown.roots), ("cert_chain", &shown.own)] {
        json.key(key).array();
        for certificate in list {
            write_certificate(json, certificate);
        }
        json.end_array();
    }
    json.end_object();
}

fn write_certificate(json: &mut Json, shown: &ShownCertificate) {
    let facts = &shown.facts;
    json.object();
    json.key("path").string(&shown.path);
    json.key("serial_number").string(&facts.serial);
    json.key("subject_alt_names").array();
    for name in facts.dns_sans() {
        json.object().key("dns").string(name).end_object();
    }
    for uri in facts.uri_sans() {
        json.object().key("uri").string(uri).end_object();
    }
    for address in facts.ip_sans() {
        json.object().key("ip_address").string(address).end_object();
    }
    json.end_array();
    let now = i64::try_from(clock::unix_now().as_secs()).unwrap_or(i64::MAX);
    let days = facts.not_after.saturating_sub(now).max(0) / 86_400;
    json.key("days_until_expiration").int64(days);
    json.key("valid_from").string(&time(facts.not_before));
    json.key("expiration_time").string(&time(facts.not_after));
    if let Some(until) = shown.ocsp_until.filter(|until| *until != i64::MAX) {
        json.key("ocsp_details").object();
        json.key("expiration").string(&time(until)).end_object();
    }
    json.end_object();
}

fn time(seconds: i64) -> String {
    let time = clock::rfc3339(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    // Whole seconds print as such.
    time.replace(".000Z", "Z")
}
