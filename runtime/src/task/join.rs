//! The cell of a task and the handle to its result: one allocation for both.

use crate::current;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What the queue knows of a task.
pub(super) trait Runnable {
    /// Polls it; true when it has finished.
    fn run(&self, cx: &mut Context<'_>) -> bool;
    /// Drops its future now or, from inside of its own poll, right after.
    fn cancel(&self);
}

/// What a [`Join`] knows of a task.
trait Joinable<T> {
    fn poll_output(&self, cx: &mut Context<'_>) -> Poll<T>;
    fn abort(&self);
    fn is_finished(&self) -> bool;
}

enum Stage<F: Future> {
    Running(F),
    Finished(F::Output),
    /// Aborted, or the output was taken.
    Gone,
}

pub(super) struct TaskCell<F: Future> {
    stage: RefCell<Stage<F>>,
    joiner: Cell<Option<Waker>>,
    cancelled: Cell<bool>,
    runtime: u16,
    index: u32,
    generation: u32,
}

impl<F: Future> TaskCell<F> {
    pub(super) fn new(future: F, runtime: u16, index: u32, generation: u32) -> Self {
        Self {
            stage: RefCell::new(Stage::Running(future)),
            joiner: Cell::new(None),
            cancelled: Cell::new(false),
            runtime,
            index,
            generation,
        }
    }
}

impl<F: Future> Runnable for TaskCell<F> {
    fn run(&self, cx: &mut Context<'_>) -> bool {
        let mut stage = self.stage.borrow_mut();
        let Stage::Running(future) = &mut *stage else { return true };
        // SAFETY: the cell lives in an `Rc` from the start and never leaves it, and the future is
        // only ever dropped in place, by assigning to the stage. Pinning through a `RefCell` has
        // no safe form.
        let poll = unsafe { Pin::new_unchecked(future) }.poll(cx);
        if let Poll::Ready(output) = poll {
            *stage = Stage::Finished(output);
        } else if self.cancelled.get() {
            *stage = Stage::Gone;
        } else {
            return false;
        }
        drop(stage);
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
        true
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        if let Ok(mut stage) = self.stage.try_borrow_mut()
            && matches!(*stage, Stage::Running(_))
        {
            *stage = Stage::Gone;
        }
    }
}

impl<F: Future> Joinable<F::Output> for TaskCell<F> {
    fn poll_output(&self, cx: &mut Context<'_>) -> Poll<F::Output> {
        // A task that joins itself would find its stage borrowed: it waits for ever, as it must.
        if let Ok(mut stage) = self.stage.try_borrow_mut()
            && matches!(*stage, Stage::Finished(_))
            && let Stage::Finished(output) = std::mem::replace(&mut *stage, Stage::Gone)
        {
            return Poll::Ready(output);
        }
        self.joiner.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn abort(&self) {
        self.cancel();
        let running = self.stage.try_borrow_mut().is_err();
        if !running {
            current::with_id(self.runtime, |shared| {
                shared.tasks.remove(self.index, self.generation);
            });
        }
    }

    fn is_finished(&self) -> bool {
        self.stage.try_borrow().is_ok_and(|stage| !matches!(*stage, Stage::Running(_)))
    }
}

/// The result of a task, as a future. Dropping it lets the task run on by itself.
pub struct Join<T>(Rc<dyn Joinable<T>>);

impl<T: 'static> Join<T> {
    pub(super) fn new<F: Future<Output = T> + 'static>(cell: Rc<TaskCell<F>>) -> Self {
        Self(cell)
    }
}

impl<T> Join<T> {
    /// Drops the task's future at once (from inside of that task: when its poll returns). A `Join`
    /// of an aborted task never resolves.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task has finished or was aborted.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.poll_output(cx)
    }
}

impl<T> fmt::Debug for Join<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("finished", &self.is_finished()).finish()
    }
}
