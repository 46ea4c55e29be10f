//! Seeded mutation: whatever happens to a description, nothing panics, and what is written can be
//! read.

use base::Prng;
use sdp::fuzz;

const SEEDS: [&str; 4] = [
    "v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\nt=0 0\r\nc=IN IP4 203.0.113.1\r\n\
     a=ice-ufrag:8hhY\r\na=sendonly\r\nm=audio 54400 RTP/AVP 0 96 8 101\r\n\
     a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\n\
     a=fmtp:101 0-15\r\na=ptime:20\r\na=rtcp:53020 IN IP6 2001:db8::1\r\na=candidate:0 1 UDP 1\r\n",
    "v=0\no=x 1 2 IN IP4 1.2.3.4\nc=IN IP4 0.0.0.0\nm=video 0 RTP/AVP 31\n\
     m=audio 4000/2 RTP/AVPF 18 4 97\na=rtpmap:97 AMR/8000\na=fmtp:97 octet-align=1;mode-set=0,2\n\
     b=AS:80\na=mid:1\na=rtcp-mux\na=inactive\nm=application 9 UDP/DTLS/SCTP webrtc\n",
    "v=0\r\nc=IN IP6 2001:db8::77\r\nm=audio 5004 RTP/AVP 9 8 0\r\na=maxptime:40\r\n",
    "v=0\r\no=- 1 1 IN IP4 9.9.9.9\r\nc=IN IP4 9.9.9.9\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n\
     a=setup:actpass\r\na=fingerprint:sha-256 AA\r\nm=audio 10 RTP/AVP 0 8 3 9 18 13\r\n",
];

const PIECES: [&[u8]; 20] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"=",
    b":",
    b"/",
    b" ",
    b"m=audio 9 RTP/AVP 0\r\n",
    b"a=rtpmap:0 PCMU/8000\r\n",
    b"a=rtpmap:127 x/1/255\r\n",
    b"99999999999999999999",
    b"-1",
    b"65535",
    b"127",
    b"128",
    b"c=IN IP4 224.0.0.1\r\n",
    b"a=candidate:",
    b"a=",
    b"\xff\xfe",
];

fn below(random: &mut Prng, end: usize) -> usize {
    usize::try_from(random.below(end.max(1) as u64)).unwrap()
}

fn mutate(random: &mut Prng, text: &mut Vec<u8>) {
    let at = below(random, text.len() + 1);
    let span = below(random, 24).min(text.len() - at);
    match below(random, 6) {
        0 if at < text.len() => text[at] = random.u64().to_le_bytes()[0],
        1 => drop(text.drain(at..at + span)),
        2 => {
            let piece = PIECES[below(random, PIECES.len())];
            text.splice(at..at, piece.iter().copied());
        }
        3 => {
            let copy = text[at..at + span].to_vec();
            let to = below(random, text.len() + 1);
            text.splice(to..to, copy);
        }
        4 => text.truncate(at.max(8)),
        _ => {
            let digit = b'0' + random.u64().to_le_bytes()[0] % 10;
            let digits = |byte: &&mut u8| byte.is_ascii_digit();
            let count = text.iter().filter(|byte| byte.is_ascii_digit()).count();
            if let Some(byte) = text.iter_mut().filter(digits).nth(below(random, count)) {
                *byte = digit;
            }
        }
    }
}

#[test]
fn thirty_thousand_mutants_do_no_harm() {
    let mut random = Prng::new(0x5d90_2026);
    for round in 0..30_000 {
        let mut text = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..=below(&mut random, 6) {
            mutate(&mut random, &mut text);
        }
        fuzz::parse(&text);
        fuzz::relay(&text);
    }
}

#[test]
fn every_prefix_of_a_description_does_no_harm() {
    for seed in SEEDS {
        for end in 0..=seed.len() {
            fuzz::parse(&seed.as_bytes()[..end]);
            fuzz::relay(&seed.as_bytes()[..end]);
        }
    }
}
