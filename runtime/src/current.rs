//! The runtime that is current on this thread, and those that live on it.

use crate::shard::Shared;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

thread_local! {
    /// Set while a runtime runs user code; points into the frame of [`enter`].
    static CURRENT: Cell<Option<NonNull<Rc<Shared>>>> = const { Cell::new(None) };
    /// Runtimes of this thread by id, for wakes that come while another one is current.
    static LIVING: RefCell<Vec<(u16, Weak<Shared>)>> = const { RefCell::new(Vec::new()) };
}

/// Makes `shared` current while `f` runs. Nests.
pub(crate) fn enter<T>(shared: &Rc<Shared>, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<NonNull<Rc<Shared>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| current.set(self.0));
        }
    }
    let _restore = Restore(CURRENT.with(|c| c.replace(Some(NonNull::from(shared)))));
    f()
}

/// Runs `f` with the current runtime, if there is one.
pub(crate) fn try_with<T>(f: impl FnOnce(&Rc<Shared>) -> T) -> Option<T> {
    let ptr = CURRENT.try_with(Cell::get).ok().flatten()?;
    // SAFETY: `enter` borrows the `Rc` for as long as the pointer is set and resets it on the way
    // out, also when unwinding; both happen on this thread, below us on the stack. A safe
    // thread-local would have to own the `Rc` and count it up and down on every access.
    Some(f(unsafe { ptr.as_ref() }))
}

/// Runs `f` with the current runtime.
///
/// # Panics
/// When no runtime is current: a mistake of the program, never of its input.
pub(crate) fn with<T>(f: impl FnOnce(&Rc<Shared>) -> T) -> T {
    match try_with(f) {
        Some(value) => value,
        None => panic!(
            "no runtime is current on this thread: call this from a task, from the future given \
             to Runtime::block_on, or inside Runtime::enter"
        ),
    }
}

/// A counted handle of the current runtime. Panics as [`with`] does.
pub(crate) fn shared() -> Rc<Shared> {
    with(Rc::clone)
}

/// Runs `f` with the runtime `id` when it lives on this thread.
pub(crate) fn with_id(id: u16, f: impl Fn(&Shared)) {
    let found = try_with(|shared| {
        let found = shared.id == id;
        if found {
            f(shared);
        }
        found
    });
    if found == Some(true) {
        return;
    }
    let other = LIVING.try_with(|living| {
        let living = living.borrow();
        living.iter().find(|(key, _)| *key == id).and_then(|(_, weak)| weak.upgrade())
    });
    if let Ok(Some(shared)) = other {
        f(&shared);
    }
}

/// Adds a runtime to those of this thread.
pub(crate) fn register(shared: &Rc<Shared>) {
    LIVING.with(|living| living.borrow_mut().push((shared.id, Rc::downgrade(shared))));
}

/// Removes a runtime from those of this thread.
pub(crate) fn unregister(id: u16) {
    // During thread exit the list may be gone already, and then so is the entry.
    let _ = LIVING.try_with(|living| living.borrow_mut().retain(|(key, _)| *key != id));
}
