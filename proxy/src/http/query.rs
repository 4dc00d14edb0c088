//! Query parameters on a request under way.
//!
//! As in Envoy the parameters come out in the order of their names. Unlike there, those that are
//! left alone keep their spelling: decoded, they could break out of the query, or of its line.

use ringway_wire::path::{percent_decode, split_query};

use super::account;
use super::conn::{Conn, Work};
use crate::plan::query::QueryMutation;
use crate::plan::route::AppendAction;

/// Changes the query of the request's path.
pub(crate) fn mutate(conn: &Conn, work: &mut Work, mutations: &[QueryMutation]) {
    if mutations.is_empty() || work.request.path.is_empty() {
        return;
    }
    let (path, query) = split_query(&work.request.path);
    let mut parameters = Parameters::parse(query.unwrap_or_default());
    for mutation in mutations {
        match mutation {
            QueryMutation::Remove(key) => parameters.0.retain(|one| one.key != key.as_bytes()),
            QueryMutation::Append { key, value, action } => {
                let mut text = Vec::new();
                let head = &work.request;
                value.eval(&account::context(conn, work, head, None), &mut text);
                parameters.append(key.as_bytes(), &text, *action);
            }
        }
    }
    let mut new = path.to_vec();
    parameters.write(&mut new);
    work.request.path = new;
}

/// Parameters in order.
struct Parameters(Vec<Parameter>);

/// One parameter.
struct Parameter {
    /// Its name, decoded.
    key: Vec<u8>,
    /// `name=value`, encoded.
    text: Vec<u8>,
}

impl Parameters {
    fn parse(query: &[u8]) -> Self {
        if query.is_empty() {
            return Self(Vec::new());
        }
        let each = query.split(|b| *b == b'&').map(|piece| {
            let (key, value) = match piece.iter().position(|b| *b == b'=') {
                Some(at) => (piece.get(..at), piece.get(at + 1..)),
                None => (Some(piece), None),
            };
            let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
            let mut decoded = Vec::with_capacity(key.len());
            percent_decode(key, &mut decoded);
            Parameter { key: decoded, text: [key, b"=", value].concat() }
        });
        Self(each.collect())
    }

    fn append(&mut self, key: &[u8], value: &[u8], action: AppendAction) {
        let there = self.0.iter().any(|one| one.key == key);
        match (action, there) {
            (AppendAction::AddIfAbsent, true) | (AppendAction::OverwriteIfExists, false) => return,
            (AppendAction::OverwriteIfExists | AppendAction::OverwriteIfExistsOrAdd, true) => {
                self.0.retain(|one| one.key != key);
            }
            _ => {}
        }
        let mut text = Vec::new();
        encode(key, &mut text);
        text.push(b'=');
        encode(value, &mut text);
        self.0.push(Parameter { key: key.to_vec(), text });
    }

    fn write(mut self, out: &mut Vec<u8>) {
        self.0.sort_by(|a, b| a.key.cmp(&b.key));
        for (index, parameter) in self.0.iter().enumerate() {
            out.push(if index == 0 { b'?' } else { b'&' });
            out.extend_from_slice(&parameter.text);
        }
    }
}

/// All but unreserved characters (RFC 3986 section 2.3) as `%XX`.
fn encode(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests;
