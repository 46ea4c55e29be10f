//! The lobby where the controlplane is met: descriptors are exchanged, then nobody talks here any
//! more. The connection stays open so that each side sees the other's death.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_queue::ArrayQueue;
use net::link::{Incoming, Link, LinkListener};
use wire::link::{LINK_BYTES_MAX, ToControlplane, ToDataplane};
use wire::mapping;
use wire::region::{Region, Side, Sizes, layout_hash};

use crate::Failure;
use crate::certificates::Certificates;
use crate::park::{Bells, ParkedRegion};
use crate::plan::EnginePlan;

/// A controlplane region on its way to a shard.
pub(crate) type Attached = &'static [AtomicU64];

pub(crate) struct Lobby {
    listener: LinkListener,
    regions: Vec<OwnedFd>,
    bells: Arc<Bells>,
    attach: Vec<Arc<ArrayQueue<Attached>>>,
    certificates: Certificates,
    sizes: Sizes,
    epoch: u32,
    node: u32,
}

impl Lobby {
    pub(crate) fn new(
        plan: &EnginePlan,
        (regions, epoch): (&[ParkedRegion], u32),
        bells: Arc<Bells>,
        attach: Vec<Arc<ArrayQueue<Attached>>>,
        certificates: Certificates,
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(&plan.runtime_dir)?;
        let listener = LinkListener::bind(&plan.runtime_dir.join("link.sock"))?;
        let regions = regions
            .iter()
            .map(|region| mapping::reopen_readonly(&region.fd))
            .collect::<Result<Vec<_>, _>>()?;
        let (sizes, node) = (plan.sizes, plan.node);
        Ok(Self { listener, regions, bells, attach, certificates, sizes, epoch, node })
    }

    /// For ever, one controlplane after the other.
    pub(crate) fn serve(self) {
        let uid = rustix_uid();
        loop {
            match self.listener.accept(uid) {
                Ok(link) => {
                    if let Err(error) = self.meet(&link) {
                        tracing::warn!("link: {error}");
                    }
                    tracing::info!("the controlplane is gone; standing calls go on");
                }
                Err(error) => {
                    tracing::error!("{error}");
                    std::thread::park_timeout(std::time::Duration::from_secs(1));
                }
            }
        }
    }

    fn meet(&self, link: &Link) -> Result<(), Failure> {
        let mut buffer = [0; LINK_BYTES_MAX];
        let hello = receive(link, &mut buffer)?;
        let Ok(ToDataplane::Hello { layout, pid }) = wire::decode(&buffer[..hello.len]) else {
            return Err("the first message was no Hello".into());
        };
        if layout != layout_hash() {
            let refuse = ToControlplane::Refuse { found: layout, expected: layout_hash() };
            send(link, &refuse, &[])?;
            return Err("a controlplane of another version was refused".into());
        }
        let shards = u8::try_from(self.regions.len())?;
        let welcome = ToControlplane::Welcome {
            shards,
            legs: self.sizes.legs,
            event_words: self.sizes.event_words as u64,
            command_words: self.sizes.command_words as u64,
            epoch: self.epoch,
            node: self.node,
            pid: std::process::id(),
        };
        let mut descriptors: Vec<_> = self.regions.iter().map(AsFd::as_fd).collect();
        descriptors.extend(self.bells.shards.iter().map(AsFd::as_fd));
        descriptors.push(self.bells.controlplane.as_fd());
        send(link, &welcome, &descriptors)?;
        let attach = receive(link, &mut buffer)?;
        let Ok(ToDataplane::Attach { .. }) = wire::decode(&buffer[..attach.len]) else {
            return Err("the second message was no Attach".into());
        };
        if attach.descriptors.len() != self.regions.len() {
            return Err("Attach with another number of regions than shards".into());
        }
        let mut regions = Vec::new();
        for fd in &attach.descriptors {
            let words = mapping::map_shared(fd, false)?;
            let region = Region::open(words, Side::Controlplane)?;
            if region.sizes() != self.sizes {
                return Err("the controlplane's region has other sizes".into());
            }
            regions.push(words);
        }
        for (words, queue) in regions.into_iter().zip(&self.attach) {
            queue.force_push(words);
        }
        self.bells.shards.iter().for_each(net::Doorbell::ring);
        tracing::info!(pid, "the controlplane is attached");
        // Until the other side is gone.
        while let Ok(more) = receive(link, &mut buffer) {
            self.hear(&buffer[..more.len], more.descriptors);
        }
        Ok(())
    }

    /// What the controlplane says once it is attached.
    fn hear(&self, message: &[u8], descriptors: Vec<OwnedFd>) {
        let Ok(ToDataplane::Certificates) = wire::decode(message) else {
            return tracing::warn!("a message on the link that means nothing now");
        };
        let taken = match descriptors.into_iter().next() {
            Some(fd) => self.certificates.take(fd),
            None => Err("they came without memory".into()),
        };
        if let Err(error) = taken {
            tracing::error!("new certificates cannot be used: {error}");
        }
    }
}

fn send(
    link: &Link,
    message: &ToControlplane,
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> Result<(), Failure> {
    let mut bytes = [0; LINK_BYTES_MAX];
    let len = wire::encode(message, &mut bytes)?;
    Ok(link.send(&bytes[..len], descriptors)?)
}

fn receive(link: &Link, buffer: &mut [u8]) -> Result<Incoming, Failure> {
    let incoming = link.receive(buffer)?;
    if incoming.len == 0 {
        return Err("closed".into());
    }
    Ok(incoming)
}

/// The user this process runs as: the controlplane must be the same, or root.
fn rustix_uid() -> u32 {
    Link::pair().ok().and_then(|(left, _)| left.peer().ok()).map_or(0, |peer| peer.uid)
}
