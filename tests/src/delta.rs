//! A management server that speaks incremental xDS on one aggregated stream, or on streams of one
//! type: it has what it was given, answers what it is asked for by name, and writes down what that
//! was. To a request for everything it says that there is nothing, so that all there is comes only
//! on demand, but for [`Server::always`].

use crate::h2::{Conn, Event, PREFACE};
use crate::wire::{End, Peer};
use anyhow::{Context, Result};
use prost::Message;
use prost_types::Any;
use ringway_wire::grpc::{Deframer, Piece, encode_frame};
use ringway_xds::api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use ringway_xds::{Document, Format};
use socket2::Socket;
use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer takes: long enough for others to join who waits.
const PAUSE: Duration = Duration::from_millis(150);

/// The server; it lives as long as the process.
pub struct Server {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    resources: Mutex<BTreeMap<(String, String), Known>>,
    always: Mutex<Vec<(String, String)>>,
    asked: Mutex<Vec<String>>,
    /// Responses for streams that have asked for their type.
    pushed: Mutex<Vec<DeltaDiscoveryResponse>>,
    refused: Mutex<Vec<String>>,
    nonce: AtomicUsize,
}

/// What the server has under a name.
#[derive(Clone)]
enum Known {
    /// This, under its own name, perhaps another.
    Resource(Box<Resource>),
    /// It never answers.
    Silence,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn url(message: &str) -> String {
    format!("type.googleapis.com/{message}")
}

/// Names of message types.
pub mod types {
    /// CDS
    pub const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
    /// RDS
    pub const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
    /// SRDS
    pub const SCOPE: &str = "envoy.config.route.v3.ScopedRouteConfiguration";
    /// VHDS
    pub const VIRTUAL_HOST: &str = "envoy.config.route.v3.VirtualHost";
}

impl Server {
    /// Starts one that has nothing.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a server cannot listen")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // A connection that ends badly is its client's business.
                std::thread::spawn(move || _ = shared.serve(Peer::new(Socket::from(stream))));
            }
        });
        Ok(Self { port, shared })
    }

    /// Has a resource, written in YAML, under the name it is asked for by; `own` is its own name.
    ///
    /// # Errors
    /// It is none.
    pub fn put(&self, message: &str, asked: &str, own: &str, yaml: &str) -> Result<()> {
        let encoded = Document::parse(yaml, own, Format::Yaml)
            .and_then(|document| document.encode(message))
            .map_err(|wrong| anyhow::anyhow!("{yaml}: {wrong:?}"))?;
        let body = Any { type_url: url(message), value: encoded.0 };
        let aliases = if asked == own { Vec::new() } else { vec![asked.to_owned()] };
        let resource = Resource {
            name: own.to_owned(),
            version: "1".to_owned(),
            resource: Some(body),
            aliases,
            ..Resource::default()
        };
        let key = (url(message), asked.to_owned());
        locked(&self.shared.resources).insert(key, Known::Resource(Box::new(resource)));
        Ok(())
    }

    /// Gives a resource to whoever asks for everything, too.
    pub fn always(&self, message: &str, asked: &str) {
        locked(&self.shared.always).push((url(message), asked.to_owned()));
    }

    /// Never answers who asks for this.
    pub fn be_silent(&self, message: &str, asked: &str) {
        let key = (url(message), asked.to_owned());
        locked(&self.shared.resources).insert(key, Known::Silence);
    }

    /// Has a resource no more, and says so.
    pub fn remove(&self, message: &str, name: &str) {
        locked(&self.shared.resources).remove(&(url(message), name.to_owned()));
        let nonce = self.shared.nonce();
        locked(&self.shared.pushed).push(DeltaDiscoveryResponse {
            type_url: url(message),
            removed_resources: vec![name.to_owned()],
            nonce,
            ..DeltaDiscoveryResponse::default()
        });
    }

    /// What it was asked for by name since the last call, in order: the last word of the type, and
    /// the name.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.shared.asked))
    }

    /// Why responses were refused.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        locked(&self.shared.refused).clone()
    }
}

/// A stream of requests.
#[derive(Default)]
struct Open {
    deframer: Deframer,
    message: Vec<u8>,
    types: Vec<String>,
}

impl Shared {
    fn nonce(&self) -> String {
        self.nonce.fetch_add(1, Ordering::Relaxed).to_string()
    }

    fn serve(&self, mut peer: Peer) -> Result<(), End> {
        peer.exactly(PREFACE.len(), Instant::now() + Duration::from_secs(10))?;
        let mut conn = Conn::server(peer, &[]);
        let mut open: HashMap<u32, Open> = HashMap::new();
        loop {
            match conn.pump(Instant::now() + Duration::from_millis(10)) {
                Ok(()) | Err(End::Timeout) => {}
                Err(end) => return Err(end),
            }
            let ids: Vec<u32> = conn.streams().map(|(id, _)| id).collect();
            for id in ids {
                self.stream(&mut conn, id, open.entry(id).or_default());
            }
            let mut pushed = locked(&self.pushed);
            pushed.retain(|response| {
                let asks = |open: &Open| open.types.contains(&response.type_url);
                let stream = open.iter().find(|(_, open)| asks(open));
                if let Some((id, _)) = stream {
                    send(&mut conn, *id, response);
                }
                stream.is_none()
            });
        }
    }

    fn stream(&self, conn: &mut Conn, id: u32, open: &mut Open) {
        let events = std::mem::take(&mut conn.stream_mut(id).events);
        for event in events {
            match event {
                Event::Headers(_) => {
                    let line = |name: &str, value: &str| (name.into(), value.into());
                    let type_of = line("content-type", "application/grpc");
                    conn.headers(id, &[line(":status", "200"), type_of], false);
                }
                Event::Data(data) => self.data(conn, id, open, &data),
            }
        }
    }

    fn data(&self, conn: &mut Conn, id: u32, open: &mut Open, mut data: &[u8]) {
        while !data.is_empty() {
            let (used, piece) = open.deframer.next(data);
            let (here, rest) = data.split_at(used);
            data = rest;
            let Some(Piece::Data { range, end }) = piece else { continue };
            open.message.extend_from_slice(here.get(range).unwrap_or_default());
            if end {
                let message = std::mem::take(&mut open.message);
                let request = DeltaDiscoveryRequest::decode(&*message).unwrap_or_default();
                self.request(conn, id, open, request);
            }
        }
    }

    fn request(&self, conn: &mut Conn, id: u32, open: &mut Open, request: DeltaDiscoveryRequest) {
        if let Some(error) = request.error_detail {
            locked(&self.refused).push(error.message);
        }
        let is_first = !open.types.contains(&request.type_url);
        if is_first {
            open.types.push(request.type_url.clone());
        }
        let mut names = request.resource_names_subscribe;
        let all = is_first && names.is_empty() || names.iter().any(|name| name == "*");
        names.retain(|name| name != "*");
        let word = request.type_url.rsplit('.').next().unwrap_or_default();
        let words = names.iter().map(|name| format!("{word} {name}"));
        locked(&self.asked).extend(words);
        let mut response = DeltaDiscoveryResponse {
            type_url: request.type_url.clone(),
            nonce: self.nonce(),
            ..DeltaDiscoveryResponse::default()
        };
        if all {
            let always = locked(&self.always);
            let of_type = always.iter().filter(|(url, _)| *url == request.type_url);
            names.extend(of_type.map(|(_, name)| name.clone()));
        } else if names.is_empty() {
            return;
        } else {
            std::thread::sleep(PAUSE);
        }
        self.fill(&mut response, &names);
        let says_something =
            !response.resources.is_empty() || !response.removed_resources.is_empty();
        if all || says_something {
            send(conn, id, &response);
        }
    }

    fn fill(&self, response: &mut DeltaDiscoveryResponse, names: &[String]) {
        let resources = locked(&self.resources);
        for name in names {
            match resources.get(&(response.type_url.clone(), name.clone())) {
                Some(Known::Resource(resource)) => response.resources.push((**resource).clone()),
                Some(Known::Silence) => {}
                // Envoy takes a virtual host for missing only if it is one without a body.
                None if response.type_url == url(types::VIRTUAL_HOST) => {
                    response.resources.push(Resource {
                        name: name.clone(),
                        version: "1".to_owned(),
                        aliases: vec![name.clone()],
                        ..Resource::default()
                    });
                }
                None => response.removed_resources.push(name.clone()),
            }
        }
    }
}

fn send(conn: &mut Conn, id: u32, response: &DeltaDiscoveryResponse) {
    let mut framed = Vec::new();
    encode_frame(0, &response.encode_to_vec(), &mut framed);
    conn.data(id, &framed, false);
}
