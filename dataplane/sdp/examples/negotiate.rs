//! An offer, our answer to it, and what is then in force.
//!
//! `cargo run -p sdp --example negotiate`

use sdp::{Answer, Direction, Local, Plan, Rtcp, SdpError, Session, Supported, answer};

const OFFER: &str = "v=0\r\no=bob 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
                     t=0 0\r\nm=audio 40000 RTP/AVP 18 96 8 101\r\na=rtpmap:96 opus/48000/2\r\n\
                     a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

fn main() -> Result<(), SdpError> {
    let offer = Session::parse(OFFER.as_bytes())?;
    let codecs = [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];
    let how = Answer {
        codecs: &codecs,
        direction: Direction::SendRecv,
        ptime_ms: 20,
        prefer_ours: false,
        single: false,
    };
    let local = Local {
        rtp: ([192, 0, 2, 1], 20_000).into(),
        rtcp: Rtcp::NextPort,
        session_id: 1,
        version: 1,
    };
    let mut out = [0; 1_024];
    let written = answer(&offer, &how, &local, &mut out)?;
    println!("{}", String::from_utf8_lossy(&out[..written]));

    let plan = Plan::negotiate(&Session::parse(&out[..written])?, &offer)?;
    for format in plan.formats() {
        println!("received as {}, sent as {}", format.receive_pt, format.send_pt);
    }
    println!("RTP goes to {:?}", plan.remote_rtp.address());
    Ok(())
}
