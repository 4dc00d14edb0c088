//! Connections that have made one request and then stay idle: for measuring memory.

use super::client::Client;
use super::tally::Failure;
use super::target::Target;
use anyhow::{Context, Result, ensure};
use ringway_runtime::{Chunk, Config, Runtime, sleep, spawn, timeout};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Connections opened at once.
const TOGETHER: usize = 64;
/// Time for one connection and its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens `count` connections, one request each, keeps them idle for `settle`, calls `look` while
/// they are, and closes them.
///
/// # Errors
/// A connection cannot be opened or its request is not answered with 200; `look` fails.
pub fn with_idle<T>(
    target: &Target,
    count: usize,
    pin: Option<usize>,
    settle: Duration,
    look: impl FnOnce() -> Result<T>,
) -> Result<T> {
    Runtime::new(Config { cpu: pin, ..Config::default() })?.block_on(async {
        let held = Rc::new(RefCell::new(Vec::with_capacity(count)));
        let mut opened = 0;
        while opened < count {
            let batch: Vec<_> = (opened..count.min(opened + TOGETHER))
                .map(|_| spawn(open(target.clone(), Rc::clone(&held))))
                .collect();
            opened += batch.len();
            for task in batch {
                task.await.with_context(|| format!("connection {opened} of {count}"))?;
            }
        }
        sleep(settle).await;
        let closed = held.borrow().iter().filter(|client: &&Client| client.is_closed()).count();
        ensure!(closed == 0, "{closed} of {count} idle connections were closed by the proxy");
        let result = look();
        held.borrow_mut().clear();
        // Closing takes a turn.
        sleep(Duration::from_millis(50)).await;
        result
    })
}

async fn open(target: Target, held: Rc<RefCell<Vec<Client>>>) -> Result<()> {
    let exchange = async {
        let mut client = Client::open(&target, target.tls.as_ref(), None).await?;
        let failed = |failure: Failure| anyhow::anyhow!("failed: {}", failure.name());
        client.send(&Chunk::from(target.request.clone())).map_err(failed)?;
        let answer = client.answer().await.map_err(failed)?;
        ensure!(answer.status < 400, "status {}", answer.status);
        Ok(client)
    };
    let client = timeout(PATIENCE, exchange).await.context("no answer in time")??;
    held.borrow_mut().push(client);
    Ok(())
}
