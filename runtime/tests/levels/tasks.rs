//! Tasks and timers.

use super::*;
use ringway_runtime::{now, precise_now, sleep, sleep_until, spawn, timeout, yield_now};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub(crate) fn joins_and_aborts(rt: &mut Runtime) {
    let held = Rc::new(());
    let value = rt.block_on(async {
        let kept = Rc::clone(&held);
        let endless = spawn(async move {
            let _kept = kept;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        assert_eq!(Rc::strong_count(&held), 2);
        endless.abort();
        assert_eq!(Rc::strong_count(&held), 1, "abort drops the future at once");
        assert!(endless.is_finished());
        let a = spawn(async { 1 });
        let b = spawn(async {
            yield_now().await;
            2
        });
        a.await + b.await
    });
    assert_eq!(value, 3);
}

pub(crate) fn sleeps_in_order(rt: &mut Runtime) {
    rt.block_on(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = now();
        let tasks: Vec<_> = [30_u64, 10, 20]
            .into_iter()
            .map(|ms| {
                let order = Rc::clone(&order);
                spawn(async move {
                    let deadline = start + Duration::from_millis(ms);
                    sleep_until(deadline).await;
                    assert!(precise_now() >= deadline, "fired early");
                    order.borrow_mut().push(ms);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [10, 20, 30]);
    });
}

pub(crate) fn timeout_wins_and_loses(rt: &mut Runtime) {
    rt.block_on(async {
        let late = timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
        assert!(late.is_err());
        let early = timeout(Duration::from_secs(5), async { 7 }).await;
        assert_eq!(early, Ok(7));
        let mut moved = Box::pin(sleep(Duration::from_secs(60)));
        assert!(timeout(Duration::from_millis(2), &mut moved).await.is_err());
        let sooner = now() + Duration::from_millis(10);
        moved.reset(sooner);
        assert!(timeout(Duration::from_millis(2), &mut moved).await.is_err() || now() >= sooner);
        let later = now() + Duration::from_millis(30);
        moved.reset(later);
        moved.await;
        assert!(precise_now() >= later, "a deadline pushed out must hold");
    });
}

pub(crate) fn yields_to_others(rt: &mut Runtime) {
    rt.block_on(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let run = |name: char| {
            let seen = Rc::clone(&seen);
            async move {
                for _ in 0..3 {
                    seen.borrow_mut().push(name);
                    yield_now().await;
                }
            }
        };
        let (a, b) = (spawn(run('a')), spawn(run('b')));
        a.await;
        b.await;
        assert_eq!(seen.borrow().iter().collect::<String>(), "ababab");
    });
}
