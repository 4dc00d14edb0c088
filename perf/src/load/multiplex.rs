//! The task of one HTTP/2 connection in a run.

use super::client;
use super::http2::Http2;
use super::tally::Failure;
use super::tls::Tls;
use super::worker::{BACK_OFF, State};
use ringway_runtime::{precise_now, sleep, timeout};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Keeps a connection busy, and opens another when it ends.
pub(super) async fn connection(state: Rc<State>) {
    let tls = state.load.target.tls.as_ref().map(Tls::with_own_tickets);
    let mut opening = open(&state, tls.as_ref()).await;
    state.has_tried(opening.is_ok());
    loop {
        match opening {
            Ok(connection) => {
                if run(&state, connection).await {
                    return;
                }
            }
            Err(failure) => {
                let Some((due, _)) = state.next().await else { return };
                state.count(due, Err(failure));
                sleep(BACK_OFF).await;
            }
        }
        opening = open(&state, tls.as_ref()).await;
    }
}

async fn open(state: &State, tls: Option<&Tls>) -> Result<Http2, Failure> {
    let opened = timeout(state.load.timeout, state.open(tls)).await;
    match opened.unwrap_or(Err(Failure::Timeout))? {
        client::Client::Http2(connection) => Ok(*connection),
        client::Client::Http1(_) | client::Client::Echo(_) => Err(Failure::Connect),
    }
}

/// Runs a connection to its end; true when that of the load has come.
async fn run(state: &State, mut connection: Http2) -> bool {
    // A slot was free when nothing was due.
    let mut waited = false;
    loop {
        let turn = poll_fn(|cx| turn(state, &mut connection, &mut waited, cx));
        let ended = match timeout(state.load.timeout, turn).await {
            Ok(Turn::Received) => false,
            Ok(Turn::Over) => return true,
            Ok(Turn::Failed(failure)) => {
                connection.fail_all(failure);
                true
            }
            // Nothing came for so long: all that wait for something have waited long enough.
            Err(_) if connection.busy() > 0 => {
                connection.fail_all(Failure::Timeout);
                true
            }
            Err(_) => false,
        };
        for (due, result) in connection.done() {
            state.count(due, result);
        }
        if ended || connection.is_over() {
            return false;
        }
    }
}

enum Turn {
    Received,
    /// Nothing will be due again, and all is answered.
    Over,
    Failed(Failure),
}

/// Begins what is due, sends, and receives once.
fn turn(
    state: &State,
    connection: &mut Http2,
    waited: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Turn> {
    while connection.has_room() {
        match state.poll_due(cx) {
            Poll::Ready(Some(due)) => {
                connection.begin(due);
                if std::mem::take(waited) {
                    state.sent_late(due, precise_now());
                }
            }
            Poll::Ready(None) if connection.busy() == 0 => return Poll::Ready(Turn::Over),
            Poll::Ready(None) => break,
            Poll::Pending => {
                *waited = true;
                break;
            }
        }
    }
    if connection.flush().is_err() {
        return Poll::Ready(Turn::Failed(Failure::Broken));
    }
    connection.poll_recv(cx).map(|received| match received {
        Ok(()) => Turn::Received,
        Err(failure) => Turn::Failed(failure),
    })
}
