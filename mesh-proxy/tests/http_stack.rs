//! The HTTP stack as a whole, over connections in memory: client, proxy, backend. One file per subject.

#[path = "http_stack/authorization.rs"]
mod authorization;
#[path = "http_stack/between.rs"]
mod between;
#[path = "http_stack/exchanges.rs"]
mod exchanges;
#[path = "http_stack/model.rs"]
mod model;
#[path = "http_stack/net.rs"]
mod net;
#[path = "http_stack/routing.rs"]
mod routing;
#[path = "http_stack/sessions.rs"]
mod sessions;
#[path = "http_stack/streams.rs"]
mod streams;
#[path = "http_stack/strict.rs"]
mod strict;
#[path = "http_stack/told.rs"]
mod told;
#[path = "http_stack/tries.rs"]
mod tries;
#[path = "http_stack/upgrades.rs"]
mod upgrades;
