//! A future beside a busy one: it is polled only when it was woken itself, not whenever its task runs. No IO.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that shares a task with others and rarely has news.
pub(crate) struct Woken<F> {
    inner: F,
    news: Arc<News>,
    waker: Waker,
}

struct News {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Woken<F> {
    pub(crate) fn new(inner: F) -> Self {
        let news = Arc::new(News { woken: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { inner, waker: Waker::from(Arc::clone(&news)), news }
    }
}

impl<F: Future + Unpin> Future for Woken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // First the task, then the flag: news that come in between wake the task.
        self.news.task.register(cx.waker());
        if !self.news.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = self.waker.clone();
        Pin::new(&mut self.inner).poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn news_arrive_and_without_news_nothing_is_polled() {
        let (sender, mut receiver) = tokio::sync::oneshot::channel::<()>();
        let polls = Cell::new(0);
        let mut woken = Woken::new(Box::pin(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            Pin::new(&mut receiver).poll(cx)
        })));
        for _ in 0..10 {
            let pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut woken).poll(cx).is_pending())).await;
            assert!(pending);
        }
        assert_eq!(polls.get(), 1);
        let (end, ()) = tokio::join!(woken, async { sender.send(()).expect("the receiver lives") });
        assert!(end.is_ok());
        assert_eq!(polls.get(), 2);
    }
}
