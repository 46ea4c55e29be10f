//! Whose memory is whose. The dataplane's regions are mapped read-only, each once per process; ours
//! are made here, parked with the service manager, and taken over from a predecessor where they
//! fit.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use wire::mapping::{create_sealed, map_shared, reopen_readonly};
use wire::region::{Region, Side, Sizes};

use crate::notify::{Notify, parked};

const NAME: &str = "cp-region-";

type Words = &'static [AtomicU64];
/// Device and inode: which memory a descriptor names.
type Identity = (u64, u64);

/// One shard's pair: theirs, ours.
pub(super) type Pair = (Region<'static>, Region<'static>);

#[derive(Debug)]
pub(super) struct Regions {
    notify: Arc<Notify>,
    /// At least this, and above what any predecessor had.
    epoch: u32,
    /// Of predecessors, by shard; taken out when used.
    parked: HashMap<usize, OwnedFd>,
    mapped: HashMap<Identity, Words>,
    /// What the last attachment had.
    joined: Vec<Joined>,
}

#[derive(Debug)]
struct Joined {
    theirs: Identity,
    ours: OwnedFd,
    pair: Pair,
}

impl Regions {
    pub(super) fn new(epoch: u32, notify: Arc<Notify>) -> Self {
        let parked = parked(NAME)
            .into_iter()
            .filter_map(|(name, fd)| Some((name.strip_prefix(NAME)?.parse().ok()?, fd)))
            .collect();
        Self { notify, epoch, parked, mapped: HashMap::new(), joined: Vec::new() }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Pairs for the dataplane's descriptors, one per shard, and whether they are others than
    /// before.
    pub(super) fn join(
        &mut self,
        fds: &[OwnedFd],
        sizes: Sizes,
    ) -> anyhow::Result<(Vec<Pair>, bool)> {
        let mut theirs = Vec::new();
        for fd in fds {
            let identity = identity(fd)?;
            let words = self.map(identity, fd)?;
            let region = Region::open(words, Side::Dataplane)?;
            ensure!(region.sizes() == sizes, "a region has other sizes than the welcome says");
            theirs.push((identity, region));
        }
        let same = self.joined.len() == theirs.len()
            && self.joined.iter().zip(&theirs).all(|(joined, (id, _))| joined.theirs == *id);
        if !same {
            self.joined = self.pair_up(theirs)?;
        }
        Ok((self.joined.iter().map(|joined| joined.pair).collect(), !same))
    }

    /// Read-only descriptors of ours, for the dataplane.
    pub(super) fn readonly(&self) -> anyhow::Result<Vec<OwnedFd>> {
        let ours = self.joined.iter().map(|joined| reopen_readonly(&joined.ours));
        ours.collect::<Result<_, _>>().context("opening our regions for reading")
    }

    fn pair_up(&mut self, theirs: Vec<(Identity, Region<'static>)>) -> anyhow::Result<Vec<Joined>> {
        // What fits of a predecessor's is looked at first: the new epoch is above all of theirs.
        let mut found = Vec::new();
        for (shard, (_, region)) in theirs.iter().enumerate() {
            let inherited = self.parked.remove(&shard).and_then(|fd| {
                let words = map_shared(&fd, true).ok()?;
                let ours = Region::open(words, Side::Controlplane).ok()?;
                fits(region, &ours).then_some((fd, words, ours.epoch()))
            });
            found.push(inherited);
        }
        let above = found.iter().flatten().map(|(_, _, epoch)| epoch.saturating_add(1)).max();
        self.epoch = self.epoch.max(above.unwrap_or(0));
        let mut joined = Vec::new();
        for (shard, ((identity, region), inherited)) in theirs.into_iter().zip(found).enumerate() {
            let (fd, ours) = match inherited {
                Some((fd, words, _)) => {
                    let ours = Region::succeed(words, Side::Controlplane, self.epoch)?;
                    (fd, ours)
                }
                None => self.create(shard, &region)?,
            };
            ours.pid().store(u64::from(std::process::id()), Ordering::Relaxed);
            joined.push(Joined { theirs: identity, ours: fd, pair: (region, ours) });
        }
        Ok(joined)
    }

    /// A region of ours for a shard that may have been running for long: its rings begin where the
    /// shard's stand. What it told before and nobody took is found by the sweep of the cells.
    fn create(
        &self,
        shard: usize,
        theirs: &Region<'static>,
    ) -> anyhow::Result<(OwnedFd, Region<'static>)> {
        let name = format!("{NAME}{shard}");
        let sizes = theirs.sizes();
        let fd = create_sealed(&name, sizes.words(Side::Controlplane))
            .with_context(|| format!("making {name}"))?;
        let words = map_shared(&fd, true).with_context(|| format!("mapping {name}"))?;
        let ours = Region::create(words, Side::Controlplane, sizes, self.epoch);
        let head = theirs.slots().head.load(Ordering::Acquire);
        ours.cursors().read.store(head, Ordering::Relaxed);
        ours.cursors().released.store(head, Ordering::Release);
        let taken = theirs.cursors().released.load(Ordering::Acquire);
        ours.slots().head.store(taken, Ordering::Release);
        if let Err(error) = self.notify.park(&name, fd.as_fd()) {
            tracing::warn!(name, %error, "a region could not be parked: a restart will make a new one");
        }
        Ok((fd, ours))
    }

    fn map(&mut self, identity: Identity, fd: &OwnedFd) -> anyhow::Result<Words> {
        if let Some(words) = self.mapped.get(&identity) {
            return Ok(words);
        }
        let words = map_shared(fd, false).context("mapping a region of the dataplane")?;
        self.mapped.insert(identity, words);
        Ok(words)
    }
}

/// A predecessor's region belongs to this dataplane region: same sizes, and each ring's cursors can
/// be true of the other's head.
fn fits(theirs: &Region<'_>, ours: &Region<'_>) -> bool {
    let load = |word: &AtomicU64| word.load(Ordering::Acquire);
    let within =
        |head: u64, released: u64, size: usize| head >= released && head - released <= size as u64;
    let sizes = theirs.sizes();
    let (events, taken) = (theirs.slots(), ours.cursors());
    let (commands, their_taken) = (ours.slots(), theirs.cursors());
    let untouched = load(events.head) == 0 && load(their_taken.released) == 0;
    if untouched {
        // A new dataplane must not be given what was meant for another one.
        return ours.sizes() == sizes && load(taken.released) == 0 && load(commands.head) == 0;
    }
    ours.sizes() == sizes
        && within(load(events.head), load(taken.released), sizes.event_words)
        && within(load(commands.head), load(their_taken.released), sizes.command_words)
}

fn identity(fd: &OwnedFd) -> anyhow::Result<Identity> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}
