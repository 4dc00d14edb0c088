//! Connections that have made one request and then stay idle: for measuring memory.

use super::client::Client;
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
        let mut client = Client::open(&target.addr, None, target.method).await?;
        client.send(&Chunk::from(target.request.clone()));
        let answer = client.answer().await;
        let answer = answer.map_err(|failure| anyhow::anyhow!("failed: {}", failure.name()))?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(client)
    };
    let client = timeout(PATIENCE, exchange).await.context("no answer in time")??;
    held.borrow_mut().push(client);
    Ok(())
}
