//! What hyper needs to run on one thread: an executor that spawns where it stands, and a service that keeps
//! the memory of its future from one request to the next.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;

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

/// A service for connections that carry one request at a time. Its futures can be moved, which giving a
/// connection back after a change of protocol needs, without an allocation for each.
pub(crate) struct OneAtATime<M, F> {
    make: M,
    place: Rc<Place<F>>,
}

struct Place<F>(RefCell<Pin<Box<Option<F>>>>);

/// The request under way. Dropping it ends the request.
pub(crate) struct Running<F>(Rc<Place<F>>);

impl<M, F> OneAtATime<M, F> {
    pub(crate) fn new(make: M) -> Self {
        Self { make, place: Rc::new(Place(RefCell::new(Box::pin(None)))) }
    }
}

impl<M, F, R, E> Service<Request<Incoming>> for OneAtATime<M, F>
where
    M: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<R, E>>,
{
    type Response = R;
    type Error = E;
    type Future = Running<F>;

    fn call(&self, request: Request<Incoming>) -> Running<F> {
        self.place.0.borrow_mut().as_mut().set(Some((self.make)(request)));
        Running(Rc::clone(&self.place))
    }
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut place = self.0.0.borrow_mut();
        match place.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            // Polled again after its end, which hyper does not do.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Running<F> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().as_mut().set(None);
    }
}
