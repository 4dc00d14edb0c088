//! `/stats` and what belongs to it.

use super::Admin;
use super::page::{Request, Response};

/// `/stats`
pub(super) fn stats(_request: &Request, _admin: &Admin) -> Response {
    Response::done()
}

/// `/stats/prometheus`
pub(super) fn prometheus(_request: &Request, _admin: &Admin) -> Response {
    Response::done()
}

/// `/reset_counters`
pub(super) fn reset_counters(_: &Request, admin: &Admin) -> Response {
    admin.merger.borrow_mut().reset_counters();
    Response::done()
}

/// `/stats/recentlookups`: statistics have their slots before traffic comes, so nothing is looked
/// up by name while it does.
pub(super) fn recent_lookups(_: &Request, _: &Admin) -> Response {
    Response::text(
        "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n",
    )
}

/// `/stats/recentlookups/*`
pub(super) fn no_lookups(_: &Request, _: &Admin) -> Response {
    Response::done()
}
