//! IP access control lists that are there by themselves, beside those that an account makes
//! (`acl`): every SIP domain has one, with the domain's number in its sid, and the account has one
//! for its phone numbers. Its addresses are the networks that calls are taken from. Their mappings
//! therefore exist already and cannot be undone.

use std::net::IpAddr;

use base::Wall;
use model::port::{Entity, EntityKey};
use model::{DomainSid, Network, SipDomain};
use serde_json::{Value, json};

use super::{Verb, acl, date, owned, put_entity};
use crate::context::{Context, Outcome, Reply};
use crate::date::DAY_S;
use crate::page::whole;
use crate::problem::Problem;
use crate::resource::domain::{add_source, network};

/// What has a list: it and the list's number.
struct Owner {
    entity: Entity,
    id: u128,
}

/// `/SIP/IpAccessControlLists/{sid}`
pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    if let [list, "IpAddresses", rest @ ..] = rest {
        return addresses(context, list, rest).await;
    }
    match Verb::of(context, rest)? {
        Verb::Fetch(sid) => Ok(Reply::Shown(owner(context, sid).await?.show(context))),
        Verb::Update(sid) | Verb::Delete(sid) => {
            owner(context, sid).await.and_then(|_| Err(fixed()))
        }
        Verb::List | Verb::Create => Err(context.not_found()),
    }
}

/// The sid of a domain's own list.
pub(super) fn own_sid(domain: &SipDomain) -> String {
    format!("AL{:032x}", domain.sid.0)
}

/// The mapping of a domain's own list.
pub(super) fn show_mapping(context: &Context<'_>, domain: &SipDomain, is_auth: bool) -> Value {
    let own = own_sid(domain);
    let mut body = json!({
        "sid": own,
        "account_sid": domain.account.to_string(),
        "friendly_name": domain.friendly_name,
        "date_created": date(domain.date_created),
        "date_updated": date(domain.date_updated),
    });
    if !is_auth {
        body["domain_sid"] = domain.sid.to_string().into();
        let uri = acl::mappings_uri(context, domain, is_auth);
        body["uri"] = format!("{uri}/{own}.json").into();
    }
    body
}

/// A list that is there by itself, of what has it.
pub(super) fn show_own(context: &Context<'_>, of: &Entity) -> Value {
    Owner::new(of.clone()).map_or(Value::Null, |owner| owner.show(context))
}

pub(super) fn fixed() -> Problem {
    let message = "A SIP domain's own list (AL and the domain's 32 digits) and the account's are \
                   there for good; change their IpAddresses";
    Problem::new(400, 20_001, message)
}

async fn owner(context: &Context<'_>, sid: &str) -> Result<Owner, Problem> {
    let id = number(sid, "AL").ok_or_else(|| context.not_found())?;
    let key = if id == context.account.sid.0 {
        EntityKey::Account(context.account.sid)
    } else {
        EntityKey::SipDomain(DomainSid(id))
    };
    Owner::new(owned(context, key).await?).ok_or_else(|| context.not_found())
}

async fn addresses(context: &Context<'_>, list: &str, rest: &[&str]) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let _changing = context.changing().await;
    let mut owner = owner(context, list).await?;
    let find = |owner: &mut Owner, sid: &str| {
        let id = number(sid, "IP");
        let at = owner.sources().iter().position(|network| id == Some(address_id(network)));
        at.ok_or_else(|| context.not_found())
    };
    match verb {
        Verb::List => {
            let networks = owner.sources().clone();
            let rows = networks.iter().map(|one| owner.show_address(context, one)).collect();
            let uri = format!("{}/IpAddresses.json", owner.uri(context));
            Ok(Reply::Shown(whole("ip_addresses", &uri, rows)))
        }
        Verb::Fetch(sid) => {
            let at = find(&mut owner, sid)?;
            let network = owner.sources()[at];
            Ok(Reply::Shown(owner.show_address(context, &network)))
        }
        Verb::Create => {
            let network = asked(context, None)?;
            add_source(owner.sources(), network)?;
            let owner = owner.store(context).await?;
            Ok(Reply::Created(owner.show_address(context, &network)))
        }
        Verb::Update(sid) => {
            let at = find(&mut owner, sid)?;
            let network = asked(context, Some(owner.sources()[at]))?;
            owner.sources()[at] = network;
            let owner = owner.store(context).await?;
            Ok(Reply::Shown(owner.show_address(context, &network)))
        }
        Verb::Delete(sid) => {
            let at = find(&mut owner, sid)?;
            owner.sources().remove(at);
            owner.store(context).await?;
            Ok(Reply::Deleted)
        }
    }
}

/// IpAddress with CidrPrefixLength; what is not given is as in `old`.
pub(super) fn asked(context: &Context<'_>, old: Option<Network>) -> Result<Network, Problem> {
    let mut network = match (context.form.filled("IpAddress"), old) {
        (Some(text), _) => network(text, "IpAddress")?,
        (None, Some(old)) => old,
        (None, None) => return Err(Problem::bad_parameter("IpAddress", "required")),
    };
    let most = if network.address.is_ipv4() { 32 } else { 128 };
    if let Some(bits) = context.form.number("CidrPrefixLength", 0..=most)? {
        network.bits = u8::try_from(bits).unwrap_or(network.bits);
    }
    Ok(network)
}

impl Owner {
    fn new(entity: Entity) -> Option<Self> {
        let id = match &entity {
            Entity::Account(account) => account.sid.0,
            Entity::SipDomain(domain) => domain.sid.0,
            _ => return None,
        };
        Some(Self { entity, id })
    }

    fn sources(&mut self) -> &mut Vec<Network> {
        match &mut self.entity {
            Entity::Account(account) => &mut account.sources,
            Entity::SipDomain(domain) => &mut domain.sources,
            _ => unreachable!("an owner is an account or a domain"),
        }
    }

    /// The caller holds [`Context::changing`] since before the owner was read.
    async fn store(mut self, context: &Context<'_>) -> Result<Self, Problem> {
        let now = context.backend().now();
        match &mut self.entity {
            Entity::Account(account) => account.date_updated = now,
            Entity::SipDomain(domain) => domain.date_updated = now,
            _ => {}
        }
        Self::new(put_entity(context, self.entity, false).await?).ok_or_else(Problem::internal)
    }

    fn facts(&self) -> (&str, Wall, Wall) {
        match &self.entity {
            Entity::Account(it) => ("Phone numbers", it.date_created, it.date_updated),
            Entity::SipDomain(it) => (&it.friendly_name, it.date_created, it.date_updated),
            _ => ("", Wall(0), Wall(DAY_S)),
        }
    }

    fn uri(&self, context: &Context<'_>) -> String {
        format!("{}/SIP/IpAccessControlLists/AL{:032x}", context.base(), self.id)
    }

    fn show(&self, context: &Context<'_>) -> Value {
        let (name, created, updated) = self.facts();
        let uri = self.uri(context);
        json!({
            "sid": format!("AL{:032x}", self.id),
            "account_sid": context.account.sid.to_string(),
            "friendly_name": name,
            "date_created": date(created),
            "date_updated": date(updated),
            "uri": format!("{uri}.json"),
            "subresource_uris": {"ip_addresses": format!("{uri}/IpAddresses.json")},
        })
    }

    fn show_address(&self, context: &Context<'_>, network: &Network) -> Value {
        let (_, created, updated) = self.facts();
        let sid = format!("IP{:032x}", address_id(network));
        json!({
            "sid": sid,
            "account_sid": context.account.sid.to_string(),
            "ip_access_control_list_sid": format!("AL{:032x}", self.id),
            "friendly_name": text(network),
            "ip_address": network.address.to_string(),
            "cidr_prefix_length": network.bits,
            "date_created": date(created),
            "date_updated": date(updated),
            "uri": format!("{}/IpAddresses/{sid}.json", self.uri(context)),
        })
    }
}

/// `address/bits`
pub(super) fn text(network: &Network) -> String {
    format!("{}/{}", network.address, network.bits)
}

/// An address's number within its list: the first 16 bytes of a digest of its text.
fn address_id(network: &Network) -> u128 {
    let family = match network.address {
        IpAddr::V4(_) => '4',
        IpAddr::V6(_) => '6',
    };
    let text = format!("{family} {}", text(network));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let first = digest.as_ref().first_chunk::<16>().copied().unwrap_or_default();
    u128::from_be_bytes(first)
}

fn number(sid: &str, prefix: &str) -> Option<u128> {
    let digits = sid.strip_prefix(prefix)?;
    let good = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}
