//! Names of SIP hosts to addresses. Whoever calls a name chose it, and with it how long its name
//! servers are silent: a look-up has a deadline, few questions, and waits on no thread. A family of
//! accounts has so many at one time; what the operator's routes name has places, and answers kept,
//! of its own.

mod find;
mod source;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::webhook::Gates;
use base::{Mono, Target, Transport};
use config::Config;
use model::port::{Resolve, Resolved};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock;
use crate::inbox::{Inbox, Input};
use find::{Wanted, find};
use source::Source;

/// The longest that a look-up takes; the director waits no longer.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Look-ups at one time: of tenants, of one family of them, of the operator's routes.
const TENANTS_MAX: usize = 256;
const FAMILY_MAX: usize = 8;
const ROUTES_MAX: usize = 32;
/// Answers that are kept of what tenants ask for, and of what routes do.
const TENANTS_KEPT: usize = 8_192;
const ROUTES_KEPT: usize = 1_024;
/// How long a name that led nowhere, or whose servers said nothing, is not asked for again (RFC
/// 2308 section 7: five minutes at most).
const SILENT_FOR: Duration = Duration::from_secs(5);
/// After which whoever asks for one again is told that there is none.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// So many of them are remembered of one family, whose oldest goes, and of so many families.
const SILENT_MAX: usize = 128;
const SILENT_FAMILIES_MAX: usize = 1_024;

/// By what the listeners can reach somebody, best first where a name says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub tcp: bool,
    pub tls: bool,
}

impl Reach {
    /// Of the listeners that reach more than this host; of all where there are no others.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let listeners = &config.dataplane.listener;
        let is_wide = |it: &&config::Listener| !it.bind.ip().is_loopback();
        let wide = listeners.iter().any(|it| is_wide(&it));
        let has = |transport| {
            listeners.iter().any(|it| it.transport == transport && (!wide || is_wide(&it)))
        };
        Self { tcp: has(Transport::Tcp), tls: has(Transport::Tls) }
    }

    fn has(self, transport: Transport) -> bool {
        match transport {
            Transport::Udp => true,
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
            Transport::Ws | Transport::Wss => false,
        }
    }
}

/// See the module. Its look-ups end with it.
#[derive(Debug)]
pub struct Names {
    runtime: Option<Runtime>,
    reach: Reach,
    families: Gates<u128>,
    tenants: Arc<Side>,
    routes: Arc<Side>,
}

/// What look-ups of tenants, or of routes, share.
#[derive(Debug)]
struct Side {
    places: Semaphore,
    source: Source,
    silent: Silent,
}

impl Names {
    /// # Errors
    /// What the system says (no thread left).
    pub fn new(reach: Reach) -> io::Result<Self> {
        Self::with(reach, || source::Origin::System)
    }

    fn with(reach: Reach, origin: impl Fn() -> source::Origin) -> io::Result<Self> {
        let side = |places, kept| {
            let (places, silent) = (Semaphore::new(places), Silent::default());
            Arc::new(Side { places, source: Source::new(origin(), kept), silent })
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .thread_name("names")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            reach,
            families: Gates::new(FAMILY_MAX),
            tenants: side(TENANTS_MAX, TENANTS_KEPT),
            routes: side(ROUTES_MAX, ROUTES_KEPT),
        })
    }

    /// Looks it up, and tells the inbox. Nothing here blocks.
    pub fn resolve(&self, resolve: Resolve, inbox: Arc<Inbox>) {
        let Resolve { id, family, host, port, transport } = resolve;
        let family = family.map(|family| family.0);
        let gate = family.map(|family| self.families.of(family));
        let side = Arc::clone(if gate.is_some() { &self.tenants } else { &self.routes });
        let reach = self.reach;
        let Some(runtime) = &self.runtime else { return };
        runtime.spawn(async move {
            let wanted = Wanted { host: &host, port, transport, reach };
            if side.silent.has(family, wanted) {
                // As long as its servers would take, and without a place: what loops over names
                // that are nowhere must not do so at the speed of memory.
                tokio::time::sleep(AGAIN_AFTER).await;
                return inbox.tell(Input::Resolved(Resolved { id, targets: Vec::new() }));
            }
            let found = timeout(TIME_MAX, async {
                // A family's place first: whoever waits for one keeps none of all.
                let _place = match &gate {
                    Some(gate) => Some(gate.acquire().await),
                    None => None,
                };
                let _one = side.places.acquire().await;
                side.look_up(family, wanted).await
            });
            let targets = found.await.unwrap_or_default();
            inbox.tell(Input::Resolved(Resolved { id, targets }));
        });
    }
}

impl Side {
    async fn look_up(&self, family: Option<u128>, wanted: Wanted<'_>) -> Vec<Target> {
        if self.silent.has(family, wanted) {
            return Vec::new();
        }
        let mut silence = Silence { of: self, family, wanted, is_answered: false };
        let targets = find(wanted, self.source.resolver()).await;
        // What is nowhere costs a handful of questions, though each is answered from memory.
        silence.is_answered = !targets.is_empty();
        targets
    }
}

/// A look-up that is dropped before it has an answer was given up: its servers are silent, or there
/// is no such name.
struct Silence<'a> {
    of: &'a Side,
    family: Option<u128>,
    wanted: Wanted<'a>,
    is_answered: bool,
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.of.silent.mark(self.family, self.wanted);
        }
    }
}

/// What was looked for, whatever case it was written in.
fn key(wanted: Wanted<'_>) -> String {
    let Wanted { host, port, transport, .. } = wanted;
    format!("{} {port:?} {transport:?}", host.to_ascii_lowercase())
}

/// Names whose servers said nothing lately, and names that led nowhere. What is not asked for keeps
/// no place of its family's.
#[derive(Debug, Default)]
struct Silent(Mutex<HashMap<Option<u128>, HashMap<String, Mono>>>);

impl Silent {
    fn has(&self, family: Option<u128>, wanted: Wanted<'_>) -> bool {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = families.get(&family).and_then(|names| names.get(&key(wanted)));
        until.is_some_and(|until| clock::sample().mono < *until)
    }

    fn mark(&self, family: Option<u128>, wanted: Wanted<'_>) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::sample().mono;
        if families.len() >= SILENT_FAMILIES_MAX {
            families.retain(|_, names| names.values().any(|until| now < *until));
        }
        if families.len() >= SILENT_FAMILIES_MAX && !families.contains_key(&family) {
            return;
        }
        tracing::debug!(host = wanted.host, "the name servers say nothing");
        let names = families.entry(family).or_default();
        names.insert(key(wanted), now + SILENT_FOR);
        if names.len() > SILENT_MAX {
            let oldest = names.iter().min_by_key(|(_, until)| **until);
            let oldest = oldest.map(|(name, _)| name.clone()).unwrap_or_default();
            names.remove(&oldest);
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Whoever waits for a silent name server is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
