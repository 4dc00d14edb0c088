//! Filter chains of a listener on one shard.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::network::Server;
use crate::plan::listener::FilterChain;

/// One filter chain on one shard.
pub(crate) struct ActiveChain {
    pub plan: Arc<FilterChain>,
    /// What serves its connections.
    pub server: Server,
}

/// The chains of a listener, each made ready when the first connection takes it: there may be ten
/// thousand, of which a shard sees a few.
pub(super) struct Chains(Box<[OnceCell<Rc<ActiveChain>>]>);

impl Chains {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| OnceCell::new()).collect())
    }

    /// The chain at this position of `plan`, the list this was made for.
    pub(super) fn get(&self, plan: &[Arc<FilterChain>], index: usize) -> Option<Rc<ActiveChain>> {
        let (cell, plan) = (self.0.get(index)?, plan.get(index)?);
        let make =
            || Rc::new(ActiveChain { server: Server::new(&plan.terminal), plan: Arc::clone(plan) });
        Some(Rc::clone(cell.get_or_init(make)))
    }
}
