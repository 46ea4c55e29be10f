//! Who may refer, and whereto (RFC 3515): what of a referral needs more than its leg. A leg that
//! follows a static route is referred as if its far end had called the target; of all others the
//! controlplane says what becomes of it. What a referral does to the legs is `leg::refer`'s.

use base::{CallId, Frames, LegId, Now};
use sip::Message;
use sip::message::replaces;
use wire::Originate;
use wire::command::{Secret, Targets};

use crate::Shard;
use crate::calls::listener_of;
use crate::leg::{Request, Side};
use crate::route::{Search, route_uri};
use crate::transport::guard::Standing;

/// Bytes of a target that is looked at, with its headers.
const TARGET_BYTES: usize = 1_024;
/// Bytes of a dialog's name in it.
const DIALOG_BYTES: usize = 512;

/// What a REFER wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referral<'a> {
    /// The target without its headers and its method.
    pub(crate) uri: &'a [u8],
    /// A dialog of the target's that the new call takes the place of, unescaped.
    pub(crate) replaces: &'a [u8],
    pub(crate) way: Way,
}

/// What is to be made of a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The REFER is refused with this.
    Refused(u16),
    /// It is taken, and comes to nothing with this.
    Nowhere(u16),
    /// By the published route at this place.
    Route(usize),
    /// The controlplane says.
    Application,
    /// To the far end of the leg that this one's dialog is with.
    Leg(LegId),
}

/// The texts of a referral.
struct Texts {
    uri: [u8; TARGET_BYTES],
    dialog: [u8; DIALOG_BYTES],
}

impl Texts {
    const fn new() -> Self {
        Self { uri: [0; TARGET_BYTES], dialog: [0; DIALOG_BYTES] }
    }
}

/// The target of a REFER, and the dialog that it names. An error is the status to refuse it with.
fn read<'t>(message: &Message<'_>, texts: &'t mut Texts) -> Result<(&'t [u8], &'t [u8]), u16> {
    let raw = target(message).ok_or(400_u16)?;
    let uri = sip::Uri::parse(raw).map_err(|_| 400_u16)?;
    if uri.scheme == sip::Scheme::Other {
        return Err(416);
    }
    let mut dialog: &[u8] = b"";
    for (name, value) in uri.headers() {
        if name.eq_ignore_ascii_case(b"Replaces") {
            dialog = sip::uri::unescape(value, &mut texts.dialog).ok_or(400_u16)?;
            // Without its tags it names no dialog (RFC 3891 section 6.1).
            replaces(dialog).ok_or(400_u16)?;
            break;
        }
    }
    // What is to be sent there is an INVITE, or nothing that we do for others.
    let method = uri.params.get(b"method").unwrap_or(b"INVITE");
    if !method.eq_ignore_ascii_case(b"INVITE") {
        return Err(603);
    }
    let bare = raw.split(|&byte| byte == b'?').next().unwrap_or_default();
    let mut len = 0;
    for (at, part) in bare.split(|&byte| byte == b';').enumerate() {
        let is_method = part.get(..7).is_some_and(|it| it.eq_ignore_ascii_case(b"method="));
        if at > 0 && is_method {
            continue;
        }
        let mark: &[u8] = if at > 0 { b";" } else { b"" };
        for piece in [mark, part] {
            let room = texts.uri.get_mut(len..len + piece.len()).ok_or(414_u16)?;
            room.copy_from_slice(piece);
            len += piece.len();
        }
    }
    Ok((&texts.uri[..len], dialog))
}

/// The only URI in Refer-To. Without brackets all of it is the URI's, parameters and headers, as
/// they are meant who write it so (RFC 3261 section 20 has them be the header's).
fn target<'m>(message: &Message<'m>) -> Option<&'m [u8]> {
    let mut fields = message.headers_named(sip::Name::ReferTo);
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    if !field.contains(&b'<') {
        return Some(field.trim_ascii());
    }
    let mut all = message.addresses(sip::Name::ReferTo);
    match (all.next(), all.next()) {
        (Some(Ok(target)), None) => Some(target.uri),
        _ => None,
    }
}

impl Shard<'_> {
    /// A REFER inside a leg's dialog.
    pub(crate) fn refer(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        leg: LegId,
        request: &Request<'_>,
    ) {
        let mut texts = Texts::new();
        let told = (request.message, request.datagram.standing);
        let referral = self.referral(now, leg, told, &mut texts);
        let request = Request { referral: Some(&referral), ..*request };
        self.with_leg(now, frames, leg, |leg| leg.request(&request));
        self.dial_referred(now, frames, leg, (&request, &referral));
    }

    /// What a REFER inside a leg's dialog wants, and whether its far end may.
    fn referral<'t>(
        &mut self,
        now: Now,
        leg: LegId,
        (message, standing): (&Message<'_>, Standing),
        texts: &'t mut Texts,
    ) -> Referral<'t> {
        let refused = |code| Referral { uri: b"", replaces: b"", way: Way::Refused(code) };
        let (uri, replaces) = match read(message, texts) {
            Ok(read) => read,
            Err(code) => return refused(code),
        };
        let Some(found) = self.legs.get_mut(leg) else { return refused(481) };
        // One that an application has taken over is its.
        let is_taken = self.core.holds.contains_key(&found.id);
        let by_route = match &found.side {
            _ if is_taken => false,
            Side::Inbound(side) => side.route.is_some(),
            Side::Outbound(side) => side.by_route,
        };
        let host = self.core.source_of(found);
        if by_route && !self.routes.may_refer(host) {
            return refused(603);
        }
        let ours = self.replaced(replaces);
        let way = match (ours, by_route) {
            (Some(other), _) if other == leg => Way::Nowhere(481),
            (Some(other), _) => Way::Leg(other),
            (None, false) => Way::Application,
            (None, true) => match sip::Uri::parse(uri) {
                Ok(parsed) => {
                    let (uri, source, account) = (&parsed, host, None);
                    let search =
                        Search { uri, source, standing, now, account, tried: &[], hidden: false };
                    let at = self.routes.choose(&search, &mut self.core);
                    at.map_or(Way::Nowhere(404), Way::Route)
                }
                Err(_) => Way::Refused(400),
            },
        };
        Referral { uri, replaces, way }
    }

    /// The leg of ours whose dialog is named. Whether it is that leg's the leg says.
    fn replaced(&self, value: &[u8]) -> Option<LegId> {
        let named = replaces(value)?;
        let key = &self.core.plan.keys.token;
        let read = |tag| sip::token::read_tag(tag, key).map(|(_, leg)| LegId(leg));
        read(named.to_tag).or_else(|| read(named.from_tag))
    }

    /// A referral that was taken goes to the route's targets, as a call of the referrer's would.
    fn dial_referred(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        leg: LegId,
        (request, referral): (&Request<'_>, &Referral<'_>),
    ) {
        let Way::Route(at) = referral.way else { return };
        // A leg takes one referral at a time, and may have refused this one.
        if !self.transactions.referrals.take_fresh(leg) {
            return;
        }
        let dialled = self.dial_by_route(now, frames, leg, (request, referral, at));
        if let Err(code) = dialled {
            self.with_leg(now, frames, leg, |leg| leg.referral_over(code));
        }
    }

    fn dial_by_route(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        leg: LegId,
        (request, referral, at): (&Request<'_>, &Referral<'_>, usize),
    ) -> Result<(), u16> {
        let handle = self.routes.take(at, now.mono, false).map_err(|(code, _)| code)?;
        let route = self.routes.get(handle).ok_or(404_u16)?;
        let leg = self.legs.get_mut(leg).ok_or(481_u16)?;
        let mut uri = [0; 768];
        let uri = route_uri(route, referral.uri, &mut uri).ok_or(404_u16)?;
        // The other far end calls, by the name that this one knows it by.
        let known = match leg.side {
            Side::Inbound(_) => &leg.story.to,
            Side::Outbound(_) => &leg.story.from,
        };
        let mut from = [0; 768];
        let known = self.core.arena.get(known);
        let from = from.get_mut(..known.len()).ok_or(500_u16)?;
        from.copy_from_slice(known);
        let mut lines = [0; 2_048];
        let len = lines_of(request.message, referral, &mut lines).ok_or(500_u16)?;
        let targets: Targets = route.targets.iter().take(4).copied().collect();
        let tls_name = route.tls_name.clone();
        let tls_names = targets.iter().map(|_| tls_name.as_str()).collect();
        let text = crate::usage::text;
        let wish = Originate {
            call: CallId::begun(now.wall, self.core.random.u128()),
            account: route.account,
            parent: CallId::NONE,
            peer: leg.links.partner,
            listener: listener_of(&self.core, (route, leg.signalling.hop.via), &targets),
            targets,
            uri: text(uri),
            to: "",
            route: "",
            flow: None,
            from: text(from),
            from_name: "",
            headers: text(&lines[..len]),
            ring_ms: u32::from(route.ring_s) * 1_000,
            limit_ms: 0,
            pass_progress: false,
            bridge: true,
            username: "",
            password: Secret(""),
            tls_names,
            trunk: "",
            failover: route.policy.failover,
            group: self.routes.group_of(handle),
        };
        self.dial_for_route(now, frames, &wish, Some(handle));
        Ok(())
    }
}

/// Who referred (RFC 3892), and the dialog of somebody else's that the call is to take the place
/// of.
pub(crate) fn lines_of(
    message: &Message<'_>,
    referral: &Referral<'_>,
    out: &mut [u8],
) -> Option<usize> {
    use sip::{Name, Part, Writer};
    let mut writer = Writer::new(out);
    let by = message.header(Name::ReferredBy);
    writer = match (by, message.from()) {
        (Some(by), _) => writer.copy_value(Name::ReferredBy, by),
        (None, Ok(from)) => {
            let parts = [Part::Bytes(b"<"), Part::Bytes(from.uri), Part::Bytes(b">")];
            writer.header(Name::ReferredBy, &parts)
        }
        (None, Err(_)) => writer,
    };
    if !referral.replaces.is_empty() {
        writer = writer.field(Name::Replaces, referral.replaces);
    }
    writer.lines().ok().map(<[u8]>::len)
}
