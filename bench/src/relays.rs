//! The floor of a pair: two relays with mutual TLS between them, in one process and on one thread, that copy bytes and
//! know nothing of what they mean.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh_ca::tls::{self, ClientAuth, PeerTls, peer_name};
use mesh_ca::{Authority, SvidSource, SystemClock};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Relays to an address until the process is ended. Prints its port first.
pub(crate) fn run(to: SocketAddr) -> io::Result<()> {
    let (client, server) = ends().map_err(|problem| io::Error::other(problem.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (outer, inner) = (listen()?, listen()?);
        crate::say(&outer.local_addr()?.port().to_string());
        let at = inner.local_addr()?;
        let (near, far) = (TlsConnector::from(client), TlsAcceptor::from(server));
        tokio::spawn(each(inner, move |stream| {
            let far = far.clone();
            async move {
                let mut secured = far.accept(stream).await?;
                tokio::io::copy_bidirectional(&mut secured, &mut dial(to).await?).await
            }
        }));
        each(outer, move |mut stream| {
            let near = near.clone();
            async move {
                let mut secured = near.connect(peer_name(), dial(at).await?).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut secured).await
            }
        })
        .await;
        Ok(())
    })
}

/// Both ends of the connections between the relays, as proxies of the mesh have them.
fn ends() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), Box<dyn Error>> {
    let authority = Authority::in_memory("cluster.local".parse()?, SystemClock::shared())?;
    let identity = "spiffe://cluster.local/ns/default/sa/relay".parse()?;
    let svid = authority.issue_svid(&identity)?;
    let peer = PeerTls::new(SvidSource::new(svid, SystemClock::shared()), authority.trust());
    let marks: &[&[u8]] = &[b"relay"];
    let client = tls::client_config(&peer, vec![identity], marks)?;
    Ok((client, tls::server_config(&peer, ClientAuth::Required, marks)?))
}

fn listen() -> io::Result<TcpListener> {
    TcpListener::from_std(mesh_rt::net::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), false)?)
}

async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true).map(|()| stream)
}

/// Serves each connection by a task of its own.
async fn each<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<(u64, u64)>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        if stream.set_nodelay(true).is_ok() {
            tokio::spawn(serve(stream));
        }
    }
}
