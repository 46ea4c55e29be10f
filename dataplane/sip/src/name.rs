//! Header names, normalised once at parse (THREATS.md: header-name confusion). Every spelling of a known
//! name, compact and long, in any case, becomes one [`Name`]; everything else is [`Name::Other`] and keeps its text.
//!
//! A name is looked up as three machine words, folded to lower case, in a hash table that the compiler builds.

macro_rules! names {
    ($($variant:ident $text:literal $(, $compact:literal)?;)*) => {
        /// A header field's name. Compact forms are the same name (RFC 3261 section 7.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs)]
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
    pub(crate) fn of_words(mut words: Words, len: usize) -> Self {
        if len == 0 || len > NAME_BYTES_MAX {
            return Self::Other;
        }
        for (at, word) in words.iter_mut().enumerate() {
            let used = len.saturating_sub(at * 8).min(8);
            let mask = if used == 8 { u64::MAX } else { (1 << (used * 8)) - 1 };
            *word = (*word | LOWER) & mask;
        }
        let mut slot = hash(words);
        loop {
            let entry = TABLE[slot];
            if entry == 0 {
                return Self::Other;
            }
            let (spelling, name) = FOLDED[usize::from(entry) - 1];
            if spelling == words {
                return name;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// May stand only once in a message (RFC 3261 section 20; two of them are a 400).
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
pub(crate) type Words = [u64; 3];

/// Sets the bit that tells lower from upper case. All known names are letters, digits and hyphens, and no other token
/// character folds to one of those, so this compares without case and without false matches.
const LOWER: u64 = 0x2020_2020_2020_2020;

const SLOTS: usize = 512;

const FOLDED: [(Words, Name); SPELLINGS.len()] = folded();

const TABLE: [u8; SLOTS] = table();

/// The words of a block.
#[inline]
pub(crate) const fn words(block: &[u8; NAME_BYTES_MAX]) -> Words {
    let mut words = [0; 3];
    let mut at = 0;
    while at < NAME_BYTES_MAX {
        words[at / 8] |= (block[at] as u64) << (at % 8 * 8);
        at += 1;
    }
    words
}

#[inline]
const fn hash(words: Words) -> usize {
    let mixed = words[0] ^ words[1].rotate_left(23) ^ words[2].rotate_left(41);
    #[expect(clippy::cast_possible_truncation, reason = "nine bits are left")]
    let slot = (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55) as usize;
    slot
}

const fn folded() -> [(Words, Name); SPELLINGS.len()] {
    let mut all = [([0; 3], Name::Other); SPELLINGS.len()];
    let mut i = 0;
    while i < SPELLINGS.len() {
        let text = SPELLINGS[i].0.as_bytes();
        let mut block = [0; NAME_BYTES_MAX];
        let mut at = 0;
        while at < text.len() {
            block[at] = text[at] | 0x20;
            at += 1;
        }
        all[i] = (words(&block), SPELLINGS[i].1);
        i += 1;
    }
    all
}

const fn table() -> [u8; SLOTS] {
    let mut table = [0u8; SLOTS];
    let mut i = 0;
    while i < SPELLINGS.len() {
        let mut slot = hash(FOLDED[i].0);
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "fewer than 255 spellings, asserted below"
        )]
        let entry = (i + 1) as u8;
        table[slot] = entry;
        i += 1;
    }
    table
}

const _: () = assert!(SPELLINGS.len() < 255);

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
