//! Ports of a test's own: blocks of 2,048 below the ephemeral range, each guarded by a locked file,
//! so that tests run side by side, also in processes of their own.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

const FIRST: u16 = 10_240;
const BLOCK: u16 = 2_048;
const BLOCKS: u16 = 11;
/// Ports before the media range: the switch's own and the peers'.
const SINGLE: u16 = 256;

/// A block, ours until it is dropped.
#[derive(Debug)]
pub struct Ports {
    base: u16,
    next: u16,
    _lock: File,
}

impl Ports {
    /// # Panics
    /// If every block is in use.
    #[must_use]
    pub fn take() -> Self {
        let folder = std::env::temp_dir().join("tandem-tests");
        std::fs::create_dir_all(&folder).expect("a directory for locks");
        // Starting points differ so that parallel tests do not all try the same block first.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for at in 0..BLOCKS {
            let block = (start + at) % BLOCKS;
            let path = folder.join(format!("ports-{block}"));
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path);
            let lock = lock.expect("a lock file");
            let base = FIRST + block * BLOCK;
            if lock.try_lock().is_ok() && looks_free(base) {
                return Self { base, next: base, _lock: lock };
            }
        }
        panic!(
            "no block of ports is free: {BLOCKS} beds run at once, or ports are taken by others"
        );
    }

    /// One port for a listener or a peer.
    ///
    /// # Panics
    /// If a test wants more than there are.
    pub fn one(&mut self) -> u16 {
        // Even, with the odd one above left free: RTP with RTCP beside it.
        self.next += 2;
        assert!(self.next < self.base + SINGLE, "more ports than a bed has");
        self.next
    }

    /// An address on loopback with a port as [`Ports::one`].
    pub fn address(&mut self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.one()))
    }

    /// First and last port of the switch's signalling and of its peers.
    #[must_use]
    pub fn signalling(&self) -> [u16; 2] {
        [self.base, self.base + SINGLE - 1]
    }

    /// First and last port of the switch's media.
    #[must_use]
    pub fn media(&self) -> [u16; 2] {
        [self.base + SINGLE, self.base + BLOCK - 1]
    }
}

/// A look at some of them: somebody else's daemon may sit there.
fn looks_free(base: u16) -> bool {
    let probes = [2, 4, 6, SINGLE, SINGLE + 1, BLOCK - 2];
    probes.iter().all(|offset| UdpSocket::bind((Ipv4Addr::LOCALHOST, base + offset)).is_ok())
}
