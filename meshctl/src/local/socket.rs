//! The socket through which `meshctl status` and `meshctl why` ask a running mesh. A connection that says nothing
//! gets the report; lines of `decision ID` get an explanation each, as a line of JSON. Nothing can be changed here.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_proxy::telemetry::decisions::{DecisionId, Decisions};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::leftovers;
use super::report::Report;

/// Answers to one connection are never larger than this, in bytes.
const LARGEST: u64 = 64 << 20;

/// Questions of one connection are never longer than this, in bytes.
const LONGEST: u64 = 1 << 20;

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An explanation of one decision, empty when it is not kept any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explained {
    /// The decision.
    pub(crate) decision: String,
    /// For machines.
    pub(crate) explanation: Option<serde_json::Value>,
    /// For people.
    pub(crate) text: Option<String>,
}

impl Explained {
    fn of(id: &str, decisions: &Decisions) -> Self {
        let record = id.parse::<DecisionId>().ok().and_then(|id| decisions.find(id));
        Self {
            decision: id.to_owned(),
            explanation: record.as_ref().map(|record| record.explain()),
            text: record.map(|record| record.describe()),
        }
    }
}

/// The socket of a running mesh; the file goes when it is dropped.
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Opens the socket in a folder that only this user may enter.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if std::fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other(format!("{} is open to other users", folder.display())));
        }
        leftovers::sweep(folder);
        let path = folder.join(format!("{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// Answers every connection.
    pub(crate) async fn serve(
        &self,
        report: watch::Receiver<Report>,
        decisions: Arc<Decisions>,
    ) -> io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let (report, decisions) = (report.clone(), Arc::clone(&decisions));
            tokio::task::spawn_local(async move {
                // A reader that goes away early, or never ends its questions, needs no answer.
                let _ = tokio::time::timeout(PATIENCE, answer(stream, &report, &decisions)).await;
            });
        }
    }
}

async fn answer(
    stream: UnixStream,
    report: &watch::Receiver<Report>,
    decisions: &Decisions,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut questions = BufReader::new(read.take(LONGEST)).lines();
    let mut asked = false;
    while let Some(question) = questions.next_line().await? {
        let id = question.strip_prefix("decision ").ok_or(io::ErrorKind::InvalidInput)?;
        let mut line = serde_json::to_vec(&Explained::of(id, decisions)).map_err(io::Error::other)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        asked = true;
    }
    if !asked {
        let text = serde_json::to_vec(&*report.borrow()).map_err(io::Error::other)?;
        write.write_all(&text).await?;
    }
    Ok(())
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The reports of all meshes that run in a folder, ordered by process.
pub(crate) async fn ask_all(folder: &Path) -> io::Result<Vec<(u32, Report)>> {
    let mut found = Vec::new();
    for (pid, stream) in connect_all(folder).await? {
        // A mesh that is just ending, or of another version, does not hide the others.
        let Ok(text) = exchange(stream, "").await else { continue };
        found.extend(serde_json::from_slice(&text).ok().map(|report| (pid, report)));
    }
    Ok(found)
}

/// Explanations of decisions in the order asked for, by the first mesh that knows each; `pid` names one mesh.
pub(crate) async fn ask_why(folder: &Path, pid: Option<u32>, ids: &[String]) -> io::Result<Vec<Explained>> {
    let unknown = |id: &String| Explained { decision: id.clone(), explanation: None, text: None };
    let mut answers: Vec<_> = ids.iter().map(unknown).collect();
    for (_, stream) in connect_all(folder).await?.into_iter().filter(|(p, _)| pid.is_none_or(|pid| pid == *p))
    {
        let open = answers.iter_mut().filter(|answer| answer.explanation.is_none()).collect::<Vec<_>>();
        if open.is_empty() {
            break;
        }
        let questions: String = open.iter().map(|answer| format!("decision {}\n", answer.decision)).collect();
        // A mesh that is just ending, or of another version, does not keep the others from answering.
        let Ok(text) = exchange(stream, &questions).await else { continue };
        for (answer, line) in open.into_iter().zip(text.split(|byte| *byte == b'\n')) {
            serde_json::from_slice(line).into_iter().for_each(|known| *answer = known);
        }
    }
    Ok(answers)
}

/// Connections to all meshes of a folder. Sockets nobody serves are passed over.
async fn connect_all(folder: &Path) -> io::Result<Vec<(u32, UnixStream)>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let pid = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let (Some(pid), Ok(stream)) = (pid, UnixStream::connect(&path).await) else { continue };
        found.push((pid, stream));
    }
    found.sort_by_key(|(pid, _)| *pid);
    Ok(found)
}

/// Asks and reads at the same time: answers may be longer than a socket holds.
async fn exchange(stream: UnixStream, questions: &str) -> io::Result<Vec<u8>> {
    let (read, mut write) = stream.into_split();
    let asking = async {
        write.write_all(questions.as_bytes()).await?;
        write.shutdown().await
    };
    let mut text = Vec::new();
    let mut read = read.take(LARGEST);
    tokio::try_join!(asking, read.read_to_end(&mut text))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_mesh_answers_and_a_stopped_one_is_not_listed() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let folder = std::env::temp_dir().join(format!("meshctl-socket-{}", std::process::id()));
                let socket = StatusSocket::open(&folder).expect("opens");
                let (_sender, report) =
                    watch::channel(Report { path: "examples".to_owned(), ..Report::default() });
                let serving =
                    tokio::task::spawn_local(async move { socket.serve(report, Arc::default()).await });
                let all = ask_all(&folder).await.expect("asks");
                assert_eq!(all.iter().map(|(_, r)| r.path.as_str()).collect::<Vec<_>>(), ["examples"]);
                let ids = ["1".to_owned(), "not a number".to_owned()];
                let why = ask_why(&folder, None, &ids).await.expect("asks");
                assert!(why.iter().map(|e| &e.decision).eq(&ids), "{why:?}");
                assert!(why.iter().all(|e| e.explanation.is_none()), "{why:?}");
                serving.abort();
                let _ = serving.await;
                assert!(ask_all(&folder).await.expect("asks").is_empty());
                std::fs::remove_dir_all(&folder).expect("removed");
            })
            .await;
    }
}
