//! HTTP on the downstream side: connections, streams, local replies.
//!
//! A connection ([`conn`]) reads request heads and hands each to [`stream`], which normalises it
//! ([`vet`]), finds its route and lets the router ([`crate::filters::router`]) or a local reply
//! ([`reply`]) answer. [`respond`] writes heads and bodies; [`account`] counts and logs.

pub(crate) mod account;
pub(crate) mod conn;
pub(crate) mod down;
pub(crate) mod filter_state;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod info;
pub(crate) mod manager;
pub(crate) mod mutate;
pub(crate) mod normalise;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod respond;
pub(crate) mod stream;
pub(crate) mod upgrade;
pub(crate) mod uuid;
pub(crate) mod vet;
mod xfcc;
