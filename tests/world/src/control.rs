//! Who stands on the controlplane's side of the rings: a test that commands by hand ([`Manual`]),
//! or the real director ([`crate::directed::Directed`]).

use base::{Mono, Now};
use wire::ring::{Consumer, Producer};
use wire::{Command, Event};

use crate::plane::Plane;
use crate::trace::Trace;

/// The other side of the rings.
pub trait Control {
    /// Takes events, sends commands, at `now`. True if commands were sent.
    fn run(&mut self, now: Now, plane: &Plane, trace: Trace, faults: &mut Vec<String>) -> bool;

    /// When it wants to run at the latest.
    fn deadline(&self) -> Mono;

    /// The dataplane's successor has joined the regions.
    fn plane_restarted(&mut self, plane: &Plane);

    /// For tests that know which one it is.
    fn any(&mut self) -> &mut dyn std::any::Any;
}

/// Both ends of one shard's rings, as the controlplane has them.
#[derive(Debug)]
pub struct Ends {
    pub events: Consumer<'static>,
    pub commands: Producer<'static>,
}

/// Joins every shard's rings. What was not released comes again.
#[must_use]
pub fn join(plane: &Plane) -> Vec<Ends> {
    let ends = |regions: &crate::plane::Regions| {
        let (theirs, ours) = (regions.dataplane(), regions.controlplane());
        Ends {
            events: Consumer::join(theirs.slots(), ours.cursors()),
            commands: Producer::join(ours.slots(), theirs.cursors()),
        }
    };
    plane.regions.iter().map(ends).collect()
}

/// An event as it came out of the ring.
#[derive(Clone, Debug)]
pub struct Told {
    pub shard: u8,
    pub at: Mono,
    pub bytes: Vec<u8>,
}

impl Told {
    /// # Panics
    /// If the shard wrote what the wire does not know.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        wire::decode(&self.bytes).unwrap_or_else(|error| panic!("an event: {error}"))
    }
}

type Reflex = Box<dyn FnMut(&Told, &mut Vec<(u8, Vec<u8>)>)>;

/// A controlplane in a test's hands: keeps all events, releases what has ended, and does what its
/// reflex says to each event.
pub struct Manual {
    ends: Vec<Ends>,
    pub told: Vec<Told>,
    queue: Vec<(u8, Vec<u8>)>,
    reflex: Reflex,
    /// Usage is released as soon as it is told.
    pub releases: bool,
    /// Takes no events and sends nothing: as if it were dead.
    pub dead: bool,
    scratch: Vec<u8>,
}

impl Manual {
    #[must_use]
    pub fn new(plane: &Plane) -> Self {
        Self {
            ends: join(plane),
            told: Vec::new(),
            queue: Vec::new(),
            reflex: Box::new(|_, _| {}),
            releases: true,
            dead: false,
            scratch: vec![0; wire::MESSAGE_BYTES_MAX],
        }
    }

    /// What is done at each event: push commands with [`command`].
    #[must_use]
    pub fn with_reflex(
        mut self,
        reflex: impl FnMut(&Told, &mut Vec<(u8, Vec<u8>)>) + 'static,
    ) -> Self {
        self.reflex = Box::new(reflex);
        self
    }

    /// Sends what may be no command.
    pub fn send_bytes(&mut self, shard: u8, bytes: Vec<u8>) {
        self.queue.push((shard, bytes));
    }

    /// Sends a command.
    pub fn send(&mut self, shard: u8, command: &Command<'_>) {
        self.queue.push((shard, encode(command)));
    }
}

/// A command as the ring takes it.
///
/// # Panics
/// If it is too long.
#[must_use]
pub fn encode(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = vec![0; wire::MESSAGE_BYTES_MAX];
    let len = wire::encode(command, &mut bytes);
    bytes.truncate(len.unwrap_or_else(|error| panic!("a command: {error}")));
    bytes
}

impl Control for Manual {
    fn run(&mut self, now: Now, _: &Plane, trace: Trace, faults: &mut Vec<String>) -> bool {
        if self.dead {
            return false;
        }
        for (shard, ends) in (0..).zip(&mut self.ends) {
            loop {
                let bytes = match ends.events.pop(&mut self.scratch) {
                    Ok(Some(bytes)) => bytes.to_vec(),
                    Ok(None) => break,
                    Err(_) => {
                        faults.push("a corrupt events ring".to_owned());
                        break;
                    }
                };
                let told = Told { shard, at: now.mono, bytes };
                trace.line(now.mono, || format!("shard {shard} tells {:?}", told.event()));
                (self.reflex)(&told, &mut self.queue);
                if let Event::Ended(summary) = told.event()
                    && self.releases
                    && summary.leg != base::LegId::NONE
                {
                    let release = Command::Release { epoch: summary.epoch, leg: summary.leg };
                    self.queue.push((shard, encode(&release)));
                }
                self.told.push(told);
            }
            ends.events.release(ends.events.position());
        }
        let moved = !self.queue.is_empty();
        for (shard, bytes) in self.queue.drain(..) {
            let ends = &mut self.ends[usize::from(shard)];
            ends.commands.push(&bytes).unwrap_or_else(|_| panic!("a full commands ring"));
            ends.commands.publish();
        }
        moved
    }

    fn deadline(&self) -> Mono {
        Mono::NEVER
    }

    fn plane_restarted(&mut self, _plane: &Plane) {}

    fn any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

impl std::fmt::Debug for Manual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manual").field("told", &self.told.len()).finish_non_exhaustive()
    }
}
