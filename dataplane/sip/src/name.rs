//! Header names, normalised once at parse (THREATS.md: header-name confusion). Every spelling of a
//! known name, compact and long, in any case, becomes one [`Name`]; everything else is
//! [`Name::Other`] and keeps its text.
//!
//! A name is looked up as three machine words, folded to lower case, in a hash table that the
//! compiler builds.

macro_rules! names {
    ($($variant:ident $text:literal $(, $compact:literal)?;)*) => {
        /// A header field's name. Compact forms are the same name (RFC 3261 section 7.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Name { Other, $($variant),* }

        /// Canonical text by number; the first is for `Other`.
        const TEXTS: &[&str] = &["", $($text),*];

        const SPELLINGS: &[(&str, Name)] = &[
            $(($text, Name::$variant), $(($compact, Name::$variant),)?)*
        ];
    };
}

names! {
    Accept "Accept";
    AcceptContact "Accept-Contact", "a";
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AlertInfo "Alert-Info";
    Allow "Allow";
    AllowEvents "Allow-Events", "u";
    AnswerMode "Answer-Mode";
    AuthenticationInfo "Authentication-Info";
    Authorization "Authorization";
    CallId "Call-ID", "i";
    CallInfo "Call-Info";
    Contact "Contact", "m";
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding", "e";
    ContentLanguage "Content-Language";
    ContentLength "Content-Length", "l";
    ContentType "Content-Type", "c";
    CSeq "CSeq";
    Date "Date";
    Diversion "Diversion";
    ErrorInfo "Error-Info";
    Event "Event", "o";
    Expires "Expires";
    FlowTimer "Flow-Timer";
    From "From", "f";
    HistoryInfo "History-Info";
    Identity "Identity", "y";
    InReplyTo "In-Reply-To";
    InfoPackage "Info-Package";
    Join "Join";
    MaxForwards "Max-Forwards";
    MimeVersion "MIME-Version";
    MinExpires "Min-Expires";
    MinSe "Min-SE";
    Organization "Organization";
    PAssertedIdentity "P-Asserted-Identity";
    PAssociatedUri "P-Associated-URI";
    PCalledPartyId "P-Called-Party-ID";
    PChargingVector "P-Charging-Vector";
    PEarlyMedia "P-Early-Media";
    PPreferredIdentity "P-Preferred-Identity";
    Path "Path";
    Priority "Priority";
    Privacy "Privacy";
    ProxyAuthenticate "Proxy-Authenticate";
    ProxyAuthorization "Proxy-Authorization";
    ProxyRequire "Proxy-Require";
    RAck "RAck";
    Reason "Reason";
    RecordRoute "Record-Route";
    RecvInfo "Recv-Info";
    ReferSub "Refer-Sub";
    ReferTo "Refer-To", "r";
    ReferredBy "Referred-By", "b";
    RejectContact "Reject-Contact", "j";
    RemotePartyId "Remote-Party-ID";
    Replaces "Replaces";
    ReplyTo "Reply-To";
    RequestDisposition "Request-Disposition", "d";
    Require "Require";
    RetryAfter "Retry-After";
    Route "Route";
    RSeq "RSeq";
    Server "Server";
    ServiceRoute "Service-Route";
    SessionExpires "Session-Expires", "x";
    SessionId "Session-ID";
    SipEtag "SIP-ETag";
    SipIfMatch "SIP-If-Match";
    Subject "Subject", "s";
    SubscriptionState "Subscription-State";
    Supported "Supported", "k";
    TargetDialog "Target-Dialog";
    Timestamp "Timestamp";
    To "To", "t";
    Unsupported "Unsupported";
    UserAgent "User-Agent";
    UserToUser "User-to-User";
    Via "Via", "v";
    Warning "Warning";
    WwwAuthenticate "WWW-Authenticate";
}

impl Name {
    /// How many names there are, `Other` included.
    pub const COUNT: usize = TEXTS.len();

    /// The name's canonical long form; empty for [`Name::Other`], whose text is in the message.
    #[must_use]
    pub const fn text(self) -> &'static str {
        TEXTS[self as usize]
    }

    /// Which name this spelling is.
    #[must_use]
    #[inline]
    pub fn of(text: &[u8]) -> Self {
        let mut block = [0u8; NAME_BYTES_MAX];
        match block.get_mut(..text.len()) {
            Some(room) => room.copy_from_slice(text),
            None => return Self::Other,
        }
        Self::of_words(words(&block), text.len())
    }

    /// Which name the first `len` bytes of these words spell; what stands behind them is ignored.
    #[inline]
    pub(crate) fn of_words(words: Words, len: usize) -> Self {
        let Some(mask) = MASKS.get(len) else { return Self::Other };
        let words = Words(
            (words.0 | LOWER) & mask.0,
            (words.1 | LOWER) & mask.1,
            (words.2 | LOWER) & mask.2,
        );
        let mut slot = hash(words);
        loop {
            let (spelling, name) = &TABLE[slot];
            // Three scalars, on purpose: as an array they would go through memory.
            let differing =
                (spelling.0 ^ words.0) | (spelling.1 ^ words.1) | (spelling.2 ^ words.2);
            if differing == 0 || spelling.0 == 0 {
                return *name;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// A request that holds two of them names two transactions, two routes of hops or two bodies:
    /// whoever stands behind us could read the other one, so it is a 400 (THREATS.md).
    #[must_use]
    pub const fn is_vital(self) -> bool {
        matches!(
            self,
            Self::CallId
                | Self::ContentLength
                | Self::CSeq
                | Self::From
                | Self::MaxForwards
                | Self::To
        )
    }

    /// May stand only once in a message (RFC 3261 section 20). Of two, the first counts; see
    /// [`Name::is_vital`] for those of which two are refused.
    #[must_use]
    pub const fn is_single(self) -> bool {
        matches!(
            self,
            Self::CallId
                | Self::ContentLength
                | Self::ContentType
                | Self::CSeq
                | Self::Date
                | Self::Event
                | Self::Expires
                | Self::From
                | Self::MaxForwards
                | Self::MinExpires
                | Self::MinSe
                | Self::RAck
                | Self::ReferTo
                | Self::ReferredBy
                | Self::Replaces
                | Self::RSeq
                | Self::SessionExpires
                | Self::To
        )
    }

    /// Its value is a comma-separated list, or one header per value: both mean the same.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::Allow
                | Self::AllowEvents
                | Self::Contact
                | Self::Diversion
                | Self::HistoryInfo
                | Self::PAssertedIdentity
                | Self::Path
                | Self::ProxyRequire
                | Self::RecordRoute
                | Self::Require
                | Self::Route
                | Self::ServiceRoute
                | Self::Supported
                | Self::Unsupported
                | Self::Via
        )
    }
}

/// Longest known name in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 24;

/// A name as three little-endian words.
#[derive(Clone, Copy)]
pub(crate) struct Words(pub(crate) u64, pub(crate) u64, pub(crate) u64);

/// Sets the bit that tells lower from upper case. All known names are letters, digits and hyphens,
/// and no other token character folds to one of those, so this compares without case and without
/// false matches.
const LOWER: u64 = 0x2020_2020_2020_2020;

const SLOTS: usize = 512;

/// Folded spelling and name; an empty slot is the empty spelling of `Other`.
static TABLE: [(Words, Name); SLOTS] = table();

/// Which bits of the words belong to a name of so many bytes.
static MASKS: [Words; NAME_BYTES_MAX + 1] = masks();

/// The words of a block.
#[inline]
pub(crate) const fn words(block: &[u8; NAME_BYTES_MAX]) -> Words {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x] = *block;
    Words(
        u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        u64::from_le_bytes([q, r, s, t, u, v, w, x]),
    )
}

#[inline]
const fn hash(words: Words) -> usize {
    let mixed = words.0 ^ words.1.rotate_left(23) ^ words.2.rotate_left(41);
    // A multiplier found by search: all names but one are in their own slot.
    (mixed.wrapping_mul(0x7DDE_AA3C_3E13_8AF7) >> 55) as usize
}

const fn masks() -> [Words; NAME_BYTES_MAX + 1] {
    let mut masks = [Words(0, 0, 0); NAME_BYTES_MAX + 1];
    let mut len = 0;
    while len <= NAME_BYTES_MAX {
        let mut block = [0; NAME_BYTES_MAX];
        let mut at = 0;
        while at < len {
            block[at] = 0xff;
            at += 1;
        }
        masks[len] = words(&block);
        len += 1;
    }
    masks
}

const fn table() -> [(Words, Name); SLOTS] {
    let mut table = [(Words(0, 0, 0), Name::Other); SLOTS];
    let mut i = 0;
    while i < SPELLINGS.len() {
        let text = SPELLINGS[i].0.as_bytes();
        let mut block = [0; NAME_BYTES_MAX];
        let mut at = 0;
        while at < text.len() {
            block[at] = text[at] | 0x20;
            at += 1;
        }
        let words = words(&block);
        let mut slot = hash(words);
        while table[slot].0.0 != 0 {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = (words, SPELLINGS[i].1);
        i += 1;
    }
    table
}

const _: () = assert!(SPELLINGS.len() < SLOTS / 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_in_every_case_is_its_name() {
        for (text, name) in SPELLINGS {
            assert_eq!(Name::of(text.as_bytes()), *name, "{text}");
            let (mut upper, mut lower) = ([0u8; 32], [0u8; 32]);
            let (upper, lower) = (&mut upper[..text.len()], &mut lower[..text.len()]);
            upper.copy_from_slice(text.as_bytes());
            lower.copy_from_slice(text.as_bytes());
            upper.make_ascii_uppercase();
            lower.make_ascii_lowercase();
            assert_eq!(Name::of(upper), *name);
            assert_eq!(Name::of(lower), *name);
        }
        assert_eq!(Name::of(b"X-Custom"), Name::Other);
        assert_eq!(Name::of(b"C%6Fntact"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
        assert_eq!(Name::of(b"z"), Name::Other);
    }
}
