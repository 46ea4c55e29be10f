//! Mutation: a few changes to an input of the corpus, small ones more often than large.

use base::Prng;

use super::INPUT_BYTES_MAX;

/// Words that parsers of ours know; numbers at their limits.
const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    ": ",
    ";",
    ",",
    "<",
    ">",
    "\"",
    "\\",
    "@",
    "=",
    "%00",
    "%",
    "\0",
    "sip:",
    "sips:",
    "tel:",
    "SIP/2.0",
    "INVITE ",
    "ACK ",
    "BYE ",
    "CANCEL ",
    "OPTIONS ",
    "SIP/2.0 200 OK\r\n",
    "SIP/2.0 180 Ringing\r\n",
    "Via: SIP/2.0/UDP ",
    "v: ",
    "From: ",
    "f: ",
    "To: ",
    "t: ",
    "Call-ID: ",
    "i: ",
    "CSeq: ",
    "Contact: ",
    "m: ",
    "Content-Length: ",
    "l: ",
    "Content-Type: application/sdp\r\n",
    "Route: ",
    "Record-Route: ",
    "Max-Forwards: ",
    "Replaces: ",
    "Authorization: Digest ",
    "Require: ",
    "Session-Expires: ",
    "branch=z9hG4bK",
    ";tag=",
    ";rport",
    ";received=",
    ";lr",
    ";maddr=",
    ";ttl=",
    ";transport=",
    "v=0\r\n",
    "o=- 1 1 IN IP4 ",
    "c=IN IP4 ",
    "c=IN IP6 ",
    "m=audio ",
    "m=video 0 ",
    "RTP/AVP ",
    "RTP/SAVP ",
    "a=rtpmap:",
    "a=fmtp:",
    "a=sendrecv\r\n",
    "a=inactive\r\n",
    "a=rtcp:",
    "a=rtcp-mux\r\n",
    "a=candidate:",
    "a=crypto:",
    "telephone-event/8000",
    "127.0.0.1",
    "[::1]",
    "0.0.0.0",
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999999999",
    "<Response>",
    "</Response>",
    "<Dial>",
    "</Dial>",
    "<Sip>",
    "<Number>",
    "<Pause length=\"",
    "<Redirect>",
    "<Reject/>",
    "<Hangup/>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE x [<!ENTITY a \"b\">]>",
    "&a;",
    "&#0;",
    "&#x10ffff;",
    "timeout=\"",
    "action=\"http://",
    "[[trunk]]\n",
    "[dataplane]\n",
    "\u{fffd}",
    "\u{202e}",
];

/// The next input.
pub(super) fn next(random: &mut Prng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pick(random, corpus).to_vec();
    let changes = 1 << random.below(5);
    for _ in 0..changes {
        change(random, &mut input, corpus);
        if random.chance(1, 4) {
            break;
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn pick<'a>(random: &mut Prng, corpus: &'a [Vec<u8>]) -> &'a [u8] {
    &corpus[index(random, corpus.len())]
}

fn index(random: &mut Prng, len: usize) -> usize {
    usize::try_from(random.below(len as u64)).unwrap_or(0)
}

fn byte(random: &mut Prng) -> u8 {
    random.u64().to_be_bytes()[0]
}

/// A stretch of `input`: short ones more often.
fn stretch(random: &mut Prng, input: &[u8]) -> core::ops::Range<usize> {
    let from = index(random, input.len() + 1);
    let most = (input.len() - from).min(1 << random.below(9));
    from..from + index(random, most + 1)
}

fn change(random: &mut Prng, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = index(random, input.len() + 1);
    match random.below(11) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = byte(random),
        2 if at < input.len() => {
            let step = u8::try_from(random.below(16)).unwrap_or(0);
            input[at] = input[at].wrapping_add(step).wrapping_sub(8);
        }
        3 => {
            let count = 1 + index(random, 8);
            let fresh: Vec<u8> = (0..count).map(|_| byte(random)).collect();
            input.splice(at..at, fresh);
        }
        4 => drop(input.drain(stretch(random, input))),
        5 => {
            let again = input[stretch(random, input)].to_vec();
            let times = 1 + index(random, 4);
            input.splice(at..at, again.repeat(times));
        }
        6 => {
            let word = WORDS[index(random, WORDS.len())];
            let end = if random.chance(1, 2) { at } else { (at + word.len()).min(input.len()) };
            input.splice(at..end, word.bytes());
        }
        7 => {
            let other = pick(random, corpus);
            let part = other[stretch(random, other)].to_vec();
            let end = if random.chance(1, 2) { at } else { (at + part.len()).min(input.len()) };
            input.splice(at..end, part);
        }
        8 => {
            let edges: [u64; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, u64::MAX];
            let edge = edges[index(random, edges.len())];
            let width = 1 << random.below(4);
            let bytes = if random.chance(1, 2) { edge.to_be_bytes() } else { edge.to_le_bytes() };
            let from = at.min(input.len().saturating_sub(width));
            let end = (from + width).min(input.len());
            input.splice(from..end, bytes[..width].to_vec());
        }
        9 => {
            let part = stretch(random, input);
            let fill = byte(random);
            input[part].fill(fill);
        }
        _ => input.truncate(at),
    }
}
