//! Who we are, and whom we believe: certificates by listener and by the name that a client asks
//! for (RFC 6066 section 3), authorities for both directions.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use wire::material::{Certificate, Client, Material};

/// What is asked of whoever connects to a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    #[default]
    Nothing,
    /// A certificate, if there is one; one that is shown must hold.
    Maybe,
    /// A certificate that holds.
    Always,
}

/// Why material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadMaterial {
    #[error("certificate {at}: {why}")]
    Certificate { at: usize, why: String },
    #[error("certificates of clients are asked for, and no authority is believed")]
    NoAuthority,
    #[error("{0}")]
    Tls(#[from] Error),
}

/// One set of certificates as the sessions use it. Sessions that stand keep the one they began
/// with.
#[derive(Clone, Debug)]
pub struct Identity {
    /// By listener; None where no certificate serves it.
    pub(crate) servers: Vec<Option<Arc<ServerConfig>>>,
    pub(crate) client: Arc<ClientConfig>,
    /// Names that those who connect may prove, and what stands for them.
    pub(crate) clients: Vec<Client>,
    /// Authorities that are believed, and those that could not be read.
    pub authorities: (usize, usize),
}

/// Those of one listener.
#[derive(Debug)]
struct Choice(Vec<Arc<CertifiedKey>>);

/// Ours, for far ends that ask who calls.
#[derive(Debug)]
struct Own(Option<Arc<CertifiedKey>>);

impl Identity {
    /// `listeners`: what each of them asks, by its index.
    ///
    /// # Errors
    /// Which certificate is none, and why.
    pub fn new(material: &Material, listeners: &[Asks]) -> Result<Self, BadMaterial> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = material.certificates.iter().enumerate().map(|(at, certificate)| {
            read(certificate, &provider).map_err(|why| BadMaterial::Certificate { at, why })
        });
        let shown: Vec<_> = shown.collect::<Result<_, _>>()?;
        let mut roots = RootCertStore::empty();
        // Systems list some that no longer parse.
        let authorities = roots.add_parsable_certificates(
            material.authorities.iter().map(|der| CertificateDer::from_slice(der)),
        );
        let roots = Arc::new(roots);
        let serves = |certificate: &Certificate, listener: usize| {
            let listed = certificate.listeners.iter().any(|it| usize::from(*it) == listener);
            certificate.listeners.is_empty() || listed
        };
        let server = |(listener, asks): (usize, &Asks)| {
            let all = material.certificates.iter().zip(&shown);
            let own = all.filter(|(certificate, _)| serves(certificate, listener));
            let own: Vec<_> = own.map(|(_, key)| Arc::clone(key)).collect();
            if own.is_empty() { Ok(None) } else { server(own, *asks, &roots, &provider).map(Some) }
        };
        let servers = listeners.iter().enumerate().map(server).collect::<Result<_, _>>()?;
        let clients = material.clients.clone();
        Ok(Self {
            servers,
            client: client(shown.first(), &roots, &provider)?,
            clients,
            authorities,
        })
    }

    /// Whether a listener has a certificate.
    #[must_use]
    pub fn serves(&self, listener: u8) -> bool {
        self.servers.get(usize::from(listener)).is_some_and(Option::is_some)
    }
}

fn read(certificate: &Certificate, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate.chain).collect();
    let chain = chain.map_err(|error| format!("its chain is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in its file".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&certificate.key)
        .map_err(|error| format!("its key is no PEM: {error}"))?;
    let key = CertifiedKey::from_der(chain, key, provider);
    let key = key.map_err(|error| format!("the key is not the certificate's: {error}"))?;
    Ok(Arc::new(key))
}

fn server(
    own: Vec<Arc<CertifiedKey>>,
    asks: Asks,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, BadMaterial> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?;
    let builder = match clients(asks, roots, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(Bounded(verifier))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice(own)));
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn clients(
    asks: Asks,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, BadMaterial> {
    if asks == Asks::Nothing {
        return Ok(None);
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let builder = if asks == Asks::Maybe { builder.allow_unauthenticated() } else { builder };
    Ok(Some(builder.build().map_err(|_| BadMaterial::NoAuthority)?))
}

fn client(
    own: Option<&Arc<CertifiedKey>>,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, BadMaterial> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?;
    let own = Arc::new(Own(own.cloned()));
    // Without an authority nobody is believed: every handshake of ours fails and says so.
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let config = match verifier.build() {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Bounded(verifier)))
            .with_client_cert_resolver(own),
        Err(_) => {
            let none = RootCertStore::empty();
            builder.with_root_certificates(none).with_client_cert_resolver(own)
        }
    };
    Ok(Arc::new(config))
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for = |shown: &&Arc<CertifiedKey>| {
            let parsed = shown.end_entity_cert().ok().map(ParsedCertificate::try_from);
            let parsed = parsed.and_then(Result::ok);
            named
                .as_ref()
                .zip(parsed)
                .is_some_and(|(name, it)| verify_server_name(&it, name).is_ok())
        };
        // Whoever names something else judges for himself.
        let shown = self.0.iter().find(is_for).or_else(|| self.0.first())?;
        Some(Arc::clone(shown))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let key = self.0.as_ref()?;
        key.key.choose_scheme(schemes).map(|_| Arc::clone(key))
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Certificates between a far end's and its authority, and their bytes in all.
const CHAIN_MAX: usize = 5;
const CHAIN_BYTES_MAX: usize = 16 << 10;

/// A verifier that looks at no chain longer than chains are: with many certificates of one name the
/// search for a path takes seconds, and the thread that does it carries calls.
#[derive(Debug)]
struct Bounded<V>(V);

fn check_chain(end: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> Result<(), Error> {
    let bytes = end.len() + between.iter().map(|it| it.len()).sum::<usize>();
    match between.len() > CHAIN_MAX || bytes > CHAIN_BYTES_MAX {
        true => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        false => Ok(()),
    }
}

/// What both kinds of verifiers pass on unchanged.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    };
}

impl ServerCertVerifier for Bounded<Arc<WebPkiServerVerifier>> {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_chain(end, between)?;
        self.0.verify_server_cert(end, between, name, ocsp, now)
    }

    signatures!();
}

impl ClientCertVerifier for Bounded<Arc<dyn ClientCertVerifier>> {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_chain(end, between)?;
        self.0.verify_client_cert(end, between, now)
    }

    signatures!();
}
