//! SIP domains: which application answers for `sip:anything@domain`, from where calls are taken,
//! and whether phones may register.

use model::query::EntityQuery;
use model::{DomainAuth, DomainSid, Network, Resource as _, SipDomain};
use serde_json::{Value, json};

use super::mapping::Which;
use super::{
    Verb, access, acl, application, date, delete, fetch, friendly_name, mapping, put, random_sid,
    read, refuse, subresources, voice,
};
use crate::context::{Context, Outcome, Reply};
use crate::form::printable;
use crate::page::Asked;
use crate::problem::Problem;

/// What a domain could do elsewhere and cannot here yet.
const UNSUPPORTED: [&str; 4] =
    ["EmergencyCallingEnabled", "Secure", "ByocTrunkSid", "EmergencyCallerSid"];
/// Networks of one domain at most.
const SOURCES_MAX: usize = 100;

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    if let [sid, below @ ..] = rest
        && !below.is_empty()
    {
        let domain = fetch::<SipDomain>(context, sid).await?;
        return match below {
            ["IpAccessControlListMappings", rest @ ..] => {
                acl::mappings(context, &domain, false, rest).await
            }
            ["Auth", "Calls", "IpAccessControlListMappings", rest @ ..] => {
                acl::mappings(context, &domain, true, rest).await
            }
            ["CredentialListMappings", rest @ ..] => {
                mapping::handle(context, &domain, Which::Plain, rest).await
            }
            ["Auth", "Calls", "CredentialListMappings", rest @ ..] => {
                mapping::handle(context, &domain, Which::Calls, rest).await
            }
            ["Auth", "Registrations", "CredentialListMappings", rest @ ..] => {
                mapping::handle(context, &domain, Which::Registrations, rest).await
            }
            _ => Err(context.not_found()),
        };
    }
    match Verb::of(context, rest)? {
        Verb::List => list(context).await,
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => {
            let domain = fetch::<SipDomain>(context, sid).await?;
            let (auth, _) = mapping::auth(context, &domain).await?;
            Ok(Reply::Shown(show(&domain, &auth, has_lists(context, &domain).await?)))
        }
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => delete::<SipDomain>(context, sid).await,
    }
}

async fn list(context: &Context<'_>) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let query = EntityQuery {
        kind: SipDomain::KIND,
        account: Some(context.account.sid),
        friendly_name: context.form.filled("FriendlyName").map(str::to_owned),
        number_part: None,
        list: None,
        trunk: None,
        window: asked.window(),
    };
    let rows = read(context.backend().entities(query).await)?;
    let mut auths = Vec::with_capacity(rows.len());
    for domain in rows.iter().filter_map(SipDomain::in_entity) {
        let auth = mapping::auth(context, domain).await?.0;
        auths.push((auth, has_lists(context, domain).await?));
    }
    let uri = format!("{}/SIP/Domains.json", context.base());
    let show = |row: &_| {
        let domain = SipDomain::in_entity(row);
        let found = domain.and_then(|domain| {
            Some((domain, auths.iter().find(|(auth, _)| auth.domain == domain.sid)?))
        });
        found.map_or(Value::Null, |(domain, (auth, has_lists))| show(domain, auth, *has_lists))
    };
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body("domains", &uri, &context.form, rows, show)))
}

async fn create(context: &Context<'_>) -> Outcome {
    let name = context
        .form
        .filled("DomainName")
        .ok_or_else(|| Problem::new(400, 21_232, "DomainName is required"))?;
    let now = context.backend().now();
    let mut domain = SipDomain {
        sid: DomainSid(random_sid()?),
        account: context.account.sid,
        domain_name: domain_name(name)?,
        date_created: now,
        date_updated: now,
        ..SipDomain::default()
    };
    domain.friendly_name.clone_from(&domain.domain_name);
    change(context, &mut domain).await?;
    let stored = put(context, domain, true).await?;
    let auth = registers(context, &stored).await?;
    Ok(Reply::Created(show(&stored, &auth, false)))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut domain = fetch::<SipDomain>(context, sid).await?;
    if let Some(name) = context.form.filled("DomainName") {
        domain.domain_name = domain_name(name)?;
    }
    change(context, &mut domain).await?;
    domain.date_updated = context.backend().now();
    let stored = put(context, domain, false).await?;
    let auth = registers(context, &stored).await?;
    Ok(Reply::Shown(show(&stored, &auth, has_lists(context, &stored).await?)))
}

/// Whether it takes lists of networks besides its own.
async fn has_lists(context: &Context<'_>, domain: &SipDomain) -> Result<bool, Problem> {
    Ok(!acl::taken(context, domain).await?.0.lists.is_empty())
}

/// SipRegistration as it is asked for; it stands beside what is mapped.
async fn registers(context: &Context<'_>, domain: &SipDomain) -> Result<DomainAuth, Problem> {
    let (mut auth, is_known) = mapping::auth(context, domain).await?;
    match context.form.boolean("SipRegistration")? {
        Some(registers) if registers != auth.registers => {
            auth.registers = registers;
            put(context, auth, !is_known).await
        }
        _ => Ok(auth),
    }
}

async fn change(context: &Context<'_>, domain: &mut SipDomain) -> Result<(), Problem> {
    refuse(context, &UNSUPPORTED)?;
    context.form.boolean("SipRegistration")?;
    if let Some(name) = friendly_name(context)? {
        domain.friendly_name = name;
    }
    if let Some(application) = application::named(context, "VoiceApplicationSid").await? {
        domain.application = application;
    }
    let sources: Vec<&str> = context.form.all("SourceNetwork").collect();
    if !sources.is_empty() {
        domain.sources.clear();
        for text in sources.into_iter().filter(|text| !text.is_empty()) {
            add_source(&mut domain.sources, network(text, "SourceNetwork")?)?;
        }
    }
    voice::update(&mut domain.config, &context.form, &voice::DOMAIN)
}

/// `address` or `address/bits`.
pub(super) fn network(text: &str, name: &str) -> Result<Network, Problem> {
    text.parse().map_err(|_| Problem::bad_parameter(name, "address or address/bits"))
}

/// Adds a network unless it is there already.
pub(super) fn add_source(sources: &mut Vec<Network>, network: Network) -> Result<(), Problem> {
    if sources.contains(&network) {
        return Ok(());
    }
    if sources.len() >= SOURCES_MAX {
        let message = format!("More than {SOURCES_MAX} networks");
        return Err(Problem::new(400, 20_001, message));
    }
    sources.push(network);
    Ok(())
}

/// A host name in lower case: what stands in the Request-URI without a port. No address: calls to
/// one go by number, whoever's they are. Names of the switch itself are refused by the director,
/// who knows them.
pub(super) fn domain_name(text: &str) -> Result<String, Problem> {
    let name = text.trim().to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address = name.parse::<std::net::IpAddr>().is_ok();
    if name.len() <= 253 && !address && name.split('.').all(label) {
        return Ok(name);
    }
    let message = format!("DomainName is not a host name: {}", printable(text));
    Err(Problem::new(400, 21_232, message))
}

fn show(domain: &SipDomain, auth: &DomainAuth, has_lists: bool) -> Value {
    let uri = format!("/2010-04-01/Accounts/{}/SIP/Domains/{}", domain.account, domain.sid);
    let sources: Vec<String> = domain.sources.iter().map(access::text).collect();
    let auth_type = match (domain.sources.is_empty() && !has_lists, auth.calls.is_empty()) {
        (true, true) => "",
        (false, true) => "IP_ACL",
        (true, false) => "CREDENTIAL_LIST",
        (false, false) => "IP_ACL,CREDENTIAL_LIST",
    };
    let mut body = json!({
        "sid": domain.sid.to_string(),
        "account_sid": domain.account.to_string(),
        "api_version": "2010-04-01",
        "auth_type": auth_type,
        "domain_name": domain.domain_name,
        "friendly_name": domain.friendly_name,
        "date_created": date(domain.date_created),
        "date_updated": date(domain.date_updated),
        "byoc_trunk_sid": null,
        "emergency_caller_sid": null,
        "emergency_calling_enabled": false,
        "secure": false,
        "sip_registration": auth.registers,
        "source_networks": sources,
        "voice_application_sid": domain.application.map(|application| application.to_string()),
        "uri": format!("{uri}.json"),
        "subresource_uris": subresources(&uri, &[
            ("credential_list_mappings", "CredentialListMappings"),
            ("ip_access_control_list_mappings", "IpAccessControlListMappings"),
        ]),
    });
    voice::show(&domain.config, &voice::DOMAIN, &mut body);
    body
}
