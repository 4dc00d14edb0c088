//! One client stream of the aggregated service, state of the world: what it asked for and what it
//! gets.
//!
//! It does what a comparison needs and no more: it sends what was asked for when told to, even
//! what the client has already, as many control planes do every few seconds.

use super::world::{Kind, World};
use prost::Message;
use ringway_xds::api::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use std::collections::HashSet;
use std::rc::Rc;

/// What a stream has asked for, by kind of resource.
#[derive(Debug, Default)]
pub(super) struct Session {
    asked: [Option<Asked>; Kind::ALL.len()],
    /// Responses sent on the stream.
    sent: u64,
    pub(super) acks: u64,
    /// What the client had against a response.
    pub(super) refusals: Vec<String>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Empty: all there are.
    names: HashSet<String>,
    /// `names` as they came.
    encoded: Vec<u8>,
    /// Of the last response.
    nonce: String,
    /// The last response that was judged, by its number among all of the stream.
    judged: u64,
}

impl Session {
    /// Takes a request; what to answer, if anything.
    ///
    /// # Errors
    /// It is no request, or one for another kind of resource.
    pub(super) fn request(
        &mut self,
        bytes: &[u8],
        world: &World,
    ) -> Result<Option<Vec<u8>>, String> {
        let (rest, encoded) = split_names(bytes);
        let request = DiscoveryRequest::decode(&*rest).map_err(|err| err.to_string())?;
        // What this server does not have, nobody gets.
        let Some(kind) = Kind::of(&request.type_url) else { return Ok(None) };
        let known = self.asked[kind as usize].get_or_insert_default();
        let number = request.response_nonce.parse().unwrap_or(0);
        if number > known.judged {
            known.judged = number;
            match request.error_detail {
                Some(error) => self.refusals.push(error.message),
                None => self.acks += 1,
            }
        }
        // What is said of an older response is followed by the same of the newest.
        if number > 0 && request.response_nonce != known.nonce {
            return Ok(None);
        }
        let first = known.nonce.is_empty();
        let mut news = first;
        // Each of thousands of updates is answered with thousands of names.
        if encoded != known.encoded {
            let named = DiscoveryRequest::decode(&*encoded).map_err(|err| err.to_string())?;
            let names: HashSet<String> = named.resource_names.into_iter().collect();
            news |= !names.is_subset(&known.names);
            (known.names, known.encoded) = (names, encoded);
        }
        Ok(news.then(|| self.response(kind, world)))
    }

    /// The response after resources changed; `None` when the client did not ask for them. Those of
    /// a kind that is sent whole come along.
    pub(super) fn push(&mut self, kind: Kind, names: &[Rc<str>], world: &World) -> Option<Vec<u8>> {
        let asked = self.asked[kind as usize].as_ref()?;
        if kind.is_sent_whole() {
            return Some(self.response(kind, world));
        }
        let wanted = names.iter().filter(|name| asked.names.contains(&***name));
        let resources: Vec<_> = wanted.filter_map(|name| world.resource(kind, name)).collect();
        (!resources.is_empty()).then(|| self.encode(kind, resources, world))
    }

    /// All that was asked for.
    fn response(&mut self, kind: Kind, world: &World) -> Vec<u8> {
        let all = match self.asked[kind as usize].as_ref() {
            Some(asked) if !asked.names.is_empty() => {
                asked.names.iter().filter_map(|name| world.resource(kind, name)).collect()
            }
            _ => world.all(kind),
        };
        self.encode(kind, all, world)
    }

    fn encode(&mut self, kind: Kind, resources: Vec<prost_types::Any>, world: &World) -> Vec<u8> {
        self.sent += 1;
        let nonce = self.sent.to_string();
        self.asked[kind as usize].get_or_insert_default().nonce.clone_from(&nonce);
        let response = DiscoveryResponse {
            version_info: world.version().to_string(),
            resources,
            type_url: kind.type_url().to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        };
        response.encode_to_vec()
    }
}

/// Field number of `DiscoveryRequest.resource_names`.
const NAMES: u64 = 3;

/// A request without its names, and the names alone, both encoded. What is no list of fields with
/// lengths, as those of a request are, stays whole.
fn split_names(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut rest, mut names) = (Vec::new(), Vec::new());
    let mut left = bytes;
    while !left.is_empty() {
        let Some((field, len)) = field(left) else { return (bytes.to_vec(), Vec::new()) };
        let Some((this, after)) = left.split_at_checked(len) else {
            return (bytes.to_vec(), Vec::new());
        };
        if field == NAMES { &mut names } else { &mut rest }.extend_from_slice(this);
        left = after;
    }
    (rest, names)
}

/// Number and whole length of the field with a length that comes first.
fn field(bytes: &[u8]) -> Option<(u64, usize)> {
    const WITH_LENGTH: u64 = 2;
    let mut rest = bytes;
    let key = prost::encoding::decode_varint(&mut rest).ok()?;
    let len = prost::encoding::decode_varint(&mut rest).ok()?;
    let head = bytes.len() - rest.len();
    (key & 7 == WITH_LENGTH).then_some((key >> 3, head.checked_add(usize::try_from(len).ok()?)?))
}
