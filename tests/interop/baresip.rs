//! baresip (Debian's baresip-core) as callee: a phone with a jitter buffer, a codec and an opinion
//! on SDP.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Peer, Setup, Voice, Web, eventually, require, tone_share};

use crate::authority::Authority;
use crate::sipp::{Plan, Sipp};

const NUMBER: &str = "+15550200";

/// A baresip that answers by itself.
pub(crate) struct Phone {
    pub(crate) peer: Peer,
    control: SocketAddr,
}

/// What it says: source, player, their sample rate and channels.
pub(crate) type Sound = (&'static str, &'static str, u32, u8);
/// Back what it hears.
const ECHO: Sound = ("aubridge,loop", "aubridge,loop", 8_000, 1);
/// A tone of 440 Hz, which its module makes at this rate and in stereo only.
pub(crate) const SINE: Sound = ("ausine,440", "aubridge,sink", 48_000, 2);

impl Phone {
    /// `tls`: lines of its configuration about certificates. By TLS it listens on the port behind
    /// `at`.
    fn start(bed: &mut Bed, at: SocketAddr, sound: Sound, tls: &str) -> Self {
        let account = format!("<sip:phone@{at}>;regint=0;answermode=auto\n");
        Self::start_as(bed, at, sound, tls, &account)
    }

    /// The same with an account that may be registered somewhere.
    pub(crate) fn start_as(
        bed: &mut Bed,
        at: SocketAddr,
        (source, player, rate, channels): Sound,
        tls: &str,
        account: &str,
    ) -> Self {
        let control = bed.ports.address();
        let (first, last) = (bed.ports.one(), bed.ports.one() + 6);
        let folder = bed.folder().join(format!("baresip-{}", at.port()));
        std::fs::create_dir_all(&folder).expect("a directory");
        let modules: String = ["account", "g711", "ausine", "aubridge", "ctrl_tcp", "menu"]
            .iter()
            .map(|module| format!("module {module}.so\n"))
            .collect();
        let config = format!(
            "poll_method epoll\nsip_listen {at}\nrtp_ports {first}-{last}\n\
             net_interface {}\naudio_player {player}\naudio_source {source}\n\
             audio_alert aubridge,alert\nausrc_srate {rate}\nauplay_srate {rate}\n\
             ausrc_channels {channels}\nauplay_channels {channels}\nctrl_tcp_listen {control}\n\
             module_path {}\n{modules}{tls}",
            at.ip(),
            modules_path()
        );
        std::fs::write(folder.join("config"), config).expect("it is written");
        std::fs::write(folder.join("accounts"), account).expect("it is written");
        let mut command = Command::new("baresip");
        command.arg("-4").arg("-v").arg("-f").arg(&folder);
        let mut peer = Peer::start("baresip", &mut command, &folder);
        eventually("baresip is ready", Duration::from_secs(15), || {
            assert!(peer.is_running(), "baresip ended: {}", peer.said());
            TcpStream::connect(control).ok()
        });
        Self { peer, control }
    }

    /// A command by ctrl_tcp: JSON in a netstring.
    pub(crate) fn command(&self, name: &str) {
        self.command_with(name, "");
    }

    pub(crate) fn command_with(&self, name: &str, params: &str) {
        use std::io::Write as _;
        let json = format!("{{\"command\":\"{name}\",\"params\":\"{params}\"}}");
        let mut control = TcpStream::connect(self.control).expect("baresip takes commands");
        write!(control, "{}:{json},", json.len()).expect("it is sent");
    }
}

fn modules_path() -> String {
    let known = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    let there = known.iter().find(|path| std::path::Path::new(path).exists());
    (*there.unwrap_or(&known[0])).to_owned()
}

/// SIPp's signalling and our voice as caller, baresip as callee, which is reached as its URI's
/// parameters say.
fn call(sound: Sound, params: &str, scenario: Plan<'_>, hz: f64) -> (Bed, Phone, Sipp, Voice) {
    let mut bed = Bed::start();
    let at = bed.ports.address();
    let phone = Phone::start(&mut bed, at, sound, "");
    let web = Web::dialling(&format!("sip:phone@{at}{params}"), "answerOnBridge=\"true\"");
    let _ = bed.number(NUMBER, &web.url("/voice"), &web.url("/status"));
    let voice = Voice::tone(bed.ports.address(), hz);
    let caller = scenario.call(&mut bed, NUMBER, voice.address);
    voice.send_to(caller.media());
    (bed, phone, caller, voice)
}

#[test]
fn baresip_says_back_what_it_hears() {
    if !require("baresip") || !require("sipp") {
        return;
    }
    let scenario = Plan::new("caller").talk(Duration::from_secs(5));
    let (bed, _phone, caller, voice) = call(ECHO, "", scenario, 700.0);
    // What came before the echo was silence: judge the last second and a half of three.
    voice.wait_for(150);
    let samples = voice.heard().samples;
    let share = tone_share(&samples[samples.len() - 12_000..], 700.0);
    assert!(share > 0.8, "our own tone comes back: {share:.3} of the energy is at 700 Hz");
    caller.finish();
    let calls = bed.ended(2);
    assert!(calls.iter().all(|call| call["status"] == "completed"), "{calls:?}");
}

#[test]
fn baresip_is_heard_and_hangs_up() {
    if !require("baresip") || !require("sipp") {
        return;
    }
    for params in ["", ";transport=tcp"] {
        heard_and_hung_up(params);
    }
}

/// It hangs up towards our Contact: over TCP by a connection of its own, or by ours.
fn heard_and_hung_up(params: &str) {
    let (bed, phone, caller, voice) = call(SINE, params, Plan::new("caller_hears_bye"), 700.0);
    voice.wait_for(100);
    phone.command("hangup");
    caller.finish();
    let heard = voice.heard();
    let share = tone_share(&heard.samples[heard.samples.len() / 2..], 440.0);
    assert!(share > 0.8, "baresip's tone arrives: {share:.3} of the energy is at 440 Hz");
    assert_eq!(heard.ssrcs.len(), 1, "one stream");
    let calls = bed.ended(2);
    assert!(calls.iter().all(|call| call["status"] == "completed"), "{calls:?}");
    assert!(phone.peer.said().contains("terminated"), "it was baresip that hung up");
}

/// One calls by TLS, verifies the switch and is heard by the other, who is called by TLS, has
/// proven its address and hangs up towards our Contact.
#[test]
fn two_phones_talk_by_tls() {
    if !require("baresip") {
        return;
    }
    let authority = Authority::new();
    let mut bed = Setup { more: authority.believed(), ..Setup::default() }.start();
    let [one, two] = [bed.ports.address(), bed.ports.address()];
    let proves = format!("sip_certificate {}\n", authority.sign("127.0.0.1").display());
    let made = bed.data().join("tls/development.pem");
    let believes = format!("sip_cafile {}\nsip_verify_server yes\n", made.display());
    let caller = Phone::start(&mut bed, one, SINE, &format!("{proves}{believes}"));
    let callee = Phone::start(&mut bed, two, SINE, &proves);
    let at = SocketAddr::new(two.ip(), two.port() + 1);
    let target = format!("sip:phone@{at};transport=tls");
    let web = Web::dialling(&target, "answerOnBridge=\"true\"");
    let _ = bed.number(NUMBER, &web.url("/voice"), &web.url("/status"));
    caller.command_with("dial", &format!("sip:{NUMBER}@{};transport=tls", bed.tls()));
    eventually("both talk", Duration::from_secs(15), || {
        (bed.calls("in-progress").len() == 2).then_some(())
    });
    tests::bed::pass(Duration::from_secs(3));
    callee.command("hangup");
    let calls = bed.ended(2);
    assert!(calls.iter().all(|call| call["status"] == "completed"), "{calls:?}");
    for phone in [&caller, &callee] {
        eventually("the call is over", Duration::from_secs(10), || {
            phone.peer.said().contains("terminated").then_some(())
        });
    }
    let heard = calls.iter().map(|call| {
        let sid = call["sid"].as_str().expect("a sid");
        bed.rest.list(&format!("/Calls/{sid}/Cdrs.json"), "cdrs", "")
    });
    for cdr in heard.flatten() {
        let packets = cdr["media"]["packets_received"].as_u64().unwrap_or(0);
        assert!(packets > 50, "both have spoken: {cdr}");
    }
}

/// A callee whose certificate names somebody else, or that nobody believed has signed, is not
/// spoken to: the call fails, and nothing has rung.
#[test]
fn a_phone_that_does_not_prove_its_address_gets_no_call() {
    if !require("baresip") || !require("sipp") {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut bed = Setup { more: authority.believed(), ..Setup::default() }.start();
    for (number, file) in [
        ("+15550301", authority.sign("somebody.example")),
        ("+15550302", stranger.sign("127.0.0.1")),
    ] {
        let two = bed.ports.address();
        let callee =
            Phone::start(&mut bed, two, SINE, &format!("sip_certificate {}\n", file.display()));
        let at = SocketAddr::new(two.ip(), two.port() + 1);
        let web = Web::dialling(&format!("sip:phone@{at};transport=tls"), "action=\"/after\"");
        let _ = bed.number(number, &web.url("/voice"), &web.url("/status"));
        let voice = Voice::numbered(bed.ports.address(), 1);
        // A busy machine takes its time for the handshake: the caller waits for longer.
        let talk = Duration::from_secs(20);
        let caller = Plan::new("caller").talk(talk).call(&mut bed, number, voice.address);
        let _ = web.expect("/after", "DialCallStatus", "failed");
        assert!(!callee.peer.said().contains("Incoming call"), "{}", callee.peer.said());
        drop(caller);
    }
}
