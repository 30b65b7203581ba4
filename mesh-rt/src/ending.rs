//! How a program is told to end: SIGTERM and SIGINT. What it still does then is its own.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears that the program is to end. The first process of a container ignores what it does not listen for, so this is
/// made before anything that takes time.
#[derive(Debug)]
pub struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system does not allow it.
    ///
    /// # Panics
    /// Outside a tokio runtime with its IO driver.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ends when the program is to end, also when it was told before.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
