//! `tandem flood`: strangers who flood a switch from one address or from many, on loopback, and
//! what comes back to them, byte by byte.
//!
//! ```text
//!   127.16.0.1  --INVITE, REGISTER, OPTIONS, INFO, junk--> what is tested
//!   127.16.n.n  <-- answers: to which request, how many, how large --
//! ```
//!
//! Each source is a socket with an address of its own: all of 127.0.0.0/8 is this machine's.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::stranger::{Aim, Count, Kind, Tally, Worst};
use anyhow::{Context, Result, bail};
use rustix::event::{Timespec, epoll};

use crate::clock::{MS, S, mono, parse_duration};

/// The first address that strangers come from.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(127, 16, 0, 1);
/// Largest datagram that is taken, bytes.
const DATAGRAM_BYTES_MAX: usize = 4_096;
/// Datagrams sent between two looks at what came back.
const BATCH: u64 = 32;
/// Longest wait for something to come back.
const TURN_MAX: u64 = MS;

/// Arguments of `tandem flood`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The switch, ADDRESS:PORT on loopback
    #[arg(long)]
    pub target: SocketAddr,
    /// `junk`, `options`, `register`, `info`, `invite`, `known` (an INVITE to --uri)
    #[arg(long, default_value = "options", value_parser = kind_of)]
    pub kind: Kind,
    /// What honest callers dial, for --kind known
    #[arg(long, default_value = "sip:+15550100@127.0.0.1")]
    pub uri: String,
    /// Tag of a call that is over, for --kind info
    #[arg(long)]
    pub tag: Option<String>,
    /// First address that they come from
    #[arg(long, default_value_t = FIRST)]
    pub from: Ipv4Addr,
    /// From so many addresses
    #[arg(long, default_value_t = 1)]
    pub sources: u32,
    /// Datagrams per second, all together
    #[arg(long, short, default_value_t = 1_000.0)]
    pub rate: f64,
    /// How long
    #[arg(long, short, default_value = "5s", value_parser = parse_duration)]
    pub duration: u64,
}

/// # Errors
/// What is wrong, for clap.
fn kind_of(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "junk" => Kind::Junk,
        "options" => Kind::Options,
        "register" => Kind::Register,
        "info" => Kind::Info,
        "invite" => Kind::Invite,
        "known" => Kind::InviteKnown,
        _ => return Err(format!("`{text}` is no kind of flood")),
    })
}

/// `tandem flood`.
///
/// # Errors
/// A socket cannot be had.
pub fn main(args: &Args) -> Result<bool> {
    let aim = Aim {
        switch: args.target,
        known: vec![args.uri.clone()],
        old_tags: args.tag.iter().cloned().collect(),
    };
    let mut strangers = Strangers::new(args.from, args.sources, aim)?;
    let began = mono();
    let flood = strangers.flood(args.kind, args.rate, began + args.duration, None)?;
    strangers.listen(500 * MS)?;
    let (count, worst) = (strangers.count(flood), strangers.worst());
    println!("{}: {count}", args.kind.name());
    println!(
        "over any ten seconds the source that got most back had {:.2} bytes for each it sent, \
         {} B beyond",
        worst.ratio, worst.excess
    );
    Ok(true)
}

/// What came of a flood, as people read it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flooded {
    pub count: Count,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    pub elapsed_ns: u64,
}

impl Flooded {
    /// Datagrams per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> f64 {
        self.count.sent as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }
}

impl fmt::Display for Flooded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { sent, answers, answers_max, ratio_max, .. } = self.count;
        write!(
            f,
            "{sent} sent ({:.0}/s, {} refused by the kernel), {answers} datagrams back, at most \
             {answers_max} for one request, each at most {ratio_max:.2} x its request, bytes back \
             {:.2} x",
            self.rate(),
            self.unsent,
            self.count.bytes_ratio()
        )
    }
}

/// Strangers with their sockets.
#[derive(Debug)]
pub struct Strangers {
    aim: Aim,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    epoll: OwnedFd,
    tally: Tally,
    began: u64,
    /// Whose turn it is.
    turn: usize,
    /// Per flood: datagrams that the kernel did not take, and how long it lasted.
    floods: Vec<(u64, u64)>,
}

impl Strangers {
    /// `sources` of them, from `first` on.
    ///
    /// # Errors
    /// A socket cannot be had: the message says what helps.
    pub fn new(first: Ipv4Addr, sources: u32, aim: Aim) -> Result<Self> {
        if !aim.switch.ip().is_loopback() || aim.switch.is_ipv6() {
            bail!("{} is not in 127.0.0.0/8: only a switch on loopback is flooded", aim.switch);
        }
        crate::load::raise_descriptor_limit();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sockets = Vec::new();
        for at in 0..sources {
            let ip = IpAddr::from(Ipv4Addr::from_bits(first.to_bits() + at));
            let socket = UdpSocket::bind((ip, 0)).with_context(|| {
                format!("no socket for stranger {at} at {ip}: raise `ulimit -n`, or take fewer")
            })?;
            socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(u64::from(at));
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
            let address = socket.local_addr()?;
            sockets.push((socket, address));
        }
        let (tally, began) = (Tally::new(sockets.len()), mono());
        Ok(Self { aim, sockets, epoll, tally, began, turn: 0, floods: Vec::new() })
    }

    /// How many they are.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sockets.len()
    }

    /// Floods until `until` (monotonic nanoseconds) or until it is told to stop. The number of the
    /// flood.
    ///
    /// # Errors
    /// The kernel does not say what has come.
    pub fn flood(
        &mut self,
        kind: Kind,
        rate: f64,
        until: u64,
        stop: Option<&AtomicBool>,
    ) -> Result<usize> {
        let flood = self.tally.begin();
        self.floods.push((0, 0));
        let (began, mut text) = (mono(), String::new());
        let mut done = 0;
        let is_over = |now: u64| now >= until || stop.is_some_and(|it| it.load(Ordering::Relaxed));
        loop {
            let now = mono();
            self.floods[flood].1 = now - began;
            if is_over(now) {
                return Ok(flood);
            }
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let due = (now - began) as f64 * rate / 1e9;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            let due = due as u64;
            let batch = (due - done).min(BATCH);
            for _ in 0..batch {
                self.send(kind, flood, &mut text);
            }
            done += batch;
            let wait = if done < due { 0 } else { TURN_MAX };
            self.receive(wait)?;
        }
    }

    /// Takes what still comes.
    ///
    /// # Errors
    /// As [`Strangers::flood`].
    pub fn listen(&mut self, time: u64) -> Result<()> {
        let until = mono() + time;
        while mono() < until {
            self.receive(TURN_MAX)?;
        }
        Ok(())
    }

    /// What has become of a flood by now.
    #[must_use]
    pub fn count(&self, flood: usize) -> Flooded {
        let (unsent, elapsed_ns) = self.floods.get(flood).copied().unwrap_or_default();
        Flooded { count: self.tally.count(flood), unsent, elapsed_ns }
    }

    /// See [`Tally::worst`].
    #[must_use]
    pub fn worst(&self) -> Worst {
        self.tally.worst()
    }

    fn send(&mut self, kind: Kind, flood: usize, text: &mut String) {
        let at = self.turn;
        self.turn = (at + 1) % self.sockets.len().max(1);
        let Some((socket, from)) = self.sockets.get(at) else { return };
        self.aim.write(kind, self.tally.serial(), *from, text);
        if socket.send_to(text.as_bytes(), self.aim.switch).is_err() {
            self.floods[flood].0 += 1;
            return;
        }
        self.tally.sent(at, text.len(), (mono() - self.began) / MS);
    }

    fn receive(&mut self, wait: u64) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let timeout = Timespec {
            tv_sec: i64::try_from(wait / S).unwrap_or(0),
            tv_nsec: i64::try_from(wait % S).unwrap_or(0),
        };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))
        {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for event in &events {
            let Ok(at) = usize::try_from(event.data.u64()) else { continue };
            let Some((socket, _)) = self.sockets.get(at) else { continue };
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((len, _)) => {
                        let now = (mono() - self.began) / MS;
                        self.tally.heard(at, &buffer[..len], now);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // ICMP about something sent before.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_counted_by_request_and_source() {
        let echo = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let switch = echo.local_addr().expect("bound");
        let aim = Aim { switch, known: Vec::new(), old_tags: Vec::new() };
        let mut strangers = Strangers::new(FIRST, 3, aim).expect("three sockets");
        let flood = strangers.flood(Kind::Options, 1_000.0, mono() + 50 * MS, None).expect("sent");
        let mut buffer = [0; 2_048];
        echo.set_nonblocking(true).expect("set");
        let mut sources = std::collections::BTreeSet::new();
        while let Ok((len, from)) = echo.recv_from(&mut buffer) {
            sources.insert(from);
            for _ in 0..2 {
                let _ = echo.send_to(&buffer[..len], from);
            }
        }
        strangers.listen(50 * MS).expect("heard");
        let count = strangers.count(flood).count;
        assert_eq!(sources.len(), 3);
        assert!(count.sent > 3 && count.answers == 2 * count.sent, "{count:?}");
        assert_eq!((count.answers_max, count.strange), (2, 0));
        assert!(count.bytes_ratio() > 1.9 && count.ratio_max < 1.1, "{count:?}");
    }
}
