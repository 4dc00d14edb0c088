//! The admin thread: its runtime, its server, and what the control thread tells it.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::mesh::MeshEnd;
use ringway_runtime::{Backend, Config, Listener, Runtime, sleep, spawn};

use super::{Admin, Parts, server};
use crate::control::message::Message;
use crate::control::post::Post;

/// What the admin thread is started with.
pub struct Start {
    /// Its end of the mesh.
    pub mesh: MeshEnd<Message>,
    /// Mesh index of the control thread.
    pub control: usize,
    /// The listening socket; a proxy without `admin.address` still flushes its statistics.
    pub socket: Option<OwnedFd>,
    /// What the pages show.
    pub parts: Parts,
    /// `stats_flush_interval`
    pub flush_interval: Duration,
}

/// The thread's main function: returns after [`Message::Shutdown`].
///
/// # Errors
/// The runtime or the socket cannot be set up.
pub fn run(start: Start) -> io::Result<()> {
    // Few connections, long idle times: epoll keeps no buffers for them.
    let config = Config { backend: Backend::Epoll, ..Config::default() };
    let mut runtime = Runtime::new(config)?;
    runtime.block_on(main(start))
}

async fn main(start: Start) -> io::Result<()> {
    let post = Post::new(start.mesh.attach()?);
    let (to_control, control) = (post.clone(), start.control);
    let admin =
        Rc::new(Admin::new(start.parts, move |message| to_control.try_send(control, message)));
    let listener = start.socket.map(Listener::from_fd).transpose()?.map(Rc::new);
    if let Some(listener) = &listener {
        drop(spawn(server::serve(Rc::clone(listener), Rc::clone(&admin))));
    }
    drop(spawn(flush(Rc::clone(&admin), start.flush_interval)));
    follow(&post, start.control, &admin, listener.as_deref()).await;
    Ok(())
}

/// Ends a flush interval of the histograms again and again.
async fn flush(admin: Rc<Admin>, interval: Duration) {
    loop {
        sleep(interval).await;
        admin.merger.borrow_mut().flush();
    }
}

/// Keeps the pages' view up to date until the process ends.
async fn follow(post: &Post, control: usize, admin: &Admin, listener: Option<&Listener>) {
    let thread = control + 1;
    loop {
        match post.recv().await {
            Message::Install(change) => admin.install(&change),
            Message::Dump(snapshot) => admin.take_snapshot(snapshot),
            Message::Bound(bound) => drop(admin.bound.replace(bound)),
            Message::Hosts(cluster, hosts) => admin.set_hosts(cluster, hosts),
            Message::ReopenLogs => admin.reopen_logs(),
            Message::Lend => {
                let sockets = listener.and_then(|own| own.dup_fd().ok()).into_iter().collect();
                post.send(control, Message::Lent { thread, sockets });
            }
            Message::Pause(_) => {
                listener.inspect(|own| own.pause());
                post.send(control, Message::Paused { thread });
            }
            Message::Resume => {
                listener.inspect(|own| own.resume());
            }
            Message::Shutdown => return,
            // Health bits are read where they are; the rest is for shards.
            _ => {}
        }
    }
}
