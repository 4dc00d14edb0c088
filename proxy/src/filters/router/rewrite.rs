//! Path and host rewrites of a route, as Envoy orders them: header rules first, then the host, then
//! the path.

use ringway_wire::{KnownName as K, Name, RequestHead};

use crate::http::conn::Work;
use crate::http::stream::Matched;
use crate::plan::route::{Forward, HostRewrite, PathRewrite};

/// Rewrites host and path of the request for its route. `AUTO` hosts are set per attempt.
pub(crate) fn rewrite(
    work: &mut Work,
    matched: &Matched<'_>,
    forward: &Forward,
    literal: Option<&str>,
    insert_original: bool,
) {
    if let Some(host) = literal {
        // A weighted cluster's own rewrite leaves no trace of the old name, as in Envoy.
        work.request.authority.clear();
        work.request.authority.extend_from_slice(host.as_bytes());
    } else {
        rewrite_host(&mut work.request, forward);
    }
    let path = &work.request.path;
    let rewrite = &forward.extra().rewrite;
    let Some(new) = rewritten(path, rewrite, matched.route.matched_len) else { return };
    if insert_original {
        let old = std::mem::take(&mut work.request.path);
        work.request.headers.set(K::XEnvoyOriginalPath, &old);
        work.info.original_path = Some(old);
    }
    work.request.path = new;
}

fn rewrite_host(head: &mut RequestHead, forward: &Forward) {
    let append = forward.append_x_forwarded_host;
    match &forward.extra().host {
        HostRewrite::None | HostRewrite::Auto => {}
        HostRewrite::Literal(host) => set_authority(head, host.as_bytes(), append),
        HostRewrite::Header(name) => {
            let value = head.headers.get(Name::from(&**name)).map(<[u8]>::to_vec);
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                set_authority(head, &value, append);
            }
        }
        HostRewrite::PathRegex(regex, substitution) => {
            let (path, _) = split_query(&head.path);
            let host = regex.replace_all(path, &**substitution).into_owned();
            set_authority(head, &host, append);
        }
    }
}

/// Replaces the authority. `x-envoy-original-host` tells the old one, and with
/// `append_x_forwarded_host` it is passed on.
pub(crate) fn set_authority(head: &mut RequestHead, host: &[u8], append: bool) {
    if !head.authority.is_empty() && head.authority != host {
        head.headers.set(K::XEnvoyOriginalHost, &head.authority);
    }
    if append && !head.authority.is_empty() {
        head.headers.append_with(K::XForwardedHost, b",", &head.authority);
    }
    head.authority.clear();
    head.authority.extend_from_slice(host);
}

/// The path after a rewrite, query kept; `None` where nothing changes.
fn rewritten(path: &[u8], rewrite: &PathRewrite, matched_len: Option<u32>) -> Option<Vec<u8>> {
    match rewrite {
        PathRewrite::None => None,
        PathRewrite::Prefix(prefix) => {
            // A regex has matched the whole path.
            let matched = matched_len.map_or_else(|| split_query(path).0.len(), |len| len as usize);
            let rest = path.get(matched..)?;
            let mut new = Vec::with_capacity(prefix.len() + rest.len());
            new.extend_from_slice(prefix.as_bytes());
            new.extend_from_slice(rest);
            Some(new)
        }
        PathRewrite::Regex(regex, substitution) => {
            let (bare, query) = split_query(path);
            let mut new = regex.replace_all(bare, &**substitution).into_owned();
            new.extend_from_slice(query);
            Some(new)
        }
    }
}

/// Path, and query with its `?`.
pub(crate) fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'?', path).unwrap_or(path.len());
    path.split_at(at)
}

/// As [`rewritten`], for redirects.
pub(crate) fn redirected_path(
    path: &[u8],
    rewrite: &crate::plan::route::RedirectPath,
    matched_len: Option<u32>,
) -> Vec<u8> {
    use crate::plan::route::RedirectPath as P;
    let as_rewrite = match rewrite {
        P::Keep => None,
        P::Path(new) => {
            // A path of its own with a query replaces the query too (Envoy).
            let (_, query) = split_query(path);
            let mut full = new.as_bytes().to_vec();
            if !new.contains('?') {
                full.extend_from_slice(query);
            }
            return full;
        }
        P::Prefix(prefix) => rewritten(path, &PathRewrite::Prefix(prefix.clone()), matched_len),
        P::Regex(regex, by) => {
            rewritten(path, &PathRewrite::Regex(regex.clone(), by.clone()), matched_len)
        }
    };
    as_rewrite.unwrap_or_else(|| path.to_vec())
}
