//! What hyper needs to run on one thread: an executor that spawns where it stands.

use std::future::Future;

use hyper::rt::Executor;

/// Spawns onto the worker's own `LocalSet`, so that nothing needs to be `Send`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
