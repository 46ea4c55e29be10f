//! Certificates on their way from the controlplane to the shards: a sealed memfd that is read,
//! judged, given to every shard and parked with the service manager, so that a successor of this
//! process takes TLS connections before it has met a controlplane.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use config::{ClientCertificates, Config};
use crossbeam_queue::ArrayQueue;
use net::notify::Notify;
use rustix::fs::SealFlags;
use secure::{Asks, Identity};
use wire::material::{MATERIAL_BYTES_MAX, Material};

use crate::Failure;

/// The name under which they are parked.
pub(crate) const PARKED: &str = "tls";

/// What can never change any more under whoever reads it.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// See the module.
pub(crate) struct Certificates {
    /// What the listeners ask of clients.
    asks: Vec<Asks>,
    shards: Vec<Arc<ArrayQueue<Arc<Identity>>>>,
    notify: Notify,
}

impl Certificates {
    /// `parked`: those of a predecessor.
    pub(crate) fn new(
        config: &Config,
        shards: u8,
        parked: Option<OwnedFd>,
    ) -> Result<Self, Failure> {
        let listeners = &config.dataplane.listener;
        let asks = listeners.iter().map(|listener| match listener.clients {
            ClientCertificates::Ignore => Asks::Nothing,
            ClientCertificates::Request => Asks::Maybe,
            ClientCertificates::Require => Asks::Always,
        });
        let shards = (0..shards).map(|_| Arc::new(ArrayQueue::new(1))).collect();
        let own = Self { asks: asks.collect(), shards, notify: Notify::from_env()? };
        let is_wanted = listeners.iter().any(|listener| listener.transport.is_tls());
        match parked {
            Some(fd) if is_wanted => own.inherit(fd),
            // Their keys are nobody's any more.
            Some(_) => own.notify.unstore(PARKED)?,
            None => {}
        }
        Ok(own)
    }

    /// What a shard's thread looks into now and then.
    pub(crate) fn queue(&self, shard: u8) -> Arc<ArrayQueue<Arc<Identity>>> {
        Arc::clone(&self.shards[usize::from(shard)])
    }

    fn inherit(&self, fd: OwnedFd) {
        match self.give(&fd.into()) {
            Ok(count) => tracing::info!(count, "certificates of a predecessor taken over"),
            Err(error) => tracing::error!("parked certificates cannot be used: {error}"),
        }
    }

    /// New ones. An error leaves everything as it was.
    pub(crate) fn take(&self, fd: OwnedFd) -> Result<(), Failure> {
        let file = File::from(fd);
        let count = self.give(&file)?;
        self.notify.unstore(PARKED)?;
        self.notify.store(PARKED, &[file.as_fd()])?;
        tracing::info!(count, "certificates taken over");
        Ok(())
    }

    fn give(&self, file: &File) -> Result<usize, Failure> {
        if !rustix::fs::fcntl_get_seals(file)?.contains(SEALS) {
            return Err("certificates came in memory that is not sealed".into());
        }
        let len = usize::try_from(file.metadata()?.len())?;
        if len > MATERIAL_BYTES_MAX {
            return Err(format!("{len} bytes of certificates, at most {MATERIAL_BYTES_MAX}").into());
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        let material: Material = wire::decode(&bytes)?;
        bytes.fill(0);
        let identity = Arc::new(Identity::new(&material, &self.asks)?);
        let (believed, unread) = identity.authorities;
        if believed == 0 || unread > 0 {
            tracing::warn!(believed, unread, "authorities of TLS far ends");
        }
        for queue in &self.shards {
            queue.force_push(Arc::clone(&identity));
        }
        Ok(material.certificates.len())
    }
}
