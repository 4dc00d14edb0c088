use ringway_wire::HeaderMap;

use super::{Discovery, Propagation, remove, tell};
use crate::plan::istio::{ID_KEY, METADATA_KEY};

#[test]
fn a_peer_hears_what_it_said_of_itself() {
    let way = Propagation::Headers { id: "me".into(), value: "bWU=".into(), skip_external: false };
    for (id, metadata) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut headers = HeaderMap::new();
        tell(&way, (id, metadata), &mut headers);
        assert_eq!(headers.get(ID_KEY), id.then_some(&b"me"[..]));
        assert_eq!(headers.get(METADATA_KEY), metadata.then_some(&b"bWU="[..]));
    }
}

#[test]
fn headers_go_only_where_they_were_read() {
    for (way, left) in [(Discovery::Headers, 1), (Discovery::Service, 3)] {
        let mut headers = HeaderMap::new();
        for name in [ID_KEY, METADATA_KEY, "x-other"] {
            headers.append(name, b"v");
        }
        remove(&[way], &mut headers);
        assert_eq!(headers.len(), left, "{way:?}");
    }
}
