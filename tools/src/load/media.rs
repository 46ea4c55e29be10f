//! RTP of all legs of one role: paced sending, receiving, and the account of each leg.
//!
//! Sending is paced by a ring of 160 slots of 125 us, one turn each 20 ms. A leg sits in one slot
//! for its life, so its packets leave 20 ms apart to within the thread's own lateness, which is
//! measured against the slot's due time: a load tool must know when it is itself the jitter.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::Result;
use base::Mono;
use hdrhistogram::Histogram;
use rtp::{HeaderFields, Probation, Receiver, Ssrc};
use rustix::event::epoll;

use super::payload::{PAYLOAD_BYTES, Payload};
use super::record::LegRecord;
use super::socket::RtpSocket;
use super::track::Track;
use crate::clock::{MS, mono, wall};

const PTIME_NS: u64 = 20 * MS;
const SLOTS: u64 = 160;
const SLOT_NS: u64 = PTIME_NS / SLOTS;
const PACKET_BYTES: usize = 12 + PAYLOAD_BYTES;
/// A socket rests this long before another leg gets it.
const REST_NS: u64 = 500 * MS;
/// Marks an epoll event as the SIP socket's.
pub(crate) const SIP_EVENT: u64 = u64::MAX;
/// Wrong packets that are shown.
const SAMPLES_MAX: usize = 4;
/// Send times kept per leg, to tell what was cut off by a hang-up.
pub(crate) const TAIL: usize = 16;

struct Leg {
    socket: usize,
    remote: SocketAddr,
    stream: u32,
    echo: u32,
    /// Run of the peer's tool; 0 until heard, where it may differ from ours.
    peer_run: u32,
    rtcp: u64,
    sequence: u32,
    rtp_sequence: u16,
    timestamp: u32,
    ssrc: u32,
    /// Slot and position in it while sending.
    place: Option<(usize, usize)>,
    sent: u64,
    send_errors: u64,
    tail: [u64; TAIL],
    receiver: Receiver,
    track: Track,
    corrupt: u64,
    foreign: u64,
    delay_sum: u64,
    delay_count: u64,
}

/// All media of one role.
pub(crate) struct Media {
    epoll: OwnedFd,
    ip: IpAddr,
    run: u32,
    /// The peer is of the same run: other tools' packets are foreign.
    strict: bool,
    sockets: Vec<RtpSocket>,
    /// The leg that each socket serves.
    owners: Vec<Option<u32>>,
    /// Free sockets, longest-free first, and since when.
    free: VecDeque<(usize, u64)>,
    legs: Vec<Option<Leg>>,
    legs_free: Vec<u32>,
    slots: Vec<Vec<u32>>,
    /// Number of the next slot to send, counted from the monotonic origin.
    next_slot: u64,
    spread: u64,
    control: Vec<u8>,
    pub(crate) sending: usize,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Packets for a socket without a call, or not from where the call's media come from.
    pub(crate) stray: u64,
    /// The first packets that should not have come.
    pub(crate) samples: Vec<String>,
    /// How late packets left, microseconds.
    pub(crate) lateness: Histogram<u64>,
    /// One-way delay, microseconds.
    pub(crate) delay: Histogram<u64>,
}

impl Media {
    pub(crate) fn new(epoll: OwnedFd, ip: IpAddr, run: u32, strict: bool) -> Result<Self> {
        Ok(Self {
            epoll,
            ip,
            run,
            strict,
            sockets: Vec::new(),
            owners: Vec::new(),
            free: VecDeque::new(),
            legs: Vec::new(),
            legs_free: Vec::new(),
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            next_slot: mono() / SLOT_NS,
            spread: 0,
            control: nix::cmsg_space!(nix::sys::time::TimeSpec),
            sending: 0,
            sent: 0,
            received: 0,
            stray: 0,
            samples: Vec::new(),
            lateness: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            delay: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        })
    }

    /// A leg that can receive: its number and port.
    pub(crate) fn open(&mut self, stream: u32) -> Result<(u32, u16)> {
        let socket = self.socket()?;
        let leg = Leg {
            socket,
            remote: SocketAddr::new(self.ip, 0),
            stream,
            echo: 0,
            peer_run: if self.strict { self.run } else { 0 },
            rtcp: 0,
            sequence: 0,
            rtp_sequence: u16::try_from((stream.wrapping_mul(40_503) >> 16) & 0x7fff).unwrap_or(0),
            timestamp: stream.wrapping_mul(0x9e37_79b9),
            ssrc: stream.wrapping_mul(0x85eb_ca6b) ^ self.run,
            place: None,
            sent: 0,
            send_errors: 0,
            tail: [0; TAIL],
            receiver: Receiver::new(8_000, Probation::None),
            track: Track::new(),
            corrupt: 0,
            foreign: 0,
            delay_sum: 0,
            delay_count: 0,
        };
        let number = match self.legs_free.pop() {
            Some(number) => number,
            None => {
                self.legs.push(None);
                u32::try_from(self.legs.len() - 1)?
            }
        };
        self.legs[number as usize] = Some(leg);
        self.owners[socket] = Some(number);
        Ok((number, self.sockets[socket].port))
    }

    fn socket(&mut self) -> Result<usize> {
        let now = mono();
        if let Some((socket, since)) = self.free.front().copied()
            && now.saturating_sub(since) >= REST_NS
        {
            self.free.pop_front();
            return Ok(socket);
        }
        let socket = RtpSocket::bind(self.ip)?;
        let number = self.sockets.len();
        epoll::add(
            &self.epoll,
            socket.fd(),
            epoll::EventData::new_u64(number as u64),
            epoll::EventFlags::IN,
        )?;
        self.sockets.push(socket);
        self.owners.push(None);
        Ok(number)
    }

    /// Where the leg sends to; takes effect at once.
    pub(crate) fn aim(&mut self, number: u32, remote: SocketAddr) {
        if let Some(leg) = self.leg(number) {
            leg.remote = remote;
        }
    }

    pub(crate) fn start(&mut self, number: u32) {
        self.spread += 61;
        let slot = usize::try_from(self.spread % SLOTS).unwrap_or(0);
        let at = self.slots[slot].len();
        let Some(leg) = self.leg(number) else { return };
        if leg.place.is_some() || leg.remote.port() == 0 {
            return;
        }
        leg.place = Some((slot, at));
        self.slots[slot].push(number);
        self.sending += 1;
    }

    /// Stops sending; receiving goes on until [`Media::close`].
    pub(crate) fn stop(&mut self, number: u32) {
        let Some((slot, at)) = self.leg(number).and_then(|leg| leg.place.take()) else { return };
        self.slots[slot].swap_remove(at);
        self.sending -= 1;
        if let Some(&moved) = self.slots[slot].get(at)
            && let Some(leg) = self.leg(moved)
        {
            leg.place = Some((slot, at));
        }
    }

    /// Ends the leg and gives its account.
    pub(crate) fn close(&mut self, number: u32) -> Option<LegRecord> {
        self.stop(number);
        let leg = self.legs.get_mut(number as usize)?.take()?;
        self.legs_free.push(number);
        self.owners[leg.socket] = None;
        self.free.push_back((leg.socket, mono()));
        Some(leg.record())
    }

    fn leg(&mut self, number: u32) -> Option<&mut Leg> {
        self.legs.get_mut(number as usize)?.as_mut()
    }

    /// When the next packet is due; None while nothing is sent.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.sending == 0 {
            return None;
        }
        (self.next_slot..self.next_slot + SLOTS)
            .find(|slot| !self.slots[slot_index(*slot)].is_empty())
            .map(|slot| slot * SLOT_NS)
    }

    /// Sends what is due.
    pub(crate) fn send_due(&mut self) {
        let now = mono();
        let last = now / SLOT_NS;
        if self.sending == 0 {
            self.next_slot = last + 1;
            return;
        }
        while self.next_slot <= last {
            let slot = slot_index(self.next_slot);
            let due = self.next_slot * SLOT_NS;
            self.next_slot += 1;
            for at in 0..self.slots[slot].len() {
                let number = self.slots[slot][at] as usize;
                let Some(leg) = self.legs[number].as_mut() else { continue };
                self.sent += u64::from(leg.send(&self.sockets[leg.socket], self.run));
            }
            if !self.slots[slot].is_empty() {
                let late = mono().saturating_sub(due) / 1_000;
                let count = self.slots[slot].len() as u64;
                self.lateness.saturating_record_n(late, count);
            }
        }
    }

    /// Takes one datagram from a socket that epoll found readable.
    pub(crate) fn receive(&mut self, socket: u64) {
        let socket = usize::try_from(socket).unwrap_or(usize::MAX);
        let Some(readable) = self.sockets.get(socket) else { return };
        let mut buffer = [0; 2_048];
        let Some((len, source, stamp)) = readable.receive(&mut buffer, &mut self.control) else {
            return;
        };
        let arrival = if stamp == 0 { wall() } else { stamp };
        let Some(leg) = self.owners[socket].and_then(|n| self.legs[n as usize].as_mut()) else {
            self.stray += 1;
            return;
        };
        if source != leg.remote {
            self.stray += 1;
            return;
        }
        self.received += 1;
        let wrong = leg.corrupt + leg.foreign;
        if let Some(delay) = leg.hear(&buffer[..len], arrival) {
            self.delay.saturating_record(delay / 1_000);
        }
        if leg.corrupt + leg.foreign > wrong && self.samples.len() < SAMPLES_MAX {
            let head: String = buffer[..len.min(48)].iter().map(|b| format!("{b:02x}")).collect();
            self.samples
                .push(format!("{len} bytes from {source} to stream {}: {head}", leg.stream));
        }
    }
}

impl Leg {
    fn send(&mut self, socket: &RtpSocket, run: u32) -> bool {
        let mut packet = [0; PACKET_BYTES];
        let fields = HeaderFields {
            marker: self.sequence == 0,
            pt: 0,
            seq: self.rtp_sequence,
            timestamp: self.timestamp,
            ssrc: Ssrc(self.ssrc),
        };
        let Some((head, body)) = packet.split_first_chunk_mut::<12>() else { return false };
        rtp::write_header(head, &fields);
        let sent_ns = wall();
        let payload =
            Payload { run, stream: self.stream, echo: self.echo, sequence: self.sequence, sent_ns };
        let Ok(body) = body.try_into() else { return false };
        payload.write(body);
        self.rtp_sequence = self.rtp_sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.tail[self.sequence as usize % TAIL] = sent_ns;
        self.sequence += 1;
        let ok = socket.send(&packet, self.remote);
        self.sent += 1;
        self.send_errors += u64::from(!ok);
        ok
    }

    /// Takes one packet into account; its age if it is our peer's.
    fn hear(&mut self, packet: &[u8], arrival_ns: u64) -> Option<u64> {
        match rtp::classify(packet) {
            rtp::PacketKind::Rtp => {}
            rtp::PacketKind::Rtcp => {
                self.rtcp += 1;
                return None;
            }
            _ => {
                self.corrupt += 1;
                return None;
            }
        }
        let header = rtp::Header::parse(packet).ok()?;
        self.receiver.handle(&header, Mono(arrival_ns));
        let Some(said) = Payload::read(header.payload(packet)) else {
            self.corrupt += 1;
            return None;
        };
        if self.peer_run == 0 {
            self.peer_run = said.run;
        }
        let ours = said.run == self.peer_run && said.stream != self.stream;
        let heard = (self.echo == 0 || self.echo == said.stream)
            && (said.echo == 0 || said.echo == self.stream);
        if !ours || !heard {
            self.foreign += 1;
            return None;
        }
        self.echo = said.stream;
        self.track.hear(said.sequence);
        let delay = arrival_ns.saturating_sub(said.sent_ns);
        self.delay_sum += delay;
        self.delay_count += 1;
        Some(delay)
    }

    fn record(&self) -> LegRecord {
        LegRecord {
            stream: self.stream,
            heard: self.echo,
            sent: self.sent,
            send_errors: self.send_errors,
            tail: self.tail,
            next: self.track.next,
            unique: self.track.unique,
            duplicates: self.track.duplicates,
            reordered: self.track.reordered,
            corrupt: self.corrupt,
            foreign: self.foreign,
            rtcp: self.rtcp,
            rtp_gaps: self.receiver.loss(),
            jitter_us: self.receiver.jitter_micros(),
            jitter_max_us: self.receiver.jitter_max_micros(),
            delay_mean_ns: self.delay_sum.checked_div(self.delay_count).unwrap_or(0),
            sources: self.receiver.sources(),
            ended_ns: 0,
            talked_ns: 0,
        }
    }
}

fn slot_index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS).unwrap_or(0)
}
