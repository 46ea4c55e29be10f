//! The table of caps (THREATS.md, SDP parse): at the limit it works, one more is refused by name.

use sdp::{SdpError, Session, limits};

fn text(media: usize, pts: usize, attributes: usize, candidates: usize) -> String {
    use std::fmt::Write;
    let mut text = String::from("v=0\r\nc=IN IP4 192.0.2.1\r\n");
    for _ in 0..media {
        text.push_str("m=audio 4000 RTP/AVP");
        for pt in 0..pts {
            write!(text, " {pt}").unwrap();
        }
        text.push_str("\r\n");
        for _ in 0..candidates {
            text.push_str("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n");
        }
        for _ in 0..attributes - candidates {
            text.push_str("a=x\r\n");
        }
    }
    text
}

#[test]
fn every_cap_holds_at_its_number() {
    let ok = |text: &str| Session::parse(text.as_bytes()).map(|session| session.media().len());
    let (media, pts) = (limits::MEDIA_MAX, limits::PAYLOAD_TYPES_MAX);
    let (attributes, candidates) = (limits::ATTRIBUTES_MAX, limits::CANDIDATES_MAX);
    assert_eq!((media, pts, attributes, candidates), (16, 64, 256, 32));
    assert_eq!(ok(&text(media, 1, 0, 0)), Ok(media));
    assert_eq!(ok(&text(media + 1, 1, 0, 0)), Err(SdpError::TooManyMedia));
    assert_eq!(ok(&text(1, pts, 0, 0)), Ok(1));
    assert_eq!(ok(&text(1, pts + 1, 0, 0)), Err(SdpError::TooManyPayloadTypes));
    assert_eq!(ok(&text(2, 1, attributes, 0)), Ok(2));
    assert_eq!(ok(&text(2, 1, attributes + 1, 0)), Err(SdpError::TooManyAttributes));
    assert_eq!(ok(&text(2, 1, attributes, candidates)), Ok(2));
    assert_eq!(ok(&text(2, 1, attributes, candidates + 1)), Err(SdpError::TooManyCandidates));
    let session_level = format!("v=0\r\n{}", "a=x\r\n".repeat(attributes + 1));
    assert_eq!(ok(&session_level), Err(SdpError::TooManyAttributes));
}

#[test]
fn a_message_of_64_kib_is_the_longest() {
    let mut text = String::from("v=0\r\n");
    let filler = "s=".to_owned() + &"x".repeat(limits::MESSAGE_BYTES_MAX - text.len() - 4) + "\r\n";
    text.push_str(&filler);
    assert_eq!(text.len(), limits::MESSAGE_BYTES_MAX);
    assert!(Session::parse(text.as_bytes()).is_ok());
    text.push('\n');
    assert_eq!(Session::parse(text.as_bytes()).err(), Some(SdpError::TooLong));
}

#[test]
fn values_on_the_stack_stay_small() {
    assert!(size_of::<sdp::Plan>() <= 352, "{}", size_of::<sdp::Plan>());
    assert!(size_of::<Session<'_>>() <= 2_048, "{}", size_of::<Session<'_>>());
    assert_eq!(size_of::<sdp::PtMap>(), 33);
}
