//! What one leg says is rewritten for the other: the hop is replaced, the conversation is kept.

use std::net::SocketAddr;

use sdp::{
    Direction, Local, Plan, PtSet, Reoffer, Rtcp, SdpError, Session, pt_map, relay_answer,
    relay_offer, relay_reanswer,
};

fn local(address: &str, version: u64) -> Local {
    let rtp: SocketAddr = address.parse().unwrap();
    Local { rtp, rtcp: Rtcp::NextPort, session_id: 42, version }
}

fn parse(text: &str) -> Session<'_> {
    Session::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn offer_to_b(offer: &str, allow: PtSet) -> Result<String, SdpError> {
    let mut out = [0; 4_096];
    let written = relay_offer(
        &parse(offer),
        &local("192.0.2.10:40000", 1),
        &Reoffer { allow, ..Reoffer::ALL },
        &mut out,
    )?;
    Ok(String::from_utf8(out[..written].to_vec()).unwrap())
}

fn answer_to_a(offer: &str, answer: &str) -> Result<String, SdpError> {
    let mut out = [0; 4_096];
    let ours = local("192.0.2.20:50000", 3);
    let written = relay_answer(&parse(offer), &parse(answer), &ours, (None, false), &mut out)?;
    Ok(String::from_utf8(out[..written].to_vec()).unwrap())
}

const OFFER: &str = "v=0\r\n\
o=alice 100 7 IN IP4 203.0.113.5\r\n\
s=Call from Alice's laptop\r\n\
i=private remark\r\n\
e=alice@example.com\r\n\
c=IN IP4 203.0.113.5\r\n\
t=0 0\r\n\
a=group:BUNDLE a v\r\n\
a=ice-lite\r\n\
a=X-nat:0\r\n\
m=video 5004 RTP/AVP 31\r\n\
a=rtpmap:31 H261/90000\r\n\
m=audio 5000 RTP/AVPF 96 8 0 101 99\r\n\
b=AS:64\r\n\
b=RR:800\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=fmtp:96 useinbandfec=1\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n\
a=ptime:30\r\n\
a=mid:a\r\n\
a=ice-ufrag:abcd\r\n\
a=ice-pwd:secretsecretsecret\r\n\
a=candidate:1 1 udp 1 203.0.113.5 5000 typ host\r\n\
a=fingerprint:sha-256 AA\r\n\
a=setup:actpass\r\n\
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:key\r\n\
a=rtcp:5009 IN IP4 203.0.113.5\r\n\
a=rtcp-mux\r\n\
a=rtcp-fb:* nack\r\n\
a=rtcp-xr:voip-metrics\r\n\
a=ssrc:1 cname:alice\r\n\
a=msid:x y\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=silenceSupp:off - - - -\r\n\
a=content:speaker\r\n\
m=application 5008 UDP/BFCP *\r\n";

#[test]
fn an_offer_keeps_the_conversation_and_loses_the_hop() {
    let expected = "v=0\r\n\
o=- 42 1 IN IP4 192.0.2.10\r\n\
s=-\r\n\
c=IN IP4 192.0.2.10\r\n\
t=0 0\r\n\
a=X-nat:0\r\n\
m=video 0 RTP/AVP 31\r\n\
m=audio 40000 RTP/AVP 96 8 0 101\r\n\
b=AS:64\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=fmtp:96 useinbandfec=1\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n\
a=ptime:30\r\n\
a=sendrecv\r\n\
a=silenceSupp:off - - - -\r\n\
a=content:speaker\r\n\
m=application 0 UDP/BFCP *\r\n";
    assert_eq!(offer_to_b(OFFER, PtSet::ALL).unwrap(), expected);
}

#[test]
fn nothing_of_the_other_hop_leaks() {
    let written = offer_to_b(OFFER, PtSet::ALL).unwrap();
    for secret in ["203.0.113", "alice", "secret", "inline", "ice", "candidate", "fingerprint"] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
}

#[test]
fn an_answer_speaks_the_offerers_numbers() {
    // B numbers the same codecs differently, and puts its preferred one first.
    let answer = "v=0\r\no=b 5 5 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n\
                  m=video 0 RTP/AVP 31\r\n\
                  m=audio 7000 RTP/AVP 110 120 3\r\n\
                  a=rtpmap:110 telephone-event/8000\r\na=fmtp:110 0-11\r\n\
                  a=rtpmap:120 OPUS/48000/2\r\na=fmtp:120 maxaveragebitrate=20000\r\n\
                  a=ptime:20\r\na=rtcp:7007\r\na=recvonly\r\na=X-b:1\r\n\
                  m=application 0 UDP/BFCP *\r\n";
    let expected = "v=0\r\n\
o=- 42 3 IN IP4 192.0.2.20\r\n\
s=-\r\n\
c=IN IP4 192.0.2.20\r\n\
t=0 0\r\n\
m=video 0 RTP/AVP 31\r\n\
m=audio 50000 RTP/AVPF 101 96\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-11\r\n\
a=rtpmap:96 opus/48000/2\r\n\
a=fmtp:96 maxaveragebitrate=20000\r\n\
a=ptime:20\r\n\
a=recvonly\r\n\
a=X-b:1\r\n\
a=mid:a\r\n\
m=application 0 UDP/BFCP *\r\n";
    assert_eq!(answer_to_a(OFFER, answer).unwrap(), expected);
}

#[test]
fn plans_of_both_legs_translate_payload_types_both_ways() {
    let to_b = offer_to_b(OFFER, PtSet::ALL).unwrap();
    let answer = "v=0\r\nc=IN IP4 198.51.100.9\r\nm=video 0 RTP/AVP 31\r\n\
                  m=audio 7000 RTP/AVP 8 120\r\na=rtpmap:120 telephone-event/8000\r\n\
                  m=application 0 UDP/BFCP *\r\n";
    let to_a = answer_to_a(OFFER, answer).unwrap();
    let a = Plan::negotiate(&parse(&to_a), &parse(OFFER)).unwrap();
    let b = Plan::negotiate(&parse(&to_b), &parse(answer)).unwrap();
    assert_eq!(a.remote_rtp.address().unwrap(), "203.0.113.5:5000".parse().unwrap());
    assert_eq!(
        a.remote_rtcp.address().unwrap(),
        "203.0.113.5:5009".parse().unwrap(),
        "our answer has no rtcp-mux"
    );
    assert_eq!(b.remote_rtp.address().unwrap(), "198.51.100.9:7000".parse().unwrap());
    assert_eq!(b.remote_rtcp.address().unwrap(), "198.51.100.9:7001".parse().unwrap());
    assert_eq!((a.ptime_ms, b.ptime_ms), (30, 20));
    assert_eq!(a.receive_set(), PtSet::of(&[8, 101]));
    assert_eq!(b.receive_set(), PtSet::of(&[8, 101]), "what our offer to B numbered");
    assert_eq!(pt_map(&a, &b).pairs().len(), 2);
    assert_eq!(pt_map(&a, &b).map(101), Some(120), "A sends by our answer, B wants its own number");
    assert_eq!(pt_map(&b, &a).map(101), Some(101));
    let table = pt_map(&a, &b).table();
    assert_eq!((table[8], table[101], table[0]), (8, 120, sdp::PtMap::DROP));
    assert_eq!(a.received(0), None, "PCMU was not answered");
    assert_eq!(b.telephone_event().unwrap().send_pt, 120);
    assert!(!a.address_changed(&a));
    assert!(a.address_changed(&b));
}

#[test]
fn a_filter_narrows_the_offer() {
    let narrowed = offer_to_b(OFFER, PtSet::of(&[0, 101])).unwrap();
    assert!(narrowed.contains("m=audio 40000 RTP/AVP 0 101\r\n"), "{narrowed}");
    assert!(!narrowed.contains("opus") && !narrowed.contains("PCMA"), "{narrowed}");
    assert_eq!(offer_to_b(OFFER, PtSet::of(&[101])), Err(SdpError::NoCommonCodec));
}

#[test]
fn hold_passes_in_every_spelling() {
    let with = |c: &str, direction: &str| {
        format!("v=0\r\nc=IN IP4 {c}\r\nm=audio 4000 RTP/AVP 0\r\na={direction}\r\n")
    };
    let table = [
        ("203.0.113.5", "sendrecv", "sendrecv"),
        ("203.0.113.5", "sendonly", "sendonly"),
        ("203.0.113.5", "recvonly", "recvonly"),
        ("203.0.113.5", "inactive", "inactive"),
        ("0.0.0.0", "sendrecv", "sendonly"),
        ("0.0.0.0", "recvonly", "inactive"),
    ];
    for (c, direction, relayed) in table {
        let written = offer_to_b(&with(c, direction), PtSet::ALL).unwrap();
        assert!(written.contains(&format!("a={relayed}\r\n")), "{c} {direction}: {written}");
        assert!(written.contains("c=IN IP4 192.0.2.10"), "{written}");
    }
}

#[test]
fn an_answer_never_widens_the_offer() {
    let offer = |d| format!("v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 0\r\na={d}\r\n");
    let table = [
        ("sendonly", "sendrecv", "recvonly"),
        ("sendonly", "recvonly", "recvonly"),
        ("recvonly", "sendrecv", "sendonly"),
        ("sendrecv", "inactive", "inactive"),
        ("inactive", "sendrecv", "inactive"),
        ("sendrecv", "sendonly", "sendonly"),
    ];
    for (offered, answered, expected) in table {
        let written = answer_to_a(&offer(offered), &offer(answered)).unwrap();
        assert!(written.contains(&format!("a={expected}\r\n")), "{offered} {answered}: {written}");
        let plan = Plan::negotiate(&parse(&written), &parse(&offer(offered))).unwrap();
        assert_eq!(plan.direction.name(), expected);
    }
}

#[test]
fn one_codec_offered_twice_is_matched_by_its_wire_format() {
    let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 96 97\r\n\
                 a=rtpmap:96 AMR/8000\r\na=rtpmap:97 AMR/8000\r\na=fmtp:97 octet-align=1\r\n";
    let answer = "v=0\r\nc=IN IP4 1.2.3.5\r\nm=audio 4000 RTP/AVP 100\r\n\
                  a=rtpmap:100 AMR/8000\r\na=fmtp:100 octet-align=1; mode-set=7\r\n";
    let written = answer_to_a(offer, answer).unwrap();
    assert!(written.contains("m=audio 50000 RTP/AVP 97\r\n"), "{written}");
    let mono = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 L16/8000/1\r\n";
    let stereo = mono.replace("/1\r\n", "/2\r\n");
    assert_eq!(answer_to_a(mono, &stereo), Err(SdpError::NoCommonCodec));
}

#[test]
fn what_cannot_be_relayed_is_refused_with_its_reason() {
    let table = [
        ("v=0\r\n", SdpError::NoAudio),
        ("v=0\r\nm=audio 0 RTP/AVP 0\r\n", SdpError::NoAudio),
        ("v=0\r\nm=audio 4 RTP/SAVP 0\r\nc=IN IP4 1.2.3.4\r\n", SdpError::NoAudio),
        ("v=0\r\nm=video 4 RTP/AVP 31\r\nc=IN IP4 1.2.3.4\r\n", SdpError::NoAudio),
        ("v=0\r\nm=audio 4 RTP/AVP 0\r\n", SdpError::NoConnection),
        ("v=0\r\nm=audio 4 RTP/AVP 0\r\nc=IN IP4 pbx.example\r\n", SdpError::HostName),
        ("v=0\r\nm=audio 4 RTP/AVP 0\r\nc=IN IP4 239.1.1.1\r\n", SdpError::Multicast),
    ];
    for (text, error) in table {
        assert_eq!(offer_to_b(text, PtSet::ALL), Err(error), "{text:?}");
    }
    let gsm = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4 RTP/AVP 3\r\n";
    assert_eq!(answer_to_a(OFFER, gsm), Err(SdpError::NoCommonCodec));
    let digits = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4 RTP/AVP 3 101\r\n\
                  a=rtpmap:101 telephone-event/8000\r\n";
    assert_eq!(
        answer_to_a(OFFER, digits),
        Err(SdpError::NoCommonCodec),
        "digits alone are no call"
    );
}

#[test]
fn a_buffer_too_small_is_told_and_never_overrun() {
    let needed = offer_to_b(OFFER, PtSet::ALL).unwrap().len();
    let session = parse(OFFER);
    for size in 0..needed {
        let mut out = vec![0; size];
        let got = relay_offer(&session, &local("192.0.2.10:40000", 1), &Reoffer::ALL, &mut out);
        assert_eq!(got, Err(SdpError::NoSpace), "{size}");
    }
    let mut out = vec![0; needed];
    let got = relay_offer(&session, &local("192.0.2.10:40000", 1), &Reoffer::ALL, &mut out);
    assert_eq!(got, Ok(needed));
}

#[test]
fn addresses_of_both_families_and_rtcp_arrangements_are_written() {
    let six = local("[2001:db8::10]:40000", 9);
    let mut out = [0; 4_096];
    let with_port = Local { rtcp: Rtcp::Port(41_000), ..six };
    let written = relay_offer(&parse(OFFER), &with_port, &Reoffer::ALL, &mut out).unwrap();
    let text = std::str::from_utf8(&out[..written]).unwrap();
    assert!(text.contains("o=- 42 9 IN IP6 2001:db8::10\r\n"), "{text}");
    assert!(text.contains("c=IN IP6 2001:db8::10\r\n"), "{text}");
    assert!(text.contains("a=rtcp:41000\r\n"), "{text}");
    let mux = Local { rtcp: Rtcp::Mux, ..six };
    let written = relay_offer(&parse(OFFER), &mux, &Reoffer::ALL, &mut out).unwrap();
    assert!(parse(std::str::from_utf8(&out[..written]).unwrap()).audio().unwrap().rtcp_mux());
}

#[test]
fn holding_and_resuming_changes_the_plan_as_rfc_3264_says() {
    let sdp = |port, d| format!("v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio {port} RTP/AVP 0\r\na={d}\r\n");
    let ours = sdp(4_000, "sendrecv");
    for (theirs, direction, held) in [
        ("sendrecv", Direction::SendRecv, false),
        ("sendonly", Direction::RecvOnly, true),
        ("recvonly", Direction::SendOnly, false),
        ("inactive", Direction::Inactive, true),
    ] {
        let theirs = sdp(5_000, theirs);
        let plan = Plan::negotiate(&parse(&ours), &parse(&theirs)).unwrap();
        assert_eq!((plan.direction, plan.is_held()), (direction, held));
    }
    let nowhere = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 5000 RTP/AVP 0\r\n";
    let plan = Plan::negotiate(&parse(&ours), &parse(nowhere)).unwrap();
    assert_eq!(plan.direction, Direction::RecvOnly, "0.0.0.0 never gets media");
}

const STANDING: &str = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=video 0 RTP/AVP 96\r\n\
    m=audio 4000 RTP/AVP 0 111 101\r\na=rtpmap:111 opus/48000/2\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";

fn numbers(text: &[u8]) -> Vec<u8> {
    let session = Session::parse(text).unwrap();
    let audio = session.audio().unwrap();
    audio.formats().iter().map(|format| format.pt).collect()
}

#[test]
fn an_offer_names_first_what_is_spoken_and_behind_it_what_can_be_turned_into_it() {
    let ours = local("192.0.2.10:40000", 2);
    let session = parse(STANDING);
    let opus = session.audio().unwrap().formats().iter().find(|f| f.pt == 111).unwrap().codec();
    let more = &[sdp::Supported::PCMU, sdp::Supported::PCMA];
    let how = Reoffer { first: opus, more, direction: Some(Direction::SendOnly), ..Reoffer::ALL };
    let mut out = [0; 1_024];
    let len = relay_offer(&session, &ours, &how, &mut out).unwrap();
    assert_eq!(numbers(&out[..len]), [111, 0, 101, 8]);
    let written = Session::parse(&out[..len]).unwrap();
    assert_eq!(
        (written.media().len(), written.media()[0].port()),
        (2, 0),
        "lines keep their place"
    );
    assert_eq!(written.audio().unwrap().direction(), Direction::SendOnly);
}

#[test]
fn a_description_that_changes_is_answered_with_what_is_allowed_of_it() {
    let ours = local("192.0.2.10:40000", 2);
    let mut out = [0; 1_024];
    let how = (PtSet::of(&[0, 101]), Direction::SendRecv);
    let len = relay_reanswer(&parse(STANDING), &ours, how, &mut out).unwrap();
    assert_eq!(numbers(&out[..len]), [0, 101]);
    let none = (PtSet::of(&[101]), Direction::SendRecv);
    let got = relay_reanswer(&parse(STANDING), &ours, none, &mut out);
    assert_eq!(got, Err(SdpError::NoCommonCodec));
}

#[test]
fn the_direction_of_an_early_answer_does_not_outlive_it() {
    let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 0\r\n";
    let early = "v=0\r\nc=IN IP4 1.2.3.5\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n";
    let ours = local("192.0.2.10:40000", 1);
    let mut out = [0; 1_024];
    for (most, told) in
        [(None, Direction::SendOnly), (Some(Direction::SendRecv), Direction::SendRecv)]
    {
        let len =
            relay_answer(&parse(offer), &parse(early), &ours, (most, false), &mut out).unwrap();
        let written = Session::parse(&out[..len]).unwrap();
        assert_eq!(written.audio().unwrap().direction(), told);
    }
}
