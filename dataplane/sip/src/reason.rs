//! Reason (RFC 3326), Privacy (RFC 3323, RFC 3325) and what Allow says of a method.

use crate::addr::unquoted;
use crate::lex::{Cursor, number, trim};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::params::next_param;

/// One Reason value: why a request or response was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850`, `Preemption`, `STIR`, ... as written.
    pub protocol: &'a [u8],
    /// `cause`: a status code, a Q.850 cause.
    pub cause: Option<u16>,
    /// `text` without its quotes, escapes kept ([`Reason::text_value`] undoes them).
    pub text: Option<&'a [u8]>,
}

impl<'a> Reason<'a> {
    /// Reads one Reason value. `None` without a protocol; what follows a parameter that cannot be
    /// read (a text with blanks and no quotes) is passed over.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        cursor.skip_lws();
        let mut reason = Self { protocol: cursor.token()?, cause: None, text: None };
        while let Some(Some(param)) = next_param(&mut cursor) {
            let value = param.value.unwrap_or_default();
            if param.name.eq_ignore_ascii_case(b"cause") {
                let cause = number(trim(value), u64::from(u16::MAX));
                reason.cause = reason.cause.or_else(|| u16::try_from(cause?).ok());
            } else if param.name.eq_ignore_ascii_case(b"text") {
                reason.text.get_or_insert(value);
            }
        }
        Some(reason)
    }

    /// It is of this protocol, any case.
    #[must_use]
    pub fn is(&self, protocol: &[u8]) -> bool {
        self.protocol.eq_ignore_ascii_case(protocol)
    }

    /// The text as it is meant, in `out`; `None` when there is none or it does not fit.
    #[must_use]
    pub fn text_value<'o>(&self, out: &'o mut [u8]) -> Option<&'o [u8]> {
        unquoted(self.text?, out)
    }
}

/// What the caller wants hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Privacy {
    /// `id`: the asserted identity stays within the trust domain (RFC 3325 section 9.3).
    pub id: bool,
    /// `header`: headers that name the caller are obscured.
    pub header: bool,
    /// `session`: the media addresses are obscured.
    pub session: bool,
    /// `user`: what the caller's phone wrote is made anonymous.
    pub user: bool,
    /// `history`: History-Info is hidden (RFC 7044).
    pub history: bool,
    /// `none`: nothing is to be hidden, whatever is the default.
    pub none: bool,
    /// `critical`: refuse the request rather than fail to hide.
    pub critical: bool,
}

impl Privacy {
    /// Reads one Privacy value: tokens between semicolons (some write commas). Unknown tokens are
    /// passed over.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut privacy = Self::default();
        for token in value.split(|&c| c == b';' || c == b',') {
            let token = trim(token);
            let is = |name: &[u8]| token.eq_ignore_ascii_case(name);
            privacy.id |= is(b"id");
            privacy.header |= is(b"header");
            privacy.session |= is(b"session");
            privacy.user |= is(b"user");
            privacy.history |= is(b"history");
            privacy.none |= is(b"none");
            privacy.critical |= is(b"critical");
        }
        privacy
    }

    /// The callee must not learn who calls: `id`, `user` or `header`, unless `none` stands there.
    #[must_use]
    pub const fn hides_caller(self) -> bool {
        !self.none && (self.id || self.user || self.header)
    }
}

impl<'a> Message<'a> {
    /// Values of Reason in order; the phrase of a response is [`Message::reason`].
    pub fn reasons(&self) -> impl Iterator<Item = Reason<'a>> + '_ {
        self.values(Name::Reason).filter_map(Reason::parse)
    }

    /// Privacy, several headers taken together; nothing hidden when there is none.
    #[must_use]
    pub fn privacy(&self) -> Privacy {
        let all = self.headers_named(Name::Privacy).map(Privacy::parse);
        all.fold(Privacy::default(), |a, b| Privacy {
            id: a.id || b.id,
            header: a.header || b.header,
            session: a.session || b.session,
            user: a.user || b.user,
            history: a.history || b.history,
            none: a.none || b.none,
            critical: a.critical || b.critical,
        })
    }

    /// Whether Allow lists this method (section 20.5); `None` without an Allow, which says nothing.
    #[must_use]
    pub fn allows(&self, method: Method<'_>) -> Option<bool> {
        self.has(Name::Allow).then(|| self.values(Name::Allow).any(|m| m == method.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(lines: &str) -> std::string::String {
        std::format!("BYE sip:a@h SIP/2.0\r\n{lines}\r\n")
    }

    #[test]
    fn reasons_are_read_in_any_legal_quoting() {
        let text = message(
            "Reason: SIP ;cause=200 ;text=\"Call; completed, \\\"elsewhere\\\"\"\r\n\
             Reason: Q.850;cause=\"16\";text=Terminated, preemption;cause=1,\r\n\
             Reason: X;text=two words;cause=5\r\n",
        );
        let message = Message::parse(text.as_bytes()).unwrap();
        let mut reasons = message.reasons();
        let mut out = [0; 64];
        let first = reasons.next().unwrap();
        assert_eq!((first.protocol, first.cause), (&b"SIP"[..], Some(200)));
        assert_eq!(first.text_value(&mut out), Some(&br#"Call; completed, "elsewhere""#[..]));
        assert_eq!(first.text_value(&mut out[..4]), None);
        let second = reasons.next().unwrap();
        assert!(second.is(b"q.850"));
        assert_eq!((second.cause, second.text), (Some(16), Some(&b"Terminated"[..])));
        let third = reasons.next().unwrap();
        assert_eq!((third.protocol, third.cause), (&b"preemption"[..], Some(1)));
        let fourth = reasons.next().unwrap();
        assert_eq!((fourth.text, fourth.cause), (Some(&b"two"[..]), None));
        assert_eq!(reasons.next(), None);
        assert_eq!(fourth.cause, None);
    }

    #[test]
    fn privacy_is_a_set_of_tokens() {
        let text = message("Privacy: ID;critical\r\nPrivacy: header , x\r\n");
        let privacy = Message::parse(text.as_bytes()).unwrap().privacy();
        let expected = Privacy { id: true, critical: true, header: true, ..Privacy::default() };
        assert_eq!(privacy, expected);
        assert!(privacy.hides_caller());
        assert!(!Privacy::parse(b"none;id").hides_caller());
        assert!(!Privacy::parse(b"session").hides_caller());
        assert_eq!(Message::parse(message("").as_bytes()).unwrap().privacy(), Privacy::default());
    }

    #[test]
    fn an_absent_allow_says_nothing() {
        let allows = |lines: &str, method| {
            let text = message(lines);
            Message::parse(text.as_bytes()).unwrap().allows(method)
        };
        assert_eq!(allows("", Method::Update), None);
        assert_eq!(allows("Allow: INVITE,ACK\r\nAllow: UPDATE\r\n", Method::Update), Some(true));
        assert_eq!(allows("Allow: INVITE, update\r\n", Method::Update), Some(false));
        assert_eq!(allows("Allow:\r\n", Method::Info), Some(false));
    }
}
