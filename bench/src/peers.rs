//! nginx and HAProxy as peers: one worker each on core 0, nothing logged, connections kept. What they serve is said where
//! they take part.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use crate::contest::Contestant;
use crate::http1::Running;
use crate::mesh::{Folder, free_port, wait_for};
use crate::{load, say};

/// The files of peers, which go with the value.
pub(crate) struct Peers {
    /// Where they are; FOLDER in what is served.
    pub(crate) folder: Folder,
    origin: SocketAddr,
}

/// One that runs.
pub(crate) struct Peer {
    name: &'static str,
    running: Running,
    address: SocketAddr,
}

impl Peer {
    pub(crate) fn contestant(&self) -> Contestant {
        Contestant::new(self.name, self.running.0.id(), self.address)
    }
}

impl Peers {
    pub(crate) fn new(origin: SocketAddr) -> io::Result<Self> {
        Ok(Self { folder: Folder::new("peers")?, origin })
    }

    /// nginx with these servers, one of them at port LISTEN, where it is installed. They find the origin as the upstream
    /// `origin`, and port INNER free.
    pub(crate) fn nginx(&self, servers: &str) -> io::Result<Option<Peer>> {
        self.start("nginx", "-c", &NGINX.replace("SERVERS", servers))
    }

    /// HAProxy with these frontends, one of them at port LISTEN, where it is installed. They find the origin as the backend
    /// `origin`, and port INNER free.
    pub(crate) fn haproxy(&self, frontends: &str) -> io::Result<Option<Peer>> {
        self.start("haproxy", "-f", &[HAPROXY, frontends].concat())
    }

    fn start(&self, name: &'static str, argument: &str, template: &str) -> io::Result<Option<Peer>> {
        let (listen, inner) = (free_port()?, free_port()?);
        let text = template
            .replace("LISTEN", &listen.to_string())
            .replace("INNER", &inner.to_string())
            .replace("ORIGIN", &self.origin.to_string())
            .replace("FOLDER", &self.folder.0.display().to_string());
        let file = self.folder.0.join(name);
        std::fs::write(&file, text)?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0", name, argument]).arg(&file).stderr(Stdio::null());
        let mut running = Running(command.spawn()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listen));
        let mut gone = false;
        wait_for(name, || {
            gone = !matches!(running.0.try_wait(), Ok(None));
            gone || load::requests(address, 1, 1).is_ok()
        })?;
        if gone {
            say(&format!("{name} is not installed"));
            return Ok(None);
        }
        Ok(Some(Peer { name, running, address }))
    }
}

const NGINX: &str = "\
daemon off;
master_process off;
worker_processes 1;
pid FOLDER/nginx.pid;
error_log /dev/null;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path FOLDER/1;
  proxy_temp_path FOLDER/2;
  fastcgi_temp_path FOLDER/3;
  uwsgi_temp_path FOLDER/4;
  scgi_temp_path FOLDER/5;
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  upstream origin { server ORIGIN; keepalive 64; keepalive_requests 1000000000; }
SERVERS}
";

const HAPROXY: &str = "\
global
  nbthread 1
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
backend origin
  http-reuse always
  server origin ORIGIN
";
