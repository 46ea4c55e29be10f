//! The link to the dataplane: connect (for ever), exchange descriptors, map the regions, hand them
//! to the runtime, wait for the connection's end, again.
//!
//! The dataplane's regions outlive it: a successor's descriptors name the same memory, is then told
//! as not fresh, and the runtime goes on where it is. Our own regions come from the service manager
//! after a restart.

mod peer;
mod regions;
mod socket;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use wire::link::{LINK_BYTES_MAX, ToControlplane, ToDataplane};
use wire::region::{Region, Sizes};

use crate::bell::{self, Bell};
use crate::certificates::Certificates;
use crate::inbox::{Inbox, Input};
use crate::notify::Notify;
pub use peer::Peer;
use regions::Regions;
use socket::Socket;

/// Between attempts to connect: from, to.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// How often files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the runtime gets when a dataplane is there.
#[derive(Debug)]
pub struct Attachment {
    pub shards: Vec<Memory>,
    /// Rung by any shard for us.
    pub bell: Bell,
    /// This node's number, as the dataplane has it in usage keys.
    pub node: u32,
    /// As it calls itself; for the log alone.
    pub pid: u32,
    /// Says when it is gone.
    pub peer: Peer,
    /// Other memory than the last attachment of this process had, or its first one.
    pub fresh: bool,
}

/// One shard's two regions and its bell.
#[derive(Debug)]
pub struct Memory {
    pub theirs: Region<'static>,
    pub ours: Region<'static>,
    /// The epoch at which we joined ours; another one there says that we were succeeded.
    pub epoch: u32,
    pub bell: Bell,
}

/// Runs the link on a thread of its own for the rest of the process's life.
///
/// # Errors
/// If there is no thread to be had.
pub fn spawn(
    path: PathBuf,
    node: u32,
    epoch: u32,
    (notify, mut certificates): (Arc<Notify>, Option<Certificates>),
    inbox: Arc<Inbox>,
) -> std::io::Result<()> {
    let mut regions = Regions::new(epoch, notify);
    let run = move || {
        let mut pause = BACK_OFF[0];
        let mut told = String::new();
        loop {
            match attach(&path, node, &mut regions) {
                Ok((attachment, socket)) => {
                    tracing::info!(
                        pid = attachment.pid,
                        shards = attachment.shards.len(),
                        "attached to the dataplane"
                    );
                    (pause, told) = (BACK_OFF[0], String::new());
                    inbox.tell(Input::Attached(Box::new(attachment)));
                    stay(&socket, certificates.as_mut());
                    tracing::warn!("the dataplane is gone; waiting for its successor");
                    inbox.tell(Input::Detached);
                }
                Err(error) => {
                    // Said when it changes, not at every attempt.
                    let text = format!("{error:#}");
                    if text != told {
                        tracing::warn!(error = text, "no link to the dataplane yet");
                        told = text;
                    }
                }
            }
            bell::wait(&[], pause);
            pause = (pause * 2).min(BACK_OFF[1]);
        }
    };
    std::thread::Builder::new().name("link".to_owned()).spawn(run).map(drop)
}

/// Until the other side has closed, or died: gives it certificates, now and whenever they change.
fn stay(socket: &Socket, mut certificates: Option<&mut Certificates>) {
    if let Some(certificates) = certificates.as_mut() {
        certificates.forget();
    }
    let mut told = String::new();
    loop {
        if let Some(certificates) = certificates.as_mut() {
            let given = certificates.changed().and_then(|fd| give(socket, fd));
            let said = given.err().map(|error| format!("{error:#}")).unwrap_or_default();
            if said != told && !said.is_empty() {
                tracing::error!("certificates cannot be used: {said}");
            }
            told = said;
        }
        if socket.has_ended(LOOK_EVERY) {
            return;
        }
    }
}

fn give(socket: &Socket, fd: Option<OwnedFd>) -> anyhow::Result<()> {
    let Some(fd) = fd else { return Ok(()) };
    let mut buffer = [0; LINK_BYTES_MAX];
    let len = wire::encode(&ToDataplane::Certificates, &mut buffer)?;
    socket.send(&buffer[..len], &[fd]).context("giving certificates to the dataplane")
}

fn attach(
    path: &std::path::Path,
    node: u32,
    regions: &mut Regions,
) -> anyhow::Result<(Attachment, Socket)> {
    let socket = Socket::connect(path).with_context(|| format!("{}", path.display()))?;
    let hello = ToDataplane::Hello { layout: wire::region::layout_hash(), pid: std::process::id() };
    let mut buffer = [0; LINK_BYTES_MAX];
    let len = wire::encode(&hello, &mut buffer)?;
    socket.send(&buffer[..len], &[]).context("saying hello")?;
    let (len, mut fds) = socket.receive(&mut buffer).context("waiting for the welcome")?;
    let welcome = match wire::decode(&buffer[..len])? {
        ToControlplane::Welcome { shards, legs, event_words, command_words, node, pid, .. } => {
            let words = |words: u64| usize::try_from(words).unwrap_or(0);
            let (event_words, command_words) = (words(event_words), words(command_words));
            (usize::from(shards), Sizes { legs, event_words, command_words }, node, pid)
        }
        ToControlplane::Refuse { found, expected } => bail!(
            "the dataplane refuses us: our layout is {found:016x}, its is {expected:016x}; both \
             binaries must be of the same version"
        ),
    };
    let (shards, sizes, their_node, pid) = welcome;
    ensure!(shards > 0 && fds.len() == 2 * shards + 1, "the welcome has the wrong descriptors");
    ensure!(
        their_node == node,
        "the dataplane is node {their_node}, we are node {node}: both must have one configuration"
    );
    let bell = Bell::from_fd(fds.pop().context("no doorbell")?);
    let bells = fds.split_off(shards);
    let (joined, fresh) = regions.join(&fds, sizes)?;
    let ours = regions.readonly()?;
    let len = wire::encode(&ToDataplane::Attach { epoch: regions.epoch() }, &mut buffer)?;
    socket.send(&buffer[..len], &ours).context("attaching")?;
    let shards = joined
        .into_iter()
        .zip(bells)
        .map(|((theirs, ours), bell)| Memory {
            theirs,
            ours,
            epoch: ours.epoch(),
            bell: Bell::from_fd(bell),
        })
        .collect();
    let peer = Peer::of(&socket).context("looking at the dataplane")?;
    Ok((Attachment { shards, bell, node, pid, peer, fresh }, socket))
}

#[cfg(test)]
mod tests;
