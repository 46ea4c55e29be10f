//! Whose is it: why an account may not have what it asks for, and whom it may show as a caller.
//! What the operator gives is in the directory; what it has for all accounts is in the settings.

use base::CallId;
use model::port::{ApiError, Entity};
use model::{
    AccountSid, CallerId, Currency, Directory, DomainSuffix, NumberRange, Price, PriceKey,
    inventory, party,
};
use sip::Number;
use wire::table::Network;

use super::Director;
use super::originate::Undialable;
use super::{credential, trunk};
use crate::live::Live;
use crate::script::{ChildSpec, Target};
use crate::settings::Settings;

/// Digits from which on a number without a `+` may be somebody's outside of its own exchange.
const GLOBAL_DIGITS: usize = 7;

/// Who asks for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Tenant(AccountSid),
    Operator,
}

impl Director {
    /// Whether the account may show this caller: a number that it has or that was verified for it,
    /// a user of a domain of its own, a name that is nobody's number.
    pub(super) fn may_show(&self, account: AccountSid, caller: &str) -> bool {
        if self.directory.grant(account).is_some_and(|grant| grant.any_caller) {
            return true;
        }
        if let Some(number) = party::number(caller) {
            return self.directory.may_show_number(account, &number);
        }
        let Some(party::Target { uri, .. }) = party::Target::parse(caller) else {
            return caller.contains(|c: char| c.is_ascii_alphabetic());
        };
        let host = party::host(&uri);
        let is_own = self.directory.domain(&host).is_some_and(|it| it.account == account);
        let claims = Number::from_uri(&uri).map(|number| number.to_string());
        (is_own || self.settings.is_own_host(&host)) && self.claims_its_own(account, claims)
    }

    /// A user part that is a number is one that the account may show, or of an exchange alone.
    fn claims_its_own(&self, account: AccountSid, number: Option<String>) -> bool {
        number.is_none_or(|number| {
            let is_global = number.starts_with('+') || number.len() >= GLOBAL_DIGITS;
            !is_global || self.directory.may_show_number(account, &number)
        })
    }

    /// Whether the call's own caller may go on to a target. To a SIP URI, always. To a number, by
    /// the operator's carriers: where a carrier brought it, where it was made here, and where it is
    /// the account's own to show. Where no carriers are named, whoever calls a number is one.
    fn may_pass(&self, live: &Live, target: &Target) -> bool {
        let Target::Number(_) = target else { return true };
        let is_carrier = live.outgoing.is_some() || is_carriers(&self.settings.carriers, live);
        is_carrier || self.may_show(live.row.account, &live.row.from) || self.is_nobodys(live)
    }

    /// Whether the caller that a call's far end claims to be is neither a number nor another
    /// account's.
    fn is_nobodys(&self, live: &Live) -> bool {
        let account = live.row.account;
        let Some(party::Target { uri, .. }) = party::Target::parse(&live.row.from) else {
            return self.claims_its_own(account, party::number(&live.row.from));
        };
        let host = party::host(&uri);
        let domain = self.directory.domain(&host).map(|domain| domain.account);
        let trunk = || self.directory.trunk(&host).map(|trunk| trunk.account);
        let is_anothers = domain.or_else(trunk).is_some_and(|holder| holder != account);
        let mut user = [0; 64];
        let user = uri.user_value(&mut user).unwrap_or(b"+");
        // A carrier may cut what is nearly a number to one.
        let digits = user.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_near = user.starts_with(b"+") || digits >= GLOBAL_DIGITS;
        let number = Number::from_uri(&uri).map(|number| number.to_string());
        !is_anothers && (!is_near || number.is_some()) && self.claims_its_own(account, number)
    }

    /// The caller is a number or a user of the account's own.
    fn is_own_caller(&self, live: &Live) -> bool {
        let (account, from) = (live.row.account, &live.row.from);
        let target = party::Target::parse(from);
        let number = target.and_then(|target| Number::from_uri(&target.uri));
        let is_own = |number: Number| self.directory.may_show_number(account, &number.to_string());
        self.may_show(account, from) || number.is_some_and(is_own)
    }

    /// The name that a dialled leg shows beside the caller: the call's own. To a number, by the
    /// operator's carriers, one that a far end of the account's claims for a caller that is not the
    /// account's, or that is a number itself, is not shown.
    pub(super) fn name_of(&self, live: &Live, target: &Target) -> String {
        let name = live.row.caller_name.clone().unwrap_or_default();
        let is_claimed = matches!(target, Target::Number(_))
            && live.outgoing.is_none()
            && !is_carriers(&self.settings.carriers, live);
        let digits = name.bytes().filter(u8::is_ascii_digit).count();
        let is_fine = || digits < GLOBAL_DIGITS && self.is_own_caller(live);
        if !is_claimed || is_fine() { name } else { String::new() }
    }

    /// The caller that a dialled leg shows: what the document asks for if the account may, else the
    /// call's own. With the reason where it is not what was asked for.
    ///
    /// # Errors
    /// Neither may be shown.
    pub(super) fn caller_of(
        &self,
        parent: CallId,
        spec: &ChildSpec,
    ) -> Result<(String, Option<String>), Undialable> {
        let asked = spec.caller.clone();
        let Some(live) = self.calls.get(&parent) else { return Ok((asked, None)) };
        let own = live.row.from.clone();
        if asked != own && self.may_show(live.row.account, &asked) {
            return Ok((asked, None));
        }
        let not = "neither a number or domain of this account nor verified for it";
        if !self.may_pass(live, &spec.target) {
            let message = format!("the caller {own} cannot be shown to a number: it is {not}");
            return Err(Undialable { code: 13_214, reason: "caller-not-owned", message });
        }
        let told = (asked != own)
            .then(|| format!("<Dial callerId={asked:?}> is {not}; the call's own caller is shown"));
        Ok((own, told))
    }
}

/// Whether a carrier brought a call that came in. Where no carriers are named, whoever calls a
/// number is one.
fn is_carriers(carriers: &[Network], live: &Live) -> bool {
    match live.facts.source {
        Some(source) if !carriers.is_empty() => {
            carriers.iter().any(|network| network.contains(source.ip()))
        }
        _ => live.facts.domain.is_none(),
    }
}

/// Whether a leg's far end may be asked to call somebody: a carrier would do so on the operator's
/// bill.
pub(super) fn may_ask(carriers: &[Network], live: &Live) -> bool {
    match &live.outgoing {
        Some(outgoing) => outgoing.contact.is_some() || !outgoing.trusted,
        None => !is_carriers(carriers, live),
    }
}

/// The operator alone has it.
pub(super) fn is_operators(entity: &Entity) -> bool {
    matches!(
        entity,
        Entity::Route(_)
            | Entity::Price(_)
            | Entity::NumberRange(_)
            | Entity::DomainSuffix(_)
            | Entity::CallerId(_)
            | Entity::Grant(_)
    )
}

/// It comes from the configuration file, and is changed there.
pub(super) fn is_fixed(entity: &Entity) -> bool {
    let made = match entity {
        Entity::Route(it) => it.date_created,
        Entity::NumberRange(it) => it.date_created,
        Entity::DomainSuffix(it) => it.date_created,
        Entity::CallerId(it) => it.date_created,
        Entity::Grant(it) => it.date_created,
        _ => return false,
    };
    made.0 == 0
}

fn bad<T>(code: u32, message: String) -> Result<T, ApiError> {
    Err(ApiError { status: 400, code, message })
}

/// Why an entity may not be stored as it is.
pub(super) fn check(
    directory: &Directory,
    settings: &Settings,
    asker: Asker,
    entity: &Entity,
) -> Result<(), ApiError> {
    let before = directory.entity(entity.key());
    match entity {
        Entity::Account(it) => {
            let known = match before {
                Some(Entity::Account(known)) => known.sources.as_slice(),
                _ => &[],
            };
            sources(directory, settings, (asker, it.sid), known, &it.sources)
        }
        Entity::PhoneNumber(it) => {
            let known = match before {
                Some(Entity::PhoneNumber(known)) => Some(&known.number),
                _ => None,
            };
            phone_number(directory, it, known)
        }
        Entity::SipDomain(it) => {
            let known = match before {
                Some(Entity::SipDomain(known)) => Some(known),
                _ => None,
            };
            domain(directory, settings, it, known.map(|known| &known.domain_name))?;
            let networks = known.map_or(&[][..], |known| &known.sources);
            sources(directory, settings, (asker, it.account), networks, &it.sources)
        }
        Entity::Route(it) => {
            let fine =
                |target: &String| party::host_and_port(base::Transport::split(target).0).is_some();
            if it.targets.is_empty() || it.targets.len() > 4 || !it.targets.iter().all(fine) {
                let message = "a route has 1 to 4 targets, host or host:port, with \
                               `;transport=tcp` or `;transport=tls` behind it or not";
                return bad(20_001, message.to_owned());
            }
            Ok(())
        }
        Entity::NumberRange(it) => range(directory, it),
        Entity::DomainSuffix(it) => suffix(directory, settings, it),
        Entity::CallerId(it) => caller(directory, it),
        Entity::Price(it) => {
            let known = match before {
                Some(Entity::Price(known)) => Some(known.currency),
                _ => None,
            };
            price(directory, it, known)
        }
        Entity::CredentialList(_) | Entity::Credential(_) | Entity::DomainAuth(_) => {
            credential::check(directory, entity)
        }
        Entity::IpAccessControlList(it) => {
            trunk::check(directory, settings, entity)?;
            let [known, wanted] = trunk::networks(directory, it);
            sources(directory, settings, (asker, it.account), &known, &wanted)
                .map_err(|error| ApiError { code: 21_238, ..error })
        }
        Entity::DomainAccess(_) | Entity::Trunk(_) | Entity::TrunkNumber(_) => {
            trunk::check(directory, settings, entity)
        }
        _ => Ok(()),
    }
}

fn phone_number(
    directory: &Directory,
    it: &model::PhoneNumber,
    known: Option<&String>,
) -> Result<(), ApiError> {
    if party::number(&it.number).as_deref() != Some(it.number.as_str()) {
        return bad(21_421, format!("{:?} is not a phone number", it.number));
    }
    if directory.number(&it.number).is_some_and(|holder| holder.sid != it.sid) {
        return bad(21_422, format!("{} is not available", it.number));
    }
    if known != Some(&it.number) && !directory.may_have_number(it.account, &it.number) {
        let why = "it is in no range that the operator gave to this account";
        return bad(21_422, format!("{} is not available: {why}", it.number));
    }
    Ok(())
}

fn domain(
    directory: &Directory,
    settings: &Settings,
    it: &model::SipDomain,
    known: Option<&String>,
) -> Result<(), ApiError> {
    let name = &it.domain_name;
    let bare = party::host_and_port(name).is_some_and(|(_, port)| port.is_none());
    if !bare || *name != name.to_ascii_lowercase() {
        return bad(21_232, format!("{name:?} is not a host name in lower case"));
    }
    if settings.is_own_host(name) {
        let why = "an address or a name of this switch cannot be anybody's domain";
        return bad(21_232, format!("{name}: {why}"));
    }
    if directory.trunk(name).is_some() {
        return bad(21_248, format!("the domain {name} is taken, by a trunk"));
    }
    if directory.domain(name).is_some_and(|holder| holder.sid != it.sid) {
        return bad(21_231, format!("the domain {name} is taken"));
    }
    if known != Some(name) && !directory.may_have_domain(it.account, name) {
        let why = "it is under no suffix that the operator gave to this account (a proof by DNS is \
                   not taken by this switch yet; ask the operator)";
        return bad(21_232, format!("{name}: {why}"));
    }
    Ok(())
}

/// Networks that were there before stay.
fn sources(
    directory: &Directory,
    settings: &Settings,
    (asker, account): (Asker, AccountSid),
    known: &[Network],
    wanted: &[Network],
) -> Result<(), ApiError> {
    if asker == Asker::Operator {
        return Ok(());
    }
    let grant = directory.grant(account);
    let bits = [
        grant.and_then(|grant| grant.source_bits_v4).unwrap_or(settings.source_bits[0]),
        grant.and_then(|grant| grant.source_bits_v6).unwrap_or(settings.source_bits[1]),
    ];
    let is_wide =
        |network: &&Network| !known.contains(network) && inventory::is_too_wide(network, bits);
    match wanted.iter().find(is_wide) {
        Some(Network { address, bits: width }) => {
            let least = if address.is_ipv4() { bits[0] } else { bits[1] };
            bad(
                20_001,
                format!(
                    "the network {address}/{width} is wider than /{least}, which the \
                                 operator allows to this account"
                ),
            )
        }
        None => Ok(()),
    }
}

fn range(directory: &Directory, it: &NumberRange) -> Result<(), ApiError> {
    if NumberRange::prefix(&it.prefix).as_ref() != Some(&it.prefix) {
        return bad(20_001, format!("{:?} is no beginning of numbers", it.prefix));
    }
    let plain = |prefix: &str| prefix.trim_start_matches('+').to_owned();
    let same =
        |other: &&NumberRange| other.sid != it.sid && plain(&other.prefix) == plain(&it.prefix);
    match directory.all::<NumberRange>().find(same) {
        Some(holder) => bad(20_001, format!("the range is given already, by {}", holder.sid)),
        None => Ok(()),
    }
}

fn suffix(directory: &Directory, settings: &Settings, it: &DomainSuffix) -> Result<(), ApiError> {
    if DomainSuffix::suffix(&it.suffix).as_ref() != Some(&it.suffix) {
        return bad(20_001, format!("{:?} is no suffix of host names", it.suffix));
    }
    if settings.is_own_host(&it.suffix) && !it.suffix.is_empty() {
        return bad(20_001, format!("{}: a name of this switch is nobody's", it.suffix));
    }
    let same = |other: &&DomainSuffix| other.sid != it.sid && other.suffix == it.suffix;
    match directory.all::<DomainSuffix>().find(same) {
        Some(holder) => bad(20_001, format!("the suffix is given already, by {}", holder.sid)),
        None => Ok(()),
    }
}

/// What one account may be charged is in one currency: its own prices, its main account's and
/// everybody's.
fn price(directory: &Directory, it: &Price, known: Option<Currency>) -> Result<(), ApiError> {
    let is_above = |above: Option<AccountSid>, below: Option<AccountSid>| match (above, below) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(above), Some(below)) => above == below || above == directory.family(below),
    };
    let key_of = |it: &Price| PriceKey(it.account, it.service);
    let clashes = |other: &&Price| {
        let related = is_above(it.account, other.account) || is_above(other.account, it.account);
        related && key_of(other) != key_of(it) && other.currency != it.currency
    };
    match directory.all::<Price>().find(clashes).filter(|_| known != Some(it.currency)) {
        Some(other) => {
            let (key, [ours, theirs]) = (key_of(other), [it.currency, other.currency]);
            let why = "an account's prices, its main account's and everybody's are of one currency";
            bad(20_001, format!("{ours:?} here, {theirs:?} for {key}: {why}"))
        }
        None => Ok(()),
    }
}

fn caller(directory: &Directory, it: &CallerId) -> Result<(), ApiError> {
    if party::number(&it.number).as_deref() != Some(it.number.as_str()) {
        return bad(21_421, format!("{:?} is not a phone number", it.number));
    }
    let same = |other: &&CallerId| {
        other.sid != it.sid && other.account == it.account && other.number == it.number
    };
    match directory.all::<CallerId>().find(same) {
        Some(known) => bad(20_001, format!("{} is verified already, by {}", it.number, known.sid)),
        None => Ok(()),
    }
}
