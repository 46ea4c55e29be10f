//! Shims for fuzzers and seeded mutation tests: any bytes, no panic.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    Answer, Direction, Local, Plan, Reoffer, Rtcp, SdpError, Session, Supported, answer, pt_map,
    relay_answer, relay_offer,
};

const LOCAL: Local = Local {
    rtp: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000),
    rtcp: Rtcp::NextPort,
    session_id: 1,
    version: 1,
};

/// Reads `text` with every accessor.
pub fn parse(text: &[u8]) {
    let Ok(session) = Session::parse(text) else { return };
    let _ = (session.stamp(), session.origin());
    assert!(session.audio().is_err() || session.audio_line().is_some());
    for media in session.media() {
        let _ = (media.rtp(), media.rtcp(), media.rtcp_mux(), media.direction_in_force());
        let _ = (media.ptime_ms(), media.maxptime_ms(), media.label(), media.mid(), media.setup());
        let _ = media.crypto().count() + media.fingerprints().count() + media.candidates().count();
        for format in &media.formats() {
            let _ = format.codec();
        }
    }
}

/// Relays `text` as an offer, and checks that what was written can be read and relayed again.
///
/// # Panics
/// When an output is not readable or loses the audio section: that is the finding.
pub fn relay(text: &[u8]) {
    let Ok(session) = Session::parse(text) else { return };
    let mut out = [0_u8; 8_192];
    let written = match relay_offer(&session, &LOCAL, &Reoffer::ALL, &mut out) {
        Ok(written) => written,
        Err(error) => {
            assert_ne!(error, SdpError::MediaMismatch, "an offer has no counterpart");
            return;
        }
    };
    let offered = Session::parse(&out[..written]).expect("what we write, we can read");
    assert_eq!(offered.media().len(), session.media().len(), "m= lines keep their places");
    assert!(offered.audio().is_ok(), "the audio section survives");
    let how = Answer {
        codecs: &[Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT],
        direction: Direction::SendRecv,
        ptime_ms: 20,
        prefer_ours: false,
        single: false,
    };
    let mut reply = [0_u8; 8_192];
    let Ok(length) = answer(&offered, &how, &LOCAL, &mut reply) else { return };
    let answered = Session::parse(&reply[..length]).expect("what we write, we can read");
    let leg_b = Plan::negotiate(&offered, &answered).expect("an answer of ours matches");
    let mut back = [0_u8; 8_192];
    let Ok(length) = relay_answer(&session, &answered, &LOCAL, (None, true), &mut back) else {
        return;
    };
    let backward = Session::parse(&back[..length]).expect("what we write, we can read");
    assert_eq!(backward.media().len(), session.media().len(), "m= lines keep their places");
    let Ok(leg_a) = Plan::negotiate(&backward, &session) else { return };
    assert!(!pt_map(&leg_a, &leg_b).is_empty(), "relayed legs share a codec");
}
