//! Writes what is reported about each object. Only the leader writes; each write names the version that it
//! changes, so that two leaders or a late one harm nothing. What a status says is decided elsewhere.

mod desk;
mod gateways;
mod merge;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::apply::Refusals;
use super::unusable::{Owners, Unusables};
use super::{Access, Api, CallError, Fault};
use crate::controller::View;
use crate::objects::{ObjectKind, Timestamp};
use crate::serve::Count;
use crate::status::ObjectStatus;
use crate::store::ObjectKey;
use crate::translate::Settings;

pub(super) use gateways::Proxies;

use desk::{Desk, Known, Write};
use gateways::Gateways;
use merge::Pen;

/// A write with what came of it.
struct Outcome {
    key: ObjectKey,
    write: Write,
    /// What the server holds now, or the failure with what it holds instead.
    result: Result<Value, (CallError, Option<Value>)>,
}

struct Writer {
    access: Access,
    desk: Desk,
    gateways: Gateways,
    refusals: watch::Receiver<Arc<Refusals>>,
    unusable: watch::Receiver<Arc<Unusables>>,
    /// Those of the last look.
    refused: Arc<Unusables>,
    view: View,
    /// Up to where the view was looked at; none before the first look and while another replica writes.
    seen: Option<u64>,
    /// Signs what is said about service parents.
    mesh_controller: String,
}

/// What happened since the last look.
enum News {
    /// It is not known what is the same as before.
    Anything,
    /// Proxies answered, or the time is over in which they may.
    Answers,
    /// Gateways are refused other addresses than before.
    Refusals,
    /// Other objects cannot be used than before.
    Unusable,
    /// The view is another one.
    View,
}

/// What is refused outside of the translation.
pub(super) struct Refused {
    /// Addresses of gateways, by the API server.
    pub(super) addresses: watch::Receiver<Arc<Refusals>>,
    /// Objects that cannot be used.
    pub(super) unusable: watch::Receiver<Arc<Unusables>>,
}

/// Writes for ever.
pub(super) async fn run(access: Access, proxies: Proxies, refused: Refused) {
    let mut answers = proxies.fleet.watch();
    let mut writer = Writer::new(access, proxies, refused);
    let mut calls: FuturesUnordered<BoxFuture<'static, Outcome>> = FuturesUnordered::new();
    let mut news = News::Anything;
    loop {
        let now = writer.access.clock.monotonic();
        if *writer.access.leading.borrow_and_update() {
            writer.look(&news, now);
        } else {
            writer.desk.clear();
            writer.seen = None;
        }
        // Until something happens that may change what should be written.
        news = loop {
            let now = writer.access.clock.monotonic();
            for (key, write) in writer.desk.take_due(now) {
                calls.extend(writer.call(key, write));
            }
            let waits = writer.gateways.waits_until();
            let wake = [waits, writer.desk.next_due()].into_iter().flatten().min();
            tokio::select! {
                Ok(()) = writer.access.view.changed() => break News::View,
                Ok(()) = writer.access.leading.changed() => break News::Anything,
                Ok(()) = writer.access.served.changed() => break News::Anything,
                Ok(()) = writer.refusals.changed() => break News::Refusals,
                Ok(()) = writer.unusable.changed() => break News::Unusable,
                Ok(()) = answers.changed(), if waits.is_some() => break News::Answers,
                Some(outcome) = calls.next(), if !calls.is_empty() => writer.note(outcome),
                () = until(wake, now), if wake.is_some() => {
                    if waits.is_some_and(|until| until <= writer.access.clock.monotonic()) {
                        break News::Answers;
                    }
                }
                else => return,
            }
        };
    }
}

async fn until(wake: Option<Instant>, now: Instant) {
    if let Some(wake) = wake {
        tokio::time::sleep(wake.saturating_duration_since(now)).await;
    }
}

impl Writer {
    fn new(access: Access, proxies: Proxies, refused: Refused) -> Self {
        Self {
            access,
            desk: Desk::default(),
            gateways: Gateways::new(proxies),
            refusals: refused.addresses,
            unusable: refused.unusable,
            refused: Arc::default(),
            view: View::default(),
            seen: None,
            mesh_controller: Settings::default().mesh_controller_name,
        }
    }

    /// Judges what may have changed since the last look, and nothing else. Returns how many objects that were.
    fn look(&mut self, news: &News, now: Instant) -> usize {
        let view = self.access.view.borrow_and_update().clone();
        let known = self.seen.filter(|_| !matches!(news, News::Anything));
        let touched = known.and_then(|seen| view.touched.since(seen));
        self.seen = Some(view.touched.revision());
        self.view = view;
        let mut keys = match &touched {
            Some(batch) => batch.keys.clone(),
            None => self.view.store.keys().cloned().collect(),
        };
        let unusable = Arc::clone(&self.unusable.borrow_and_update());
        let before = std::mem::replace(&mut self.refused, unusable);
        // Few, and to whom they belong may be known only now.
        keys.extend(before.keys().chain(self.refused.keys()).cloned());
        keys.extend(match touched {
            Some(batch) => self.gateways.look(&self.view, &batch, now),
            None => self.gateways.look_at_all(&self.view, now),
        });
        match news {
            News::Answers => keys.extend(self.gateways.waiting()),
            News::Refusals => keys.extend(self.gateways.all()),
            News::Anything | News::Unusable | News::View => {}
        }
        keys.retain(|key| is_reported(key.kind));
        keys.iter().for_each(|key| self.judge(key, now));
        keys.len()
    }

    /// Decides what the status of an object should be.
    fn judge(&mut self, key: &ObjectKey, now: Instant) {
        if self.refused.contains_key(key) {
            return self.judge_unusable(key, now);
        }
        let Some(stored) = self.view.store.find(key) else { return self.desk.forget(key) };
        let Some(live) = stored.live() else { return };
        let generation = stored.object().metadata().generation.unwrap_or_default();
        let watched =
            Known { version: Arc::clone(&live.resource_version), generation, status: live.status.clone() };
        let known = self.desk.known(key, watched);
        // The object was edited since: what was judged is out of date.
        if known.generation > generation {
            return self.desk.want(key, None, now);
        }
        let now_text = to_seconds(self.access.clock.wall());
        let config = Arc::clone(&self.access.config);
        let pen = Pen { controllers: [&config.controller_name, &self.mesh_controller], now: &now_text };
        let ours = match self.view.statuses.of(key) {
            Some(status) => {
                let refusals = self.refusals.borrow().clone();
                let context = (&self.view, &*refusals);
                let Some(status) = self.gateways.finished(status, context, (&self.access, now)) else {
                    return self.desk.want(key, None, now);
                };
                spoken(&status)
            }
            None => match silence(key.kind, &known.status, &pen) {
                Some(nothing) => nothing,
                None => return self.desk.want(key, None, now),
            },
        };
        let write = match pen.merge(&known.status, &ours) {
            Ok(status) if status != known.status => Some(Write { version: known.version, status }),
            Ok(_) | Err(merge::Newer) => None,
        };
        self.desk.want(key, write, now);
    }

    /// Decides what the status of an object that cannot be used should be.
    fn judge_unusable(&mut self, key: &ObjectKey, now: Instant) {
        let Some(unusable) = self.refused.get(key).cloned() else { return };
        let watched = Known {
            version: Arc::clone(&unusable.version),
            generation: unusable.generation,
            status: unusable.status.clone(),
        };
        let known = self.desk.known(key, watched);
        if known.generation > unusable.generation {
            return self.desk.want(key, None, now);
        }
        let now_text = to_seconds(self.access.clock.wall());
        let config = Arc::clone(&self.access.config);
        let pen = Pen { controllers: [&config.controller_name, &self.mesh_controller], now: &now_text };
        let owners = Owners {
            store: &self.view.store,
            gateways: &config.controller_name,
            mesh: &self.mesh_controller,
        };
        let merged = unusable.says(key, &owners).map(|ours| pen.merge(&known.status, &ours));
        let write = match merged {
            Some(Ok(status)) if status != known.status => Some(Write { version: known.version, status }),
            _ => None,
        };
        self.desk.want(key, write, now);
    }

    /// A call that writes; none when the kind is not served any more.
    fn call(&mut self, key: ObjectKey, write: Write) -> Option<BoxFuture<'static, Outcome>> {
        let served = Arc::clone(&self.access.served.borrow());
        let Some(resource) = served.of(key.kind) else {
            self.desk.drop(&key);
            return None;
        };
        let path = resource.object_path(&key.name.namespace, &key.name.name);
        let mut metadata = json!({ "name": &*key.name.name, "resourceVersion": &*write.version });
        if !key.name.namespace.is_empty() {
            metadata["namespace"] = json!(&*key.name.namespace);
        }
        let object = json!({
            "apiVersion": resource.api_version(),
            "kind": key.kind.as_str(),
            "metadata": metadata,
            "status": write.status,
        });
        let api = self.access.api.clone();
        Some(Box::pin(async move {
            let result = put(&api, &path, &object).await;
            Outcome { key, write, result }
        }))
    }

    fn note(&mut self, outcome: Outcome) {
        let Outcome { key, write, result } = outcome;
        let now = self.access.clock.monotonic();
        let count = |count: Count| self.access.counters.add(count, key.kind.as_str());
        match result {
            Ok(object) => {
                count(Count::StatusWrites);
                self.desk.written(&key, (now, &write), known(&object));
            }
            Err((error, there)) => match error.fault() {
                Fault::Conflict => {
                    count(Count::StatusConflicts);
                    self.desk.overtaken(&key, (now, there.as_ref().map(known)));
                }
                Fault::NotFound => self.desk.drop(&key),
                Fault::Refused => {
                    count(Count::StatusRefusals);
                    let (kind, object, field) = (key.kind.as_str(), &key.name, error.fields());
                    tracing::error!(kind, %object, field, %error, "a status is not what the server takes");
                    self.desk.refused(&key, (now, &write));
                    return;
                }
                Fault::Forbidden | Fault::Gone | Fault::Unavailable => {
                    count(Count::StatusFailures);
                    tracing::warn!(%error, "a status could not be written; trying again");
                    self.desk.failed(&key, (now, write));
                    return;
                }
            },
        }
        if *self.access.leading.borrow() {
            self.judge(&key, now);
        }
    }
}

/// Writes a status. After a conflict it asks what is there.
async fn put(api: &Api, path: &str, object: &Value) -> Result<Value, (CallError, Option<Value>)> {
    match api.replace(&format!("{path}/status"), object).await {
        Ok(object) => Ok(object),
        Err(error) if error.fault() == Fault::Conflict => Err((error, api.get(path).await.ok())),
        Err(error) => Err((error, None)),
    }
}

fn known(object: &Value) -> Known {
    let metadata = &object["metadata"];
    Known {
        version: metadata["resourceVersion"].as_str().unwrap_or_default().into(),
        generation: metadata["generation"].as_i64().unwrap_or_default(),
        status: object["status"].clone(),
    }
}

/// A moment as the API server writes it in conditions: without a fraction.
pub(super) fn to_seconds(time: SystemTime) -> String {
    let time = Timestamp::from_wall(time);
    let (seconds, _) = time.as_str().split_once('.').unwrap_or((time.as_str(), ""));
    format!("{}Z", seconds.trim_end_matches('Z'))
}

/// Whether there is a status of ours on objects of a kind.
fn is_reported(kind: ObjectKind) -> bool {
    matches!(
        kind,
        ObjectKind::AuthorizationPolicy
            | ObjectKind::BackendTlsPolicy
            | ObjectKind::Gateway
            | ObjectKind::GatewayClass
            | ObjectKind::GrpcRoute
            | ObjectKind::HttpRoute
            | ObjectKind::ListenerSet
            | ObjectKind::PeerAuthentication
            | ObjectKind::TcpRoute
            | ObjectKind::TlsRoute
            | ObjectKind::UdpRoute
            | ObjectKind::XBackend
            | ObjectKind::XBackendTrafficPolicy
            | ObjectKind::XTelemetryPolicy
    )
}

/// A status as the Gateway API spells it.
fn spoken(status: &ObjectStatus) -> Value {
    let mut ours = serde_json::to_value(&status.body).unwrap_or_default();
    for ancestor in ours["ancestors"].as_array_mut().into_iter().flatten() {
        if let Some(entry) = ancestor.as_object_mut()
            && let Some(reference) = entry.remove("parentRef")
        {
            entry.insert("ancestorRef".to_owned(), reference);
        }
    }
    ours
}

/// What is said where nothing is to be said any more: entries of ours are taken back.
fn silence(kind: ObjectKind, live: &Value, pen: &Pen<'_>) -> Option<Value> {
    let field = match kind {
        ObjectKind::BackendTlsPolicy
        | ObjectKind::XBackend
        | ObjectKind::XBackendTrafficPolicy
        | ObjectKind::XTelemetryPolicy => "ancestors",
        ObjectKind::AuthorizationPolicy
        | ObjectKind::Gateway
        | ObjectKind::GatewayClass
        | ObjectKind::ListenerSet
        | ObjectKind::PeerAuthentication => return None,
        _ => "parents",
    };
    let mut nothing = serde_json::Map::new();
    nothing.insert(field.to_owned(), json!([]));
    pen.signed(&live[field]).then_some(Value::Object(nothing))
}

#[cfg(test)]
mod tests;
