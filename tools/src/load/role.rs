//! One role (caller or callee) on one thread: a loop over its SIP socket, its RTP sockets, timers
//! and pacing.
//!
//! Nothing else shares its data, so the loop takes no lock. RTP that is due goes out between any
//! two batches.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use sip::{Message, Method};

use super::call::{Call, Phase, Timer};
use super::media::{Media, SIP_EVENT};
use super::plan::Plan;
use super::record::LegRecord;
use super::socket::{Inbox, SIP_BYTES_MAX, SipSocket};
use super::totals::Totals;
use super::wheel::{Fired, Wheel};
use crate::clock::{MS, S, mono, thread_cpu};

/// How long after the last message a finished role listens.
const QUIET: u64 = 300 * MS;

/// What the roles tell each other and the outside.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    pub(crate) caller_done: AtomicBool,
    pub(crate) attempted: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) live: AtomicU64,
    pub(crate) packets: AtomicU64,
    limits: Mutex<Vec<String>>,
}

impl Shared {
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Notes that the tool itself, not what it measures, set a limit.
    pub(crate) fn limit(&self, reason: &str) {
        if let Ok(mut limits) = self.limits.lock()
            && !limits.iter().any(|known| known == reason)
        {
            limits.push(reason.to_owned());
        }
    }

    pub(crate) fn limits(&self) -> Vec<String> {
        self.limits.lock().map(|limits| limits.clone()).unwrap_or_default()
    }
}

pub(crate) struct Role {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) is_callee: bool,
    pub(crate) now: u64,
    pub(crate) started: u64,
    pub(crate) sip: SipSocket,
    pub(crate) media: Media,
    pub(crate) wheel: Wheel,
    pub(crate) calls: Vec<Call>,
    pub(crate) free: Vec<u32>,
    pub(crate) by_invite: HashMap<u64, u32>,
    pub(crate) hasher: RandomState,
    pub(crate) live: usize,
    pub(crate) serial: u64,
    /// Calls that are due wait for others to end.
    pub(crate) is_held: bool,
    pub(crate) contact: Vec<u8>,
    /// Where messages are written before they are sent and kept.
    pub(crate) room: agent::Room,
    /// Tag of answers outside dialogs.
    pub(crate) tag: Vec<u8>,
    pub(crate) totals: Totals,
    pub(crate) records: Vec<LegRecord>,
    epoll: OwnedFd,
    heard_at: u64,
    stopping: bool,
    /// When the caller was seen to be through; 0 before.
    done_at: u64,
}

/// What a role brings home.
pub(crate) struct Outcome {
    pub(crate) totals: Totals,
    pub(crate) records: Vec<LegRecord>,
    pub(crate) lateness: Histogram<u64>,
    pub(crate) delay: Histogram<u64>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) stray: u64,
    pub(crate) samples: Vec<String>,
    pub(crate) sip_send_errors: u64,
    pub(crate) busy: f64,
    pub(crate) elapsed_ns: u64,
}

impl Role {
    pub(crate) fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        is_callee: bool,
        socket: UdpSocket,
    ) -> Result<Self> {
        let seed = u64::from(plan.run) << 1 | u64::from(is_callee);
        let mut sip = SipSocket::new(socket, seed)?;
        sip.drop_per_10k = plan.drop_per_10k;
        let ring = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(SIP_EVENT);
        epoll::add(&ring, sip.fd(), data, epoll::EventFlags::IN)?;
        let strict = plan.calls_placed && plan.callee.is_some();
        let media = Media::new(ring.try_clone()?, sip.local.ip(), plan.run, strict)?;
        let now = mono();
        let name = if is_callee { "callee" } else { "caller" };
        let contact = format!("sip:{name}@{}", sip.local).into_bytes();
        let tag = format!("{:08x}x", plan.run).into_bytes();
        Ok(Self {
            plan,
            shared,
            is_callee,
            now,
            started: now,
            sip,
            media,
            wheel: Wheel::new(now),
            calls: Vec::new(),
            free: Vec::new(),
            by_invite: HashMap::new(),
            hasher: RandomState::new(),
            live: 0,
            serial: 0,
            is_held: false,
            contact,
            room: agent::Room::new(SIP_BYTES_MAX),
            tag,
            totals: Totals::new()?,
            records: Vec::new(),
            epoll: ring,
            heard_at: now,
            stopping: false,
            done_at: 0,
        })
    }

    pub(crate) fn run(mut self) -> Result<Outcome> {
        // The kernel may otherwise wake us 50 us late by design.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut inbox = Inbox::new();
        let mut fired: Vec<Fired> = Vec::with_capacity(1_024);
        let mut events: Vec<epoll::Event> = Vec::with_capacity(512);
        self.started = mono();
        let cpu = thread_cpu();
        loop {
            self.now = mono();
            self.media.send_due();
            if !self.is_callee {
                self.place_calls();
            }
            self.wheel.expire(self.now, &mut fired);
            for one in fired.drain(..) {
                self.fire(one);
            }
            self.sip.flush();
            self.publish();
            self.wind_up();
            if self.is_finished() {
                break;
            }
            let timeout = self.timeout();
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    SIP_EVENT => self.read_sip(&mut inbox),
                    socket => self.media.receive(socket),
                }
            }
        }
        for slot in 0..u32::try_from(self.calls.len()).unwrap_or(u32::MAX) {
            self.close_media(slot);
        }
        Ok(self.outcome(cpu))
    }

    fn outcome(mut self, cpu: u64) -> Outcome {
        self.totals.messages = self.sip.messages;
        let elapsed_ns = mono().saturating_sub(self.started).max(1);
        let cpu = thread_cpu().saturating_sub(cpu);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let busy = cpu as f64 / elapsed_ns as f64;
        Outcome {
            totals: self.totals,
            records: self.records,
            lateness: self.media.lateness,
            delay: self.media.delay,
            sent: self.media.sent,
            received: self.media.received,
            stray: self.media.stray,
            samples: self.media.samples,
            sip_send_errors: self.sip.send_errors,
            busy,
            elapsed_ns,
        }
    }

    /// Until the next packet, timer or call, at most 20 ms.
    fn timeout(&self) -> Timespec {
        let mut until = self.now + 20 * MS;
        if let Some(due) = self.wheel.next_due(20 * MS) {
            until = until.min(due);
        }
        if let Some(due) = self.media.next_due() {
            until = until.min(due);
        }
        if !self.is_callee && !self.is_placed() && self.live < self.plan.concurrent {
            until = until.min(self.next_call());
        }
        let wait = until.saturating_sub(mono());
        Timespec {
            tv_sec: i64::try_from(wait / S).unwrap_or(0),
            tv_nsec: i64::try_from(wait % S).unwrap_or(0),
        }
    }

    fn next_call(&self) -> u64 {
        self.due().max(self.now)
    }

    fn read_sip(&mut self, inbox: &mut Inbox) {
        if !self.sip.receive(inbox) {
            return;
        }
        self.now = mono();
        self.heard_at = self.now;
        for (bytes, source) in inbox.messages() {
            if bytes.len() > 4 {
                self.take(bytes, source);
            }
        }
        self.sip.flush();
    }

    fn take(&mut self, bytes: &[u8], source: SocketAddr) {
        let Ok(message) = Message::parse(bytes) else {
            self.totals.unparsed += 1;
            return;
        };
        match message.method() {
            None => match self.slot_of_response(&message) {
                Some(slot) => self.on_response(slot, &message, source),
                None => self.totals.unknown_dialog += 1,
            },
            Some(method) => self.take_request(&message, method, source),
        }
    }

    fn take_request(&mut self, message: &Message<'_>, method: Method<'_>, source: SocketAddr) {
        let has_tag = message.to_tag().is_some();
        let slot = if has_tag { self.slot_of_to(message) } else { None };
        match (slot, method) {
            (Some(slot), _) => self.on_request(slot, message, method, source),
            (None, Method::Ack | Method::Cancel | Method::Options) => {
                self.on_new_request(message, method, source);
            }
            (None, _) if has_tag => {
                self.totals.unknown_dialog += 1;
                self.reply_stray(message, source, 481);
            }
            (None, _) => self.on_new_request(message, method, source),
        }
    }

    /// The caller's call, from the Call-ID it made.
    fn slot_of_call_id(&self, message: &Message<'_>) -> Option<u32> {
        let id = core::str::from_utf8(message.call_id().ok()?).ok()?;
        let mut parts = id.split_once('@')?.0.split('-');
        let (run, serial, slot) = (parts.next()?, parts.next()?, parts.next()?);
        self.checked(run, serial, slot)
    }

    /// The call that a response is for. Without a switch in between the callee sees the Call-IDs
    /// that the caller made, which name the caller's slots.
    fn slot_of_response(&self, message: &Message<'_>) -> Option<u32> {
        if self.is_callee { self.slot_of_from(message) } else { self.slot_of_call_id(message) }
    }

    /// The callee's call, from the tag it gave: our tag is in From when we asked.
    fn slot_of_from(&self, message: &Message<'_>) -> Option<u32> {
        self.slot_of_tag(message.from_tag()?)
    }

    fn slot_of_to(&self, message: &Message<'_>) -> Option<u32> {
        if self.is_callee {
            return self.slot_of_tag(message.to_tag()?);
        }
        self.slot_of_call_id(message)
            .filter(|&slot| message.to_tag() == Some(&self.calls[slot as usize].signal.tag))
    }

    fn slot_of_tag(&self, tag: &[u8]) -> Option<u32> {
        let tag = core::str::from_utf8(tag).ok()?;
        let (run, rest) = tag.split_at_checked(8)?;
        let (serial, slot) = rest.split_once('.')?;
        self.checked(run, serial, slot)
    }

    fn checked(&self, run: &str, serial: &str, slot: &str) -> Option<u32> {
        let slot = u32::from_str_radix(slot, 16).ok()?;
        let call = self.calls.get(slot as usize)?;
        let known = u32::from_str_radix(run, 16) == Ok(self.plan.run)
            && u64::from_str_radix(serial, 16) == Ok(call.serial)
            && call.phase != Phase::Free;
        known.then_some(slot)
    }

    fn fire(&mut self, one: Fired) {
        let call = &mut self.calls[one.slot as usize];
        let due = &mut call.due[usize::from(one.kind)];
        if *due != one.due {
            return;
        }
        *due = 0;
        let timer = Timer::of(one.kind);
        match (timer, call.phase) {
            (Timer::Media, _) => self.close_media(one.slot),
            (Timer::Forget, _) => self.forget(one.slot),
            (Timer::Signal, _) => self.on_signal_timer(one.slot),
            (_, Phase::Ending) => {}
            _ if self.is_callee => self.on_callee_timer(one.slot, timer),
            _ => self.on_caller_timer(one.slot, timer),
        }
    }

    fn publish(&mut self) {
        let shared = &self.shared;
        if !self.is_callee || !self.plan.calls_placed {
            shared.attempted.store(self.totals.attempted, Ordering::Relaxed);
            shared.answered.store(self.totals.answered, Ordering::Relaxed);
            shared.failed.store(self.totals.failures(), Ordering::Relaxed);
            shared.live.store(self.live as u64, Ordering::Relaxed);
            shared.packets.store(self.media.sent, Ordering::Relaxed);
        }
        if shared.is_stopping() && !self.stopping {
            self.stopping = true;
            self.end_all();
            self.sip.flush();
        }
    }

    /// The caller is through: what the switch left standing at the callee is ended, and after that
    /// given up.
    fn wind_up(&mut self) {
        if !self.is_callee || self.live == 0 || !self.shared.caller_done.load(Ordering::Acquire) {
            return;
        }
        if self.done_at == 0 {
            self.done_at = self.now;
        }
        let since = self.now.saturating_sub(self.done_at);
        if since >= 2 * S && !self.stopping {
            self.stopping = true;
            self.totals.left_standing += self.live as u64;
            self.end_all();
        }
        if since >= 6 * S {
            for slot in 0..u32::try_from(self.calls.len()).unwrap_or(u32::MAX) {
                self.finish(slot);
            }
        }
    }

    fn is_finished(&self) -> bool {
        let quiet = self.now.saturating_sub(self.heard_at) >= QUIET;
        if self.live > 0 || !quiet || self.calls.iter().any(|call| call.leg.is_some()) {
            return false;
        }
        if !self.is_callee {
            let done = self.is_placed();
            if done {
                self.shared.caller_done.store(true, Ordering::Release);
            }
            return done;
        }
        let all = self.plan.calls > 0 && self.serial >= self.plan.calls && !self.plan.calls_placed;
        all || self.shared.is_stopping() || self.shared.caller_done.load(Ordering::Acquire)
    }
}
