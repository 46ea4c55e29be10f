//! SIPp as caller and as callee, with scenarios of our own; RTP by [`Voice`], which judges content
//! and sequence of every packet, and once by SIPp's own echo.

mod answered;
mod credentials;
mod flow;
mod inside;
mod place;
mod refused;
mod reliable;
mod repeated;
mod reports;
mod run;
mod tcp;
mod timers;
mod transfer;
mod trunks;
mod unhappy;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tests::bed::{Bed, Voice, Web, eventually};

pub(crate) use flow::{Body, FIRST, Flow};
pub(crate) use run::{Plan, Sipp};

/// The number that callers dial.
pub(crate) const NUMBER: &str = "+15550100";
/// A call of a test takes at most this long.
const LIMIT: Duration = Duration::from_secs(40);

/// Both ends' media, talking with the switch as the SDP of both SIPps says.
pub(crate) struct Line {
    pub(crate) caller: Voice,
    pub(crate) callee: Voice,
}

impl Line {
    pub(crate) fn new(bed: &mut Bed) -> Self {
        let (one, two) = (bed.ports.address(), bed.ports.address());
        Self { caller: Voice::numbered(one, 1), callee: Voice::numbered(two, 2) }
    }

    /// Both talk to where the switch said, until each has heard `packets`.
    pub(crate) fn talk(&self, caller: &Sipp, callee: &Sipp, packets: u64) {
        self.callee.send_to(callee.media());
        self.caller.send_to(caller.media());
        self.callee.wait_for(packets);
        self.caller.wait_for(packets);
    }

    /// Each heard the other and nobody else, whole, in order, once, as one stream.
    pub(crate) fn judge(&self) {
        self.caller.heard().expect_clean(2, 2);
        self.callee.heard().expect_clean(1, 2);
        for heard in [self.caller.heard(), self.callee.heard()] {
            assert_eq!(heard.ssrcs.len(), 1, "one continuous stream whatever feeds it: {heard:?}");
        }
    }
}

/// A tenant whose number is answered with `<Dial>` of `callee`.
pub(crate) fn tenant(bed: &Bed, callee: SocketAddr, attributes: &str) -> Web {
    tenant_of(bed, &format!("sip:callee@{callee}"), attributes)
}

/// The same with any target.
pub(crate) fn tenant_of(bed: &Bed, target: &str, attributes: &str) -> Web {
    let attributes = format!("action=\"/after\" {attributes}");
    let web = Web::start({
        let target = target.to_owned();
        move |asked| match asked.target.as_str() {
            "/voice" => {
                format!("<Response><Dial {attributes}><Sip>{target}</Sip></Dial></Response>")
            }
            "/after" => "<Response><Hangup/></Response>".to_owned(),
            _ => String::new(),
        }
    });
    let _ = bed.number(NUMBER, &web.url("/voice"), &web.url("/status"));
    web
}

/// Both legs' CDRs once the calls are over, inbound first.
pub(crate) fn legs(bed: &Bed) -> [Value; 2] {
    let mut calls = bed.ended(2);
    assert_eq!(calls.len(), 2, "a leg is a call, and each has one entry: {calls:?}");
    calls.sort_by_key(|call| call["direction"] != "inbound");
    calls.try_into().expect("two of them")
}

/// The only CDR of a call.
pub(crate) fn cdr(bed: &Bed, call: &Value) -> Value {
    let sid = call["sid"].as_str().expect("a sid").to_owned();
    let resource = format!("/Calls/{sid}/Cdrs.json");
    eventually("the CDR is there", Duration::from_secs(15), || {
        let cdrs = bed.rest.list(&resource, "cdrs", "");
        assert!(cdrs.len() < 2, "one CDR per leg: {cdrs:?}");
        cdrs.into_iter().next()
    })
}
