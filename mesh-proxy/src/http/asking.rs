//! Authorization services in the course of a request: what their time costs it, and what their answers add.

use http::HeaderMap;
use mesh_model::Reason;
use mesh_model::filter::{ExternalAuth, Filter};
use mesh_model::route::Timeouts;
use tokio::time::Instant;

use super::call::{Call, Reply};
use super::connection::Line;
use super::error::Error;
use super::record::Record;
use crate::layers::authorization::{Outcome, Question, ask};
use crate::layers::limits::within;
use crate::upstream::Connect;

/// The services that were asked about one request.
pub(super) struct Asking {
    /// What is left of the rule's time limits.
    pub(super) timeouts: Timeouts,
    /// Time has passed since the decision.
    pub(super) asked: bool,
    granted: Option<Box<HeaderMap>>,
}

impl Asking {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, asked: false, granted: None }
    }

    /// Asks a service; a refusal is the answer to the client.
    pub(super) async fn pass<C: Connect>(
        &mut self,
        line: &Line<C>,
        auth: &ExternalAuth,
        call: &mut Call,
        record: &mut Record,
    ) -> Result<Option<Reply>, Error> {
        let began = Instant::now();
        let id = record.decision().map(|id| id.to_string()).unwrap_or_default();
        let question = Question { auth, downstream: &line.downstream, id };
        // The future is large and rarely needed, so that it has a place of its own.
        let mut asked = Box::pin(ask(&line.stack, &question, call));
        let outcome = within(self.timeouts.request, asked.as_mut()).await?;
        self.asked = true;
        if let Some(limit) = &mut self.timeouts.request {
            *limit = limit.saturating_sub(began.elapsed());
        }
        match outcome {
            Outcome::Allowed(granted) => {
                self.granted.get_or_insert_default().extend(granted);
                Ok(None)
            }
            Outcome::Refused(answer) => {
                record.broken(Reason::DeniedByAuthorizer);
                Ok(Some(Reply::Own(Box::new(answer))))
            }
        }
    }

    /// Asks all services of a list, until one refuses.
    pub(super) async fn pass_all<C: Connect>(
        &mut self,
        line: &Line<C>,
        filters: &[Filter],
        call: &mut Call,
        record: &mut Record,
    ) -> Result<Option<Reply>, Error> {
        for filter in filters {
            let Filter::ExternalAuth(auth) = filter else { continue };
            if let Some(refusal) = self.pass(line, auth, call, record).await? {
                return Ok(Some(refusal));
            }
        }
        Ok(None)
    }

    /// Adds what the services want the client to see.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        let Some(granted) = &self.granted else { return };
        for name in granted.keys() {
            headers.remove(name);
        }
        for (name, value) in &**granted {
            headers.append(name, value.clone());
        }
    }
}
