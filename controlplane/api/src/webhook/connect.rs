//! Our own connector: name -> addresses -> every address checked -> a connection to one of the
//! checked addresses -> TLS under the name. Nothing is resolved twice, so a name that answers
//! differently a second time gains nothing, and no proxy or environment has a say. A look-up may
//! take a thread for as long as a name server is silent, which the tenant chose too: a family of
//! accounts has so many under way, those that nobody waits for any more among them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use model::AccountSid;
use model::address::webhook::Policy;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::Failure;
use super::gates::Gates;
use super::target::Target;

/// Look-ups of one family of accounts under way at one time.
const LOOKUPS_MAX: usize = 16;

/// The addresses of a name, as [`Resolve::lookup`] promises them.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Names to addresses.
pub trait Resolve: Send + Sync + 'static {
    /// Every address of `name`, in the order in which to try them.
    fn lookup<'a>(&'a self, name: &'a str) -> Lookup<'a>;
}

/// The host's own resolver (getaddrinfo on tokio's blocking threads).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn lookup<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|socket| socket.ip()).collect())
        })
    }
}

/// Opens connections.
pub(super) struct Connector {
    pub(super) policy: Policy,
    pub(super) resolver: Arc<dyn Resolve>,
    lookups: Gates<AccountSid>,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(policy: Policy, resolver: Arc<dyn Resolve>, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|error| unreachable!("aws-lc-rs has the default versions: {error}"))
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let lookups = Gates::new(LOOKUPS_MAX);
        Self { policy, resolver, lookups, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Every address of the target, all of them allowed. One forbidden address refuses the name: it
    /// is an attempt, or a mistake that would make calls fail now and then.
    async fn addresses(
        &self,
        family: AccountSid,
        target: &Target,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let found = match &target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.lookup(family, name).await.map_err(Failure::Resolve)?,
        };
        if found.is_empty() {
            return Err(Failure::Resolve(io::Error::other("the name has no address")));
        }
        let sockets: Vec<SocketAddr> =
            found.into_iter().map(|address| SocketAddr::new(address, target.port)).collect();
        for socket in &sockets {
            self.policy.check(*socket).map_err(|reason| Failure::Forbidden(*socket, reason))?;
        }
        Ok(sockets)
    }

    /// Has its place until it has ended, whoever still waits for it.
    async fn lookup(&self, family: AccountSid, name: &str) -> io::Result<Vec<IpAddr>> {
        let gate = self.lookups.of(family);
        let permit = gate.acquire_owned().await.map_err(io::Error::other)?;
        let (resolver, name) = (Arc::clone(&self.resolver), name.to_owned());
        let found = tokio::spawn(async move {
            let _permit = permit;
            resolver.lookup(&name).await
        });
        found.await.map_err(io::Error::other)?
    }

    pub(super) async fn connect(
        &self,
        family: AccountSid,
        target: &Target,
    ) -> Result<Stream, Failure> {
        let mut last = None;
        for socket in self.addresses(family, target).await? {
            match TcpStream::connect(socket).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return self.secure(target, stream).await;
                }
                Err(error) => last = Some(error),
            }
        }
        Err(Failure::Connect(last.unwrap_or_else(|| io::Error::other("no address"))))
    }

    async fn secure(&self, target: &Target, stream: TcpStream) -> Result<Stream, Failure> {
        if !target.secure {
            return Ok(Stream::Plain(stream));
        }
        let name = match &target.host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|error| Failure::Tls(io::Error::other(error)))?,
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        let stream = self.tls.connect(name, stream).await.map_err(Failure::Tls)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// The roots of the host's certificate store.
#[must_use]
pub fn native_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, refused) = roots.add_parsable_certificates(found.certs);
    if taken == 0 || !found.errors.is_empty() {
        tracing::warn!(taken, refused, errors = ?found.errors, "root certificates");
    }
    roots
}

/// A connection to an application.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
