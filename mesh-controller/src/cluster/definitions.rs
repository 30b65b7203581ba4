//! Says when resource definitions come and go, so that a new kind is read at once. What they define is not
//! looked at here.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::Notify;

use super::client::Api;
use super::feed::Pauses;

/// The definitions, each as its metadata alone. A watch without a version begins with all of them.
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?watch=true&timeoutSeconds=290";

/// Wakes the owner at every change, for ever. An account that may not watch definitions is told once; kinds are
/// then found by asking now and then.
pub(super) async fn watch(api: Api, changed: Arc<Notify>) {
    let mut pauses = Pauses::default();
    loop {
        match api.watch_metadata(PATH).await {
            Ok(events) => {
                let mut events = pin!(events);
                while let Some(Ok(_)) = events.next().await {
                    pauses.reset();
                    changed.notify_one();
                }
            }
            Err(error) if pauses.is_first() => {
                tracing::warn!(%error, "resource definitions are not followed")
            }
            Err(_) => {}
        }
        pauses.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::client::fake;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_change_wakes_and_a_refusal_is_tried_again() {
        let mut asked = 0;
        let (api, calls) = fake::server(move |_| {
            asked += 1;
            let event = json!({"type": "ADDED", "object": {"metadata": {"name": "a"}}});
            if asked == 1 { fake::status(403) } else { fake::watch(&[event]) }
        });
        let changed = Arc::new(Notify::new());
        let watching = tokio::spawn(watch(api, Arc::clone(&changed)));
        changed.notified().await;
        changed.notified().await;
        watching.abort();
        let calls = calls.lock().expect("no panic before").clone();
        assert!(calls.len() >= 3 && calls.iter().all(|call| call.query.contains("watch=true")), "{calls:?}");
    }
}
