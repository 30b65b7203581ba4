//! A future beside a busy one: it is polled only when it was woken itself, not whenever its task runs. No IO.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that shares a task with others and rarely has news.
pub(crate) struct Woken<F> {
    inner: F,
    news: Arc<News>,
    waker: Waker,
    /// The task that hears of news.
    known: Option<Waker>,
}

struct News {
    woken: AtomicBool,
    /// Stays when it was woken, so that a task needs to be told once only.
    task: Mutex<Option<Waker>>,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

impl<F> Woken<F> {
    pub(crate) fn new(inner: F) -> Self {
        let news = Arc::new(News { woken: AtomicBool::new(true), task: Mutex::default() });
        Self { inner, waker: Waker::from(Arc::clone(&news)), news, known: None }
    }
}

impl<F: Future + Unpin> Future for Woken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // First the task, then the flag: news that come in between wake the task.
        if !self.known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.known = Some(cx.waker().clone());
            *self.news.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        } else if !self.news.woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
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
