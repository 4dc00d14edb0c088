//! `/listeners`: where every listener is bound.

use std::fmt::Write;

use super::page::{JSON, Request, Response};
use super::{Admin, write_address};
use crate::control::json::Json;
use crate::plan::Address;

/// Text: a line per address; JSON: `envoy.admin.v3.Listeners`.
pub(super) fn listeners(request: &Request, admin: &Admin) -> Response {
    if request.params.first("format") == Some("json") {
        return Response::ok(JSON, as_json(admin));
    }
    let mut out = String::new();
    for listener in admin.bound.borrow().iter() {
        for address in &listener.addresses {
            let _infallible = writeln!(out, "{}::{address}", listener.name);
        }
    }
    Response::text(out)
}

fn as_json(admin: &Admin) -> String {
    let mut json = Json::new();
    json.object();
    if !admin.bound.borrow().is_empty() {
        json.key("listener_statuses").array();
    }
    for listener in admin.bound.borrow().iter() {
        let mut addresses = listener.addresses.iter();
        json.object().key("name").string(&listener.name);
        if let Some(first) = addresses.next() {
            json.key("local_address");
            write_address(&mut json, first);
        }
        let rest: Vec<&Address> = addresses.collect();
        if !rest.is_empty() {
            json.key("additional_local_addresses").array();
            for address in rest {
                write_address(&mut json, address);
            }
            json.end_array();
        }
        json.end_object();
    }
    if !admin.bound.borrow().is_empty() {
        json.end_array();
    }
    json.end_object();
    json.finish()
}
