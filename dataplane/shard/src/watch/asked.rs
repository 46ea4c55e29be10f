//! What is asked for, as a shard looks at it: which accounts ask at all, which kinds of messages
//! anybody of an account asks for, then each subscription.

use arrayvec::ArrayVec;
use base::{CallId, HashKey};
use sip::{Message, Method, Name};
use wire::event::WANTED_MAX;
use wire::table::{
    HeaderFilter, MessageFilter, WATCHED_METHODS, WATCHED_TEXT_MAX, Watch as Published,
};

/// Made of a published table, away from the shard's thread.
#[derive(Debug)]
pub(crate) struct Asked {
    key: HashKey,
    /// Sorted by number.
    accounts: Vec<Account>,
    filters: Vec<Filter>,
    /// A bit for each account that asks, by its number's last bits.
    maybe: [u64; MAYBE_BITS / 64],
}

const MAYBE_BITS: usize = 4_096;

#[derive(Debug)]
struct Account {
    number: u64,
    /// Its filters: those for all its calls up to `wide`, those for one call up to `end`.
    begin: usize,
    wide: usize,
    end: usize,
    /// What any of them asks for.
    kinds: Kinds,
    /// When its share of what is told is whole again.
    whole_at: u64,
}

#[derive(Debug)]
struct Filter {
    it: MessageFilter,
    kinds: Kinds,
}

/// Requests by method, responses by code.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    methods: u16,
    codes: [u64; CODES.div_ceil(64)],
}

const CODES: usize = 700;
/// The bit of methods that have none of their own.
const OTHER: u8 = 15;
const _: () = assert!(WATCHED_METHODS.len() <= OTHER as usize);

/// A request by its method's bit, or a response by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request(u8),
    Response(u16),
}

/// A message that goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    /// Index of the account.
    pub(super) account: usize,
    pub(super) call: CallId,
    pub(super) parent: CallId,
    pub(super) is_outbound: bool,
    pub(super) trunk: bool,
    pub(super) sent: bool,
    pub(super) kind: Kind,
}

impl Default for Asked {
    fn default() -> Self {
        let (accounts, filters) = (Vec::new(), Vec::new());
        Self { key: HashKey([0; 2]), accounts, filters, maybe: [0; MAYBE_BITS / 64] }
    }
}

impl Asked {
    pub(crate) fn new(published: Published) -> Self {
        let mut asked = Self { key: HashKey(published.key), ..Self::default() };
        let filters = published.filters.into_iter();
        asked.filters = filters.map(|it| Filter { kinds: Kinds::of(&it), it }).collect();
        let mut begin = 0;
        for of_account in asked.filters.chunk_by(|one, other| one.it.account == other.it.account) {
            let number = of_account[0].it.account;
            let wide = of_account.iter().take_while(|one| one.it.call == CallId::NONE).count();
            let kinds = of_account.iter().fold(Kinds::default(), |all, it| all.with(&it.kinds));
            let (wide, end) = (begin + wide, begin + of_account.len());
            asked.accounts.push(Account { number, begin, wide, end, kinds, whole_at: 0 });
            let (word, bit) = maybe_of(number);
            asked.maybe[word] |= bit;
            begin = end;
        }
        asked
    }

    /// Takes over what accounts have had of their shares.
    pub(super) fn keep_shares(&mut self, old: &Self) {
        for account in &mut self.accounts {
            if let Some(known) = old.account(account.number) {
                account.whole_at = old.accounts[known].whole_at;
            }
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// False: this account asks for nothing.
    #[inline]
    pub(super) fn may_ask(&self, account: u64) -> bool {
        let (word, bit) = maybe_of(account);
        self.maybe[word] & bit != 0
    }

    pub(super) fn account(&self, number: u64) -> Option<usize> {
        self.accounts.binary_search_by_key(&number, |account| account.number).ok()
    }

    pub(super) fn number(&self, account: usize) -> u64 {
        self.accounts.get(account).map_or(0, |account| account.number)
    }

    pub(super) fn share_mut(&mut self, account: usize) -> Option<&mut u64> {
        self.accounts.get_mut(account).map(|account| &mut account.whole_at)
    }

    /// False: nobody of the account asks for this kind of messages.
    #[inline]
    pub(super) fn may_want(&self, account: usize, kind: Kind) -> bool {
        self.accounts.get(account).is_some_and(|account| account.kinds.has(kind))
    }

    /// Who wants this message: names, and the bits of those that want it once. `once`: the bits of
    /// those that have had theirs.
    pub(super) fn wanted(
        &self,
        passing: &Passing,
        message: &Message<'_>,
        once: u64,
        wanted: &mut ArrayVec<(u128, u64), WANTED_MAX>,
    ) {
        let Some(account) = self.accounts.get(passing.account) else { return };
        if !account.kinds.has(passing.kind) {
            return;
        }
        let of_calls = &self.filters[account.wide..account.end];
        let of_call = |call: CallId| {
            let begin = of_calls.partition_point(|filter| filter.it.call < call);
            of_calls[begin..].iter().take_while(move |filter| filter.it.call == call)
        };
        let is_own = passing.parent != CallId::NONE && passing.parent != passing.call;
        let parent = is_own.then(|| of_call(passing.parent)).into_iter().flatten();
        let wide = &self.filters[account.begin..account.wide];
        for filter in wide.iter().chain(of_call(passing.call)).chain(parent) {
            let bit = if filter.it.once { 1 << filter.it.slot } else { 0 };
            if once & bit == 0 && filter.wants(passing, message, self.key) {
                // Whoever comes behind the last place has to wait for the next message.
                let _ = wanted.try_push((filter.it.id, bit));
            }
        }
    }
}

fn maybe_of(account: u64) -> (usize, u64) {
    let at = usize::try_from(account % MAYBE_BITS as u64).unwrap_or(0);
    (at / 64, 1 << (at % 64))
}

impl Filter {
    fn wants(&self, passing: &Passing, message: &Message<'_>, key: HashKey) -> bool {
        let it = &self.it;
        let way = 1 << u8::from(passing.sent);
        let leg = 1 << u8::from(passing.is_outbound);
        self.kinds.has(passing.kind)
            && it.ways & way != 0
            && it.legs & leg != 0
            && (passing.trunk || !it.trunk_only)
            && self.is_of_method(passing.kind, message)
            && it.header.as_ref().is_none_or(|header| fits(header, message, key))
    }

    /// A response is one to a request of the methods named.
    fn is_of_method(&self, kind: Kind, message: &Message<'_>) -> bool {
        match kind {
            Kind::Response(_) if self.it.methods != 0 => {
                let method = message.cseq().map(|cseq| bit_of(cseq.method.bytes()));
                method.is_ok_and(|bit| self.it.methods >> bit & 1 == 1)
            }
            _ => true,
        }
    }
}

/// Whether some header of that name says so.
fn fits(test: &HeaderFilter, message: &Message<'_>, key: HashKey) -> bool {
    message.headers().any(|header| {
        let name = match header.name {
            Name::Other => header.text,
            known => known.text().as_bytes(),
        };
        let is_it = name.len() <= WATCHED_TEXT_MAX && Published::name_hash(key, name) == test.name;
        is_it
            && test.value.is_none_or(|value| {
                let len = usize::from(value.len);
                let begins = header.value.get(..len);
                let is_whole = header.value.len() == len || !value.is_whole;
                is_whole && begins.is_some_and(|it| Published::value_hash(key, it) == value.hash)
            })
    })
}

impl Kinds {
    fn of(filter: &MessageFilter) -> Self {
        let mut kinds = Self::default();
        let any = filter.methods == 0;
        if filter.responses.is_empty() {
            kinds.methods = if any { u16::MAX } else { filter.methods };
            if any {
                kinds.codes = [u64::MAX; CODES.div_ceil(64)];
            }
        }
        for number in &filter.responses {
            let codes = match number {
                class @ 1..=6 => class * 100..(class + 1) * 100,
                code => *code..code.saturating_add(1),
            };
            codes.for_each(|code| {
                let (word, bit) = code_of(code);
                if let Some(word) = kinds.codes.get_mut(word) {
                    *word |= bit;
                }
            });
        }
        kinds
    }

    fn with(mut self, other: &Self) -> Self {
        self.methods |= other.methods;
        for (word, others) in self.codes.iter_mut().zip(other.codes) {
            *word |= others;
        }
        self
    }

    #[inline]
    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Request(method) => self.methods >> method & 1 == 1,
            Kind::Response(code) => {
                let (word, bit) = code_of(code);
                self.codes.get(word).is_some_and(|word| word & bit != 0)
            }
        }
    }
}

fn code_of(code: u16) -> (usize, u64) {
    (usize::from(code / 64), 1 << (code % 64))
}

/// The place in [`WATCHED_METHODS`], found by length.
fn bit_of(method: &[u8]) -> u8 {
    match method {
        b"INVITE" => 0,
        b"ACK" => 1,
        b"BYE" => 2,
        b"CANCEL" => 3,
        b"PRACK" => 4,
        b"UPDATE" => 5,
        b"INFO" => 6,
        b"REFER" => 7,
        b"NOTIFY" => 8,
        b"MESSAGE" => 9,
        b"OPTIONS" => 10,
        _ => OTHER,
    }
}

impl Kind {
    /// Of nothing that has come yet.
    pub(super) const NONE: Self = Self::Response(0);

    pub(super) fn of(message: &Message<'_>) -> Self {
        match (message.method(), message.status()) {
            (Some(method), _) => Self::Request(bit_of(method.bytes())),
            (None, code) => Self::Response(code.unwrap_or(0)),
        }
    }

    /// By the start line, of a message of ours.
    #[inline]
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        const STATUS: &[u8] = b"SIP/2.0 ";
        if let Some(rest) = bytes.strip_prefix(STATUS) {
            let digit =
                |at: usize| rest.get(at).map_or(0, |byte| u16::from(byte.wrapping_sub(b'0')));
            return Self::Response(digit(0) * 100 + digit(1) * 10 + digit(2));
        }
        let end = bytes.iter().take(16).position(|byte| *byte == b' ').unwrap_or(0);
        Self::Request(bit_of(&bytes[..end]))
    }

    /// Calls are made and ended with it.
    pub(super) fn carries_call(self, message: &Message<'_>) -> bool {
        let method = match self {
            Self::Request(_) => message.method(),
            Self::Response(_) => message.cseq().ok().map(|cseq| cseq.method),
        };
        matches!(
            method,
            Some(Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Refer)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::HashKey;

    const KEY: HashKey = HashKey([5, 6]);

    fn filter(account: u64) -> MessageFilter {
        MessageFilter {
            account,
            call: CallId::NONE,
            id: 1,
            slot: 0,
            methods: 0,
            responses: Vec::new(),
            ways: 3,
            legs: 3,
            trunk_only: false,
            once: false,
            header: None,
        }
    }

    fn passing(sent: bool, message: &Message<'_>) -> Passing {
        Passing {
            account: 0,
            call: CallId(7),
            parent: CallId(8),
            is_outbound: true,
            trunk: false,
            sent,
            kind: Kind::of(message),
        }
    }

    fn wants(filters: &[MessageFilter], sent: bool, text: &str) -> Vec<u128> {
        let message = Message::parse(text.as_bytes()).expect("a message");
        let asked = Asked::new(Published { key: KEY.0, filters: filters.to_vec() });
        let mut wanted = ArrayVec::new();
        asked.wanted(&passing(sent, &message), &message, 0, &mut wanted);
        wanted.into_iter().map(|(id, _)| id).collect()
    }

    fn info(headers: &str) -> String {
        format!("INFO sip:a@b SIP/2.0\r\nCSeq: 5 INFO\r\n{headers}\r\n")
    }

    fn response(code: u16, method: &str) -> String {
        format!("SIP/2.0 {code} x\r\nCSeq: 5 {method}\r\n\r\n")
    }

    #[test]
    fn methods_and_codes_are_requests_responses_or_responses_to_requests() {
        let invite = 1;
        let kinds = |methods, responses: &[u16]| {
            let responses = responses.to_vec();
            [MessageFilter { methods, responses, ..filter(1) }]
        };
        let requests = [info(""), "INVITE sip:a SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n".to_owned()];
        let others = ["SUBSCRIBE sip:a SIP/2.0\r\nCSeq: 1 SUBSCRIBE\r\n\r\n".to_owned()];
        let responses = [response(200, "INVITE"), response(486, "INVITE"), response(200, "BYE")];
        let all: Vec<&String> = requests.iter().chain(&others).chain(&responses).collect();
        for (filter, fit) in [
            (kinds(0, &[]), vec![0, 1, 2, 3, 4, 5]),
            (kinds(invite, &[]), vec![1]),
            (kinds(0, &[200]), vec![3, 5]),
            (kinds(0, &[4]), vec![4]),
            (kinds(invite, &[2, 486]), vec![3, 4]),
            (kinds(invite | 4, &[200]), vec![3, 5]),
        ] {
            let found: Vec<usize> =
                (0..all.len()).filter(|at| !wants(&filter, true, all[*at]).is_empty()).collect();
            assert_eq!(found, fit, "{filter:?}");
        }
    }

    #[test]
    fn ways_legs_trunks_and_calls() {
        let fits = |change: &dyn Fn(&mut MessageFilter)| {
            let mut filter = filter(1);
            change(&mut filter);
            !wants(&[filter], true, &info("")).is_empty()
        };
        assert!(fits(&|it| it.ways = 2) && !fits(&|it| it.ways = 1));
        assert!(fits(&|it| it.legs = 2) && !fits(&|it| it.legs = 1));
        assert!(!fits(&|it| it.trunk_only = true));
        assert!(fits(&|it| it.call = CallId(7)), "the call itself");
        assert!(fits(&|it| it.call = CallId(8)), "a leg dialled for it");
        assert!(!fits(&|it| it.call = CallId(9)));
        let several = [
            MessageFilter { id: 1, ..filter(1) },
            MessageFilter { id: 2, call: CallId(6), ..filter(1) },
            MessageFilter { id: 3, call: CallId(7), ..filter(1) },
            MessageFilter { id: 4, call: CallId(8), ..filter(1) },
            MessageFilter { id: 5, ..filter(2) },
        ];
        assert_eq!(wants(&several, true, &info("")), [1, 3, 4]);
    }

    #[test]
    fn headers_are_there_and_say_what_they_must() {
        let fits = |name: &str, value: Option<(&str, bool)>, headers: &str| {
            let value = value.map(|(text, is_whole)| wire::table::ValueFilter {
                len: u16::try_from(text.len()).unwrap(),
                hash: Published::value_hash(KEY, text.as_bytes()),
                is_whole,
            });
            let name = Published::name_hash(KEY, name.as_bytes());
            let filter = MessageFilter { header: Some(HeaderFilter { name, value }), ..filter(1) };
            !wants(&[filter], false, &info(headers)).is_empty()
        };
        assert!(fits("X-Foo", None, "x-FOO:\r\n"));
        assert!(!fits("X-Foo", None, "X-Fooo: 1\r\nX-Fo: 1\r\n"));
        assert!(fits("Call-ID", Some(("a84b", true)), "i: A84B\r\n"), "compact, any case");
        assert!(fits("X-Foo", Some(("bar", true)), "X-Foo: x\r\nX-Foo:   Bar  \r\n"));
        assert!(!fits("X-Foo", Some(("bar", true)), "X-Foo: bart\r\nX-Foo: ba\r\n"));
        assert!(fits("X-Foo", Some(("bar", false)), "X-Foo: bart\r\n"));
        assert!(!fits("X-Foo", Some(("bar", false)), "X-Foo: ba\r\nX-Bar: bart\r\n"));
    }

    #[test]
    fn what_is_wanted_once_is_wanted_once() {
        let once = [MessageFilter { once: true, slot: 3, ..filter(1) }];
        let text = info("");
        let message = Message::parse(text.as_bytes()).expect("a message");
        let asked = Asked::new(Published { key: KEY.0, filters: once.to_vec() });
        for (had, count) in [(0, 1), (1 << 2, 1), (1 << 3, 0)] {
            let mut wanted = ArrayVec::new();
            asked.wanted(&passing(true, &message), &message, had, &mut wanted);
            assert_eq!(wanted.len(), count);
            assert!(wanted.iter().all(|(_, bit)| *bit == 1 << 3));
        }
    }

    #[test]
    fn methods_have_the_bits_that_the_wire_gives_them() {
        for (at, name) in (0..).zip(WATCHED_METHODS) {
            assert_eq!(bit_of(name.as_bytes()), at, "{name}");
        }
    }

    #[test]
    fn a_start_line_says_the_kind() {
        for (text, kind) in [
            (&b"INVITE sip:a SIP/2.0\r\n"[..], Kind::Request(0)),
            (b"OPTIONS sip:a SIP/2.0\r\n", Kind::Request(10)),
            (b"FOO sip:a SIP/2.0\r\n", Kind::Request(OTHER)),
            (b"SIP/2.0 486 Busy Here\r\n", Kind::Response(486)),
            (b"SIP/2.0 ", Kind::Response(0)),
            (b"", Kind::Request(OTHER)),
        ] {
            assert_eq!(Kind::of_bytes(text), kind, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
