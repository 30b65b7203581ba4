//! Whether a cluster can take the mesh, and whether the mesh in it works. What the cluster says is gathered first
//! and judged afterwards, without IO; nothing is changed.

mod after;
mod before;
mod gather;

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value as Json;

use super::api::Api;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// It works, with less than there could be.
    Warned,
    /// It does not work.
    Failed,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The check's name, which stays the same.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Which checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Whether the mesh can be installed.
    Before,
    /// Whether it also works.
    After,
    /// Both where it is installed, else the first.
    Either,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The namespace of the controller.
    pub namespace: String,
    /// The class of our gateways.
    pub class: String,
    /// The name that our controller gives itself in classes.
    pub controller: String,
}

/// What a cluster said. `None` is what it does not have.
#[derive(Debug, Clone, Default)]
struct Found {
    version: Json,
    /// By how many seconds its clock is ahead of ours.
    ahead: Option<i64>,
    /// What we may not do there.
    denied: Vec<String>,
    /// Definitions of the Gateway API.
    upstream: Vec<Json>,
    /// Our own definitions.
    own: Vec<Json>,
    namespace: Option<Json>,
    class: Option<Json>,
    /// Controllers of ours, in any namespace.
    controllers: Vec<Json>,
    /// The controller's pods.
    pods: Json,
    lease: Option<Json>,
    /// By the server's clock, how many seconds ago the lease was renewed.
    renewed: Option<i64>,
    authority: bool,
    gateways: Vec<Json>,
}

/// Looks at a cluster and judges it. An API server that does not answer is a verdict, too.
pub async fn check(api: &Api, subject: &Subject, stage: Stage, now: SystemTime) -> Vec<Verdict> {
    match gather::gather(api, subject, now).await {
        Ok(found) => judge(&found, subject, stage),
        Err(error) => {
            let hint = "see that the kubeconfig names this cluster and an account that may read it";
            vec![failed("server", error.to_string(), hint)]
        }
    }
}

fn judge(found: &Found, subject: &Subject, stage: Stage) -> Vec<Verdict> {
    let mut verdicts = before::judge(found, subject);
    let here = found.controllers.iter().any(|controller| is_in(controller, &subject.namespace));
    if stage == Stage::After || stage == Stage::Either && here {
        verdicts.extend(after::judge(found, subject));
    }
    verdicts
}

fn passed(check: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { check, outcome: Outcome::Passed, message: message.into(), hint: None }
}

fn warned(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Verdict {
    Verdict { check, outcome: Outcome::Warned, message: message.into(), hint: Some(hint.into()) }
}

fn failed(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Verdict {
    Verdict { check, outcome: Outcome::Failed, message: message.into(), hint: Some(hint.into()) }
}

fn text<'j>(value: &'j Json, path: &str) -> &'j str {
    value.pointer(path).and_then(Json::as_str).unwrap_or_default()
}

fn is_in(object: &Json, namespace: &str) -> bool {
    text(object, "/metadata/namespace") == namespace
}

/// The condition of an object's status, if it has one of the type.
fn condition<'j>(object: &'j Json, kind: &str) -> Option<&'j Json> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[cfg(test)]
mod tests;
