//! The calls: placed by the clock, held for a second, hung up by the caller.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use benches::nanos;
use benches::peer::{Call, Phones, Side};

use crate::application::{Application, CALLEE};
use crate::process::{DOMAIN, SIP, Switch, Usage};
use crate::report::Cost;
use crate::{Failure, Options};

const CALLER: &str = "127.0.0.1:17061";
const HOLD: u64 = 1_000_000_000;
const TICK: Duration = Duration::from_micros(500);
/// Calls before the measured ones.
const WARM_SECONDS: u64 = 3;
/// What is written behind the calls belongs to them.
const SETTLE: Duration = Duration::from_millis(3_500);

struct World {
    phones: Phones,
    invited: HashMap<usize, u64>,
    /// When the INVITE of a call's number was at its callee.
    reached: HashMap<usize, u64>,
}

struct Line {
    world: Mutex<World>,
    callers: UdpSocket,
    callees: UdpSocket,
    over: AtomicBool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, side: Side) {
        let socket = if side == Side::Caller { &self.callers } else { &self.callees };
        let mut bytes = [0; 8_192];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
            let at = nanos();
            let mut world = self.lock();
            if let Some(number) = invited(&bytes[..len]) {
                world.reached.entry(number).or_insert(at);
            }
            let answers = world.phones.handle(side, &bytes[..len]);
            drop(world);
            for answer in answers {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    /// Places calls for so long, and ends each a second after it began.
    fn place(&self, rate: u64, seconds: u64) -> Result<Range<usize>, Failure> {
        let first = self.lock().phones.calls.len();
        let count = usize::try_from(rate * seconds)?;
        let start = nanos();
        let due = |number: usize| start + number as u64 * 1_000_000_000 / rate;
        let (mut placed, mut ended) = (0, 0);
        while ended < count {
            let now = nanos();
            while placed < count && due(placed) <= now {
                let mut world = self.lock();
                let media = SocketAddr::from(([127, 0, 0, 1], 9));
                world.phones.calls.push(Call::new(media, media));
                let invite = world.phones.invite(first + placed);
                world.invited.insert(first + placed, nanos());
                drop(world);
                self.callers.send_to(&invite, SIP)?;
                placed += 1;
            }
            while ended < placed && due(ended) + HOLD <= now {
                let world = self.lock();
                if world.phones.calls[first + ended].established {
                    let bye = world.phones.bye(first + ended);
                    drop(world);
                    self.callers.send_to(&bye, SIP)?;
                }
                ended += 1;
            }
            std::thread::park_timeout(TICK);
        }
        Ok(first..first + count)
    }
}

/// The number of the call whose INVITE this is.
fn invited(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes.get(..64)?).ok()?;
    let digits = text.strip_prefix("INVITE sip:+1")?;
    digits.get(..10)?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "phones have sockets")]
fn socket(address: &str) -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

pub(crate) fn run(
    options: &Options,
    switch: &Switch,
    application: &Application,
) -> Result<Cost, Failure> {
    let mut phones = Phones::new(SIP.parse()?, CALLER.parse()?, CALLEE.parse()?);
    phones.host = DOMAIN.to_owned();
    phones.rings = true;
    let world = World { phones, invited: HashMap::new(), reached: HashMap::new() };
    let line = Arc::new(Line {
        world: Mutex::new(world),
        callers: socket(CALLER)?,
        callees: socket(CALLEE)?,
        over: AtomicBool::new(false),
    });
    let listeners = [Side::Caller, Side::Callee].map(|side| {
        let line = Arc::clone(&line);
        std::thread::spawn(move || line.listen(side))
    });
    line.place(options.rate, WARM_SECONDS)?;
    std::thread::park_timeout(SETTLE);
    let before = (switch.usage()?, application.seen.connections.load(Ordering::Relaxed));
    let callbacks = application.seen.callbacks.load(Ordering::Relaxed);
    let files = switch.journal_files();
    let watch = Arc::new(Mutex::new(files.clone()));
    let done = AtomicBool::new(false);
    let numbers = std::thread::scope(|scope| {
        let (done, watch) = (&done, &watch);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let mut sizes = watch.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, bytes) in switch.journal_files() {
                    let size = sizes.entry(name).or_default();
                    *size = bytes.max(*size);
                }
                drop(sizes);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let numbers = line.place(options.rate, options.seconds);
        std::thread::park_timeout(SETTLE);
        done.store(true, Ordering::Relaxed);
        numbers
    })?;
    let after = (switch.usage()?, application.seen.connections.load(Ordering::Relaxed));
    line.over.store(true, Ordering::Relaxed);
    for listener in listeners {
        listener.join().map_err(|_| "a phone's thread died")?;
    }
    let grown = grown(&files, &watch.lock().unwrap_or_else(PoisonError::into_inner));
    let world = line.lock();
    let mut cost = Cost::between(&before.0, &after.0, numbers.len(), grown);
    cost.connections = after.1 - before.1;
    cost.callbacks = application.seen.callbacks.load(Ordering::Relaxed) - callbacks;
    times(&mut cost, &world, numbers, application);
    Ok(cost)
}

fn times(cost: &mut Cost, world: &World, numbers: Range<usize>, application: &Application) {
    for number in numbers {
        let call = &world.phones.calls[number];
        let seen = application.seen.asked(number);
        let times = (world.invited.get(&number), seen, world.reached.get(&number));
        match times {
            (Some(invited), Some((asked, answered)), Some(reached))
                if call.established && call.caller_over && call.callee_over =>
            {
                cost.to_webhook.push(asked.saturating_sub(*invited));
                cost.to_invite.push(reached.saturating_sub(answered));
            }
            _ => {
                cost.failed += 1;
                cost.example = Some(format!("call {number}: {call:?}, {times:?}"));
            }
        }
    }
}

fn grown(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> u64 {
    let grown = |(name, bytes): (&String, &u64)| bytes - before.get(name).copied().unwrap_or(0);
    after.iter().map(grown).sum()
}

impl Cost {
    fn between(before: &Usage, after: &Usage, calls: usize, grown: u64) -> Self {
        let less = |after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let less = |(name, value): (&String, &u64)| {
                (name.clone(), value.saturating_sub(before.get(name).copied().unwrap_or(0)))
            };
            after.iter().map(less).collect()
        };
        let journal = match (before.journal, after.journal) {
            (Some(before), Some(after)) => after - before,
            _ => grown,
        };
        Self {
            calls,
            threads: less(&after.threads, &before.threads),
            written: less(&after.written, &before.written),
            journal,
            records: after.records - before.records,
            ..Self::default()
        }
    }
}
