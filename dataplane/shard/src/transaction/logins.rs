//! Credentials of ours, for those outgoing legs that have some: what answers a far end's 401 or 407
//! (RFC 3261 section 22, RFC 8760).
//!
//! A login belongs to a leg and to every request of that leg that is under way, so that the BYE of
//! a leg that is gone can still answer. It is said to nobody but the hosts that the leg was told to
//! dial, for one realm on each of the two ways (401, 407): the one that the trunk names, else the
//! first that asks. Once a challenge is answered, what the leg asks later carries its answer
//! already, with the next count.

use core::net::IpAddr;

use arrayvec::ArrayVec;
use base::{Arena, LegId, Slab, Stored};
use sip::digest::{Algorithm, Answer, Challenge, Credentials, ha1};
use sip::{Message, Method, Name, Writer};

use crate::cx::Core;
use crate::plan::Login as Trunk;

/// Bytes of a login's text: credentials, and what answers two challenges.
const TEXT_BYTES: usize = 4_096;
/// Bytes of a header line of ours.
pub(crate) const LINE_BYTES: usize = 1_536;
/// Bytes that a leg takes here, with credentials or without: half of the legs may have some.
pub(crate) const LEG_BYTES: usize = size_of::<LoginId>() + (size_of::<Login>() + 12) / 2;
/// Counts that a record is ahead, as it is of a dialog's numbers.
const AHEAD: u32 = crate::usage::CSEQ_AHEAD;

/// Names a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoginId(u32);

impl LoginId {
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Which of the two header pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// 401: WWW-Authenticate, Authorization.
    Www,
    /// 407: Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

impl Way {
    const ALL: [Self; 2] = [Self::Www, Self::Proxy];

    pub(crate) fn of(code: u16) -> Option<Self> {
        match code {
            401 => Some(Self::Www),
            407 => Some(Self::Proxy),
            _ => None,
        }
    }

    fn asks(self) -> Name {
        match self {
            Self::Www => Name::WwwAuthenticate,
            Self::Proxy => Name::ProxyAuthenticate,
        }
    }

    pub(crate) fn answers(self) -> Name {
        match self {
            Self::Www => Name::Authorization,
            Self::Proxy => Name::ProxyAuthorization,
        }
    }
}

/// Whose credentials they are.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) enum Who<'a> {
    /// A trunk's, by its place in the plan: the password stays there.
    Trunk(u16),
    /// Given with the order to dial.
    Own { user: &'a str, password: &'a str },
}

/// What a login knows, as it stands in the arena.
#[derive(serde::Serialize, serde::Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    who: Who<'a>,
    peers: ArrayVec<IpAddr, 4>,
    /// By way.
    asked: [Option<Asked<'a>>; 2],
}

/// A challenge that was answered.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Asked<'a> {
    is_sha256: bool,
    session: bool,
    qop: bool,
    realm: &'a [u8],
    nonce: &'a [u8],
    opaque: Option<&'a [u8]>,
    ha1: &'a [u8],
    cnonce: [u8; 16],
}

#[derive(Debug)]
struct Login {
    leg: LegId,
    /// The leg, and requests that are under way.
    holders: u32,
    text: Stored,
    /// How often each nonce was used.
    counts: [u32; 2],
    /// The highest CSeq number that the leg has used.
    cseq: u32,
}

#[derive(Debug)]
pub(crate) struct Logins {
    slab: Slab<Login>,
    /// By the leg's slot.
    of_legs: Vec<LoginId>,
}

impl Logins {
    /// `legs`: slots; half of the legs may have a login at one time.
    pub(crate) fn new(legs: u32) -> Self {
        let of_legs = vec![LoginId::NONE; legs as usize];
        Self { slab: Slab::new(legs.div_ceil(2)), of_legs }
    }

    /// The leg has these credentials, for these hosts. False if there is no room.
    pub(crate) fn give(
        &mut self,
        core: &mut Core<'_>,
        leg: LegId,
        (who, peers): (Who<'_>, ArrayVec<IpAddr, 4>),
    ) -> bool {
        let (vacant, slot) = (self.slab.vacant(), self.of_legs.get_mut(leg.index() as usize));
        let Some(((place, _), slot)) = vacant.zip(slot) else { return false };
        let text = Text { who, peers, asked: [None, None] };
        let Some(text) = store(&mut core.arena, &text) else { return false };
        *slot = LoginId(place);
        self.slab.insert(Login { leg, holders: 1, text, counts: [0; 2], cseq: 0 });
        true
    }

    /// The leg's login; none for most.
    pub(crate) fn of(&self, leg: LegId) -> LoginId {
        if self.slab.is_empty() || leg == LegId::NONE {
            return LoginId::NONE;
        }
        let id = self.of_legs.get(leg.index() as usize).copied().unwrap_or(LoginId::NONE);
        match self.slab.get(id.0) {
            Some(login) if login.leg == leg => id,
            _ => LoginId::NONE,
        }
    }

    /// Whether the leg has one.
    pub(crate) fn is_for_leg(&self, leg: LegId) -> bool {
        self.of(leg) != LoginId::NONE
    }

    /// The leg is over: its login stays for the requests that are under way.
    pub(crate) fn leave(&mut self, arena: &mut Arena, leg: LegId) {
        let id = self.of(leg);
        if let Some(login) = self.slab.get_mut(id.0) {
            login.leg = LegId::NONE;
            self.of_legs[leg.index() as usize] = LoginId::NONE;
            self.release(arena, id);
        }
    }

    /// A request of it is under way, under this number.
    pub(crate) fn hold(&mut self, login: LoginId, cseq: u32) {
        if let Some(login) = self.slab.get_mut(login.0) {
            login.holders += 1;
            login.cseq = login.cseq.max(cseq);
        }
    }

    /// That request is over.
    pub(crate) fn release(&mut self, arena: &mut Arena, login: LoginId) {
        let Some(entry) = self.slab.get_mut(login.0) else { return };
        entry.holders -= 1;
        if entry.holders == 0
            && let Some(mut entry) = self.slab.remove(login.0)
        {
            wipe(arena, &mut entry.text);
        }
    }

    /// A CSeq number above all that were used.
    pub(crate) fn next_cseq(&self, login: LoginId) -> Option<u32> {
        Some(self.slab.get(login.0)?.cseq.saturating_add(1))
    }

    /// Keeps what answers this challenge. False if it is not to be answered: it comes for another
    /// realm, by a scheme or a hash that we do not have, or with the nonce of `sent`, our answer to
    /// the one before. `tries`: how often this request was sent again for such a question.
    pub(crate) fn take(
        &mut self,
        core: &mut Core<'_>,
        login: LoginId,
        (way, message): (Way, &Message<'_>),
        (sent, tries): (Option<&[u8]>, u8),
    ) -> bool {
        let Some(entry) = self.slab.get_mut(login.0) else { return false };
        let mut page = [0; TEXT_BYTES];
        let Some(text) = read(&core.arena, &entry.text, &mut page) else { return false };
        let (user, password, wanted, digest) = match text.who {
            Who::Own { user, password } => (user, password, "", None),
            Who::Trunk(place) => match core.plan.logins.get(usize::from(place)) {
                Some(Trunk { user, password, realm, digest, .. }) => {
                    (user.as_str(), password.as_str(), realm.as_str(), *digest)
                }
                None => return false,
            },
        };
        let known = text.asked[way as usize].map(|asked| asked.realm);
        let realm = known.or_else(|| (!wanted.is_empty()).then_some(wanted.as_bytes()));
        let wanted = (realm, digest);
        let Some((challenge, session)) = strongest(message, way, wanted) else { return false };
        if !may_answer(&challenge, sent, tries) {
            return false;
        }
        let mut cnonce = [0; 16];
        crate::transport::reply::hex(core.random.u64(), &mut cnonce);
        let secret =
            ha1(challenge.algorithm, user.as_bytes(), challenge.realm, password.as_bytes());
        let asked = Asked {
            is_sha256: challenge.algorithm == Algorithm::Sha256,
            session,
            qop: challenge.qop_auth,
            realm: challenge.realm,
            nonce: challenge.nonce,
            opaque: challenge.opaque,
            ha1: secret.bytes(),
            cnonce,
        };
        let mut all = text.asked;
        all[way as usize] = Some(asked);
        let text = Text { asked: all, ..text };
        let Some(stored) = store(&mut core.arena, &text) else { return false };
        wipe(&mut core.arena, &mut entry.text);
        entry.text = stored;
        entry.counts[way as usize] = 0;
        true
    }

    /// Whether it may be said to that host.
    pub(crate) fn is_for(&self, arena: &Arena, login: LoginId, host: IpAddr) -> bool {
        let Some(entry) = self.slab.get(login.0) else { return false };
        let mut page = [0; TEXT_BYTES];
        let host = host.to_canonical();
        let text = read(arena, &entry.text, &mut page);
        text.is_some_and(|text| text.peers.iter().any(|peer| peer.to_canonical() == host))
    }

    /// Puts what answers the challenges so far into a request, which stands in the first `len`
    /// bytes of `out`. Its length then; None if it does not fit.
    pub(crate) fn sign(
        &mut self,
        core: &Core<'_>,
        (login, host): (LoginId, IpAddr),
        out: &mut [u8],
        len: usize,
    ) -> Option<usize> {
        if login == LoginId::NONE || !self.is_for(&core.arena, login, host) {
            return Some(len);
        }
        let mut lines = [0; LINE_BYTES];
        let request = Message::parse(out.get(..len)?).ok()?;
        let (method, uri) = (request.method()?, request.uri_raw());
        let written = self.lines(core, login, (method, uri), &mut lines)?;
        if let Some(entry) = self.slab.get_mut(login.0) {
            entry.counts.iter_mut().for_each(|count| *count += 1);
        }
        let head = len - request.body().len() - 2;
        let room = out.get_mut(..len + written)?;
        room.copy_within(head..len, head + written);
        room[head..head + written].copy_from_slice(&lines[..written]);
        Some(len + written)
    }

    /// The header lines that a BYE to this URI has if the next counts are used up.
    pub(crate) fn last_lines(
        &self,
        core: &Core<'_>,
        (leg, host): (LegId, IpAddr),
        uri: &[u8],
        out: &mut [u8; LINE_BYTES],
    ) -> usize {
        let login = self.of(leg);
        if login == LoginId::NONE || !self.is_for(&core.arena, login, host) {
            return 0;
        }
        let Some(entry) = self.slab.get(login.0) else { return 0 };
        let counts = entry.counts.map(|count| count.saturating_add(AHEAD));
        write(core, entry, (Method::Bye, uri), counts, out).unwrap_or(0)
    }

    fn lines(
        &self,
        core: &Core<'_>,
        login: LoginId,
        request: (Method<'_>, &[u8]),
        out: &mut [u8],
    ) -> Option<usize> {
        let entry = self.slab.get(login.0)?;
        write(core, entry, request, entry.counts, out)
    }
}

/// Header lines with the counts behind those.
fn write(
    core: &Core<'_>,
    entry: &Login,
    (method, uri): (Method<'_>, &[u8]),
    counts: [u32; 2],
    out: &mut [u8],
) -> Option<usize> {
    let mut page = [0; TEXT_BYTES];
    let text = read(&core.arena, &entry.text, &mut page)?;
    let user = match text.who {
        Who::Own { user, .. } => user,
        Who::Trunk(place) => core.plan.logins.get(usize::from(place))?.user.as_str(),
    };
    let mut len = 0;
    for (way, count) in Way::ALL.into_iter().zip(counts) {
        let Some(asked) = text.asked[way as usize] else { continue };
        let challenge = Challenge {
            realm: asked.realm,
            nonce: asked.nonce,
            opaque: asked.opaque,
            algorithm: if asked.is_sha256 { Algorithm::Sha256 } else { Algorithm::Md5 },
            stale: false,
            qop_auth: asked.qop,
        };
        let answer = Answer {
            user: user.as_bytes(),
            ha1: asked.ha1,
            method,
            uri,
            nc: count.saturating_add(1),
            cnonce: &asked.cnonce,
            session: asked.session,
        };
        let writer = challenge.answer(Writer::new(&mut out[len..]), way.answers(), &answer);
        len += writer.lines().ok()?.len();
    }
    Some(len)
}

/// Whether a challenge is a question that was not answered yet. Behind an answer of ours it says
/// that the password is wrong, unless the nonce is old, which the far end says (`stale`) or, where
/// the answer was to an earlier request's question, may have forgotten to.
fn may_answer(challenge: &Challenge<'_>, sent: Option<&[u8]>, tries: u8) -> bool {
    /// Old nonces in a row.
    const STALE_MAX: u8 = 3;
    let Some(sent) = sent else { return tries < STALE_MAX };
    let is_new = Credentials::parse(sent).is_none_or(|sent| sent.nonce != challenge.nonce);
    is_new && (tries == 0 || challenge.stale && tries < STALE_MAX)
}

/// The challenge with the strongest hash that we have, the first of its like, and whether its key
/// is a session's (RFC 7616 section 3.4.2). `realm` and `digest`: the only ones that are answered.
fn strongest<'m>(
    message: &Message<'m>,
    way: Way,
    (realm, digest): (Option<&[u8]>, Option<Algorithm>),
) -> Option<(Challenge<'m>, bool)> {
    let ours = |it: &(Challenge<'_>, bool)| {
        realm.is_none_or(|realm| realm == it.0.realm)
            && digest.is_none_or(|digest| digest == it.0.algorithm)
    };
    let all = message.headers_named(way.asks()).filter_map(Challenge::parse_session).filter(ours);
    all.reduce(|best, next| {
        let stronger = (best.0.algorithm, next.0.algorithm) == (Algorithm::Md5, Algorithm::Sha256);
        if stronger { next } else { best }
    })
}

fn read<'p>(arena: &Arena, stored: &Stored, page: &'p mut [u8; TEXT_BYTES]) -> Option<Text<'p>> {
    let bytes = arena.get(stored);
    page.get_mut(..bytes.len())?.copy_from_slice(bytes);
    wire::decode(&page[..bytes.len()]).ok()
}

fn store(arena: &mut Arena, text: &Text<'_>) -> Option<Stored> {
    let mut page = [0; TEXT_BYTES];
    let len = wire::encode(text, &mut page).ok()?;
    arena.store(&page[..len])
}

/// Secrets do not stay in memory that is free.
fn wipe(arena: &mut Arena, text: &mut Stored) {
    arena.get_mut(text).fill(0);
    arena.free(text);
}
