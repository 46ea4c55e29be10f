//! JsSIP in a headless Chromium: what a web application's phone does, by WSS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::bed::{
    Asked, Bed, Office, Peer, Ports, Setup, Voice, Web, eventually, require, tone_share,
};

use crate::phones;

/// The folder with JsSIP and esbuild: `TANDEM_BROWSER_MODULES`.
fn modules() -> Option<PathBuf> {
    let folder = std::env::var_os("TANDEM_BROWSER_MODULES").map(PathBuf::from);
    let there = folder.filter(|it| it.join("jssip").is_dir() && it.join(".bin/esbuild").exists());
    if there.is_none() {
        // Loud, and a failure where peers are required.
        let _ = require("jssip (npm install of tests/interop/browser/package.json)");
    }
    there
}

/// JsSIP as one file for a page.
fn bundle(modules: &Path, folder: &Path) -> String {
    let (entry, out) = (folder.join("entry.js"), folder.join("jssip.js"));
    std::fs::write(&entry, "module.exports = require(\"jssip\");\n").expect("it is written");
    let made = Command::new(modules.join(".bin/esbuild"))
        .env("NODE_PATH", modules)
        .arg(&entry)
        .args(["--bundle", "--global-name=JsSIP", "--charset=ascii", "--log-level=error"])
        .arg(format!("--outfile={}", out.display()))
        .output()
        .expect("esbuild runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read_to_string(out).expect("it is made")
}

/// Serves the page with its scripts, and takes its reports. It is XHTML: [`Web`] says that all it
/// gives is XML.
fn site(modules: &Path, folder: &Path) -> Web {
    let script = bundle(modules, folder);
    Web::start(move |asked| match asked.target.split('?').next().unwrap_or_default() {
        "/page" => "<html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>phone</title>\
                    </head><body><script src=\"/jssip.js\"></script><script src=\"/page.js\">\
                    </script></body></html>"
            .to_owned(),
        "/jssip.js" => script.clone(),
        "/page.js" => include_str!("page.js").to_owned(),
        _ => String::new(),
    })
}

fn chromium(bed: &Bed, url: &str) -> Peer {
    let mut command = Command::new("chromium");
    command.env("HOME", bed.folder()).current_dir(bed.folder());
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    command.args(["--disable-component-update", "--disable-extensions", "--mute-audio"]);
    command.args(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]);
    // The development certificate is signed by nobody.
    command.args(["--ignore-certificate-errors", "--enable-logging=stderr", "--v=0"]);
    command.arg(format!("--user-data-dir={}", bed.folder().join("chromium").display()));
    command.arg(url);
    Peer::start("chromium", &mut command, bed.folder())
}

/// The report of a step.
#[track_caller]
fn step(site: &Web, name: &str) -> Asked {
    let found = eventually(&format!("the page reports {name}"), Duration::from_secs(60), || {
        let asked = site.asked();
        let failed = asked.iter().find(|it| it.field("Step") == "error");
        assert!(failed.is_none(), "{failed:?}");
        asked.into_iter().find(|it| it.field("Step") == name)
    });
    println!("{name}: {:?}", found.fields);
    found
}

#[test]
fn a_browser_registers_calls_and_is_called_by_wss() {
    let Some(modules) = modules() else { return };
    if !require("chromium") || !require("baresip") {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let site = site(&modules, scratch.path());
    let mut ports = Ports::take();
    let wss = ports.address();
    let more = format!(
        "\n[[dataplane.listener]]\nname = \"wss\"\nbind = \"{wss}\"\ntransport = \"wss\"\n\
         origins = [\"http://{}\"]\n",
        site.address
    );
    let mut bed = Setup { more, ..Setup::default() }.start_on(ports);
    let office = Office::open(&bed, &["alice", "bob"]);
    let voice = Voice::tone(bed.ports.address(), 700.0);
    let page = format!(
        "/page?ws=wss://{wss}&domain={}&user=alice&password={}&callee=bob&media={}",
        office.domain, office.password, voice.address
    );
    let phone = phones::baresip(&mut bed, &office, "bob", phones::Way::Udp);
    let _browser = chromium(&bed, &site.url(&page));
    for (name, code) in [
        ("registered", "200"),
        ("options", "200"),
        // There is nobody for messages yet.
        ("message", "405"),
        // Neither is there SRTP: a browser's own offer (UDP/TLS/RTP/SAVPF) is refused.
        ("webrtc", "488"),
    ] {
        assert_eq!(step(&site, name).field("Code"), code, "{name}");
    }
    voice.send_to(media(step(&site, "confirmed").field("Sdp")));
    let _ = (step(&site, "held"), step(&site, "resumed"));
    let ended = step(&site, "plain");
    assert_eq!((ended.field("Code"), ended.field("Originator")), ("200", "local"));
    let heard = voice.heard();
    assert!(heard.packets > 40, "{} packets of the phone", heard.packets);
    let share = tone_share(&heard.samples, 440.0);
    assert!(share > 0.7, "the phone's tone: {share:.3} of the energy is at 440 Hz");
    let _ = step(&site, "ready");
    phone.command_with("dial", &office.uri("alice"));
    let _ = step(&site, "talking");
    phone.command("hangup");
    let called = step(&site, "called");
    assert_eq!((called.field("Code"), called.field("Originator")), ("200", "remote"));
    let _ = step(&site, "unregistered");
    // What offered SRTP was no call: it was refused before.
    let calls = bed.ended(4);
    assert!(calls.iter().all(|call| call["status"] == "completed"), "{calls:?}");
}

/// Where a description wants media.
fn media(sdp: &str) -> SocketAddr {
    let line = |start: &str| sdp.lines().find_map(|line| line.strip_prefix(start));
    let host = line("c=IN IP4 ").and_then(|host| host.trim().parse().ok()).expect("an address");
    let port = line("m=audio ").and_then(|media| media.split(' ').next()?.parse().ok());
    SocketAddr::new(host, port.expect("a port"))
}
