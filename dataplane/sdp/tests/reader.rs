//! The reader takes what phones, carriers and browsers send, and tells what is in force per
//! section.

use std::net::{IpAddr, SocketAddr};

use sdp::{
    Change, Codec, CodecId, Direction, Kind, MediaTarget, Protocol, SdpError, Session, Setup,
};

const CARRIER: &str = "v=0\r\n\
o=SBC 7001 7002 IN IP4 198.51.100.7\r\n\
s=session\r\n\
c=IN IP4 198.51.100.7\r\n\
t=0 0\r\n\
a=sendonly\r\n\
m=audio 16384 RTP/AVP 8 0 18 96 97 101\r\n\
a=rtpmap:96 AMR/8000\r\n\
a=fmtp:96 mode-set=7; octet-align=1\r\n\
a=rtpmap:97 opus/48000/2\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=fmtp:18 annexb=no\r\n\
a=ptime:20\r\n\
a=maxptime:40\r\n\
a=rtcp:53020 IN IP4 198.51.100.8\r\n\
a=label:7\r\n\
a=mid:au\r\n\
m=video 0 RTP/AVP 31\r\n\
c=IN IP6 2001:db8::1\r\n\
a=sendrecv\r\n";

const BROWSER: &str = "v=0\r\n\
o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE 0\r\n\
a=fingerprint:sha-256 AA:BB\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n\
c=IN IP4 0.0.0.0\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\n\
a=candidate:1 1 udp 2113937151 192.0.2.3 54400 typ host\r\n\
a=candidate:2 1 udp 2113937150 192.0.2.4 54401 typ host\r\n\
a=setup:actpass\r\n\
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xyz\r\n\
a=rtcp-mux\r\n\
a=rtpmap:111 opus/48000/2\r\n";

fn parse(text: &str) -> Session<'_> {
    Session::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_carriers_offer_is_read_whole() {
    let session = parse(CARRIER);
    let origin = session.origin().unwrap();
    assert_eq!((origin.username, origin.session_id), (&b"SBC"[..], &b"7001"[..]));
    assert_eq!((origin.version, origin.address), (&b"7002"[..], &b"198.51.100.7"[..]));
    assert_eq!(session.media().len(), 2);
    let audio = session.audio().unwrap();
    assert_eq!((audio.index(), audio.kind(), audio.protocol()), (0, Kind::Audio, Protocol::Avp));
    assert_eq!(audio.rtp(), Ok(MediaTarget::new(SocketAddr::new(ip("198.51.100.7"), 16_384))));
    assert_eq!(audio.rtcp(), Ok(MediaTarget::new(SocketAddr::new(ip("198.51.100.8"), 53_020))));
    assert_eq!(audio.direction(), Direction::SendOnly, "the session's, where the section has none");
    assert!(audio.is_held());
    assert_eq!((audio.ptime_ms(), audio.maxptime_ms()), (Some(20), Some(40)));
    assert_eq!((audio.label(), audio.mid()), (Some(&b"7"[..]), Some(&b"au"[..])));
    assert!(!audio.rtcp_mux());

    let formats = audio.formats();
    let pts: Vec<u8> = formats.iter().map(|format| format.pt).collect();
    assert_eq!(pts, [8, 0, 18, 96, 97, 101]);
    assert_eq!(formats.get(8).unwrap().name, b"PCMA", "static types need no rtpmap");
    assert_eq!(formats.get(18).unwrap().parameter(b"annexb"), Some(&b"no"[..]));
    let amr = formats.get(96).unwrap();
    assert_eq!(
        amr.codec(),
        Some(Codec { id: CodecId::AMR, clock: 8_000, channels: 1, variant: 1 })
    );
    assert_eq!(amr.parameter(b"MODE-SET"), Some(&b"7"[..]));
    assert_eq!(formats.get(97).unwrap().channels, 2);
    assert_eq!(formats.telephone_event(8_000), Some(101));
    assert_eq!(formats.telephone_event(48_000), None);

    let video = &session.media()[1];
    assert_eq!((video.port(), video.direction()), (0, Direction::SendRecv));
    assert_eq!(video.address(), Ok(ip("2001:db8::1")), "its own c= line before the session's");
}

#[test]
fn a_browsers_offer_shows_what_belongs_to_its_hop() {
    let session = parse(BROWSER);
    assert_eq!(session.audio().err(), Some(SdpError::NoAudio), "SRTP is no plain audio");
    let audio = &session.media()[0];
    assert_eq!(audio.protocol(), Protocol::DtlsSavpf);
    assert_eq!(audio.setup(), Some(Setup::Actpass));
    assert!(audio.rtcp_mux());
    assert_eq!(audio.candidates().count(), 2);
    assert_eq!(audio.fingerprints().next(), Some(&b"sha-256 AA:BB"[..]), "the session's");
    assert_eq!(audio.crypto().count(), 1);
    assert!(audio.is_held(), "0.0.0.0");
    assert_eq!(audio.direction(), Direction::SendRecv);
    assert_eq!(audio.direction_in_force(), Direction::SendOnly);
}

#[test]
fn real_phones_sloppiness_is_tolerated() {
    let lf_only = CARRIER.replace("\r\n", "\n");
    assert_eq!(parse(&lf_only).media().len(), 2);
    let no_end = "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 0";
    assert_eq!(parse(no_end).audio().unwrap().port(), 4_000);
    let bare = "v=0\nm=audio 4000 rtp/avp  0\nc=in ip4 1.2.3.4\n\n\n";
    let session = parse(bare);
    assert!(session.origin().is_none());
    assert_eq!(session.audio().unwrap().address(), Ok(ip("1.2.3.4")));
    let spaced = "v=0\r\nc=IN IP4 1.2.3.4 \r\nm=audio 4000/2 RTP/AVP 0 0 8 \r\na=ptime: 20.0\r\n";
    let session = parse(spaced);
    let audio = session.audio().unwrap();
    assert_eq!(audio.formats().as_slice().len(), 2, "a payload type counts once");
    assert_eq!((audio.address(), audio.ptime_ms()), (Ok(ip("1.2.3.4")), Some(20)));
}

#[test]
fn what_is_not_used_is_no_reason_to_refuse() {
    let audio = "c=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 0\r\n";
    let with = |more: &str| {
        let text = format!("v=0\r\n{more}");
        let port = parse(&text).audio().map(sdp::Media::port);
        assert_eq!(port, Ok(4_000), "{more:?}");
    };
    for line in [
        "m=video 0 RTP/AVP 255\r\nc=IN IP4 nowhere\r\n",
        "m=video 0 RTP/AVP x y\r\n",
        "m=video 0 RTP/AVP\r\n",
        "m=audio 0 RTP/AVP 255\r\n",
        "m=video 5000 RTP/AVP 255\r\n",
        "m=image 0 udptl t38\r\n",
        "m=application 5000 TCP/BFCP *\r\n",
        "a=x-odd\r\na=: z\r\na=\r\na=candidate:\r\n",
        "b=AS:64\r\nk=prompt\r\ni=x\r\n",
    ] {
        with(&format!("{audio}{line}"));
        with(&format!("{line}m=audio 4000 RTP/AVP 0\r\n"));
    }
    for origin in ["o=\r\n", "o=- 1 IN IP4 1.2.3.4\r\n", "o=- x 1 IN IP4 1.2.3.4\r\n"] {
        with(&format!("{origin}{audio}"));
        let text = format!("v=0\r\n{origin}{audio}");
        assert!(parse(&text).origin().is_none());
        assert_eq!(parse(&text).stamp().change(&parse(&text).stamp()), Change::Unchanged);
    }
    with("s=\r\nc=\tIN\tIP4\t1.2.3.4\r\nm=audio\t4000\tRTP/AVP\t0\r\n");
    with("c= IN IP4 1.2.3.4\r\nm= audio 4000 RTP/AVP 0\r\na= sendonly \r\n");
    // The end was cut: inside a line, inside a letter, or behind blanks.
    for end in ["a=sendrecv", "a=rtpmap:0 PCMU/80", "a", "rubbish", "a=", "  \r\n", " "] {
        with(&format!("{audio}{end}"));
    }
    let spaced = format!("v=0\r\n{audio}a=rtpmap: 0  pcmu/8000/1\r\na=ptime: 30\r\n");
    let session = parse(&spaced);
    let media = session.audio().unwrap();
    assert_eq!((media.formats().get(0).unwrap().clock, media.ptime_ms()), (8_000, Some(30)));
}

#[test]
fn a_port_count_is_taken_and_large_offers_are_read() {
    use std::fmt::Write;
    let text = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 30400/2 RTP/AVP 0\r\n";
    assert_eq!(parse(text).audio().map(sdp::Media::port), Ok(30_400));
    let mut text = String::from("v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP");
    for pt in (96..120).chain([0]) {
        write!(text, " {pt}").unwrap();
    }
    text.push_str("\r\n");
    for at in 0..24 {
        write!(text, "a=candidate:{at} 1 UDP 1 192.168.0.{at} 40000 typ host\r\n").unwrap();
    }
    for at in 0..120 {
        write!(text, "a=x-note:{at}\r\n").unwrap();
    }
    for at in 0..4 {
        write!(text, "m=video {} RTP/AVP 9{at}\r\n", 30_470 + at).unwrap();
    }
    let session = parse(&text);
    let audio = session.audio().unwrap();
    assert_eq!((audio.formats().as_slice().len(), audio.candidates().count()), (25, 24));
    assert_eq!(session.media().len(), 5);
}

#[test]
fn audio_that_is_switched_off_is_told_from_none() {
    let read = |text: &str| {
        let text = format!("v=0\r\nc=IN IP4 1.2.3.4\r\n{text}");
        let session = parse(&text);
        let line = session.audio_line().map(|media| (media.index(), media.port()));
        (line, session.audio().is_ok())
    };
    assert_eq!(read("m=audio 0 RTP/AVP 0\r\n"), (Some((0, 0)), false));
    assert_eq!(read("m=audio 0 RTP/AVP\r\n"), (Some((0, 0)), false));
    assert_eq!(read("m=video 9 RTP/AVP 96\r\n"), (None, false));
    assert_eq!(read("m=audio 9 RTP/SAVP 0\r\n"), (None, false));
    assert_eq!(read("m=audio 9 RTP/SAVP 0\r\nm=audio 8 RTP/AVPF 8\r\n"), (Some((1, 8)), true));
    assert_eq!(read("m=audio 9 RTP/AVP 97\r\n"), (Some((0, 9)), false), "no known codec");
}

#[test]
fn an_unspecified_address_is_a_hold() {
    let table = [
        ("IN IP4 0.0.0.0", "", true, Direction::SendOnly),
        ("IN IP6 ::", "", true, Direction::SendOnly),
        ("IN IP4 0.0.0.0", "a=inactive\r\n", true, Direction::Inactive),
        ("IN IP4 0.0.0.0", "a=recvonly\r\n", true, Direction::Inactive),
        ("IN IP6 ::ffff:0.0.0.0", "a=rtcp:9 IN IP4 1.2.3.4\r\n", true, Direction::SendOnly),
        ("IN IP4 1.2.3.4", "a=sendonly\r\n", false, Direction::SendOnly),
        ("IN IP4 pbx_1.example", "", false, Direction::SendRecv),
    ];
    for (c, line, held, direction) in table {
        let text = format!("v=0\r\nc={c}\r\nm=audio 4000 RTP/AVP 0\r\n{line}");
        let session = parse(&text);
        let media = session.audio().unwrap();
        let nowhere = media.rtp() == Ok(MediaTarget::NOWHERE);
        assert_eq!((nowhere, media.direction_in_force()), (held, direction));
        assert!(!held || media.rtcp() == Ok(MediaTarget::NOWHERE), "reports go nowhere either");
    }
}

#[test]
fn broken_text_is_refused_with_its_reason() {
    let table = [
        ("", SdpError::BadVersion),
        ("v=1\r\n", SdpError::BadVersion),
        ("o=- 1 1 IN IP4 1.2.3.4\r\n", SdpError::BadVersion),
        ("v=0\r\nhello\r\n", SdpError::BadLine),
        ("v=0\r\nA=x\r\n", SdpError::BadLine),
        ("v=0\r\n a=x\r\n", SdpError::BadLine),
        ("v=0\r\ns=a\rb\r\n", SdpError::BadByte),
        ("v=0\r\ns=a\0b\r\n", SdpError::BadByte),
        ("v=0\r\nm=audio 65536 RTP/AVP 0\r\n", SdpError::BadMediaLine),
        ("v=0\r\nm=audio -1 RTP/AVP 0\r\n", SdpError::BadMediaLine),
        ("v=0\r\nm=audio 4000/0 RTP/AVP 0\r\n", SdpError::BadMediaLine),
        ("v=0\r\nm=audio 4000 RTP/AVP\r\n", SdpError::BadMediaLine),
        ("v=0\r\nm=audio 4000\r\n", SdpError::BadMediaLine),
        ("v=0\r\nm=audio 4000 RTP/AVP 128\r\n", SdpError::BadPayloadType),
        ("v=0\r\nm=audio 4000 RTP/AVP x\r\n", SdpError::BadPayloadType),
    ];
    for (text, error) in table {
        assert_eq!(Session::parse(text.as_bytes()).err(), Some(error), "{text:?}");
    }
}

#[test]
fn addresses_are_addresses() {
    let table = [
        ("IN IP4 10.0.0.1", Ok(ip("10.0.0.1"))),
        ("IN IP4 0.0.0.0", Ok(ip("0.0.0.0"))),
        ("IN IP6 ::1", Ok(ip("::1"))),
        ("IN IP6 2001:db8::2", Ok(ip("2001:db8::2"))),
        ("IN IP4 phone.example.com", Err(SdpError::HostName)),
        ("IN IP4 localhost", Err(SdpError::HostName)),
        ("IN IP6 my_pbx.local", Err(SdpError::HostName)),
        ("IN IP4 224.2.36.42/127", Err(SdpError::Multicast)),
        ("IN IP6 FF15::101/3", Err(SdpError::Multicast)),
        ("IN IP4 10.0.0.256", Err(SdpError::BadConnection)),
        ("IN IP4 10.0.0.1.5", Err(SdpError::BadConnection)),
        ("IN IP6 10.0.0.1", Err(SdpError::BadConnection)),
        ("IN IP4 ::1", Err(SdpError::BadConnection)),
        ("IN IP4", Err(SdpError::BadConnection)),
        ("ATM X 1", Err(SdpError::BadConnection)),
        ("", Err(SdpError::BadConnection)),
    ];
    for (value, expected) in table {
        let text = format!("v=0\r\nc={value}\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert_eq!(parse(&text).media()[0].address(), expected, "{value:?}");
    }
    let none = "v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
    assert_eq!(parse(none).media()[0].address(), Err(SdpError::NoConnection));
}

#[test]
fn rtcp_goes_to_the_next_port_unless_told() {
    let table = [
        ("4000", "", Ok(4_001)),
        ("65535", "", Ok(65_535)),
        ("4000", "a=rtcp:7\r\n", Ok(7)),
        ("4000", "a=rtcp:7 IN IP4 nowhere.example\r\n", Err(SdpError::HostName)),
        ("4000", "a=rtcp:x\r\n", Err(SdpError::BadConnection)),
        ("4000", "a=rtcp:0\r\n", Err(SdpError::BadConnection)),
    ];
    for (port, line, expected) in table {
        let text = format!("v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio {port} RTP/AVP 0\r\n{line}");
        let got = parse(&text).media()[0].rtcp().map(|rtcp| rtcp.address().unwrap().port());
        assert_eq!(got, expected, "{port} {line:?}");
    }
}

#[test]
fn a_payload_type_nobody_explains_is_not_used() {
    let text = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 96 97 98 99 2\r\n\
                a=rtpmap:97 opus\r\na=rtpmap:98 X/0\r\n\
                a=rtpmap:99 X/4294967295\r\n";
    let session = parse(text);
    assert!(session.media()[0].formats().iter().all(|format| format.codec().is_none()));
    assert_eq!(session.audio().err(), Some(SdpError::NoAudio));
    let digits_only = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 101 13\r\n\
                       a=rtpmap:101 telephone-event/8000\r\n";
    assert_eq!(parse(digits_only).audio().err(), Some(SdpError::NoAudio));
}

#[test]
fn a_repeated_offer_is_told_from_a_new_one() {
    let stamp = |text: &str| parse(text).stamp();
    let first = stamp(CARRIER);
    assert_eq!(first.change(&stamp(CARRIER)), Change::Unchanged);
    let newer = CARRIER.replace("7001 7002", "7001 7003");
    assert_eq!(first.change(&stamp(&newer)), Change::NewVersion);
    let uncounted = CARRIER.replace("16384", "16386");
    assert_eq!(first.change(&stamp(&uncounted)), Change::Uncounted);
    let other = CARRIER.replace("7001 7002", "9001 7002");
    assert_eq!(first.change(&stamp(&other)), Change::NewSession);
    let elsewhere = CARRIER.replace("IP4 198.51.100.7\r\ns=", "IP4 203.0.113.9\r\ns=");
    assert_eq!(first.change(&stamp(&elsewhere)), Change::NewSession);
}

#[test]
fn error_messages_are_phrases_and_blame_is_set() {
    let error = Session::parse(b"x").unwrap_err();
    assert_eq!(error.to_string(), error.reason());
    assert_eq!(error.blame(), sdp::Blame::Malformed);
    assert_eq!(SdpError::HostName.blame(), sdp::Blame::Unsupported);
    assert_eq!(SdpError::NoSpace.blame(), sdp::Blame::Misuse);
}
