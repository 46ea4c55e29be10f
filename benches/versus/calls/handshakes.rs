//! `versus handshakes`: TLS handshakes, so many a second, beside calls whose media flows: what one
//! costs the switch's core, how many it takes, and what the media hears of it.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use benches::nanos;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::phones::{Standing, socket};
use super::switch::{API, CALLEE_PORT, Switch};
use super::{CLEAN, Carrier, in_place};
use crate::bed::{self, Names, PHONES, TANDEM};
use crate::{Failure, Options};

const TLS_PORT: u16 = 5_061;
const MEDIA: [u16; 2] = [20_000, 20_002];
/// Calls whose media flows, from callers to callees.
const CALLS: usize = 100;
const PTIME: u64 = 20_000_000;
const RTP_BYTES: usize = 172;
/// Handshakes a second; 0: as many as come through, one after the other.
const RATES: [f64; 4] = [100.0, 300.0, 1_000.0, 0.0];
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn measure(names: &Names, options: &Options) -> Result<(), Failure> {
    in_place(names, |napi, scratch| run((names, napi), options, scratch))
}

fn run((names, napi): (&Names, u32), options: &Options, scratch: &Path) -> Result<(), Failure> {
    let mut switch = Switch::configured(names, scratch, &configuration())?;
    let at = MEDIA.map(|port| SocketAddr::from((PHONES, port)));
    let sockets = [socket(at[0])?, socket(at[1])?];
    let mut standing = Standing { most: CALLS, media: at, ..Standing::default() };
    let stand = switch.line().renew((100.0, CALLS), &mut standing)?;
    if stand.lost() > CLEAN {
        return Err(format!("{} of {CALLS} calls stand", standing.calls.len()).into());
    }
    let targets = switch.line().targets(standing.calls.iter().copied());
    let time = Duration::from_millis(options.millis);
    // Sources are learned.
    talk(&sockets, &targets, time)?;
    println!("| handshakes/s | done | us of the core each | RTP lost | p50, us | p99 | most |");
    println!("|---|---|---|---|---|---|---|");
    let used = || {
        let all = switch.carrying().into_iter().map(bed::threads_nanos).sum::<u64>();
        all + bed::thread_nanos(napi)
    };
    let client = client()?;
    for _ in 0..options.rounds {
        let begin = used();
        let alone = talk(&sockets, &targets, time)?;
        let spent_alone = used() - begin;
        row("none", (0, 0), f64::NAN, &alone);
        for rate in options.rate.map_or_else(|| RATES.to_vec(), |rate| vec![rate]) {
            let begin = used();
            let (heard, shaken) = std::thread::scope(|scope| {
                let shaking = scope.spawn(|| shake(&client, rate, time));
                let heard = talk(&sockets, &targets, time);
                (heard, shaking.join())
            });
            let (heard, shaken) = (heard?, shaken.map_err(|_| "the handshakes' thread died")??);
            #[expect(clippy::cast_precision_loss, reason = "shown to people")]
            let each =
                (used() - begin).saturating_sub(spent_alone) as f64 / 1e3 / shaken.0.max(1) as f64;
            let name = if rate > 0.0 { format!("{rate:.0}") } else { "most".to_owned() };
            row(&name, shaken, each, &heard);
        }
    }
    Ok(())
}

fn row(name: &str, (done, tried): (usize, usize), each_us: f64, heard: &Heard) {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let at = |percent: usize| {
        let last = heard.took.len().saturating_sub(1);
        let found = heard.took.get((heard.took.len() * percent / 100).min(last));
        found.map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
    };
    println!(
        "| {name} | {done} of {tried} | {each_us:.0} | {} of {} | {:.0} | {:.0} | {:.0} |",
        heard.sent - heard.took.len(),
        heard.sent,
        at(50),
        at(99),
        at(100)
    );
}

/// What became of the packets.
struct Heard {
    sent: usize,
    /// Of each that came, nanoseconds, sorted.
    took: Vec<u64>,
}

/// Media of all calls, each on a clock of its own.
fn talk(
    sockets: &[UdpSocket; 2],
    targets: &[SocketAddr],
    time: Duration,
) -> Result<Heard, Failure> {
    let start = nanos();
    let end = start + u64::try_from(time.as_nanos())?;
    let gap = PTIME / u64::try_from(targets.len().max(1))?;
    let (mut sent, mut took, mut bytes) = (0_usize, Vec::new(), [0; 512]);
    loop {
        let now = nanos();
        let due = start + sent as u64 * gap;
        if due <= now && due < end {
            let target = targets[sent % targets.len()];
            let packet = packet(sent, targets.len(), now);
            sockets[0].send_to(&packet, target)?;
            sent += 1;
        }
        while let Ok((len, _)) = sockets[1].recv_from(&mut bytes) {
            let begun = bytes.get(12..20).filter(|_| len == RTP_BYTES);
            let begun = begun.and_then(|begun| begun.try_into().ok()).map(u64::from_le_bytes);
            // What is left of the run before this one is not counted.
            if let Some(begun) = begun.filter(|begun| *begun >= start) {
                took.push(nanos() - begun);
            }
        }
        if now > end + 200_000_000 {
            took.sort_unstable();
            return Ok(Heard { sent, took });
        }
    }
}

/// A packet of G.711 that says when it was sent.
fn packet(number: usize, calls: usize, now: u64) -> [u8; RTP_BYTES] {
    let mut packet = [0; RTP_BYTES];
    let turn = u32::try_from(number / calls % (1 << 30)).unwrap_or(0);
    let fields = rtp::HeaderFields {
        marker: false,
        pt: 0,
        seq: u16::try_from(turn & 0xffff).unwrap_or(0),
        timestamp: turn * 160,
        ssrc: rtp::Ssrc(u32::try_from(number % calls).unwrap_or(0) + 1),
    };
    rtp::write_header(&mut packet, &fields);
    packet[12..20].copy_from_slice(&now.to_le_bytes());
    packet
}

/// Handshakes by the clock, one after the other; how many came through.
fn shake(config: &Arc<ClientConfig>, rate: f64, time: Duration) -> Result<(usize, usize), Failure> {
    // `/proc/thread-self` is `PID/task/TID`.
    let own = std::fs::read_link("/proc/thread-self")?;
    let own = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    bed::run("renice", &["-n", "19", "-p", &own])?;
    let (start, all) = (nanos(), u64::try_from(time.as_nanos())?);
    let (mut done, mut tried) = (0, 0_usize);
    loop {
        let now = nanos();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        let due = if rate > 0.0 { start + (tried as f64 * 1e9 / rate) as u64 } else { now };
        if now.max(due) >= start + all {
            return Ok((done, tried));
        }
        if due > now {
            std::thread::park_timeout(Duration::from_nanos(due - now));
            continue;
        }
        tried += 1;
        done += usize::from(handshake(Arc::clone(config)).is_ok());
    }
}

#[expect(clippy::disallowed_methods, reason = "a client has a socket")]
fn handshake(config: Arc<ClientConfig>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect((TANDEM, TLS_PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ClientConnection::new(config, ServerName::from(std::net::IpAddr::from(TANDEM)))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(())
}

fn client() -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let any = Arc::new(Anybody(Arc::clone(&provider)));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_no_client_auth();
    // Every handshake is a whole one.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whoever answers is the switch: its development certificate is nobody's business here.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn configuration() -> String {
    format!(
        "[dataplane]\nshards = 1\npin = false\n\
         [[dataplane.listener]]\nname = \"udp\"\nbind = \"{TANDEM}:5060\"\n\
         [[dataplane.listener]]\nname = \"tls\"\nbind = \"{TANDEM}:{TLS_PORT}\"\n\
         transport = \"tls\"\n\
         [[dataplane.media]]\nname = \"media\"\nbind = \"{TANDEM}\"\nports = [10240, 60000]\n\
         [dataplane.guard]\nsource_rate = 0\n\
         [controlplane]\nhttp = \"{TANDEM}:{API}\"\nfirst_account = \"Bench\"\n\
         [controlplane.api]\naccount_rate = 0\nsource_rate = 0\n\
         [[grant]]\naccount = \"\"\ndomains = [\"bench\"]\n\
         [[trunk]]\nname = \"bench\"\nsources = [\"{PHONES}/32\"]\n\
         targets = [\"{PHONES}:{CALLEE_PORT}\"]\nring_s = 60\n"
    )
}
