//! The side that takes over: asks the process that serves the pods now.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mesh_capture::{Namespace, NamespaceId};
use mesh_rt::passing::AsyncPackets;

use super::PORTS;
use super::message::{Answer, Greeting, Question, VERSION, hear_soon, is_ours, say};
use crate::pod::Sockets;

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// What came is no listener of the pod.
    #[error("what was handed over does not listen at port {0} of the pod")]
    Foreign(u16),
    /// The other process is gone, silent, or says what cannot be understood.
    #[error("the earlier process: {0}")]
    Io(#[from] io::Error),
    /// Somebody else answers.
    #[error("the process that answers runs as another user")]
    Stranger,
    /// An answer to another question.
    #[error("the earlier process answers something else")]
    Unexpected,
    /// Another version.
    #[error("the earlier process hands over by version {0}")]
    Version(u32),
}

/// The process that serves the pods now.
#[derive(Debug)]
pub(super) struct Predecessor(AsyncPackets);

impl Predecessor {
    /// Meets it at a path; `None` when nobody is there.
    pub(super) async fn find(path: &Path) -> Result<Option<Self>, TakeError> {
        let packets = match AsyncPackets::connect(path) {
            Err(error) if is_absence(&error) => return Ok(None),
            connected => connected?,
        };
        if !is_ours(&packets) {
            return Err(TakeError::Stranger);
        }
        say(&packets, &Greeting { version: VERSION }, &[]).await?;
        match hear_soon::<Greeting>(&packets).await?.0.version {
            VERSION => Ok(Some(Self(packets))),
            other => Err(TakeError::Version(other)),
        }
    }

    /// Its sockets of a pod; `None` when it does not serve the pod, which it then leaves to this process.
    pub(super) async fn take(&mut self, namespace: &Namespace) -> Result<Option<Sockets>, TakeError> {
        let (answer, passed) = self.ask(Question::Take { namespace: namespace.id()? }).await?;
        let [outbound, inbound] = match (answer, <[OwnedFd; 2]>::try_from(passed)) {
            (Answer::Given, Ok(sockets)) => sockets,
            (Answer::Nothing, Err(none)) if none.is_empty() => return Ok(None),
            _ => return Err(TakeError::Unexpected),
        };
        for (socket, port) in [&outbound, &inbound].into_iter().zip(PORTS) {
            if !namespace.owns(socket.as_fd(), port)? {
                return Err(TakeError::Foreign(port));
            }
        }
        Ok(Some(Sockets { outbound: TcpListener::from(outbound), inbound: TcpListener::from(inbound) }))
    }

    /// Says that a pod is served.
    pub(super) async fn serves(&mut self, namespace: NamespaceId) -> Result<(), TakeError> {
        self.note(Question::Serves { namespace }).await
    }

    /// Says that all are.
    pub(super) async fn settled(&mut self) -> Result<(), TakeError> {
        self.note(Question::Settled).await
    }

    /// Whether it goes on when this process ends.
    pub(super) async fn goes_on(&mut self) -> Result<bool, TakeError> {
        match self.ask(Question::Ending).await?.0 {
            Answer::Leaves => Ok(false),
            Answer::Stays => Ok(true),
            _ => Err(TakeError::Unexpected),
        }
    }

    async fn note(&mut self, question: Question) -> Result<(), TakeError> {
        match self.ask(question).await?.0 {
            Answer::Noted => Ok(()),
            _ => Err(TakeError::Unexpected),
        }
    }

    pub(super) async fn ask(&mut self, question: Question) -> io::Result<(Answer, Vec<OwnedFd>)> {
        say(&self.0, &question, &[]).await?;
        hear_soon(&self.0).await
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}
