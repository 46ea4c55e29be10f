//! Idle connections, kept per (tenant, scheme, host, port): a connection that one tenant's
//! credentials opened never carries another tenant's request. Bounded per key and in total; the
//! oldest goes first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::target::Target;

/// Idle connections per key.
const IDLE_PER_KEY_MAX: usize = 8;
/// Idle connections of all tenants.
const IDLE_MAX: usize = 512;
/// An application's server closes idle connections sooner or later; before that we do.
const IDLE_AGE_MAX: Duration = Duration::from_secs(20);

pub(super) type Sender = SendRequest<Full<Bytes>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    tenant: u128,
    secure: bool,
    host: String,
    port: u16,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
}

impl Key {
    pub(super) fn new(tenant: u128, target: &Target) -> Self {
        let host = target.host.to_string().to_ascii_lowercase();
        Self { tenant, secure: target.secure, host, port: target.port }
    }
}

impl Pool {
    /// The connection used last under `key`, if one stands.
    pub(super) fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let list = idle.get_mut(key)?;
        let mut found = None;
        while let Some(next) = list.pop() {
            if !next.sender.is_closed() && next.since.elapsed() < IDLE_AGE_MAX {
                found = Some(next.sender);
                break;
            }
        }
        if list.is_empty() {
            idle.remove(key);
        }
        found
    }

    pub(super) fn put(&self, key: Key, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, list| {
            list.retain(|one| !one.sender.is_closed() && one.since.elapsed() < IDLE_AGE_MAX);
            !list.is_empty()
        });
        if idle.values().map(Vec::len).sum::<usize>() >= IDLE_MAX {
            let oldest = idle.iter().min_by_key(|(_, list)| list.first().map(|one| one.since));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                idle.remove(&oldest);
            }
        }
        let list = idle.entry(key).or_default();
        if list.len() < IDLE_PER_KEY_MAX {
            list.push(Idle { sender, since: Instant::now() });
        }
    }
}
