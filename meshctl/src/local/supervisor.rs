//! Keeps one program running: started, watched, restarted with growing pauses, and stopped gracefully.

use std::fmt;
use std::time::Duration;

use mesh_rt::random::Fast;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The first pause before a restart.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A program that ran this long is healthy again: the next pause is the first one.
const HEALTHY: Duration = Duration::from_secs(10);

/// What a supervised program does now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// It ended, or could not be started, and is started again after a pause.
    Backoff {
        /// How it ended.
        because: String,
        /// How often it was started.
        starts: u32,
    },
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
        /// How often it was started, this time included.
        starts: u32,
    },
    /// It is not started yet.
    #[default]
    Starting,
    /// It was stopped on request.
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backoff { because, starts } => {
                write!(f, "waiting to be restarted (start {starts}): {because}")
            }
            Self::Running { pid, starts: 1 } => write!(f, "running (process {pid})"),
            Self::Running { pid, .. } => write!(f, "running (process {pid}), restarted"),
            Self::Starting => f.write_str("starting"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// A program that can be started again and again.
pub(crate) trait Program {
    /// Starts it; why not, in words.
    fn start(&mut self) -> impl Future<Output = Result<u32, String>>;
    /// Waits for its end and says how it ended.
    fn ended(&mut self) -> impl Future<Output = String>;
    /// Whether it can never be started again as it is.
    fn is_lost(&self) -> bool;
}

/// Keeps a program running until the token is cancelled or the program is lost. Stopping it is the caller's, who
/// knows the way.
pub(crate) async fn supervise(
    program: &mut impl Program,
    state: &watch::Sender<State>,
    stop: &CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    let mut chance = Fast::from_entropy();
    for starts in 1.. {
        let began = tokio::time::Instant::now();
        let because = match program.start().await {
            Ok(pid) => {
                state.send_replace(State::Running { pid, starts });
                tokio::select! {
                    because = program.ended() => because,
                    () = stop.cancelled() => return,
                }
            }
            Err(because) => because,
        };
        pause = if began.elapsed() >= HEALTHY { FIRST_PAUSE } else { pause };
        state.send_replace(State::Backoff { because, starts });
        if program.is_lost() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(chance.jitter(pause, 0.2)) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that ends a millisecond after each start, or cannot be started.
    struct Fake(Result<u32, String>);

    impl Program for Fake {
        async fn start(&mut self) -> Result<u32, String> {
            self.0.clone()
        }
        async fn ended(&mut self) -> String {
            tokio::time::sleep(Duration::from_millis(1)).await;
            "it ended with code 1".to_owned()
        }
        fn is_lost(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_dies_is_started_again_with_growing_pauses() {
        let (state, mut seen) = watch::channel(State::Starting);
        let stop = CancellationToken::new();
        let begin = tokio::time::Instant::now();
        let watching = async {
            let sixth = |s: &State| matches!(s, State::Running { starts: 6, .. });
            let _ = seen.wait_for(sixth).await.expect("still supervised");
            assert!(begin.elapsed() >= Duration::from_secs(2), "pauses did not grow: {:?}", begin.elapsed());
            stop.cancel();
        };
        let mut program = Fake(Ok(7));
        tokio::join!(supervise(&mut program, &state, &stop), watching);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_cannot_be_started_says_why() {
        let (state, mut seen) = watch::channel(State::Starting);
        let stop = CancellationToken::new();
        let watching = async {
            let backoff =
                seen.wait_for(|s| matches!(s, State::Backoff { .. })).await.expect("supervised").clone();
            assert_eq!(backoff, State::Backoff { because: "no such program".into(), starts: 1 });
            stop.cancel();
        };
        let mut program = Fake(Err("no such program".to_owned()));
        tokio::join!(supervise(&mut program, &state, &stop), watching);
    }
}
