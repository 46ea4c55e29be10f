//! Another reader, the crate `sdp-types`, sees in a description what ours sees, and takes what we
//! write.

use base::Prng;
use sdp::{Local, Reoffer, Rtcp, Session, relay_offer};

const SEEDS: [&str; 3] = [
    "v=0\r\no=jdoe 2890844526 2890842807 IN IP4 10.47.16.5\r\ns=SDP Seminar\r\n\
     i=A Seminar\r\nu=http://www.example.com/seminars/sdp.pdf\r\ne=j.doe@example.com (Jane Doe)\r\n\
     c=IN IP4 10.1.2.3\r\nt=2873397496 2873404696\r\na=recvonly\r\n\
     m=audio 49170 RTP/AVP 0\r\nm=video 51372 RTP/AVP 99\r\na=rtpmap:99 h263-1998/90000\r\n",
    "v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
     a=group:BUNDLE 1\r\nm=audio 54400 RTP/AVPF 0 96 101\r\nb=AS:64\r\na=rtpmap:96 opus/48000/2\r\n\
     a=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=mid:1\r\n\
     a=rtcp-mux\r\nm=application 9 UDP/BFCP *\r\n",
    "v=0\r\no=x 1 2 IN IP6 2001:db8::1\r\ns=y\r\nt=0 0\r\n\
     m=audio 5004/2 RTP/AVP 9 8 0 18\r\nc=IN IP6 2001:db8::77\r\na=maxptime:40\r\na=sendonly\r\n",
];

/// Compares where both read; how strict each of them is about the rest is its own affair.
fn agree(text: &[u8]) -> bool {
    let (Ok(ours), Ok(theirs)) = (Session::parse(text), sdp_types::Session::parse(text)) else {
        return false;
    };
    let shown = String::from_utf8_lossy(text);
    assert_eq!(ours.media().len(), theirs.medias.len(), "{shown}");
    for (mine, its) in ours.media().iter().zip(&theirs.medias) {
        assert_eq!(mine.kind_text(), its.media.as_bytes(), "{shown}");
        assert_eq!(mine.port(), its.port, "{shown}");
        assert_eq!(mine.protocol_text(), its.proto.as_bytes(), "{shown}");
        assert_eq!(mine.attributes().count(), its.attributes.len(), "{shown}");
        for (attribute, other) in mine.attributes().zip(&its.attributes) {
            assert_eq!(attribute.name, other.attribute.trim().as_bytes(), "{shown}");
            let value = other.value.as_deref().unwrap_or("").trim();
            assert_eq!(attribute.value, value.as_bytes(), "{shown}");
        }
    }
    true
}

#[test]
fn both_readers_see_the_same() {
    for seed in SEEDS {
        assert!(agree(seed.as_bytes()), "both read it: {seed}");
    }
}

#[test]
fn both_readers_see_the_same_in_mutants() {
    let mut random = Prng::new(77);
    let mut compared = 0;
    for round in 0..20_000 {
        let mut text = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = usize::try_from(random.below(text.len() as u64)).unwrap();
            // Values only, and printable: the oracle (0.1.8) panics on a line letter out of order,
            // and encodings and line ends are not what is compared.
            let column = text[..at].iter().rev().take_while(|&&byte| byte != b'\n').count();
            if column >= 2 && text[at].is_ascii_graphic() {
                text[at] = 0x21 + u8::try_from(random.below(0x5e)).unwrap();
            }
        }
        compared += u32::from(agree(&text));
    }
    assert!(compared > 5_000, "only {compared} mutants were read by both");
}

#[test]
fn what_we_write_is_read_by_others() {
    let rtp = "192.0.2.1:4000".parse().unwrap();
    let local = Local { rtp, rtcp: Rtcp::Port(4_001), session_id: u64::MAX, version: 3 };
    for seed in SEEDS {
        let mut out = [0; 2_048];
        let session = Session::parse(seed.as_bytes()).unwrap();
        let written = relay_offer(&session, &local, &Reoffer::ALL, &mut out).unwrap();
        assert!(agree(&out[..written]), "{}", String::from_utf8_lossy(&out[..written]));
        let read = sdp_types::Session::parse(&out[..written]).unwrap();
        assert_eq!(read.origin.unicast_address, "192.0.2.1");
        assert_eq!(read.origin.sess_version, 3);
        assert_eq!(read.connection.unwrap().connection_address, "192.0.2.1");
    }
}
