//! One request from its head to its end: checks, vetting, routing, answer, account.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use ringway_wire::http1::{BodyDecoder, BodyKind, H1Error, ParsedHead};
use ringway_wire::http2::{ErrorCode, StreamError};
use ringway_wire::{KnownName as K, Method, Name, RequestHead, Scheme, Version};

use super::conn::{self, After, Conn, Work};
use super::down::{Downstream, Http2};
use super::manager::Manager;
use super::normalise::{self, Normalised};
use super::reply::{self, LocalReply};
use super::respond;
use super::vet::{self, Ends};
use super::{account, mutate, upgrade};
use crate::filters::{chain, router};
use crate::http2::{StreamEnd, StreamHandle};
use crate::observe::format::{AccessLogType, ResponseFlag};
use crate::plan::http::HttpManager;
use crate::plan::route::{
    Action, ClusterChoice, Lookup, Route, RouteRequest, RouteTable, VirtualHost,
};

/// Serves the request whose head is in `work.request`.
pub(crate) async fn serve(conn: &mut Conn, work: &mut Work, parsed: ParsedHead) -> After {
    begin(conn, work, &parsed);
    let answered = answer(conn, work, parsed.upgrade).await;
    match complete(conn, work, answered).await {
        Ok(()) => {}
        Err(Cut::Gone) => return abandon(conn, work),
        Err(Cut::Broken) => {
            // The head is out, the body cannot be finished: only closing tells the client.
            account::finished(conn, work);
            return After::CloseDelayed;
        }
    }
    work.info.response_complete = true;
    account::finished(conn, work);
    after(conn, work)
}

/// Serves the request on a stream of an HTTP/2 connection.
pub(crate) async fn serve_http2(conn: &mut Conn, work: &mut Work, handle: StreamHandle) {
    work.begin();
    let taken = handle.take_request(&mut work.request);
    work.has_body = taken.unwrap_or(false);
    work.info.request_head_bytes = handle.wire_bytes().1;
    let protocol = handle.take_protocol();
    let is_upgrade = protocol.is_some();
    if let Some(protocol) = protocol {
        upgrade::from_extended_connect(&mut work.request, &protocol);
    }
    conn.down = Downstream::Http2(Http2::new(handle, work.has_body));
    if !work.has_body {
        work.info.request_end = Some(work.info.start);
    }
    account::request_began(conn);
    let answered = match taken {
        Ok(_) => answer(conn, work, is_upgrade).await,
        Err(error) => match error.status() {
            Some(status) => Err(LocalReply::new(status, "", error.details()).into()),
            None => return drop_refused(conn, work, &error),
        },
    };
    match complete(conn, work, answered).await {
        Ok(()) => {}
        Err(Cut::Gone) => {
            abandon(conn, work);
            return;
        }
        Err(Cut::Broken) => {
            if let Downstream::Http2(down) = &conn.down {
                let connect = work.request.method == Method::Connect;
                down.stream.reset(match connect {
                    true => ErrorCode::CONNECT_ERROR,
                    false => ErrorCode::INTERNAL_ERROR,
                });
            }
            conn.shard.stats.inc(conn.manager.plan.stats.hcm.downstream_rq_tx_reset());
            account::finished(conn, work);
            return;
        }
    }
    work.info.response_complete = true;
    account::finished(conn, work);
}

/// Why a response could not be completed.
enum Cut {
    /// The client went away.
    Gone,
    /// It had begun.
    Broken,
}

/// Gives the answer there is to give, and sees to it that filters let it go.
async fn complete(
    conn: &mut Conn,
    work: &mut Work,
    mut answered: Result<(), Stop>,
) -> Result<(), Cut> {
    loop {
        match answered {
            Ok(()) if !work.filters.response_under_way() => return Ok(()),
            Ok(()) => answered = chain::finish_response(conn, work).await,
            Err(Stop::Reply(reply)) => {
                reply::send(conn, work, *reply);
                answered = Ok(());
            }
            Err(Stop::Gone) => return Err(Cut::Gone),
            Err(Stop::Broken) => return Err(Cut::Broken),
        }
    }
}

/// A head that broke a rule, and whose stream was reset for it.
fn drop_refused(conn: &mut Conn, work: &mut Work, error: &StreamError) {
    work.info.unread = true;
    work.info.details = Cow::Borrowed(error.details());
    // As Envoy calls what breaks the protocol, and what only breaks its limits.
    work.info.flags.insert(match error.is_messaging() {
        true => ResponseFlag::DownstreamProtocolError,
        false => ResponseFlag::DownstreamRemoteReset,
    });
    conn.shard.stats.inc(conn.manager.plan.stats.hcm.downstream_rq_tx_reset());
    account::finished(conn, work);
}

/// Why the ordinary way ended early.
pub(crate) enum Stop {
    /// Answer with this; no response has begun.
    Reply(Box<LocalReply>),
    /// The client went away.
    Gone,
    /// The response had begun and cannot be completed.
    Broken,
}

impl From<LocalReply> for Stop {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

fn begin(conn: &mut Conn, work: &mut Work, parsed: &ParsedHead) {
    work.begin();
    work.has_body = parsed.body != BodyKind::None;
    work.request_names = Some(conn.manager.key_format);
    conn.served = conn.served.saturating_add(1);
    work.info.request_head_bytes = parsed.head_len as u64;
    let manager = Rc::clone(&conn.manager);
    if let Some(http1) = conn.down.http1() {
        http1.begin(parsed.head_len, parsed.body, || {
            BodyDecoder::request(parsed.body, &manager.limits, &manager.options)
        });
    }
    if conn.down.is_complete() {
        work.info.request_end = Some(work.info.start);
    }
    // A CONNECT that no tunnel answers leaves a client that waits for one: Envoy closes.
    work.close = !parsed.keep_alive || work.request.method == Method::Connect;
    account::request_began(conn);
}

async fn answer(conn: &mut Conn, work: &mut Work, upgrade: bool) -> Result<(), Stop> {
    let manager = Rc::clone(&conn.manager);
    let plan = &*manager.plan;
    work.grpc = reply::is_grpc(&work.request);
    acknowledge_expect(conn, work, plan);
    check_scheme(conn, work, plan)?;
    check_path(&work.request)?;
    if let Normalised::Redirect = normalise(conn, work, plan)? {
        redirect_to_normal_form(conn, work);
        return Ok(());
    }
    mutate::request(conn, work, &plan.early_mutations);
    let nominated = upgrade;
    let upgrade = upgrade::is_asked(&work.request, upgrade) && !is_ignored(&work.request, plan);
    // Before this proxy adds its own headers: a client must not be able to name those.
    if nominated && !upgrade {
        drop_nominated(&mut work.request);
    }
    let ends = Ends {
        peer: conn.meta.remote().ip(),
        local_port: conn.meta.local().port(),
        tls: conn.tls.as_deref(),
    };
    work.routes = manager.routes.table(&conn.shard.tables, &work.request);
    let mut held = work.routes.clone();
    let mut table = held.as_deref().map(|table| &**table);
    let vetted = vet::vet(&mut work.request, plan, table, ends, &conn.shard.local, random_u128)
        .map_err(|refused| unidentified(conn, refused))?;
    work.info.vetted = Some(vetted);
    ringway_wire::http1::strip_request_hop_by_hop(&mut work.request.headers, upgrade);
    find_route(conn, work, &manager);
    if plan.log_new_requests {
        account::log(conn, work, AccessLogType::DownstreamStart);
    }
    work.info.next_log = conn::deadline(ringway_runtime::now(), plan.log_interval);
    if upgrade {
        match work.route.and_then(|id| table?.route(id)) {
            Some((_, route)) => upgrade::decide(conn, work, plan, route)?,
            None => work.close = true,
        }
    }
    chain::begin(conn, work)?;
    if !work.filters.is_empty() {
        let undecided = upgrade && work.route.is_none();
        chain::request_headers(conn, work, undecided).await?;
        find_route(conn, work, &manager);
        // A filter may have waited for the table with the route.
        held = work.routes.clone();
        table = held.as_deref().map(|table| &**table);
        let found = work.route.and_then(|id| table?.route(id));
        if let Some((_, route)) = found.filter(|_| undecided) {
            upgrade::decide(conn, work, plan, route)?;
        }
    }
    conn.shard.stats.inc(plan.stats.router.rq_total());
    let matched = match work.lookup {
        Some(Lookup::Route(id)) => table.and_then(|table| Some((table, table.route(id)?))),
        Some(Lookup::RedirectToTls { .. }) => {
            router::redirect::to_https(conn, work);
            return Ok(());
        }
        Some(Lookup::NotFound) | None => None,
    };
    let Some((table, (host, route))) = matched else {
        conn.shard.stats.inc(plan.stats.router.no_route());
        return Err(no_route());
    };
    act(conn, work, &Matched { table, host, route }).await
}

/// Does what the route says.
async fn act(conn: &mut Conn, work: &mut Work, matched: &Matched<'_>) -> Result<(), Stop> {
    match &matched.route.action {
        Action::Forward(forward) => router::forward(conn, work, matched, forward).await,
        Action::Redirect(redirect) => {
            router::redirect::send(conn, work, matched, redirect);
            Ok(())
        }
        Action::Direct(direct) => {
            router::direct::send(conn, work, matched, direct);
            Ok(())
        }
        Action::NonForwarding => Err(no_route()),
    }
}

/// `ignore_http_11_upgrade`: the request goes on as if it had not asked.
fn is_ignored(head: &RequestHead, plan: &HttpManager) -> bool {
    let ignored = &plan.http1.ignored_upgrades;
    !ignored.is_empty()
        && head.version == Version::Http11
        && head
            .headers
            .get(K::Upgrade)
            .is_some_and(|kind| ignored.iter().any(|matcher| matcher.matches(kind)))
}

/// Takes off what `connection` names, which the parser leaves where an upgrade is asked for
/// (RFC 9110 section 7.6.1).
fn drop_nominated(head: &mut RequestHead) {
    let Some(value) = head.headers.get(K::Connection) else { return };
    let value = value.to_ascii_lowercase();
    for name in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        if !name.is_empty() && std::str::from_utf8(name).is_ok() {
            head.headers.remove(Name::from(name));
        }
    }
}

/// Takes the route table there is by now, where it is another than the request began with: what
/// that keeps from clients outside goes.
pub(crate) fn take_routes(conn: &Conn, work: &mut Work, manager: &Manager) {
    let table = manager.routes.table(&conn.shard.tables, &work.request);
    if let Some(table) = &table
        && !work.info.vetted.is_some_and(|vetted| vetted.internal)
    {
        vet::remove_private(&mut work.request, table);
    }
    work.routes = table;
}

/// Asks the route table, unless its answer is known.
pub(crate) fn find_route(conn: &Conn, work: &mut Work, manager: &Manager) {
    if work.lookup.is_some() {
        return;
    }
    debug_assert!(Rc::as_ptr(&conn.manager) == std::ptr::from_ref(manager));
    let Some(routes) = work.routes.clone() else {
        work.lookup = Some(Lookup::NotFound);
        return;
    };
    let internal = work.info.vetted.is_some_and(|vetted| vetted.internal);
    let request = Routed { head: &work.request, internal };
    let lookup = routes.find(&request, work.random);
    work.lookup = Some(lookup);
    let Lookup::Route(id) = lookup else { return };
    work.route = Some(id);
    let Some((_, route)) = routes.route(id) else { return };
    work.info.route_name = Some(Arc::clone(&route.name));
    if let Action::Forward(forward) = &route.action {
        if let ClusterChoice::Weighted(weighted) = &forward.cluster {
            work.weighted = Some(router::weighted_pick(&work.request, weighted, work.random));
        }
        work.info.route_cluster = router::cluster_of(conn, work, forward);
    }
}

/// A request's route with the levels above it.
#[derive(Clone, Copy)]
pub(crate) struct Matched<'p> {
    pub table: &'p RouteTable,
    pub host: &'p VirtualHost,
    pub route: &'p Route,
}

/// `original_ip_detection_extensions` demand an address that the request does not tell.
fn unidentified(conn: &Conn, refused: vet::Unidentified) -> Stop {
    let hcm = &conn.manager.plan.stats.hcm;
    conn.shard.stats.inc(hcm.downstream_rq_rejected_via_ip_detection());
    LocalReply::new(refused.status, "", "rejecting_because_detection_failed").into()
}

fn no_route() -> Stop {
    LocalReply::new(404, "", "route_not_found").flag(ResponseFlag::NoRouteFound).into()
}

/// The proxy answers `100-continue` itself (Envoy's default) and the upstream never sees it.
fn acknowledge_expect(conn: &Conn, work: &mut Work, plan: &HttpManager) {
    if plan.proxy_100_continue || work.request.version == Version::Http10 {
        return;
    }
    let expects = work
        .request
        .headers
        .get(K::Expect)
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    if expects {
        work.request.headers.remove(K::Expect);
        respond::send_continue(conn);
    }
}

/// An edge proxy takes no `https://` target on a plain connection: somebody would believe it safe.
fn check_scheme(conn: &Conn, work: &mut Work, plan: &HttpManager) -> Result<(), Stop> {
    let edge = plan.forwarding.use_remote_address && !conn.down.is_http2();
    if work.request.scheme != Some(Scheme::Https) || !edge {
        return Ok(());
    }
    work.close = true;
    account::body_refused(conn);
    let details = "http1.https_url_on_plaintext_connection";
    let reply = LocalReply::new(403, "Forbidden", details);
    Err(reply.flag(ResponseFlag::DownstreamProtocolError).into())
}

/// A path must be absolute; `OPTIONS *` and CONNECT match no route of a proxy without a matcher
/// for them, which is Envoy's 404.
fn check_path(head: &RequestHead) -> Result<(), Stop> {
    match head.path.first() {
        Some(b'/') => Ok(()),
        _ if head.method == Method::Connect => Ok(()),
        _ => Err(LocalReply::new(404, "", "absolute_path_rejected").into()),
    }
}

fn normalise(conn: &Conn, work: &mut Work, plan: &HttpManager) -> Result<Normalised, Stop> {
    let port = conn.meta.local().port();
    normalise::normalise(&mut work.request, &plan.normalise, port).map_err(|_| {
        conn.shard.stats.inc(plan.stats.hcm.downstream_rq_failed_path_normalization());
        LocalReply::new(400, "", "path_normalization_failed").into()
    })
}

fn redirect_to_normal_form(conn: &mut Conn, work: &mut Work) {
    conn.shard
        .stats
        .inc(conn.manager.plan.stats.hcm.downstream_rq_redirected_with_normalized_path());
    let location = work.request.path.clone();
    let reply = LocalReply::new(307, "", "path_normalization_failed").location(location);
    reply::send(conn, work, reply);
}

/// After a whole response: may the connection carry another request?
fn after(conn: &Conn, work: &Work) -> After {
    if conn.down.write_failed() {
        return After::Gone;
    }
    if !work.close {
        return After::KeepAlive;
    }
    // Envoy waits for the client unless the client itself asked to close and had said everything.
    let asked = work.info.request_end.is_some() && !work.info.local_reply;
    if asked && conn.down.is_complete() { After::Close } else { After::CloseDelayed }
}

/// The client went away while its request was served.
fn abandon(conn: &mut Conn, work: &mut Work) -> After {
    let hcm = &conn.manager.plan.stats.hcm;
    conn.shard.stats.inc(hcm.downstream_rq_rx_reset());
    if let Downstream::Http2(down) = &conn.down
        && let Some(StreamEnd::Reset(_) | StreamEnd::Refused | StreamEnd::Violation(_)) =
            down.stream.end()
    {
        why_reset(work, down.stream.end());
        account::finished(conn, work);
        return After::Gone;
    }
    work.info.flags.insert(ResponseFlag::DownstreamConnectionTermination);
    conn.shard.stats.inc(hcm.downstream_cx_destroy_active_rq());
    if conn.link.chain.is_over() {
        let details = "downstream_local_disconnect(filter_chain_is_being_removed)";
        work.info.details = Cow::Borrowed(details);
        conn.shard.stats.inc(hcm.downstream_cx_destroy_local_active_rq());
    } else {
        work.info.details = Cow::Borrowed("downstream_remote_disconnect");
        conn.shard.stats.inc(hcm.downstream_cx_destroy_remote_active_rq());
    }
    account::finished(conn, work);
    After::Gone
}

/// A stream ended while its connection goes on: what logs say of it.
fn why_reset(work: &mut Work, end: Option<StreamEnd>) {
    let (flag, details) = match end {
        Some(StreamEnd::Violation(details)) => (ResponseFlag::DownstreamProtocolError, details),
        Some(StreamEnd::Refused) => (ResponseFlag::DownstreamRemoteReset, "http2.remote_refuse"),
        _ => (ResponseFlag::DownstreamRemoteReset, "http2.remote_reset"),
    };
    work.info.flags.insert(flag);
    work.info.details = Cow::Borrowed(details);
}

/// Answers a request the parser refused, with Envoy's status and details.
pub(crate) fn refuse_malformed(conn: &mut Conn, work: &mut Work, error: &H1Error) -> After {
    work.begin();
    conn.served = conn.served.saturating_add(1);
    account::request_began(conn);
    account::refused(conn, error);
    let status = error.status();
    if error.is_codec_error() {
        work.request.clear();
        work.info.unread = true;
    }
    // Envoy's codec words its own errors and leaves those of the manager bare.
    let body = if error.is_codec_error() { ringway_wire::status::reason(status) } else { "" };
    let mut reply = LocalReply::new(status, body, error.details());
    if error.is_codec_error() {
        reply = reply.flag(ResponseFlag::DownstreamProtocolError);
    }
    // What the codec could read and the manager does not like need not end the connection.
    if !error.is_codec_error() && conn.manager.plan.keeps_invalid() && skip_head(conn, work) {
        reply::send(conn, work, reply);
        chain::flush_response(conn, work);
        work.info.response_complete = true;
        account::finished(conn, work);
        return after(conn, work);
    }
    conn::refuse(conn, work, reply);
    work.info.response_complete = true;
    account::finished(conn, work);
    After::CloseDelayed
}

/// Takes a head that was refused out of the way, where nothing follows it.
fn skip_head(conn: &mut Conn, work: &Work) -> bool {
    let headers = &work.request.headers;
    let bodiless = !headers.contains(K::ContentLength) && !headers.contains(K::TransferEncoding);
    let Some(http1) = conn.down.http1().filter(|_| bodiless) else { return false };
    let Some(end) = memchr::memmem::find(&http1.inbox, b"\r\n\r\n") else { return false };
    http1.inbox.advance(end + 4);
    true
}

/// `request_headers_timeout` or `request_timeout` ran out before the head was complete.
pub(crate) fn refuse_late(conn: &mut Conn, work: &mut Work) -> After {
    work.begin();
    conn.served = conn.served.saturating_add(1);
    account::request_began(conn);
    let stats = &conn.manager.plan.stats;
    conn.shard.stats.inc(stats.hcm.downstream_rq_header_timeout());
    conn::refuse(
        conn,
        work,
        LocalReply::new(408, "request header timeout", "request_header_timeout"),
    );
    account::finished(conn, work);
    After::CloseDelayed
}

/// The router's view of a request.
struct Routed<'a> {
    head: &'a RequestHead,
    internal: bool,
}

impl RouteRequest for Routed<'_> {
    fn path(&self) -> Option<&[u8]> {
        Some(self.head.path.as_slice()).filter(|path| !path.is_empty())
    }

    fn authority(&self) -> Option<&[u8]> {
        Some(self.head.authority.as_slice())
    }

    fn is_connect(&self) -> bool {
        self.head.method == Method::Connect
    }

    fn is_https(&self) -> bool {
        self.head.headers.get(K::XForwardedProto) == Some(b"https")
    }

    fn is_internal(&self) -> bool {
        self.internal
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_lines(self.head, name)
    }
}

/// Lines of a header or pseudo header, by its lower-case name.
pub(crate) fn header_lines<'a>(
    head: &'a RequestHead,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let name = Name::from(name);
    let first = head.get(name);
    let in_map = head.headers.contains(name);
    let rest = head.headers.get_all(name).skip(usize::from(in_map));
    first.into_iter().chain(rest)
}

fn random_u128() -> u128 {
    u128::from(ringway_runtime::rand_u64()) << 64 | u128::from(ringway_runtime::rand_u64())
}
