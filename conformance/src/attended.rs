//! Tasks that run until whoever started them has done what it does meanwhile: they end when their input does.

use std::io::Read as _;

use tokio::sync::oneshot;

/// Resolves when the standard input of this process ends.
pub(crate) fn input_ends() -> oneshot::Receiver<()> {
    let (tell, ends) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tell.send(());
    });
    ends
}
