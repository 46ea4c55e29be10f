//! Offers and answers of our own, and the examples of RFC 3264 section 10.

use sdp::{
    Answer, Direction, Local, Offer, Plan, Rtcp, SdpError, Session, Supported, answer, reject,
    write_offer,
};

const OURS: [Supported<'static>; 5] = [
    Supported::OPUS,
    Supported::PCMA,
    Supported::PCMU,
    Supported::TELEPHONE_EVENT,
    Supported::TELEPHONE_EVENT_48K,
];

const HOW: Answer<'static> = Answer {
    codecs: &OURS,
    direction: Direction::SendRecv,
    ptime_ms: 0,
    prefer_ours: false,
    single: false,
};

fn local(port: u16) -> Local {
    let rtp = ([192, 0, 2, 1], port).into();
    Local { rtp, rtcp: Rtcp::NextPort, session_id: 1, version: 1 }
}

fn parse(text: &str) -> Session<'_> {
    Session::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn answered(offer: &str, how: &Answer<'_>) -> Result<String, SdpError> {
    let mut out = [0; 4_096];
    let written = answer(&parse(offer), how, &local(4_000), &mut out)?;
    Ok(String::from_utf8(out[..written].to_vec()).unwrap())
}

fn m_line(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("m=audio")).unwrap()
}

#[test]
fn an_own_offer_reads_back() {
    let offer = Offer { codecs: &OURS, direction: Direction::SendOnly, ptime_ms: 20 };
    let mut out = [0; 1_024];
    let written = write_offer(&offer, &local(4_000), &mut out).unwrap();
    let text = std::str::from_utf8(&out[..written]).unwrap();
    assert_eq!(
        text,
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 111 8 0 101 110\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\n\
         a=ptime:20\r\na=sendonly\r\n"
    );
    let audio = *parse(text).audio().unwrap();
    assert_eq!((audio.ptime_ms(), audio.direction()), (Some(20), Direction::SendOnly));
    let nothing = Offer { codecs: &[], ..offer };
    assert_eq!(write_offer(&nothing, &local(1), &mut out), Err(SdpError::NoCommonCodec));
    assert_eq!(write_offer(&offer, &local(1), &mut out[..100]), Err(SdpError::NoSpace));
}

#[test]
fn an_answer_takes_the_offers_numbers_and_order() {
    let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 9000 RTP/AVP 0 8 98 97 13\r\n\
                 a=rtpmap:98 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\na=ptime:40\r\n";
    let text = answered(offer, &HOW).unwrap();
    assert_eq!(m_line(&text), "m=audio 4000 RTP/AVP 0 8 98 97");
    assert_eq!(parse(&text).audio().unwrap().ptime_ms(), Some(40));
    let text = answered(offer, &Answer { prefer_ours: true, ..HOW }).unwrap();
    assert_eq!(m_line(&text), "m=audio 4000 RTP/AVP 98 8 0 97");
    let text = answered(offer, &Answer { single: true, ptime_ms: 20, ..HOW }).unwrap();
    assert_eq!(m_line(&text), "m=audio 4000 RTP/AVP 0 97");
    assert_eq!(parse(&text).audio().unwrap().ptime_ms(), Some(20));
    let text = answered(offer, &Answer { single: true, prefer_ours: true, ..HOW }).unwrap();
    assert_eq!(
        m_line(&text),
        "m=audio 4000 RTP/AVP 98",
        "8 kHz digits do not go beside Opus alone"
    );
}

#[test]
fn direction_of_an_answer_is_narrowed_by_the_offer() {
    let offer = |d| format!("v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 9000 RTP/AVP 0\r\na={d}\r\n");
    let all = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    for offered in all {
        for wanted in all {
            let text =
                answered(&offer(offered.name()), &Answer { direction: wanted, ..HOW }).unwrap();
            let got = parse(&text).audio().unwrap().direction();
            assert_eq!(got.sends(), wanted.sends() && offered.receives(), "{offered:?} {wanted:?}");
            assert_eq!(got.receives(), wanted.receives() && offered.sends());
        }
    }
}

#[test]
fn other_streams_are_refused_in_place() {
    let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=image 9 udptl t38\r\nm=audio 9000 RTP/SAVP 0\r\n\
                 m=audio 9000 RTP/AVP 0\r\na=mid:2\r\nm=audio 9002 RTP/AVP 0\r\nm=message 7 X\r\n";
    let text = answered(offer, &HOW).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=image 0 udptl t38",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 4000 RTP/AVP 0",
            "m=audio 0 RTP/AVP 0",
            "m=message 0 X *"
        ]
    );
    assert!(text.contains("a=mid:2\r\n"));
    let mut out = [0; 1_024];
    let written = reject(&parse(offer), &local(4_000), &mut out).unwrap();
    let refused = parse(std::str::from_utf8(&out[..written]).unwrap()).media().to_vec();
    assert!(refused.len() == 5 && refused.iter().all(|media| media.port() == 0));
}

#[test]
fn rtcp_mux_is_answered_only_where_offered() {
    let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 9000 RTP/AVP 0\r\n";
    let with_mux = format!("{offer}a=rtcp-mux\r\n");
    let ours = Local { rtcp: Rtcp::Mux, ..local(4_000) };
    for (offer, mux) in [(offer, false), (with_mux.as_str(), true)] {
        let mut out = [0; 1_024];
        let written = answer(&parse(offer), &HOW, &ours, &mut out).unwrap();
        let answer = std::str::from_utf8(&out[..written]).unwrap();
        let plan = Plan::negotiate(&parse(answer), &parse(offer)).unwrap();
        assert_eq!(plan.rtcp_mux, mux);
        assert_eq!(plan.remote_rtcp.address().unwrap().port(), if mux { 9_000 } else { 9_001 });
    }
}

#[test]
fn nothing_in_common_is_an_error() {
    let gsm = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 9000 RTP/AVP 3 101\r\n\
               a=rtpmap:101 telephone-event/8000\r\n";
    assert_eq!(answered(gsm, &HOW), Err(SdpError::NoCommonCodec));
    let host = "v=0\r\nc=IN IP4 host.example\r\nm=audio 9000 RTP/AVP 0\r\n";
    assert_eq!(answered(host, &HOW), Err(SdpError::HostName));
}

/// RFC 3264 section 10.1: Alice offers one audio and two video streams; Bob takes part.
#[test]
fn rfc_3264_basic_exchange() {
    let alice = "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.anywhere.com\r\ns=\r\n\
                 c=IN IP4 192.0.2.77\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n\
                 a=rtpmap:0 PCMU/8000\r\nm=video 51372 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\n\
                 m=video 53000 RTP/AVP 32\r\na=rtpmap:32 MPV/90000\r\n";
    let bob = answered(alice, &HOW).unwrap();
    assert_eq!(m_line(&bob), "m=audio 4000 RTP/AVP 0");
    assert_eq!(bob.matches("m=video 0 ").count(), 2);
    let plan = Plan::negotiate(&parse(&bob), &parse(alice)).unwrap();
    assert_eq!(plan.remote_rtp.address().unwrap(), "192.0.2.77:49170".parse().unwrap());
    assert_eq!(plan.formats().len(), 1);
}

/// RFC 3264 section 10.2: one of N codecs; the dynamic number moves to another codec later.
#[test]
fn rfc_3264_one_of_n_codecs() {
    let offer = "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.anywhere.com\r\ns=\r\n\
                 c=IN IP4 192.0.2.77\r\nt=0 0\r\nm=audio 62986 RTP/AVP 0 4 18\r\n\
                 a=rtpmap:0 PCMU/8000\r\na=rtpmap:4 G723/8000\r\na=rtpmap:18 G729/8000\r\n\
                 a=inactive\r\n";
    let how = Answer { codecs: &[Supported::PCMU, Supported::G729], ..HOW };
    let text = answered(offer, &how).unwrap();
    assert_eq!(m_line(&text), "m=audio 4000 RTP/AVP 0 18");
    let plan = Plan::negotiate(&parse(&text), &parse(offer)).unwrap();
    assert_eq!(plan.direction, Direction::Inactive);
    assert_eq!(plan.formats().map(|f| f.send_pt).collect::<Vec<_>>(), [0, 18]);
}

/// Numbers may differ by direction (RFC 3264 section 5.1): each side wants its own.
#[test]
fn a_plan_knows_both_numbers_of_a_codec() {
    let ours = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 96 101\r\n\
                a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n";
    let theirs = "v=0\r\nc=IN IP4 192.0.2.2\r\nm=audio 5000 RTP/AVP 101 102 103\r\n\
                  a=rtpmap:101 opus/48000/2\r\na=rtpmap:102 telephone-event/8000\r\n\
                  a=rtpmap:103 telephone-event/48000\r\n";
    let plan = Plan::negotiate(&parse(ours), &parse(theirs)).unwrap();
    let opus = plan.audio().unwrap();
    assert_eq!((opus.receive_pt, opus.send_pt), (96, 101));
    let digits = plan.telephone_event().unwrap();
    assert_eq!((digits.receive_pt, digits.send_pt), (101, 102));
    assert!(plan.received(101).unwrap().codec.is_telephone_event());
    assert_eq!(plan.received(102), None);
}

#[test]
fn a_plan_holds_sixteen_codecs_and_no_more() {
    use std::fmt::Write;
    let mut text = String::from("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP");
    (40..80).for_each(|pt| write!(text, " {pt}").unwrap());
    text.push_str("\r\n");
    (40..80).for_each(|pt| write!(text, "a=rtpmap:{pt} X{pt}/8000\r\n").unwrap());
    let plan = Plan::negotiate(&parse(&text), &parse(&text)).unwrap();
    assert_eq!(plan.formats().len(), 16);
    assert_eq!(plan.formats().nth(15).unwrap().send_pt, 55);
}

#[test]
fn a_plan_keeps_every_number_of_a_codec_and_one_of_too_many_channels_is_not_known() {
    use sdp::limits::{CHANNELS_MAX, CLOCK_HZ_MAX};
    let rows = [(1, 1), (8_000, 1), (90_000, 2), (192_000, 6), (CLOCK_HZ_MAX, CHANNELS_MAX)];
    let mut text = String::from("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 96 97 98 99");
    text.push_str(" 100 101\r\na=rtpmap:101 X/8000/16\r\n");
    for (pt, (clock, channels)) in (96..).zip(rows) {
        text.push_str(&format!("a=rtpmap:{pt} AMR/{clock}/{channels}\r\na=fmtp:{pt} "));
        text.push_str("octet-align=1\r\n");
    }
    let plan = Plan::negotiate(&parse(&text), &parse(&text)).unwrap();
    let kept = plan.formats().map(|format| {
        let codec = format.codec;
        assert_eq!((codec.id, codec.variant), (sdp::CodecId::AMR, 1));
        (codec.clock, codec.channels)
    });
    assert_eq!(kept.collect::<Vec<_>>(), rows);
}
