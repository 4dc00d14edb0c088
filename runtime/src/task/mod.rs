//! Tasks that stay on their thread: a slab of futures, a queue of those to poll, and wakers that
//! are nothing but the index of a task.
//!
//! LIFECYCLE of a task: spawned (queued) → polled → waiting → woken (queued) → … → finished or
//! aborted (its future dropped, its slot freed, its generation moved on so that old wakers miss).

mod join;
#[cfg(test)]
mod tests;
mod waker;

pub use join::Join;
pub(crate) use waker::ROOT;

use crate::current;
use join::{Runnable, TaskCell};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Runs `future` as a task of the current runtime, from its next round on.
///
/// # Panics
/// Outside of a runtime.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Join<T> {
    current::with(|shared| shared.tasks.spawn(future))
}

/// Lets the rest of the round run: resolves in the next one.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        current::with(|shared| shared.tasks.later.borrow_mut().push(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

struct Slot {
    task: Option<Rc<dyn Runnable>>,
    queued: bool,
}

/// All tasks of one runtime.
pub(crate) struct Tasks {
    runtime: u16,
    slots: RefCell<Slab<Slot>>,
    queue: RefCell<VecDeque<u32>>,
    /// Wakers of those who yielded until the next round.
    later: RefCell<Vec<Waker>>,
    root_ready: Cell<bool>,
    /// Generations by slot index; a slot's only grows.
    generations: RefCell<Vec<u32>>,
}

impl Tasks {
    pub(crate) fn new(runtime: u16) -> Self {
        Self {
            runtime,
            slots: RefCell::new(Slab::new()),
            queue: RefCell::new(VecDeque::new()),
            later: RefCell::new(Vec::new()),
            root_ready: Cell::new(false),
            generations: RefCell::new(Vec::new()),
        }
    }

    pub(crate) fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Join<T> {
        let index = self.slots.borrow().vacant_key() as u32;
        assert!(index < ROOT, "more tasks than a waker can name");
        let mut generations = self.generations.borrow_mut();
        if generations.len() <= index as usize {
            generations.resize(index as usize + 1, 0);
        }
        let generation = generations[index as usize];
        let cell = Rc::new(TaskCell::new(future, self.runtime, index, generation));
        let slot = Slot { task: Some(Rc::clone(&cell) as Rc<dyn Runnable>), queued: true };
        self.slots.borrow_mut().insert(slot);
        self.queue.borrow_mut().push_back(index);
        Join::new(cell)
    }

    /// Queues the task a waker named, unless that has finished or is queued already.
    pub(crate) fn wake(&self, index: u32, generation: u32) {
        if index == ROOT {
            return self.root_ready.set(true);
        }
        if self.generations.borrow().get(index as usize) != Some(&generation) {
            return;
        }
        if let Some(slot) = self.slots.borrow_mut().get_mut(index as usize)
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.queue.borrow_mut().push_back(index);
        }
    }

    /// Whether something wants to run.
    pub(crate) fn is_ready(&self) -> bool {
        self.root_ready.get() || !self.queue.borrow().is_empty() || !self.later.borrow().is_empty()
    }

    /// Takes the mark that the future of `block_on` was woken.
    pub(crate) fn take_root_ready(&self) -> bool {
        self.root_ready.replace(false)
    }

    /// Number of tasks that have not finished.
    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Polls what is queued, and what that wakes, up to a bound that keeps I/O from waiting.
    pub(crate) fn run(&self) -> usize {
        let mut later = std::mem::take(&mut *self.later.borrow_mut());
        later.drain(..).for_each(Waker::wake);
        // Keeps the allocation, unless somebody yielded while it was out.
        let mut list = self.later.borrow_mut();
        if list.is_empty() {
            *list = later;
        }
        drop(list);
        let budget = self.queue.borrow().len() * 2 + 64;
        let mut ran = 0;
        while ran < budget {
            let Some(index) = self.queue.borrow_mut().pop_front() else { break };
            self.run_one(index);
            ran += 1;
        }
        ran
    }

    fn run_one(&self, index: u32) {
        let task = match self.slots.borrow_mut().get_mut(index as usize) {
            Some(slot) => {
                slot.queued = false;
                slot.task.clone()
            }
            None => None,
        };
        let Some(task) = task else { return };
        let generation = self.generations.borrow().get(index as usize).copied().unwrap_or(0);
        let waker = waker::borrowed(self.runtime, index, generation);
        if task.run(&mut Context::from_waker(&waker)) {
            self.remove(index, generation);
        }
    }

    /// Frees a finished or aborted task's slot.
    fn remove(&self, index: u32, generation: u32) {
        if self.generations.borrow().get(index as usize) != Some(&generation) {
            return;
        }
        if let Some(next) = self.generations.borrow_mut().get_mut(index as usize) {
            *next = waker::next_generation(*next);
        }
        // The future may have ended, but what it left behind is dropped outside of the borrow.
        let slot = self.slots.borrow_mut().try_remove(index as usize);
        drop(slot);
    }

    /// Drops every task, for the end of the runtime.
    pub(crate) fn clear(&self) {
        loop {
            let tasks: Vec<_> = {
                let slots = self.slots.borrow();
                slots.iter().filter_map(|(i, slot)| Some((i, slot.task.clone()?))).collect()
            };
            if tasks.is_empty() {
                break;
            }
            for (index, task) in tasks {
                task.cancel();
                let generation = self.generations.borrow().get(index).copied().unwrap_or(0);
                self.remove(index as u32, generation);
            }
        }
        self.queue.borrow_mut().clear();
        self.later.borrow_mut().clear();
    }

    /// Polls the future given to `block_on`.
    pub(crate) fn poll_root<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        let waker = waker::borrowed(self.runtime, ROOT, 0);
        future.poll(&mut Context::from_waker(&waker))
    }
}
