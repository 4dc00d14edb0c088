//! Unit tests of tasks that need no I/O.

use crate::{Backend, Config, Runtime, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

fn runtime() -> Runtime {
    Runtime::new(Config { backend: Backend::Epoll, ..Config::default() }).expect("epoll")
}

#[test]
fn old_wakers_miss_the_next_task_of_a_slot() {
    let mut rt = runtime();
    rt.block_on(async {
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let keep = Rc::clone(&kept);
        let first = spawn(poll_fn(move |cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        first.await;
        let polls = Rc::new(Cell::new(0));
        let count = Rc::clone(&polls);
        let second = spawn(poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::<()>::Pending
        }));
        yield_now().await;
        assert_eq!(polls.get(), 1);
        kept.borrow().as_ref().expect("a waker").wake_by_ref();
        yield_now().await;
        assert_eq!(polls.get(), 1, "the waker of the finished task woke its successor");
        second.abort();
    });
    assert_eq!(rt.task_count(), 0);
}

#[test]
fn wakes_reach_a_runtime_that_is_not_current() {
    let (mut one, mut two) = (runtime(), runtime());
    let slot: Rc<RefCell<Option<Waker>>> = Rc::default();
    let done = Rc::new(Cell::new(false));
    let task = one.enter(|| {
        let (slot, done) = (Rc::clone(&slot), Rc::clone(&done));
        spawn(async move {
            let mut first = true;
            poll_fn(|cx| {
                *slot.borrow_mut() = Some(cx.waker().clone());
                if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            done.set(true);
        })
    });
    one.turn(false);
    let waker = slot.borrow().clone().expect("polled once");
    two.enter(|| waker.wake_by_ref());
    one.turn(false);
    assert!(done.get() && task.is_finished());
    // From another thread it does nothing, and harms nothing.
    std::thread::spawn(move || waker.wake()).join().expect("thread");
}

#[test]
fn a_task_may_abort_itself_and_others() {
    let mut rt = runtime();
    let dropped = Rc::new(Cell::new(0));
    struct OnDrop(Rc<Cell<u32>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    rt.block_on(async {
        let own: Rc<RefCell<Option<crate::Join<()>>>> = Rc::default();
        let other = {
            let guard = OnDrop(Rc::clone(&dropped));
            spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            })
        };
        let me = Rc::clone(&own);
        let guard = OnDrop(Rc::clone(&dropped));
        let task = spawn(async move {
            let _guard = guard;
            other.abort();
            me.borrow().as_ref().expect("set below").abort();
            pending::<()>().await;
        });
        *own.borrow_mut() = Some(task);
        yield_now().await;
        yield_now().await;
        own.borrow_mut().take();
    });
    assert_eq!(dropped.get(), 2);
    assert_eq!(rt.task_count(), 0);
}

#[test]
fn ending_a_runtime_drops_its_tasks() {
    let held = Rc::new(());
    let mut rt = runtime();
    let join = rt.enter(|| {
        let held = Rc::clone(&held);
        spawn(async move {
            let _held = held;
            pending::<()>().await;
        })
    });
    drop(rt);
    assert_eq!(Rc::strong_count(&held), 1);
    join.abort();
}

#[test]
fn one_round_bounds_what_it_runs() {
    let mut rt = runtime();
    rt.enter(|| {
        spawn(async {
            loop {
                // Wakes itself at once, for ever: I/O and timers must get their turn.
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                })
                .await;
            }
        });
    });
    let turn = rt.turn(true);
    assert!(turn.tasks < 1000, "{turn:?}");
}
