//! Mutated torture messages: no panic, and whatever we answer we can read ourselves. Seeded, so
//! that a failure repeats.

mod vectors;

use sip::fuzz::{fuzz_parse, fuzz_stream, fuzz_uri, fuzz_values};

const MUTATIONS: u64 = 24_000;

/// xorshift64*: enough to shuffle bytes with.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(mixed).unwrap() % bound.max(1)
    }
}

const SEEDS: [&[u8]; 3] = [
    b"INVITE sip:b@[2001:db8::1]:5070;transport=tcp;lr?a=b SIP/2.0\r\n\
      Via: SIP/2.0/TLS 10.0.0.1:5062;branch=z9hG4bKx;rport;\
      received=::1\r\n ;z=\"1;2\", SIP/2.0/TCP o;branch=z9hG4bKy\r\n\
      Record-Route: <sip:p1;lr>, <sip:p2>\r\nRoute: \"x,y\" <sip:p2;lr>\r\nMax-Forwards: 5\r\n\
      f: \"A \\\"B\\\"\" <sips:a@example.com>;tag=1\r\nt: <tel:+1-201-555;phone-context=x>\r\n\
      i: c1@h\r\nCSeq: 7 INVITE\r\nm: <sip:a@10.0.0.1>;q=0.5\r\nx: 1800;refresher=uac\r\n\
      Min-SE: 90\r\n\
      RAck: 1 7 INVITE\r\nReplaces: c;to-tag=1;from-tag=2;early-only\r\n\
      Authorization: Digest username=\"u\",realm=\"r\",nonce=\"n\",uri=\"sip:b\",response=\"00\",\
      qop=auth,nc=00000001,cnonce=\"c\"\r\n\
      WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", stale=TRUE, algorithm=SHA-256, qop=\"auth,\
      auth-int\"\r\n\
      c: application/sdp\r\nl: 4\r\n\r\nv=0\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
      To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:e@f>\r\n\
      Content-Length: 0\r\n\r\n",
    b"INVITE tel:+1-555-0126;phone-context=x SIP/2.0\r\n\
      Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n\
      From: \"A \\\"B\\\"\" <sip:12%23;phone-context=+1@h>;tag=1\r\n\
      To: <sip:#21#@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: sip:a@h;+x=\"<y>\"\r\n\
      Reason: Q.850;cause=16;text=\"a;b\"\r\nPrivacy: id;critical\r\n\
      Allow: INFO\r\nContent-Type: multipart/mixed;boundary=\"y\"\r\n\r\n\
      --y\r\nContent-Type: multipart/mixed;boundary=z\r\n\r\n--z\r\n\r\nx\r\n--z--\r\n--y\r\n\
      Content-Type: application/sdp\r\nContent-Disposition: session;handling=optional\r\n\r\n\
      v=0\r\n--y--\r\n",
];

const DICTIONARY: [&[u8]; 18] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"%",
    b":::",
    b"[",
    b"]",
    b"Content-Length: 4294967296\r\n",
    b"\xff\xfe",
];

fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = SEEDS.iter().map(|s| s.to_vec()).collect();
    if let Some(dir) = vectors::folder("rfc4475") {
        let mut files: Vec<_> =
            std::fs::read_dir(dir).unwrap().flatten().map(|f| f.path()).collect();
        files.sort();
        corpus.extend(files.iter().map(|f| std::fs::read(f).unwrap()));
    }
    corpus
}

fn mutate(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[rng.below(corpus.len())].clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        let len = rng.below(24).min(bytes.len() - at);
        match rng.below(6) {
            0 => drop(bytes.drain(at..at + len)),
            1 => {
                let piece = bytes[at..at + len].to_vec();
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            2 => {
                let word = DICTIONARY[rng.below(DICTIONARY.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            3 => bytes.truncate(at),
            4 => {
                let other = &corpus[rng.below(corpus.len())];
                let from = rng.below(other.len());
                let piece = &other[from..(from + 40).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(rng.below(256)).unwrap();
                }
            }
        }
    }
    bytes
}

#[test]
fn mutated_messages_never_panic() {
    let corpus = corpus();
    for bytes in &corpus {
        fuzz_parse(bytes);
        fuzz_stream(bytes);
    }
    for seed in 1..=MUTATIONS {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let bytes = mutate(&mut rng, &corpus);
        let result = std::panic::catch_unwind(|| {
            fuzz_parse(&bytes);
            fuzz_stream(&bytes);
            fuzz_values(&bytes);
            fuzz_uri(&bytes);
        });
        assert!(result.is_ok(), "seed {seed}: {}", bytes.escape_ascii());
    }
}

#[test]
fn every_prefix_of_a_message_is_survived() {
    for seed in SEEDS {
        for len in 0..=seed.len() {
            fuzz_parse(&seed[..len]);
            fuzz_stream(&seed[..len]);
            fuzz_uri(&seed[..len]);
        }
    }
}
