//! The first steps: a name of one's own, and the parent's sockets. They are made before anything
//! runs, so that what goes wrong ends the start.

use std::fmt;
use std::io;
use std::time::Duration;

use ringway_runtime::{PacketListener, PacketSocket, SockAddr, UnixAddr, rand_below, timeout};

use super::link;
use super::note::{Note, VERSION};
use super::{Inherited, Settings};
use crate::control::log::log;

/// How long the parent may take to hand its sockets over, and to give up its admin address.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Earlier epochs that are tried: those in between may have failed to start.
const EPOCHS_BACK: u32 = 64;

/// Base ids tried with `--use-dynamic-base-id`.
const BASE_TRIES: u32 = 64;

/// A process that others can restart, perhaps the child of another one.
pub struct Begun {
    pub(super) settings: Settings,
    pub(super) own: PacketListener,
    pub(super) parent: Option<Parent>,
}

/// The parent, as far as it is known before this process runs.
pub(super) struct Parent {
    pub(super) socket: PacketSocket,
    pub(super) epoch: u32,
    pub(super) generation: u64,
    /// When the first process of this chain began, since 1970.
    pub(super) started: Duration,
}

/// Why a process cannot take part in hot restarts.
#[derive(Debug)]
pub enum RestartError {
    /// The name is taken, or cannot be had.
    Own(SockAddr, io::Error),
    /// There is no process of an earlier epoch.
    NoParent(SockAddr),
    /// The process of an earlier epoch does not do its part.
    Parent(u32, String),
    /// `--base-id-path` cannot be written.
    BaseIdPath(io::Error),
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(name, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "another process has this base id and restart epoch (it listens on '{name}'): \
                 choose another --base-id, or --use-dynamic-base-id, or --disable-hot-restart"
            ),
            Self::Own(name, error) => write!(
                f,
                "cannot listen on '{name}' for the next restart: {error} (see --socket-path; \
                 --disable-hot-restart does without)"
            ),
            Self::NoParent(name) => write!(
                f,
                "there is no process of an earlier --restart-epoch to take over from (nobody \
                 listens on '{name}'): start with epoch 0, or with \
                 --skip-hot-restart-on-no-parent"
            ),
            Self::Parent(epoch, why) => {
                write!(f, "the process of restart epoch {epoch} cannot be taken over from: {why}")
            }
            Self::BaseIdPath(error) => write!(f, "cannot write --base-id-path: {error}"),
        }
    }
}

impl std::error::Error for RestartError {}

/// Takes a name, and the sockets of the parent if the epoch says that there is one.
///
/// # Errors
/// A process that cannot be restarted, or cannot restart another one, does not start.
pub async fn begin(settings: Settings) -> Result<(Begun, Inherited), RestartError> {
    let (base, own) = take_name(&settings)?;
    if let Some(path) = &settings.base_id_path {
        std::fs::write(path, base.to_string()).map_err(RestartError::BaseIdPath)?;
    }
    let mut inherited = Inherited::default();
    let found = find_parent(&settings, base);
    let parent = match found {
        Some((epoch, socket)) => {
            let asked = timeout(ANSWER_TIME, ask(socket, &settings, &mut inherited)).await;
            let answered = asked.unwrap_or_else(|_| {
                let seconds = ANSWER_TIME.as_secs();
                Err(No::Refused(format!("it has not answered within {seconds} s")))
            });
            match answered {
                Ok(parent) => Some(parent),
                Err(No::Gone(why)) => {
                    log!(Warning, Main, "hot restart: the process of epoch {epoch} died: {why}");
                    None
                }
                Err(No::Refused(why)) => return Err(RestartError::Parent(epoch, why)),
            }
        }
        None if settings.epoch > 0 && settings.needs_parent => {
            return Err(RestartError::NoParent(settings.address(base, settings.epoch - 1)));
        }
        None => None,
    };
    match &parent {
        Some(parent) => log!(
            Info,
            Main,
            "hot restart: {} listening socket(s) come from the process of epoch {}",
            inherited.len(),
            parent.epoch
        ),
        None if settings.epoch > 0 => log!(
            Warning,
            Main,
            "hot restart: no process of an earlier epoch runs, this is an ordinary start"
        ),
        None => {}
    }
    Ok((Begun { settings, own, parent }, inherited))
}

impl Begun {
    /// Takes the admin address over: the parent answers there no more once this returns.
    pub async fn take_admin(&self) {
        let Some(parent) = &self.parent else { return };
        let Some(ask) = Note::TakeAdmin.encode() else { return };
        let asked = async {
            parent.socket.send(&ask, None).await.map_err(|error| error.to_string())?;
            loop {
                if let (Note::AdminStopped, _) = link::receive(&parent.socket).await? {
                    return Ok::<(), String>(());
                }
            }
        };
        // Two processes on one socket are a nuisance; they are no reason not to start.
        match timeout(ANSWER_TIME, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => log!(Warning, Main, "hot restart: the parent's admin address: {why}"),
            Err(_) => log!(Warning, Main, "hot restart: the parent keeps its admin address"),
        }
    }

    /// Generation of this process: how many there were in this chain, itself included.
    pub fn generation(&self) -> u64 {
        self.parent.as_ref().map_or(1, |parent| parent.generation.saturating_add(1))
    }

    /// When the first process of this chain began, if it was another one.
    pub fn started(&self) -> Option<Duration> {
        self.parent.as_ref().map(|parent| parent.started)
    }
}

fn take_name(settings: &Settings) -> Result<(u32, PacketListener), RestartError> {
    let mut tries = 0;
    loop {
        let base = settings.base.unwrap_or_else(|| rand_below(1 << 31) as u32);
        let name = settings.address(base, settings.epoch);
        match listen(&name, settings.socket_mode) {
            Ok(own) => return Ok((base, own)),
            Err(error) if settings.base.is_some() || tries == BASE_TRIES => {
                return Err(RestartError::Own(name, error));
            }
            Err(_) => tries += 1,
        }
    }
}

/// A file of a process that is gone is in nobody's way.
fn listen(name: &SockAddr, mode: u32) -> io::Result<PacketListener> {
    let taken = match PacketListener::bind(name, mode) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        other => return other,
    };
    let SockAddr::Unix(UnixAddr::Path(path)) = name else { return Err(taken) };
    let connected = PacketSocket::connect(name);
    if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
        return PacketListener::bind(name, mode);
    }
    Err(taken)
}

/// The process of the last epoch that runs.
fn find_parent(settings: &Settings, base: u32) -> Option<(u32, PacketSocket)> {
    let earlier = (0..settings.epoch).rev().take(EPOCHS_BACK as usize);
    let mut found = earlier.filter_map(|epoch| {
        Some((epoch, PacketSocket::connect(&settings.address(base, epoch)).ok()?))
    });
    found.next()
}

/// Why a parent has not given its sockets.
enum No {
    /// It died meanwhile: there is nobody left to take anything over from.
    Gone(String),
    /// It lives, and is none that this process can follow.
    Refused(String),
}

impl From<String> for No {
    fn from(why: String) -> Self {
        Self::Gone(why)
    }
}

async fn ask(
    socket: PacketSocket,
    settings: &Settings,
    inherited: &mut Inherited,
) -> Result<Parent, No> {
    let refused = |why: &str| Err(No::Refused(why.to_owned()));
    let peer = socket.peer().map_err(|error| error.to_string())?;
    let own = rustix::process::geteuid().as_raw();
    if peer.uid != own {
        let theirs = peer.uid;
        return refused(&format!("it belongs to user {theirs}, this process to user {own}"));
    }
    let hello = Note::Hello { version: VERSION, epoch: settings.epoch }.encode();
    let hello = hello.unwrap_or_default();
    socket.send(&hello, None).await.map_err(|error| error.to_string())?;
    let (epoch, generation, started) = match link::receive(&socket).await? {
        (Note::Welcome { version: VERSION, epoch, generation, started }, _) => {
            (epoch, generation, started)
        }
        (Note::Welcome { version, .. }, _) => {
            return refused(&format!("it speaks version {version}, this process {VERSION}"));
        }
        (Note::Sorry(why), _) => return refused(&why),
        _ => return refused("it answers something else than was asked"),
    };
    loop {
        match link::receive(&socket).await? {
            (Note::Socket, Some(fd)) => {
                if !inherited.add(fd) {
                    return refused("it sends a descriptor that is no listening socket");
                }
            }
            (Note::AllSockets, _) => {
                return Ok(Parent { socket, epoch, generation, started });
            }
            _ => return refused("it sends something else than sockets"),
        }
    }
}
