//! SIP domains: which application answers for `sip:anything@domain`, and from where calls are
//! taken.

use model::{DomainSid, Network, SipDomain};
use serde_json::{Value, json};

use super::{
    Verb, access, application, date, delete, fetch, friendly_name, list, put, random_sid, refuse,
    subresources, voice,
};
use crate::context::{Context, Outcome, Reply};
use crate::form::printable;
use crate::problem::Problem;

/// What a domain could do elsewhere and cannot here yet.
const UNSUPPORTED: [&str; 5] =
    ["SipRegistration", "EmergencyCallingEnabled", "Secure", "ByocTrunkSid", "EmergencyCallerSid"];
/// Networks of one domain at most.
const SOURCES_MAX: usize = 100;

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    if let [sid, "IpAccessControlListMappings", rest @ ..] = rest {
        let domain = fetch::<SipDomain>(context, sid).await?;
        return access::mappings(context, &domain, rest).await;
    }
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("{}/SIP/Domains.json", context.base());
            list(context, "domains", &uri, None, show).await
        }
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => delete::<SipDomain>(context, sid).await,
    }
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
    Ok(Reply::Created(show(&stored)))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut domain = fetch::<SipDomain>(context, sid).await?;
    if let Some(name) = context.form.filled("DomainName") {
        domain.domain_name = domain_name(name)?;
    }
    change(context, &mut domain).await?;
    domain.date_updated = context.backend().now();
    Ok(Reply::Shown(show(&put(context, domain, false).await?)))
}

async fn change(context: &Context<'_>, domain: &mut SipDomain) -> Result<(), Problem> {
    refuse(context, &UNSUPPORTED)?;
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
fn domain_name(text: &str) -> Result<String, Problem> {
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

fn show(domain: &SipDomain) -> Value {
    let uri = format!("/2010-04-01/Accounts/{}/SIP/Domains/{}", domain.account, domain.sid);
    let sources: Vec<String> = domain.sources.iter().map(access::text).collect();
    let mut body = json!({
        "sid": domain.sid.to_string(),
        "account_sid": domain.account.to_string(),
        "api_version": "2010-04-01",
        "auth_type": if domain.sources.is_empty() { "" } else { "IP_ACL" },
        "domain_name": domain.domain_name,
        "friendly_name": domain.friendly_name,
        "date_created": date(domain.date_created),
        "date_updated": date(domain.date_updated),
        "byoc_trunk_sid": null,
        "emergency_caller_sid": null,
        "emergency_calling_enabled": false,
        "secure": false,
        "sip_registration": false,
        "source_networks": sources,
        "voice_application_sid": domain.application.map(|application| application.to_string()),
        "uri": format!("{uri}.json"),
        "subresource_uris": subresources(&uri, &[
            ("ip_access_control_list_mappings", "IpAccessControlListMappings"),
        ]),
    });
    voice::show(&domain.config, &voice::DOMAIN, &mut body);
    body
}
