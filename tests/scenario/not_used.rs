//! What we do not use is no reason to refuse: other streams, unknown attributes, bodies of other
//! kinds beside the description, single headers that stand twice.

use crate::by_hand::{self, A, B, Hand, body, described, media_port, sdp, world_by_hand};

/// The INVITE with this end: did it reach the callee, and was the caller refused.
fn offered(end: &str, more: &str) -> (Option<String>, Vec<String>) {
    let (mut world, log) = world_by_hand(1);
    by_hand::send(&mut world, A, &Hand::caller("any").request("INVITE", 1, more, end));
    let refusals = log.all(A, "SIP/2.0 4", "");
    (log.all(B, "INVITE", "").pop(), refusals)
}

#[track_caller]
fn is_taken(end: &str, more: &str) -> String {
    let (invite, refusals) = offered(end, more);
    let invite = invite.unwrap_or_else(|| panic!("refused: {refusals:?}"));
    assert_ne!(media_port(&invite), 0);
    invite
}

/// More lines than anybody reads, of the kinds that video phones and browsers write.
fn many(bytes: usize, line: &str) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes || number == 200 {
            break;
        }
        text += &line.replace('#', &number.to_string());
    }
    text
}

#[test]
fn a_description_of_six_kibibytes_is_taken() {
    let line = "a=extmap:# urn:ietf:params:rtp-hdrext:something-long-enough-to-matter:#\n";
    let head = "v=0\no=- 7 1 IN IP4 10.1.0.1\ns=-\nc=IN IP4 10.1.0.1\nt=0 0\n";
    let audio = "m=audio 4000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n";
    let video = "m=video 4002 RTP/AVP 96\na=rtpmap:96 H264/90000\n".to_owned() + &many(6_144, line);
    for text in [format!("{head}{video}{audio}"), format!("{head}{audio}{video}")] {
        assert!(text.len() > 6_144);
        let invite = is_taken(&body("application/sdp", &text), "");
        assert!(invite.contains("m=video 0 "), "the place of the other stream is kept");
    }
}

/// Both ways: the callee's may be as long.
#[test]
fn an_answer_of_six_kibibytes_is_taken() {
    let (mut world, log) = world_by_hand(2);
    let a = Hand::caller("long");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let line = "a=x-vendor-something:# a value that is long enough to be a nuisance #\n";
    let text = sdp("10.1.0.2", 5_000, 1, "0") + &many(6_144, line);
    let b = Hand::callee(&invite, "b");
    by_hand::send(&mut world, B, &b.reply(&invite, "200 OK", "", &body("application/sdp", &text)));
    log.last(A, "SIP/2.0 200", "1 INVITE");
    assert!(log.all(B, "BYE", "").is_empty());
}

#[test]
fn a_single_header_that_stands_twice_counts_once() {
    let end = described("10.1.0.1", 4_000, 1, "0");
    for more in [
        "Expires: 300\nExpires: 180\n",
        "Date: Sat, 13 Nov 2010 23:29:00 GMT\nDate: yesterday\n",
        "Subject: a\nSubject: b\n",
        "MIME-Version: 1.0\nMIME-Version: 1.0\n",
        "User-Agent: a\nUser-Agent: b\n",
        "Organization: a\nOrganization: b\n",
        "Session-Expires: 1800\nSession-Expires: 1700\nSupported: timer\n",
        "Content-Type: application/sdp\n",
    ] {
        is_taken(&end, more);
    }
}

/// Two of these name two transactions, two routes or two bodies.
#[test]
fn a_vital_header_that_stands_twice_is_refused() {
    let end = described("10.1.0.1", 4_000, 1, "0");
    for more in [
        "From: <sip:x@example.com>;tag=x\n",
        "To: <sip:x@example.com>\n",
        "Call-ID: another\n",
        "CSeq: 2 INVITE\n",
        "Max-Forwards: 3\n",
        "Content-Length: 0\n",
    ] {
        let (invite, refusals) = offered(&end, more);
        assert!(invite.is_none(), "{more}");
        assert!(refusals.iter().any(|line| line.starts_with("SIP/2.0 400")), "{more} {refusals:?}");
    }
}

#[test]
fn the_description_in_a_multipart_body_counts() {
    let text = sdp("10.1.0.1", 4_000, 1, "0");
    let other = "Content-Type: application/isup;version=itu-t92+\n\n\u{1}\u{2}\n";
    let own = format!("Content-Type: application/sdp\n\n{text}");
    for (first, second) in [(other, &own[..]), (&own[..], other)] {
        let parts = format!("--edge\n{first}\n--edge\n{second}\n--edge--\n");
        let invite = is_taken(&body("multipart/mixed;boundary=edge", &parts), "");
        assert!(invite.contains("m=audio ") && invite.contains("Content-Type: application/sdp"));
    }
    let parts = format!("--x y\nContent-Type: application/sdp\n\n{text}\n--x y--\n");
    is_taken(&body("multipart/mixed; boundary=\"x y\"", &parts), "");
}

/// Of the answer too.
#[test]
fn a_multipart_answer_is_heard() {
    let (mut world, log) = world_by_hand(3);
    let a = Hand::caller("parts");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let text = sdp("10.1.0.2", 5_000, 1, "0");
    let parts = format!(
        "--e\nContent-Type: application/isup\n\nx\n--e\nContent-Type: application/sdp\n\n{text}\n--e--\n"
    );
    let b = Hand::callee(&invite, "b");
    let end = body("multipart/mixed;boundary=e", &parts);
    by_hand::send(&mut world, B, &b.reply(&invite, "200 OK", "", &end));
    log.last(A, "SIP/2.0 200", "1 INVITE");
}

/// Lines that are of no use to us, and others' notation.
#[test]
fn other_streams_and_odd_lines_are_passed_over() {
    let head = "v=0\no=- 7 1 IN IP4 10.1.0.1\ns=-\nc=IN IP4 10.1.0.1\nt=0 0\n";
    let audio = "m=audio 4000 RTP/AVP 0\n";
    for text in [
        format!("{head}m=image 0 udptl t38\n{audio}"),
        format!("{head}m=application 0 UDP/BFCP *\n{audio}"),
        format!("{head}m=video 0 RTP/AVP 31\nc=IN IP4 nowhere.invalid\n{audio}"),
        format!("{}{audio}", head.replace("o=- 7 1", "o=a b 99999999999999999999 1")),
        format!("{}{audio}", head.replace("s=-", "s= ")),
        format!("{head}{audio}a=\na=unknown\na=x:\n"),
        format!("{head}{audio}a=rtpmap:120 NEW/8000\na=fmtp:121 what=ever\n"),
    ] {
        is_taken(&body("application/sdp", &text), "");
    }
}
