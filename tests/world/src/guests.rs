//! Guests in the world: sources that nobody knows, and whose calls are taken all the same, for a
//! tenant has a number that may be called from everywhere. Some call as they should; some never
//! acknowledge, or every second call only, as whoever forges an address does; some describe a
//! victim as the place for their media. What the switch sends to them is counted when it is sent,
//! whatever the weather.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{Mono, Prng};

use crate::network::{Datagram, call_id, is_sip};
use crate::phone::{Action, Manner};
use crate::plane::HOSTS;

/// The number that takes calls from everywhere.
pub const OPEN: &str = "+15550199";
/// Conversations of guests have numbers from here on.
pub const FIRST_GROUP: u32 = 900_001;
/// Calls that guests make while honest callers make one.
const CALLS_EACH: u32 = 3;
/// The same to whoever has acknowledged something before: Timer G and H of RFC 3261.
const REPEATS_MAX: u32 = 11;
/// Times that a 200 which is never acknowledged is said (SPECIFICATION.md, `unheard`).
const OKS_MAX: u32 = 3;

/// What a guest is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Acknowledges, talks, hangs up.
    Proper,
    /// Never says ACK, and answers nothing: its address may be somebody else's.
    NeverAcks,
    /// Says ACK in every second call.
    HalfAcks,
    /// Its description names a host that knows nothing of it.
    NamesVictim,
}

impl Habit {
    pub const ALL: [Self; 4] = [Self::Proper, Self::NeverAcks, Self::HalfAcks, Self::NamesVictim];

    /// How it treats its call of this number.
    #[must_use]
    pub fn manner(self, random: &mut Prng, number: u32) -> Manner {
        let after = Duration::from_millis(3_000 + random.below(15_000));
        let manner = Manner::default().after_answer(after, Action::HangUp);
        let mute = Duration::ZERO;
        match self {
            Self::Proper => manner,
            Self::HalfAcks if number.is_multiple_of(2) => manner,
            Self::NeverAcks | Self::HalfAcks => {
                let manner = Manner { acks: false, answers_bye: false, ..Manner::default() };
                Manner { packet_every: mute, report_every: mute, ..manner }
            }
            Self::NamesVictim => Manner { packet_every: mute, report_every: mute, ..manner },
        }
    }

    /// Where it says that its media is.
    #[must_use]
    pub fn media_host(self, own: IpAddr) -> IpAddr {
        if self == Self::NamesVictim { VICTIM } else { own }
    }
}

/// Nobody's phone: media that goes there was not asked for by whoever is there.
const VICTIM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9));

/// One call of a guest.
#[derive(Clone, Debug)]
pub struct Visit {
    pub group: u32,
    pub at: Mono,
    pub habit: Habit,
    pub manner: Manner,
}

/// The visits of a story, by chance; one guest of each habit.
#[must_use]
pub fn visits(seed: u64, calls: u32, (from, within): (Mono, Duration)) -> Vec<Visit> {
    let mut random = Prng::new(seed ^ 0x6775_6573);
    let visit = |number: u32| {
        let habit = Habit::ALL[usize::try_from(random.below(4)).unwrap_or(0)];
        let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        let at = from + Duration::from_micros(random.below(micros));
        let manner = habit.manner(&mut random, number);
        Visit { group: FIRST_GROUP + number, at, habit, manner }
    };
    (0..calls * CALLS_EACH).map(visit).collect()
}

/// Where the guest of this habit is.
#[must_use]
pub fn address(habit: Habit) -> SocketAddr {
    let at = Habit::ALL.iter().position(|it| *it == habit).unwrap_or(0);
    SocketAddr::from(([10, 2, 2, 1 + u8::try_from(at).unwrap_or(0)], 5_060))
}

/// What was said to one guest in one call.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// INVITEs that came from there, repetitions included.
    invites: u32,
    /// ACKs of a 2xx.
    acks: u32,
    oks: u32,
    byes: u32,
    others: u32,
    /// Its host had acknowledged nothing when the last of this was said.
    unheard: bool,
}

/// The account of all guests, by Call-ID.
#[derive(Debug, Default)]
pub struct Guests {
    calls: BTreeMap<String, Said>,
    /// Who has said ACK to a 2xx of ours: it hears us.
    heard: BTreeSet<IpAddr>,
}

impl Guests {
    /// Something leaves for the network.
    pub fn notice(&mut self, datagram: &Datagram) {
        let (theirs, ours) = (is_guest(datagram.from), is_guest(datagram.to));
        if !is_sip(&datagram.bytes) || !(theirs || ours && HOSTS.contains(&datagram.from.ip())) {
            return;
        }
        let Some(call_id) = call_id(&datagram.bytes) else { return };
        let said = self.calls.entry(call_id).or_default();
        let guest = if theirs { datagram.from.ip() } else { datagram.to.ip() };
        said.unheard = !self.heard.contains(&guest);
        let is = |start: &str| datagram.bytes.starts_with(start.as_bytes());
        let of_invite = datagram.bytes.windows(8).any(|it| it == b" INVITE\r");
        let count = match theirs {
            true if is("INVITE ") => &mut said.invites,
            true if is("ACK ") => {
                self.heard.insert(guest);
                &mut said.acks
            }
            true => return,
            false if is("SIP/2.0 200") && of_invite => &mut said.oks,
            false if is("BYE ") => &mut said.byes,
            false => &mut said.others,
        };
        *count += 1;
    }

    /// Calls that were answered and never acknowledged.
    #[must_use]
    pub fn unheard(&self) -> usize {
        self.calls.values().filter(|said| said.unheard && said.oks > 0).count()
    }

    /// What they got that they may not get; the dataplane has died so many times.
    #[must_use]
    pub fn faults(&self, deaths: u32) -> Vec<String> {
        let mut faults = Vec::new();
        for (call_id, said) in self.calls.iter().filter(|(_, said)| said.acks == 0) {
            // One answer to each repetition of the INVITE, and one word of each successor.
            let repeats = said.invites.saturating_sub(1);
            let (oks, byes) = match said.unheard {
                true => (OKS_MAX, 1),
                false => (REPEATS_MAX, REPEATS_MAX),
            };
            if said.oks > oks + repeats || said.byes > byes + deaths {
                faults.push(format!("the guest of {call_id}, who acknowledged nothing: {said:?}"));
            }
        }
        faults
    }
}

/// Whether this is a guest's SIP address.
#[must_use]
pub fn is_guest(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(v4) if v4.octets()[..3] == [10, 2, 2])
}
