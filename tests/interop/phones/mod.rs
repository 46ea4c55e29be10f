//! Phones that register at a domain and call each other through the switch: linphone and baresip,
//! by UDP, TCP and TLS, each holding, each hanging up, and transfers of both kinds.

mod linphone;
mod registered;
mod transfers;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tests::bed::{Bed, Office, eventually, require};

use linphone::Linphone;

use crate::baresip::{Phone, SINE};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Udp,
    Tcp,
    Tls,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    fn switch(self, bed: &Bed) -> SocketAddr {
        if self == Self::Tls { bed.tls() } else { bed.sip }
    }
}

fn there() -> bool {
    require("linphone-daemon") && require("baresip")
}

/// A baresip that is registered as `user`. It knows MD5 alone and gives up at a challenge that
/// offers SHA-256 first; when it asks again, here because it is started again, it is offered what
/// it knows.
pub(crate) fn baresip(bed: &mut Bed, office: &Office, user: &str, way: Way) -> Phone {
    let at = bed.ports.address();
    let proxy = format!("sip:{};transport={}", way.switch(bed), way.name());
    let account = format!(
        "<{};transport={}>;auth_pass={};outbound=\"{proxy}\";regint=60;answermode=auto\n",
        office.uri(user),
        way.name(),
        office.password
    );
    let believed = bed.data().join("tls/development.pem");
    let tls = format!("sip_cafile {}\nsip_verify_server yes\n", believed.display());
    for _ in 0..3 {
        let phone = Phone::start_as(bed, at, SINE, &tls, &account);
        let word = eventually("baresip hears of its REGISTER", LIMIT, || {
            let said = phone.peer.said();
            let known = ["binding]", "Register: "];
            known.into_iter().find(|word| said.contains(word))
        });
        if word == "binding]" {
            return phone;
        }
    }
    panic!("{user} is not registered by {way:?}");
}

/// Waits until so many calls stand.
#[track_caller]
fn standing(bed: &Bed, count: usize) -> Vec<Value> {
    eventually(&format!("{count} calls stand"), LIMIT, || {
        let calls = bed.calls("in-progress");
        (calls.len() == count).then_some(calls)
    })
}

/// RTP packets that came from the far end of a call.
fn heard(bed: &Bed, call: &Value) -> u64 {
    let sid = call["sid"].as_str().expect("a sid");
    let cdrs = bed.rest.list(&format!("/Calls/{sid}/Cdrs.json"), "cdrs", "");
    cdrs.iter().filter_map(|cdr| cdr["media"]["packets_received"].as_u64()).sum()
}

/// All calls are over and were completed, and each far end has spoken.
#[track_caller]
fn completed_and_heard(bed: &Bed, count: usize, packets: u64) -> Vec<Value> {
    let calls = bed.ended(count);
    for call in &calls {
        assert_eq!(call["status"], "completed", "{call}");
        let heard = heard(bed, call);
        assert!(heard >= packets, "{heard} packets of {call}");
    }
    calls
}
