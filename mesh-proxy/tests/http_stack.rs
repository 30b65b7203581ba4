//! The HTTP stack as a whole, over connections in memory: client, proxy, backend. One file per subject.

#[path = "http_stack/model.rs"]
mod model;
#[path = "http_stack/net.rs"]
mod net;
#[path = "http_stack/routing.rs"]
mod routing;
