//! SIP parsing (GOALS.md P5): an INVITE of about 800 bytes, all headers indexed, then Via, From,
//! To, CSeq, Call-ID and Contact typed; beside it `rsip` with the same message and the same six
//! headers.
//!
//! `cargo bench -p benches --bench parse [-- --instructions N]`: with `--instructions` the message
//! is parsed N times and nothing is measured, for callgrind (`benches/instructions`).

use std::hint::black_box;

use rsip::headers::ToTypedHeader;
use rsip::prelude::HeadersExt;
use sip::Message;

const SDP: &str = "v=0\r\no=- 3745219 3745219 IN IP4 198.51.100.20\r\ns=-\r\n\
    c=IN IP4 198.51.100.20\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0 8 9 101\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

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

/// Index and six typed headers.
#[inline(never)]
fn ours(bytes: &[u8]) -> Option<usize> {
    let message = Message::parse(bytes).ok()?;
    let via = message.via().ok()?;
    let (from, to) = (message.from().ok()?, message.to().ok()?);
    let (contact, cseq) = (message.contact().ok()?, message.cseq().ok()?);
    let call_id = message.call_id().ok()?;
    black_box((&via, &from, &to, &contact, &cseq, &call_id));
    Some(message.body().len())
}

/// The same with rsip 0.4.
#[inline(never)]
fn theirs(bytes: &[u8]) -> Option<usize> {
    let request = rsip::Request::try_from(bytes).ok()?;
    let via = request.via_header().ok()?.clone().into_typed().ok()?;
    let from = request.from_header().ok()?.clone().into_typed().ok()?;
    let to = request.to_header().ok()?.clone().into_typed().ok()?;
    let contact = request.contact_header().ok()?.clone().into_typed().ok()?;
    let cseq = request.cseq_header().ok()?.clone().into_typed().ok()?;
    let call_id = request.call_id_header().ok()?;
    black_box((&via, &from, &to, &contact, &cseq, call_id));
    Some(request.body.len())
}

fn main() {
    let text = invite();
    let bytes = text.as_bytes();
    let body = Some(SDP.len());
    assert_eq!(ours(bytes), body, "our parser takes the message");
    if let Some(times) = benches::option("--instructions") {
        for _ in 0..times {
            black_box(ours(black_box(bytes)));
        }
        return;
    }
    assert_eq!(theirs(bytes), body, "rsip takes the message");
    benches::pin_last();
    let (our_allocations, _) = benches::allocations(|| ours(black_box(bytes)));
    let (their_allocations, _) = benches::allocations(|| theirs(black_box(bytes)));
    assert_eq!(our_allocations, 0, "parsing allocates nothing");
    let (mut tandem, mut rsip) = (benches::Rounds::default(), benches::Rounds::default());
    for _ in 0..40 {
        tandem.push(
            benches::time(1, 20_000, || {
                black_box(ours(black_box(bytes)));
            })
            .min(),
        );
        rsip.push(
            benches::time(1, 2_000, || {
                black_box(theirs(black_box(bytes)));
            })
            .min(),
        );
    }
    println!("parse: INVITE of {} bytes, indexed, six headers typed; ns per message", bytes.len());
    println!("{:<12}{:>10}{:>10}{:>14}", "", "min", "median", "allocations");
    let row = |name: &str, rounds: &benches::Rounds, allocations: usize| {
        println!("{name:<12}{:>10.0}{:>10.0}{allocations:>14}", rounds.min(), rounds.median());
    };
    row("tandem", &tandem, our_allocations);
    row("rsip 0.4", &rsip, their_allocations);
    println!("goal: <= 300 ns, 0 allocations; rsip / tandem = {:.1} x", rsip.min() / tandem.min());
}
