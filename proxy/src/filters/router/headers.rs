//! Header rules of routes: `request_headers_to_add` and the rest, on all their levels.
//!
//! Order (Envoy, "Custom request/response headers"): weighted cluster, route, virtual host, table —
//! the most specific first, so that the least specific has the last word — or the reverse with
//! `most_specific_header_mutations_wins`. Each level removes after it has added.

use ringway_wire::chars::Decimal;
use ringway_wire::{HeaderMap, KnownName as K, Name, RequestHead};

use crate::http::conn::{Conn, Work};
use crate::http::stream::Matched;
use crate::observe::format::Format;
use crate::plan::route::{Action, AppendAction, ClusterChoice, HeaderAdd, HeaderRules};

/// Rules on the request, before it is forwarded.
pub(crate) fn finish_request(conn: &Conn, work: &mut Work, matched: &Matched<'_>) {
    let weighted = weighted_rules(work, matched, |w| &w.request_headers);
    let levels = [
        weighted,
        Some(&matched.route.extra().request_headers),
        Some(&matched.host.request_headers),
        Some(&matched.table.request_headers),
    ];
    if levels.iter().flatten().all(|rules| rules.is_empty()) {
        return;
    }
    let mut head = std::mem::take(&mut work.request);
    each_level(levels, matched.table.most_specific_wins, |rules| {
        for add in &rules.add {
            let value = evaluate(conn, work, &head, &add.value);
            put_request(&mut head, add, &value);
        }
        for name in &rules.remove {
            head.headers.remove(Name::from(&**name));
        }
    });
    work.request = head;
}

/// Rules on the response, whoever made it. Nothing where no route was found.
pub(crate) fn finish_response(conn: &Conn, work: &mut Work) {
    let Some(held) = work.routes.clone() else { return };
    let table = &**held;
    let Some((host, route)) = work.route.and_then(|id| table.route(id)) else { return };
    let matched = Matched { table, host, route };
    let weighted = weighted_rules(work, &matched, |w| &w.response_headers);
    let levels = [
        weighted,
        Some(&route.extra().response_headers),
        Some(&host.response_headers),
        Some(&table.response_headers),
    ];
    if levels.iter().flatten().all(|rules| rules.is_empty()) {
        return;
    }
    let request = std::mem::take(&mut work.request);
    let mut headers = std::mem::take(&mut work.response.headers);
    each_level(levels, table.most_specific_wins, |rules| {
        for add in &rules.add {
            let value = evaluate_response(conn, work, &request, &headers, &add.value);
            put(&mut headers, add, &value);
        }
        for name in &rules.remove {
            headers.remove(Name::from(&**name));
        }
    });
    work.request = request;
    work.response.headers = headers;
}

/// `include_attempt_count_in_response`.
pub(crate) fn count_attempts(work: &mut Work) {
    let Some(table) = &work.routes else { return };
    let Some((host, _)) = work.route.and_then(|id| table.route(id)) else { return };
    if host.attempt_count_in_response && work.info.attempts > 0 {
        let count = Decimal::new(u64::from(work.info.attempts));
        work.response.headers.set(K::XEnvoyAttemptCount, count.as_bytes());
    }
}

fn weighted_rules<'p>(
    work: &Work,
    matched: &Matched<'p>,
    pick: impl Fn(&'p crate::plan::route::WeightedCluster) -> &'p HeaderRules,
) -> Option<&'p HeaderRules> {
    let Action::Forward(forward) = &matched.route.action else { return None };
    let ClusterChoice::Weighted(weighted) = &forward.cluster else { return None };
    weighted.clusters.get(work.weighted?).map(pick)
}

fn each_level(
    levels: [Option<&HeaderRules>; 4],
    most_specific_wins: bool,
    mut apply: impl FnMut(&HeaderRules),
) {
    if most_specific_wins {
        levels.into_iter().rev().flatten().for_each(&mut apply);
    } else {
        levels.into_iter().flatten().for_each(&mut apply);
    }
}

fn evaluate(conn: &Conn, work: &Work, head: &RequestHead, format: &Format) -> Vec<u8> {
    let mut value = Vec::new();
    let cx = crate::http::account::context(conn, work, head, None);
    format.eval(&cx, &mut value);
    value
}

fn evaluate_response(
    conn: &Conn,
    work: &Work,
    head: &RequestHead,
    headers: &HeaderMap,
    format: &Format,
) -> Vec<u8> {
    let mut value = Vec::new();
    let cx = crate::http::account::context(conn, work, head, Some(headers));
    format.eval(&cx, &mut value);
    value
}

/// `host` and pseudo headers live outside the map.
pub(crate) fn put_request(head: &mut RequestHead, add: &HeaderAdd, value: &[u8]) {
    let target = match &*add.name {
        "host" | ":authority" => &mut head.authority,
        ":path" => &mut head.path,
        _ => return put(&mut head.headers, add, value),
    };
    let overwrite = matches!(
        add.action,
        AppendAction::OverwriteIfExists | AppendAction::OverwriteIfExistsOrAdd
    );
    if overwrite || target.is_empty() {
        target.clear();
        target.extend_from_slice(value);
    }
}

/// Applies one rule to a header map.
pub(crate) fn put(headers: &mut HeaderMap, add: &HeaderAdd, value: &[u8]) {
    if value.is_empty() && !add.keep_empty {
        return;
    }
    let name = Name::from(&*add.name);
    match add.action {
        AppendAction::AppendIfExistsOrAdd => {
            headers.append(name, value);
        }
        AppendAction::AddIfAbsent => {
            if !headers.contains(name) {
                headers.append(name, value);
            }
        }
        // Envoy's map takes the old lines out and puts the new one at the end.
        AppendAction::OverwriteIfExistsOrAdd => {
            headers.remove(name);
            headers.append(name, value);
        }
        AppendAction::OverwriteIfExists => {
            if headers.remove(name) > 0 {
                headers.append(name, value);
            }
        }
    }
}
