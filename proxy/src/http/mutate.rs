//! Header mutations on a message under way.

use ringway_wire::{HeaderMap, Name};

use super::account;
use super::conn::{Conn, Work};
use crate::filters::router::headers::{put, put_request};
use crate::observe::format::Format;
use crate::plan::mutation::HeaderMutation;

/// Changes the request's head.
pub(crate) fn request(conn: &Conn, work: &mut Work, mutations: &[HeaderMutation]) {
    if mutations.is_empty() {
        return;
    }
    let mut head = std::mem::take(&mut work.request);
    for mutation in mutations {
        match mutation {
            HeaderMutation::Append(add) => {
                let mut value = Vec::new();
                add.value.eval(&account::context(conn, work, &head, None), &mut value);
                if !value.is_empty() || add.keep_empty {
                    put_request(&mut head, add, &value);
                }
            }
            other => remove(&mut head.headers, other),
        }
    }
    work.request = head;
}

/// Changes the response's head.
pub(crate) fn response(conn: &Conn, work: &mut Work, mutations: &[HeaderMutation]) {
    if mutations.is_empty() {
        return;
    }
    let mut headers = std::mem::take(&mut work.response.headers);
    let request = std::mem::take(&mut work.request);
    let value = |format: &Format, headers: &HeaderMap| {
        let mut value = Vec::new();
        format.eval(&account::context(conn, work, &request, Some(headers)), &mut value);
        value
    };
    apply(&mut headers, mutations, value);
    work.request = request;
    work.response.headers = headers;
}

/// Changes a map whose values are made by `value`.
pub(crate) fn apply(
    headers: &mut HeaderMap,
    mutations: &[HeaderMutation],
    value: impl Fn(&Format, &HeaderMap) -> Vec<u8>,
) {
    for mutation in mutations {
        match mutation {
            HeaderMutation::Append(add) => {
                let value = value(&add.value, headers);
                put(headers, add, &value);
            }
            other => remove(headers, other),
        }
    }
}

fn remove(headers: &mut HeaderMap, mutation: &HeaderMutation) {
    match mutation {
        HeaderMutation::Append(_) => {}
        HeaderMutation::Remove(name) => {
            headers.remove(Name::from(&**name));
        }
        HeaderMutation::RemoveOnMatch(matcher) => {
            headers.retain(|name, _| !matcher.matches(name.as_bytes()));
        }
    }
}
