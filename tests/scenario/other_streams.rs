//! Streams that are not a voice: fax (T.38), pictures, whatever else. They are declined in their
//! place (RFC 3264 section 6), and a call that is asked to become a fax stays a call.

use world::World;

use crate::by_hand::{self, A, B, Hand, Log, body, empty, header, send, world_by_hand};

const HEAD: &str = "v=0\no=- 7 9 IN IP4 10.1.0.2\ns=-\nc=IN IP4 10.1.0.2\nt=0 0\n";
const FAX: &str = "m=image 5006 udptl t38\na=T38FaxVersion:0\na=T38MaxBitRate:14400\n";
const AUDIO: &str = "m=audio 5000 RTP/AVP 0\n";

/// The media lines of a message, each up to its formats.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("m=")).collect()
}

fn reinvite(world: &mut World, log: &Log, cseq: u32, streams: &str) -> (by_hand::Call, String) {
    let call = by_hand::call(world, log, &format!("fax{cseq}"), ("0", "0"));
    let offer = body("application/sdp", &format!("{HEAD}{streams}"));
    send(world, B, &call.b.request("INVITE", cseq, "", &offer));
    let answers = log.all(B, "SIP/2.0 ", &format!("CSeq: {cseq} INVITE"));
    let last = answers.last().unwrap().clone();
    send(world, B, &call.b.request("ACK", cseq, "", &empty()));
    (call, last)
}

#[test]
fn a_call_that_is_to_become_a_fax_stays_a_call() {
    for (at, streams) in (7..).zip([FAX.to_owned(), format!("m=audio 0 RTP/AVP 0\n{FAX}")]) {
        let (mut world, log) = world_by_hand(u64::from(at));
        let (call, answer) = reinvite(&mut world, &log, at, &streams);
        assert!(answer.starts_with("SIP/2.0 488"), "{streams}: {answer}");
        assert!(!header(&answer, "Warning").is_empty(), "{answer}");
        assert!(log.all(A, "BYE", "").is_empty() && log.all(A, "INVITE", "").is_empty());
        // Both go on to hear each other.
        by_hand::packet(&mut world, "10.1.0.1:4000", call.ports.0, (1, 7));
        by_hand::packet(&mut world, "10.1.0.1:4000", call.ports.0, (2, 7));
        world.run_for(crate::common::ms(60));
        assert!(log.media("10.1.0.2:5000") > 0);
        send(&mut world, A, &call.a.request("BYE", 2, "", &empty()));
        let bye = log.last(B, "BYE", "");
        send(&mut world, B, &call.b.reply(&bye, "200 OK", "", &empty()));
        by_hand::nothing_left(&mut world);
    }
}

#[test]
fn streams_beside_the_voice_are_declined_in_their_order() {
    let video = "m=video 5008 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
    for (at, (streams, told)) in (7..).zip([
        (format!("{FAX}{AUDIO}"), ["m=image 0 udptl t38", "m=audio"]),
        (format!("{AUDIO}{video}"), ["m=audio", "m=video 0 RTP/AVP 96"]),
    ]) {
        let (mut world, log) = world_by_hand(u64::from(at));
        let (_, answer) = reinvite(&mut world, &log, at, &streams);
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        let ours = lines(&answer);
        assert_eq!(ours.len(), 2, "{answer}");
        for (line, told) in ours.iter().zip(told) {
            assert!(line.starts_with(told), "{answer}");
        }
    }
}

/// A bundle (RFC 9143) is not taken, and says so by not being there; names of streams are.
#[test]
fn a_bundle_is_not_taken_and_its_streams_are_told_apart() {
    let (mut world, log) = world_by_hand(3);
    let video = "m=video 4002 RTP/AVP 96\na=mid:1\na=rtpmap:96 H264/90000\n";
    let text = format!(
        "v=0\no=- 7 1 IN IP4 10.1.0.1\ns=-\nc=IN IP4 10.1.0.1\nt=0 0\na=group:BUNDLE 0 1\n\
         m=audio 4000 RTP/AVP 0\na=mid:0\n{video}"
    );
    let a = Hand::caller("bundle");
    send(&mut world, A, &a.request("INVITE", 1, "", &body("application/sdp", &text)));
    let invite = log.last(B, "INVITE", "");
    assert_eq!(lines(&invite).len(), 2, "{invite}");
    assert!(lines(&invite)[1].starts_with("m=video 0 "), "{invite}");
    assert!(!invite.contains("a=group"), "{invite}");
    let b = Hand::callee(&invite, "b");
    let answer = format!("{HEAD}{AUDIO}m=video 0 RTP/AVP 96\n");
    send(&mut world, B, &b.reply(&invite, "200 OK", "", &body("application/sdp", &answer)));
    let ok = log.last(A, "SIP/2.0 200", "INVITE");
    assert!(lines(&ok)[0].starts_with("m=audio ") && !lines(&ok)[0].starts_with("m=audio 0"));
    assert!(lines(&ok)[1].starts_with("m=video 0 ") && lines(&ok).len() == 2, "{ok}");
    assert!(!ok.contains("a=group") && ok.contains("a=mid:0"), "{ok}");
}
