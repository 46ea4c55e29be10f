//! Nanoseconds per parse of an 800-byte INVITE (GOALS.md P5): index, then Via, From, To, CSeq,
//! Call-ID, Contact, Max-Forwards and Content-Type typed. Prints the minimum and the median of
//! rounds. Run in release, pinned. `parse_ns NAME [TIMES]` runs one measurement; with TIMES it runs
//! that often and measures nothing, for callgrind.

use std::hint::black_box;
use std::time::Instant;

use sip::{Message, Reply, reply_to};

const SDP: &str = "v=0\r\no=- 3745219 3745219 IN IP4 198.51.100.20\r\ns=-\r\n\
    c=IN IP4 198.51.100.20\r\n\
    t=0 0\r\nm=audio 49170 RTP/AVP 0 8 9 101\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\n\
    a=ptime:20\r\na=sendrecv\r\n";

fn invite() -> String {
    format!(
        "INVITE sip:+12015550123@198.51.100.9:5060;user=phone SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.20:5060;branch=z9hG4bK-524287-1---8f2b1c9d3e;rport\r\n\
         Max-Forwards: 70\r\n\
         Contact: <sip:alice@198.51.100.20:5060;transport=udp>\r\n\
         To: <sip:+12015550123@198.51.100.9>\r\n\
         From: \"Alice Example\" <sip:alice@example.com>;tag=9f8e7d6c\r\n\
         Call-ID: 8f2b1c9d3e-524287@198.51.100.20\r\n\
         CSeq: 1 INVITE\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO\r\n\
         Supported: replaces, timer, 100rel\r\n\
         User-Agent: Example Phone 2.1\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

fn typed(bytes: &[u8], eight: bool) -> usize {
    let Ok(message) = Message::parse(bytes) else { return 0 };
    let via = message.via().unwrap();
    let (from, to) = (message.from().unwrap(), message.to().unwrap());
    let contact = message.contact().unwrap();
    let (cseq, call_id) = (message.cseq().unwrap(), message.call_id().unwrap());
    black_box((&via, &from, &to, &contact, &cseq, &call_id));
    if eight {
        black_box((&message.content_type().unwrap(), message.max_forwards().unwrap()));
    }
    message.body().len()
}

fn measure(name: &str, mut work: impl FnMut() -> usize) {
    if std::env::args().nth(1).is_some_and(|only| only != name) {
        return;
    }
    if let Some(times) = std::env::args().nth(2).and_then(|times| times.parse::<u32>().ok()) {
        for _ in 0..times {
            black_box(work());
        }
        return;
    }
    const ROUNDS: usize = 60;
    const EACH: u32 = 20_000;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
            let start = Instant::now();
            let mut sum = 0;
            for _ in 0..EACH {
                sum += black_box(work());
            }
            black_box(sum);
            start.elapsed().as_secs_f64() * 1e9 / f64::from(EACH)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name}: min {:.0} ns, median {:.0} ns", rounds[0], rounds[ROUNDS / 2]);
}

fn main() {
    let text = invite();
    let bytes = text.as_bytes();
    println!("{} bytes", bytes.len());
    measure("index", || Message::parse(black_box(bytes)).map_or(0, |m| m.header_count()));
    measure("index + six typed", || typed(black_box(bytes), false));
    measure("index + eight typed", || typed(black_box(bytes), true));
    let message = Message::parse(bytes).unwrap();
    measure("via", || message.via().map_or(0, |v| v.sent_by.len()));
    measure("from", || message.from().map_or(0, |v| v.uri.len()));
    measure("validate", || usize::from(sip::validate_request(black_box(&message)).is_ok()));
    let source = Some("198.51.100.20:5060".parse().unwrap());
    let mut out = [0; 2048];
    measure("reply_to", || {
        let reply = Reply::new(180, Some(b"0123456789abcdefghij"), source);
        reply_to(&mut out, &message, &reply).finish().map_or(0, <[u8]>::len)
    });
}
