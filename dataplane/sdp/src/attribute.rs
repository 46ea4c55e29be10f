//! Which attributes describe a hop and end here, and which describe the conversation and pass.

/// Attributes that this crate writes itself, from what it has understood.
const OWN: [&[u8]; 8] =
    [b"rtpmap", b"fmtp", b"sendrecv", b"sendonly", b"recvonly", b"inactive", b"ptime", b"maxptime"];

/// Attributes of the hop by name. Addresses, keys, RTCP arrangements, bundling, source identities
/// and alternatives to what the m= line says: on the other leg they would be lies.
const HOP: [&[u8]; 47] = [
    // ICE (RFC 8839) and its relatives
    b"candidate",
    b"remote-candidates",
    b"end-of-candidates",
    b"x-candidate",
    b"x-candidate-info",
    b"alt",
    b"altc",
    // keys: SDES, DTLS, ZRTP, MIKEY, identity
    b"crypto",
    b"fingerprint",
    b"setup",
    b"connection",
    b"dtls-id",
    b"tls-id",
    b"zrtp-hash",
    b"key-mgmt",
    b"identity",
    b"encryption",
    b"3ge2ae",
    // RTCP is terminated by the switch
    b"rtcp",
    b"rtcp-mux",
    b"rtcp-mux-only",
    b"rtcp-rsize",
    b"rtcp-fb",
    b"rtcp-xr",
    b"rtcp-unicast",
    // sources, bundling, header extensions
    b"ssrc",
    b"ssrc-group",
    b"msid",
    b"msid-semantic",
    b"mid",
    b"group",
    b"bundle-only",
    b"extmap",
    b"extmap-allow-mixed",
    b"rid",
    b"simulcast",
    b"source-filter",
    b"ts-refclk",
    b"mediaclk",
    // capability negotiation (RFC 3407, RFC 5939)
    b"sqn",
    b"cdsc",
    b"cpar",
    b"csup",
    b"creq",
    // hints for the proxies of the other hop
    b"nortpproxy",
    b"oldmediaip",
    b"oldmediaport",
];

/// Families of hop attributes by prefix.
const HOP_PREFIX: [&[u8]; 6] = [b"ice-", b"acap", b"tcap", b"pcfg", b"acfg", b"sctp"];

/// Whether an attribute is copied to the other leg as it is.
pub(crate) fn passes(name: &[u8]) -> bool {
    let listed = |list: &[&[u8]]| list.iter().any(|entry| name.eq_ignore_ascii_case(entry));
    let lower_starts = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    !name.is_empty()
        && name.iter().all(u8::is_ascii_graphic)
        && !listed(&OWN)
        && !listed(&HOP)
        && !HOP_PREFIX.iter().any(|prefix| lower_starts(prefix))
}
