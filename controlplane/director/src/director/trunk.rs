//! Trunks: what they and the lists that they take must be like, whom their calls go to, and whom
//! their switches may refer to.

use base::CallId;
use model::port::{ApiError, Entity, Record};
use model::{
    CallDirection, CredentialList, Directory, EntityKind, IpAccessControlList, NumberSid,
    OriginationUrl, PhoneNumber, TransferCaller, TransferMode, Trunk, TrunkNumberKey, party,
};
use sip::{Scheme, Uri};
use wire::table::Network;

use super::Director;
use crate::live::{Live, Outgoing};
use crate::script::{Problem, Target, Trunking};
use crate::settings::Settings;

/// Lists that a trunk or a domain takes.
const MAPPED_MAX: usize = 20;
const URL_BYTES_MAX: usize = 255;
/// Told to whoever has no URL to go to, and of a trunk that takes TLS alone.
pub(super) const NO_URL_ERROR: u32 = 32_010;
pub(super) const SECURE_ERROR: u32 = 32_209;
const TRANSFER_ERROR: u32 = 32_218;

/// Whom a far end of a trunk's call may refer others to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Referral {
    All,
    Uris,
    /// The trunk has no transfers.
    Off,
    /// It is the carrier's far end.
    Never,
}

impl Director {
    /// Where a call to a number of the trunk goes: the enabled URLs in the order that is drawn, as
    /// a document; with what the tenant is to be told of it.
    pub(super) fn originating(&mut self, trunk: &Trunk, number: &str) -> (String, Vec<Problem>) {
        let rng = &mut self.rng;
        let order = trunk.order(|| rng.next());
        let mut problems = Vec::new();
        let mut targets = Vec::new();
        for url in order {
            let Some(target) = target(url, number) else { continue };
            if trunk.secure && !is_secure(&target) {
                let message =
                    format!("{}: {} is left out, it is not reached by TLS", trunk.sid, target);
                problems.push(Problem { code: SECURE_ERROR, reason: "trunk-not-secure", message });
                continue;
            }
            targets.push(Target::Sip(target));
        }
        if targets.is_empty() {
            let message = format!("{}: no origination URL that is enabled", trunk.sid);
            problems.push(Problem { code: NO_URL_ERROR, reason: "no-origination-url", message });
        }
        (Trunking { targets, disaster: trunk.disaster.clone() }.text(), problems)
    }

    /// Whom the far end of a trunk's call may refer to; None if the call is none of a trunk's.
    pub(super) fn referral(&self, live: &Live) -> Option<Referral> {
        let direction = live.row.direction;
        let trunk = self.directory.get::<Trunk>(direction.trunk()?);
        let is_switch = match direction {
            // Whom the switch has referred to, or forwards to, is not the switch, and may not what
            // it may.
            CallDirection::TrunkingOriginating(_) => {
                let is_first = |outgoing: &Outgoing| {
                    outgoing.referrer.is_none() && outgoing.forwards.is_none()
                };
                live.outgoing.as_ref().is_some_and(is_first)
            }
            _ => live.outgoing.is_none(),
        };
        Some(match trunk.map(|trunk| trunk.transfer).unwrap_or_default() {
            _ if !is_switch => Referral::Never,
            TransferMode::EnableAll => Referral::All,
            TransferMode::SipOnly => Referral::Uris,
            TransferMode::DisableAll => Referral::Off,
        })
    }

    /// Whether a call is of a trunk that wants TLS.
    pub(super) fn is_trunk_secure(&self, live: &Live) -> bool {
        let trunk = live.row.direction.trunk().and_then(|sid| self.directory.get::<Trunk>(sid));
        trunk.is_some_and(|trunk| trunk.secure)
    }

    /// Who refers, as its target is to see it where the trunk says so.
    pub(super) fn transferor(&self, call: CallId) -> Option<String> {
        let live = self.calls.get(&call)?;
        let trunk = self.directory.get::<Trunk>(live.row.direction.trunk()?)?;
        if trunk.transfer_caller != TransferCaller::Transferor {
            return None;
        }
        // The trunk's own number: that which was called, or that which calls.
        match live.row.direction {
            CallDirection::TrunkingOriginating(_) => {
                Some(self.calls.get(&live.row.parent?)?.row.to.clone())
            }
            _ => Some(live.row.from.clone()),
        }
    }

    /// What goes along with something that is put: a trunk's number has no application of its own,
    /// and a number with an application is no trunk's.
    pub(super) fn put_along(&mut self, entity: &Entity) -> Vec<Record> {
        match entity {
            Entity::TrunkNumber(it) => self.clear_application(it.number),
            Entity::PhoneNumber(it) if it.application.is_some() => {
                let key = TrunkNumberKey(it.sid).into();
                let was = self.directory.remove(key);
                was.then_some(Record::Delete(key)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn clear_application(&mut self, number: NumberSid) -> Vec<Record> {
        let known = self.directory.get::<PhoneNumber>(number);
        let Some(known) = known.filter(|it| it.application.is_some()) else { return Vec::new() };
        let entity: Entity = PhoneNumber { application: None, ..known.clone() }.into();
        self.directory.put(entity.clone());
        vec![Record::Put(Box::new(entity))]
    }
}

impl Referral {
    /// Why it is refused, for its tenant.
    pub(super) fn problem(self, message: String) -> Problem {
        match self {
            Self::Off => Problem { code: TRANSFER_ERROR, reason: "transfer-disabled", message },
            _ => Problem { code: 13_802, reason: "refer-refused", message },
        }
    }
}

/// What an origination URL means for a call to `number`: the number stands in it unless it names a
/// user itself.
fn target(url: &OriginationUrl, number: &str) -> Option<String> {
    let rest = after_scheme(&url.sip_url)?;
    let text = format!("sip:{rest}");
    let is_bare = party::Target::parse(&text)?.uri.user.is_empty();
    Some(if is_bare { format!("sip:{number}@{rest}") } else { text })
}

/// Behind `sip:`, and behind the `//` that some write.
fn after_scheme(url: &str) -> Option<&str> {
    let url = url.trim();
    let rest = url.get(..4).filter(|it| it.eq_ignore_ascii_case("sip:")).map(|_| &url[4..])?;
    Some(rest.strip_prefix("//").unwrap_or(rest))
}

pub(super) fn is_secure(target: &str) -> bool {
    let transport =
        party::Target::parse(target).and_then(|it| it.uri.transport().map(<[u8]>::to_vec));
    transport.is_some_and(|it| it.eq_ignore_ascii_case(b"tls"))
}

/// Why one of them may not be stored as it is.
pub(super) fn check(
    directory: &Directory,
    settings: &Settings,
    entity: &Entity,
) -> Result<(), ApiError> {
    match entity {
        Entity::Trunk(it) => {
            let known = directory.get::<Trunk>(it.sid);
            domain(directory, settings, it, known.map(|known| known.domain_name.as_str()))?;
            urls(settings, it)?;
            let credentials = it.credentials.iter().all(|mapping| {
                let list = directory.get::<CredentialList>(mapping.list);
                list.is_some_and(|list| list.account == it.account)
            });
            let access = it.access.iter().map(|mapping| mapping.list);
            if !credentials || !access.clone().all(|list| has(directory, list, it.account)) {
                return Err(missing());
            }
            match it.credentials.len().max(it.access.len()) > MAPPED_MAX {
                true => bad(21_245, format!("a trunk takes {MAPPED_MAX} lists at most")),
                false => Ok(()),
            }
        }
        Entity::TrunkNumber(it) => {
            let number = directory.get::<PhoneNumber>(it.number);
            let trunk = directory.get::<Trunk>(it.trunk);
            let fits = number.is_some_and(|number| number.account == it.account)
                && trunk.is_some_and(|trunk| trunk.account == it.account);
            if fits { Ok(()) } else { Err(missing()) }
        }
        Entity::IpAccessControlList(it) => {
            let most = IpAccessControlList::ADDRESSES_MAX;
            match it.addresses.len() > most {
                true => bad(21_237, format!("a list has {most} addresses at most")),
                false => Ok(()),
            }
        }
        Entity::DomainAccess(it) => {
            let domain = directory.get::<model::SipDomain>(it.domain);
            let fits = domain.is_some_and(|domain| domain.account == it.account)
                && it.lists.iter().all(|mapping| has(directory, mapping.list, it.account));
            if !fits {
                return Err(missing());
            }
            match it.lists.len() > MAPPED_MAX {
                true => bad(21_235, format!("a domain takes {MAPPED_MAX} lists at most")),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Networks that a list has already, and those that it is to have.
pub(super) fn networks(directory: &Directory, it: &IpAccessControlList) -> [Vec<Network>; 2] {
    let of = |list: &IpAccessControlList| list.addresses.iter().map(|it| it.network).collect();
    let known = directory.get::<IpAccessControlList>(it.sid);
    [known.map(of).unwrap_or_default(), of(it)]
}

/// Why a thing cannot be deleted as long as another one needs it.
pub(super) fn may_delete(directory: &Directory, entity: &Entity) -> Result<(), ApiError> {
    match entity {
        Entity::Trunk(it) if directory.has_numbers(it.sid) => {
            bad(21_247, "the trunk has phone numbers; detach them first".to_owned())
        }
        Entity::IpAccessControlList(it) => match directory.takes_access(it) {
            Some(sid) => bad(21_236, format!("the list is mapped to {sid}")),
            None => Ok(()),
        },
        Entity::CredentialList(it) => {
            let takes = |trunk: &&Trunk| trunk.credentials.iter().any(|of| of.list == it.sid);
            match directory.of::<Trunk>(it.account).find(takes) {
                Some(trunk) => bad(21_241, format!("the list is mapped to {}", trunk.sid)),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// The error of whoever has as many of a kind as it may.
pub(super) fn limit_error(kind: EntityKind) -> u32 {
    match kind {
        EntityKind::SipDomain => 21_230,
        EntityKind::CredentialList => 21_239,
        EntityKind::Credential => 21_242,
        EntityKind::Trunk => 21_244,
        EntityKind::IpAccessControlList => 21_255,
        _ => 20_001,
    }
}

fn domain(
    directory: &Directory,
    settings: &Settings,
    it: &Trunk,
    known: Option<&str>,
) -> Result<(), ApiError> {
    let name = it.domain_name.as_str();
    if name.is_empty() {
        return Ok(());
    }
    let bare = party::host_and_port(name).is_some_and(|(_, port)| port.is_none());
    if !bare || name != name.to_ascii_lowercase() {
        return bad(21_245, format!("{name:?} is not a host name in lower case"));
    }
    if settings.is_own_host(name) {
        let why = "an address or a name of this switch cannot be anybody's domain";
        return bad(21_245, format!("{name}: {why}"));
    }
    let is_taken = directory.trunk(name).is_some_and(|holder| holder.sid != it.sid)
        || directory.domain(name).is_some();
    if is_taken {
        return bad(21_248, format!("the domain {name} is taken"));
    }
    if known != Some(name) && !directory.may_have_domain(it.account, name) {
        let why = "it is under no suffix that the operator gave to this account";
        return bad(21_245, format!("{name}: {why}"));
    }
    Ok(())
}

fn urls(settings: &Settings, it: &Trunk) -> Result<(), ApiError> {
    if it.urls.len() > Trunk::URLS_MAX {
        return bad(21_249, format!("a trunk has {} origination URLs at most", Trunk::URLS_MAX));
    }
    for url in &it.urls {
        let text = &url.sip_url;
        if text.len() > URL_BYTES_MAX {
            return bad(21_245, format!("SipUrl has {URL_BYTES_MAX} characters at most"));
        }
        let target = after_scheme(text).map(|rest| format!("sip:{rest}"));
        let parsed = target.as_deref().and_then(party::Target::parse);
        let Some(uri) = parsed.map(|it| it.uri) else {
            return bad(21_245, format!("SipUrl {text:?} is no sip: URI"));
        };
        if let Some(why) = refused(settings, &uri) {
            return bad(21_245, format!("SipUrl {text:?}: {why}"));
        }
    }
    Ok(())
}

/// Why calls may not go there. A name is judged by its addresses, when it is called.
fn refused(settings: &Settings, uri: &Uri<'_>) -> Option<String> {
    if uri.scheme != Scheme::Sip {
        return Some("sip: alone".to_owned());
    }
    let known = [&b"udp"[..], b"tcp", b"tls"];
    let transport = uri.transport().unwrap_or(b"udp").to_ascii_lowercase();
    if !known.contains(&transport.as_slice()) {
        return Some("UDP, TCP or TLS is what there is".to_owned());
    }
    if settings.is_here(&party::host(uri), Some(uri.port_or_default())) {
        return Some("it is this switch itself".to_owned());
    }
    let address = uri.host.ip()?;
    let kind = model::address::target::refused(address, &settings.target_allow)?;
    Some(format!("{kind} addresses may not be called"))
}

fn has(directory: &Directory, list: model::AccessListSid, account: model::AccountSid) -> bool {
    let list = directory.get::<IpAccessControlList>(list);
    list.is_some_and(|list| list.account == account)
}

fn missing() -> ApiError {
    let message = "the requested resource was not found".to_owned();
    ApiError { status: 404, code: 20_404, message }
}

fn bad<T>(code: u32, message: String) -> Result<T, ApiError> {
    Err(ApiError { status: 400, code, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_user_is_called_by_the_number() {
        for (url, means) in [
            ("sip:pbx.example", Some("sip:+1555@pbx.example")),
            ("sip://10.0.0.1:5070", Some("sip:+1555@10.0.0.1:5070")),
            ("SIP:pbx.example;transport=tls", Some("sip:+1555@pbx.example;transport=tls")),
            ("sip:bob@pbx.example", Some("sip:bob@pbx.example")),
            ("sip:[2001:db8::1]:5061", Some("sip:+1555@[2001:db8::1]:5061")),
            ("pbx.example", None),
            ("http://pbx.example", None),
        ] {
            let url = OriginationUrl { sip_url: url.to_owned(), ..OriginationUrl::default() };
            assert_eq!(target(&url, "+1555").as_deref(), means, "{url:?}");
        }
        assert!(is_secure("sip:+1555@a;transport=TLS") && !is_secure("sip:+1555@a"));
    }
}
