//! Whole proxies on loopback with identities of a real authority: what enters, what is refused, what survives.

mod binary;
mod edge;
mod end;
mod h2spec;
mod mesh;
mod outside;
mod requests;
mod strict;
mod told;
mod traced;
mod websocket;
mod websocket_rows;
mod world;
