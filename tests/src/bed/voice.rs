//! An RTP endpoint that knows what it sends and judges what it hears, beside a foreign SIP program.
//!
//! Numbered packets say who sent them and which they are, in every byte of their payload: a relay
//! that loses, repeats, reorders, mixes up or damages is seen, and so is a sequence number or
//! timestamp that does not go with the content. Tones are for programs that decode.

use std::collections::BTreeSet;
use std::f64::consts::TAU;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PACKET: Duration = Duration::from_millis(20);
const SAMPLES: usize = 160;
const HEADER: usize = 12;

/// What an endpoint heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub packets: u64,
    /// Numbers between the first and the last that did not come.
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Payload of no stream of ours, or damaged.
    pub corrupt: u64,
    /// Sequence number or timestamp moved by another step than the content.
    pub inconsistent: u64,
    pub ssrcs: BTreeSet<u32>,
    /// Streams heard, by tag.
    pub tags: BTreeSet<u8>,
    pub first: u32,
    pub last: u32,
    /// Everything decoded, for tones.
    pub samples: Vec<i16>,
    /// Header of the last packet: sequence number, timestamp.
    header: (u16, u32),
}

#[derive(Debug, Default)]
struct State {
    target: Option<SocketAddr>,
    heard: Heard,
    sent: u32,
    stop: bool,
}

/// The endpoint; its thread ends when it is dropped.
#[derive(Debug)]
pub struct Voice {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug)]
enum Sound {
    Numbered(u8),
    Tone(f64),
}

impl Voice {
    /// Sends numbered packets of the stream `tag`, once it is told where to.
    #[must_use]
    pub fn numbered(address: SocketAddr, tag: u8) -> Self {
        Self::start(address, Sound::Numbered(tag))
    }

    /// Sends a tone of `hz`.
    #[must_use]
    pub fn tone(address: SocketAddr, hz: f64) -> Self {
        Self::start(address, Sound::Tone(hz))
    }

    fn start(address: SocketAddr, sound: Sound) -> Self {
        let socket = UdpSocket::bind(address).expect("the media port is free");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || run(&socket, sound, &shared));
        Self { address, state }
    }

    /// Sends to this address from now on.
    pub fn send_to(&self, target: SocketAddr) {
        self.lock().target = Some(target);
    }

    /// Stops sending; hears on.
    pub fn hush(&self) {
        self.lock().target = None;
    }

    #[must_use]
    pub fn heard(&self) -> Heard {
        self.lock().heard.clone()
    }

    #[must_use]
    pub fn sent(&self) -> u32 {
        self.lock().sent
    }

    /// Waits until `packets` more are heard.
    ///
    /// # Panics
    /// If they do not come within 20 s.
    #[track_caller]
    pub fn wait_for(&self, packets: u64) {
        let before = self.lock().heard.packets;
        let what = format!("{packets} more packets at {}", self.address);
        super::eventually(&what, Duration::from_secs(20), || {
            (self.lock().heard.packets >= before + packets).then_some(())
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.lock().stop = true;
    }
}

fn run(socket: &UdpSocket, sound: Sound, state: &Mutex<State>) {
    let mut next = Instant::now();
    let mut number = 0_u32;
    let mut buffer = [0; 2_048];
    loop {
        if let Ok((len, _)) = socket.recv_from(&mut buffer) {
            state.lock().unwrap_or_else(PoisonError::into_inner).heard.take(&buffer[..len], sound);
        }
        let target = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.stop {
                return;
            }
            if next <= Instant::now() && state.target.is_some() {
                state.sent += 1;
            }
            state.target
        };
        let now = Instant::now();
        if next > now {
            continue;
        }
        next = if now.duration_since(next) > PACKET * 10 { now + PACKET } else { next + PACKET };
        if let Some(target) = target {
            let _ = socket.send_to(&packet(sound, number), target);
            number += 1;
        }
    }
}

fn packet(sound: Sound, number: u32) -> Vec<u8> {
    let ssrc = match sound {
        Sound::Numbered(tag) => 0x5eed_0000 | u32::from(tag),
        Sound::Tone(_) => 0x70e0_0001,
    };
    let mut packet = vec![0x80, 0];
    let [.., high, low] = number.wrapping_add(1_000).to_be_bytes();
    packet.extend([high, low]);
    packet.extend((number.wrapping_mul(160)).wrapping_add(77).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    match sound {
        Sound::Numbered(tag) => packet.extend(payload(tag, number)),
        Sound::Tone(hz) => packet.extend((0..SAMPLES).map(|at| {
            let time = f64::from(number) * 160.0 + f64::from(u16::try_from(at).unwrap_or(0));
            encode(8_000.0 * (TAU * hz * time / 8_000.0).sin())
        })),
    }
    packet
}

/// Tag, number, and a filler made of both.
fn payload(tag: u8, number: u32) -> [u8; SAMPLES] {
    let mut bytes = [0; SAMPLES];
    let mut state = u64::from(number) << 8 | u64::from(tag);
    for byte in &mut bytes {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        *byte = state.to_be_bytes()[0];
    }
    bytes[0] = tag;
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    bytes
}

impl Heard {
    fn take(&mut self, packet: &[u8], sound: Sound) {
        let rtp = packet.len() >= HEADER && packet[0] >> 6 == 2 && packet[1] & 0x7f == 0;
        if !rtp {
            return;
        }
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| packet[at + i]));
        let header = (u16::from_be_bytes([packet[2], packet[3]]), word(4));
        let body = &packet[HEADER..];
        self.ssrcs.insert(word(8));
        match sound {
            Sound::Tone(_) => self.samples.extend(body.iter().map(|byte| decode(*byte))),
            Sound::Numbered(_) => self.judge(body, header),
        }
        self.packets += 1;
        self.header = header;
    }

    /// The switch's own silence and tones are no voice: they are heard before the far end speaks.
    fn judge(&mut self, body: &[u8], header: (u16, u32)) {
        let read =
            body.first_chunk::<5>().map(|[tag, number @ ..]| (*tag, u32::from_be_bytes(*number)));
        let Some((tag, number)) = read.filter(|(tag, number)| body == payload(*tag, *number))
        else {
            self.corrupt += 1;
            return;
        };
        if self.tags.insert(tag) {
            (self.first, self.last) = (number, number);
            return;
        }
        let step = number.wrapping_sub(self.last);
        match step {
            0 => self.duplicated += 1,
            1..0x8000_0000 => {
                self.lost += u64::from(step - 1);
                self.last = number;
            }
            _ => self.reordered += 1,
        }
        let sequence = u32::from(header.0.wrapping_sub(self.header.0));
        let moved = header.1.wrapping_sub(self.header.1);
        let consistent = step >= 0x8000 || sequence == step && moved == step.wrapping_mul(160);
        self.inconsistent += u64::from(!consistent);
    }

    /// Every packet was the far end's, whole, in order, once; at most `lost` are missing (the host
    /// itself loses some: a control run says how many).
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn expect_clean(&self, from: u8, lost: u64) {
        assert_eq!(self.tags, BTreeSet::from([from]), "only the far end is heard: {self:?}");
        let faults = self.duplicated + self.reordered + self.inconsistent;
        assert!(faults == 0 && self.lost <= lost, "{faults} faults, {} lost: {self:?}", self.lost);
    }
}

/// G.711 µ-law (ITU-T G.711), one sample of 14 bits scaled to 16.
fn encode(sample: f64) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "clipped before")]
    let sample = sample.clamp(-32_000.0, 32_000.0) as i32;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs() + 132;
    let exponent = (7..15).rev().find(|bit| magnitude >> bit & 1 == 1).unwrap_or(7) - 7;
    let mantissa = magnitude >> (exponent + 3) & 0x0f;
    let byte = u8::try_from(exponent << 4 | mantissa).unwrap_or(0x7f);
    !(sign | byte)
}

fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = byte >> 4 & 7;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + 132) << exponent;
    if byte & 0x80 == 0 { magnitude - 132 } else { 132 - magnitude }
}

/// How much of the sound's energy is at `hz` (8,000 samples a second): 1 for a pure tone.
#[must_use]
pub fn tone_share(samples: &[i16], hz: f64) -> f64 {
    // Goertzel over windows of 50 ms, so that a lost packet breaks the phase of one window only.
    let (mut at_tone, mut whole) = (0.0, 0.0);
    for window in samples.chunks_exact(400) {
        let turn = 2.0 * (TAU * hz / 8_000.0).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for sample in window {
            let sample = f64::from(*sample);
            (one, two) = (sample + turn * one - two, one);
            whole += sample * sample;
        }
        at_tone += (one * one + two * two - turn * one * two) / 200.0;
    }
    if whole > 0.0 { at_tone / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_and_another_is_not() {
        let heard: Vec<i16> = (0..50)
            .flat_map(|number| packet(Sound::Tone(440.0), number)[HEADER..].to_vec())
            .map(decode)
            .collect();
        assert!(tone_share(&heard, 440.0) > 0.98, "{}", tone_share(&heard, 440.0));
        assert!(tone_share(&heard, 700.0) < 0.02, "{}", tone_share(&heard, 700.0));
    }

    #[test]
    fn every_fault_of_a_stream_is_seen() {
        let sound = Sound::Numbered(3);
        let mut heard = Heard::default();
        for number in [0, 1, 2, 4, 4, 5] {
            heard.take(&packet(sound, number), sound);
        }
        assert_eq!((heard.packets, heard.lost, heard.duplicated), (6, 1, 1));
        let mut shifted = packet(sound, 6);
        shifted[3] ^= 8;
        heard.take(&shifted, sound);
        assert_eq!(heard.inconsistent, 1);
        let mut damaged = packet(sound, 7);
        damaged[100] ^= 1;
        heard.take(&damaged, sound);
        assert_eq!((heard.corrupt, heard.tags.len()), (1, 1));
    }
}
