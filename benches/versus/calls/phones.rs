//! The phones of both sides: calls by the clock, held for a moment, hung up by their callers.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use benches::nanos;
use benches::peer::{Call, Phones, Side};

use crate::Failure;

const HOLD: u64 = 100_000_000;
/// A call that has not come so far by then has failed.
const PATIENCE: u64 = 3_000_000_000;
/// Messages read of one side before the clock is looked at.
const BATCH: usize = 32;
const RECEIVE_BYTES: usize = 8 << 20;

/// Callers and callees of one carrier.
pub(super) struct Line {
    phones: Phones,
    callers: UdpSocket,
    callees: UdpSocket,
    bytes: Vec<u8>,
}

/// What came of some calls.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) calls: usize,
    /// Of those that ended as they should: from INVITE to 200.
    pub(super) answered_us: Vec<u64>,
}

impl Placed {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let at = self.answered_us.len() * percent / 100;
        self.answered_us.get(at).map_or(f64::NAN, |us| *us as f64)
    }
}

impl Line {
    pub(super) fn new(
        switch: SocketAddr,
        caller: SocketAddr,
        callee: SocketAddr,
    ) -> Result<Self, Failure> {
        let mut phones = Phones::new(switch, caller, callee);
        phones.rings = true;
        let (callers, callees) = (socket(caller)?, socket(callee)?);
        Ok(Self { phones, callers, callees, bytes: vec![0; 8_192] })
    }

    /// Places `count` calls, so many a second, and lets all of them end.
    pub(super) fn place(&mut self, rate: f64, count: u64) -> Result<Placed, Failure> {
        let count = usize::try_from(count)?;
        let (first, start) = (self.phones.calls.len(), nanos());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        let due = |number: usize| start + (number as f64 * 1e9 / rate) as u64;
        let mut invited = vec![0; count];
        let mut answered = vec![0; count];
        // Calls whose turn to be looked at comes: when, and which.
        let mut ends: VecDeque<(u64, usize)> = VecDeque::new();
        let mut placed = 0;
        loop {
            let now = nanos();
            if placed < count && due(placed) <= now {
                let media = SocketAddr::new(self.phones.caller.ip(), 9);
                self.phones.calls.push(Call::new(media, media));
                let invite = self.phones.invite(first + placed);
                invited[placed] = now;
                self.callers.send_to(&invite, self.phones.switch)?;
                placed += 1;
            }
            while let Some((_, number)) = ends.pop_front_if(|(at, _)| *at <= now) {
                let bye = self.phones.bye(first + number);
                self.callers.send_to(&bye, self.phones.switch)?;
            }
            let heard = self.listen(first, &mut |number| {
                if answered[number] == 0 {
                    answered[number] = nanos();
                    ends.push_back((answered[number] + HOLD, number));
                }
            })?;
            if placed == count && ends.is_empty() {
                let calls = &self.phones.calls[first..];
                let is_over = |call: &Call| call.caller_over && call.callee_over;
                let late = due(count) + HOLD + PATIENCE < now;
                if late || !heard && calls.iter().all(|it| is_over(it) || it.refused.is_some()) {
                    break;
                }
            }
        }
        let calls = self.phones.calls[first..].iter().zip(invited.iter().zip(&answered));
        let done = calls.filter(|(call, _)| call.caller_over && call.callee_over);
        let mut answered_us: Vec<u64> =
            done.map(|(_, (from, to))| to.saturating_sub(*from) / 1_000).collect();
        answered_us.sort_unstable();
        Ok(Placed { calls: count, answered_us })
    }

    /// Reads what came. `answered`: of a call that is established by it.
    fn listen(&mut self, first: usize, answered: &mut dyn FnMut(usize)) -> Result<bool, Failure> {
        let mut heard = false;
        for side in [Side::Callee, Side::Caller] {
            let socket = if side == Side::Caller { &self.callers } else { &self.callees };
            for _ in 0..BATCH {
                let Ok((len, _)) = socket.recv_from(&mut self.bytes) else { break };
                heard = true;
                let message = &self.bytes[..len];
                for answer in self.phones.handle(side, message) {
                    socket.send_to(&answer, self.phones.switch)?;
                }
                let is_answer = side == Side::Caller && message.starts_with(b"SIP/2.0 200");
                let number = is_answer.then(|| number_of(message)).flatten();
                let number = number.and_then(|number| number.checked_sub(first));
                let stands = |number: &usize| {
                    self.phones.calls.get(first + number).is_some_and(|call| call.established)
                };
                if let Some(number) = number.filter(stands) {
                    answered(number);
                }
            }
        }
        Ok(heard)
    }
}

/// Of the call that an answer to its INVITE is about.
fn number_of(message: &[u8]) -> Option<usize> {
    let parsed = sip::Message::parse(message).ok()?;
    (parsed.cseq().ok()?.method == sip::Method::Invite).then_some(())?;
    let text = core::str::from_utf8(parsed.call_id().ok()?).ok()?;
    text.strip_prefix("bench-")?.split('@').next()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "phones have sockets")]
pub(super) fn socket(address: SocketAddr) -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind(address)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BYTES)?;
    socket.set_read_timeout(Some(Duration::from_micros(1)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
