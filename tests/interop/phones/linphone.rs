//! linphone-daemon (Debian's linphone-cli), told what to do by its pipe.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Office, Peer, eventually};

use super::{LIMIT, Way};

/// A running one.
pub(crate) struct Linphone {
    peer: Peer,
    control: UnixStream,
    log: PathBuf,
}

/// The end of its log is printed when the test fails.
impl Drop for Linphone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("alsa")).collect();
            println!("--- linphone\n{}", lines[lines.len().saturating_sub(300)..].join("\n"));
        }
    }
}

impl Linphone {
    /// Registered as `user`, and answers by itself. It has no sound card: what it says is the tone
    /// of a file, as soon as [`Linphone::speak`] is called.
    pub(super) fn start(bed: &mut Bed, office: &Office, user: &str, way: Way) -> Self {
        let folder = bed.folder().join(format!("linphone-{user}"));
        std::fs::create_dir_all(folder.join(".local/share/linphone")).expect("a directory");
        std::fs::write(folder.join("tone.wav"), tone()).expect("it is written");
        let (at, media) = (bed.ports.one(), bed.ports.one());
        let config = config(bed, office, user, way, [at, media]);
        std::fs::write(folder.join("rc"), config).expect("it is written");
        let pipe = format!("tandem-linphone-{}-{at}", std::process::id());
        let mut command = Command::new("linphone-daemon");
        command.env("HOME", &folder).current_dir(&folder);
        command.args(["--auto-answer", "--disable-stats-events", "--pipe", &pipe]);
        command.arg("--config").arg(folder.join("rc")).arg("--log").arg(folder.join("log"));
        let mut peer = Peer::start(&format!("linphone-{user}"), &mut command, &folder);
        let socket = std::env::temp_dir().join(pipe);
        let control = eventually("linphone takes commands", LIMIT, || {
            assert!(peer.is_running(), "linphone ended: {}", peer.said());
            UnixStream::connect(&socket).ok()
        });
        let _ = std::fs::remove_file(&socket);
        control.set_read_timeout(Some(Duration::from_millis(300))).expect("a limit");
        let mut phone = Self { peer, control, log: folder.join("log") };
        eventually("linphone is registered", LIMIT, || {
            let said = phone.command("register-status ALL");
            said.contains("LinphoneRegistrationOk").then_some(())
        });
        phone
    }

    /// What it answers.
    pub(super) fn command(&mut self, text: &str) -> String {
        assert!(self.peer.is_running(), "linphone ended: {}", self.peer.said());
        writeln!(self.control, "{text}").expect("linphone takes commands");
        let (mut said, mut part) = (Vec::new(), [0; 4_096]);
        // It has said all when it says nothing for a while; ten seconds at most.
        for _ in 0..33 {
            match self.control.read(&mut part) {
                Ok(0) => break,
                Ok(length) => said.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if said.is_empty() => {}
                Err(_) => break,
            }
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("linphone: {text}: {said}");
        said
    }

    /// Calls, and waits until it is answered; the call's number.
    #[track_caller]
    pub(super) fn call(&mut self, uri: &str) -> String {
        let said = self.command(&format!("call {uri}"));
        let id = said.lines().find_map(|line| line.strip_prefix("Id: "));
        let id = id.unwrap_or_else(|| panic!("no call: {said}")).trim().to_owned();
        self.wait_for(&id, "LinphoneCallStreamsRunning");
        id
    }

    /// Waits until a call is in this state.
    #[track_caller]
    pub(super) fn wait_for(&mut self, id: &str, state: &str) {
        eventually(&format!("linphone's call {id} is {state}"), LIMIT, || {
            self.command(&format!("call-status {id}")).contains(state).then_some(())
        });
    }

    /// Says a tone for some seconds.
    pub(super) fn speak(&mut self) {
        let _ = self.command("incall-player-start tone.wav");
    }
}

/// Its configuration: one account, whose registrar is its outbound proxy too.
fn config(bed: &Bed, office: &Office, user: &str, way: Way, [at, media]: [u16; 2]) -> String {
    let port = |of: Way| if of == way { at } else { 0 };
    // Its mbedTLS looks for no addresses in a certificate, only for names.
    let switch = match way {
        Way::Tls => format!("localhost:{}", bed.tls().port()),
        _ => bed.sip.to_string(),
    };
    let proxy = format!("sip:{switch};transport={}", way.name());
    format!(
        "[sip]\nsip_port={}\nsip_tcp_port={}\nsip_tls_port={}\nuse_ipv6=0\ndefault_proxy=0\n\
         root_ca={}\nverify_server_certs=1\nverify_server_cn=1\n\n\
         [proxy_0]\nreg_proxy=<{proxy}>\nreg_route=<{proxy};lr>\nreg_identity={}\n\
         reg_expires=120\nreg_sendregister=1\npublish=0\n\n\
         [auth_info_0]\nusername={user}\npasswd={}\nrealm={}\n\n\
         [rtp]\naudio_rtp_port={media}\n\n\
         [video]\nautomatically_initiate=0\nautomatically_accept=0\n",
        port(Way::Udp),
        port(Way::Tcp),
        port(Way::Tls),
        bed.data().join("tls/development.pem").display(),
        office.uri(user),
        office.password,
        office.domain,
    )
}

/// Five seconds of 440 Hz, 16 bits, 8,000 samples a second.
fn tone() -> Vec<u8> {
    let samples = (0..40_000_u32).flat_map(|at| {
        let angle = f64::from(at) * 440.0 * core::f64::consts::TAU / 8_000.0;
        #[expect(clippy::cast_possible_truncation, reason = "a sine of 8,000 fits")]
        let sample = (8_000.0 * angle.sin()) as i16;
        sample.to_le_bytes()
    });
    let samples: Vec<u8> = samples.collect();
    let length = u32::try_from(samples.len()).expect("it is short");
    let mut wav = b"RIFF".to_vec();
    wav.extend((length + 36).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8_000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(length.to_le_bytes());
    wav.extend(samples);
    wav
}
