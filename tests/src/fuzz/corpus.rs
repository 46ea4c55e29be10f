//! Where inputs begin: the torture messages of RFC 4475 where they are at hand, and messages as
//! this switch and its peers write them.

use std::path::PathBuf;

const INVITE: &str = "INVITE sip:+15550100@10.0.0.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK1;rport\r\n\
    From: \"A\" <sip:a@10.0.0.9>;tag=1\r\nTo: <sip:+15550100@10.0.0.1>\r\nCall-ID: c1@10.0.0.9\r\n\
    CSeq: 1 INVITE\r\nContact: <sip:a@10.0.0.9:5060>\r\nMax-Forwards: 70\r\n\
    Session-Expires: 1800;refresher=uac\r\nSupported: timer, replaces\r\nX-Customer: 4711\r\n\
    Content-Type: application/sdp\r\nContent-Length: 178\r\n\r\n";

const OFFER: &str = "v=0\r\no=a 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
    m=audio 30000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

const RICH_OFFER: &str = "v=0\r\no=- 7 8 IN IP6 2001:db8::9\r\ns=call\r\nb=AS:80\r\n\
    c=IN IP6 2001:db8::9\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-lite\r\n\
    m=audio 30000 UDP/TLS/RTP/SAVPF 111 9 0 126\r\na=mid:0\r\na=rtcp:30001 IN IP6 2001:db8::9\r\n\
    a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
    a=rtpmap:9 G722/8000\r\na=rtpmap:126 telephone-event/8000\r\na=maxptime:60\r\n\
    a=fingerprint:sha-256 00:11:22\r\na=setup:actpass\r\na=ice-ufrag:x\r\na=ice-pwd:yyyyyyyyyyyyyyyyyyyyyy\r\n\
    a=candidate:1 1 UDP 2130706431 2001:db8::9 30000 typ host\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\
    m=video 0 RTP/AVP 96\r\na=inactive\r\n";

fn vectors(folder: &str) -> Vec<Vec<u8>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");
    let root = std::env::var_os("TANDEM_VECTORS").map_or_else(|| PathBuf::from(beside), Into::into);
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

pub(super) fn sip() -> Vec<Vec<u8>> {
    let dialog = |first: &str, cseq: &str| {
        format!(
            "{first}\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK2;rport=5060;received=10.0.0.9\r\n\
             v: SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK3\r\nf: <sip:a@10.0.0.9>;tag=1\r\n\
             t: <sip:b@10.0.0.1>;tag=2\r\ni: c1@10.0.0.9\r\nCSeq: {cseq}\r\n\
             Record-Route: <sip:10.0.0.3;lr>, <sip:10.0.0.4;lr>\r\nRoute: <sip:10.0.0.5;lr>\r\n\
             m: \"B\" <sip:b@10.0.0.8:5070;transport=udp>;q=0.5;expires=60, *\r\n\
             WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", algorithm=SHA-256\r\n\
             Replaces: x@y;to-tag=1;from-tag=2;early-only\r\nl: 0\r\n\r\n"
        )
    };
    let mut seeds = vectors("rfc4475");
    seeds.extend(vectors("rfc5118"));
    seeds.push(format!("{INVITE}{OFFER}").into_bytes());
    for (first, cseq) in [
        ("SIP/2.0 100 Trying", "1 INVITE"),
        ("SIP/2.0 200 OK", "1 INVITE"),
        ("SIP/2.0 401 Unauthorized", "1 REGISTER"),
        ("SIP/2.0 487 Request Terminated", "1 INVITE"),
        ("ACK sip:b@10.0.0.1 SIP/2.0", "1 ACK"),
        ("BYE sip:b@10.0.0.1 SIP/2.0", "2 BYE"),
        ("CANCEL sip:b@10.0.0.1 SIP/2.0", "1 CANCEL"),
        ("OPTIONS sip:10.0.0.1 SIP/2.0", "3 OPTIONS"),
        ("PRACK sip:b@10.0.0.1 SIP/2.0", "4 PRACK"),
    ] {
        seeds.push(dialog(first, cseq).into_bytes());
    }
    seeds
}

pub(super) fn values() -> Vec<Vec<u8>> {
    let texts = [
        "sip:alice:secret@example.com:5060;transport=tcp;lr?subject=x&priority=urgent",
        "sips:+1-212-555-0100;phone-context=example.com@[2001:db8::1]:5061;user=phone",
        "tel:+15550100;ext=1;isub=2",
        "Digest username=\"bob\", realm=\"r\", nonce=\"abc\", uri=\"sip:x\", response=\"00112233445566778899aabbccddeeff\", \
         qop=auth, nc=00000001, cnonce=\"0a4f113b\", algorithm=MD5, opaque=\"\"",
        "Digest realm=\"a\\\"b\", nonce=\"n\", stale=true, domain=\"sip:x sip:y\"",
        "98asjd8@10.0.0.1;to-tag=12345;from-tag=5FFE-3994;early-only",
        "aaj6linaaaaaabrry2e2",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.extend(sip());
    seeds
}

pub(super) fn sdp() -> Vec<Vec<u8>> {
    vec![OFFER.as_bytes().to_vec(), RICH_OFFER.as_bytes().to_vec()]
}

pub(super) fn rtp() -> Vec<Vec<u8>> {
    let mut media = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7];
    media.extend([0xff; 160]);
    let extended = [
        0xb1, 0x80, 0, 2, 0, 0, 1, 64, 0, 0, 0, 7, 0, 0, 0, 9, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0,
        1, 2, 3, 4, 0, 0, 0, 4,
    ];
    let digit = [0x80, 0xe5, 0, 3, 0, 0, 1, 224, 0, 0, 0, 7, 5, 0x8a, 3, 0x20];
    let mut report = vec![0x81, 200, 0, 12, 0, 0, 0, 7];
    report.extend([1; 20]);
    report.extend([0, 0, 0, 1, 5, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    report.extend([0x81, 202, 0, 3, 0, 0, 0, 7, 1, 3, b'a', b'@', b'b', 0, 0, 0]);
    report.extend([0x81, 203, 0, 1, 0, 0, 0, 7]);
    let receiver = [0x80, 201, 0, 1, 0, 0, 0, 7, 0x80, 207, 0, 1, 0, 0, 0, 7];
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    vec![media, extended.to_vec(), digit.to_vec(), report, receiver.to_vec(), stun.to_vec()]
}

pub(super) fn streams() -> Vec<Vec<u8>> {
    let steady: Vec<u8> = [3, 160, 20, 0, 160].repeat(50);
    let mixed: Vec<u8> =
        (0..250_u8).flat_map(|at| [at % 7, at, 20, at % 3, at.wrapping_mul(31)]).collect();
    [8_000_u32, 48_000, 1, u32::MAX]
        .iter()
        .flat_map(|clock| [&steady, &mixed].map(|body| [&clock.to_be_bytes()[..], body].concat()))
        .collect()
}

pub(super) fn twiml() -> Vec<Vec<u8>> {
    let texts = [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Dial timeout=\"30\" timeLimit=\"60\" \
         callerId=\"+15550100\" action=\"/after?a=1&amp;b=2\" method=\"GET\" answerOnBridge=\"true\" \
         hangupOnStar=\"true\"><Number statusCallback=\"/s\" statusCallbackEvent=\"initiated ringing \
         answered completed\" url=\"/w\">+15550101</Number><Sip>sip:b@10.0.0.2?X-A=b</Sip></Dial></Response>",
        "<Response><Pause length=\"3\"/><Redirect method=\"POST\">https://app.example.com/next</Redirect></Response>",
        "<Response><Reject reason=\"busy\"/></Response>",
        "<Response><!-- c --><Hangup/><Say>x</Say><Unknown a='b'><![CDATA[c]]></Unknown></Response>",
        "<Response><Dial>+1 (555) 010-0101</Dial></Response>",
        "<Response/>",
        "",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(super) fn config() -> Vec<Vec<u8>> {
    let text = "[node]\nid = 1\ndata_dir = \"data\"\n\n[dataplane]\nshards = 3\npin = true\n\n\
        [[dataplane.listener]]\nname = \"udp\"\nbind = \"127.0.0.1:5060\"\nadvertised = \"192.0.2.1:5060\"\n\n\
        [[dataplane.media]]\nname = \"media\"\nbind = \"127.0.0.1\"\nports = [20000, 29999]\n\n\
        [dataplane.limits]\nlegs = 1024\n\n[dataplane.timers]\nt1_ms = 500\n\n[controlplane]\n\
        http = \"127.0.0.1:8080\"\nwebhook_allow = [\"10.0.0.0/8\"]\n\n[[trunk]]\nname = \"carrier\"\n\
        prefix = \"9\"\nsources = [\"192.0.2.0/24\"]\ntargets = [\"192.0.2.9:5060\"]\nring_s = 30\n\n\
        [log]\nlevel = \"info\"\nformat = \"json\"\n";
    vec![text.as_bytes().to_vec(), b"[dataplane]\nshard = 1\n".to_vec()]
}
