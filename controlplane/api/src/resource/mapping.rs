//! Which lists of credentials a SIP domain takes, for calls and for registrations apart. A
//! mapping's sid is its list's. `CredentialListMappings` and `Auth/Calls/CredentialListMappings`
//! are one set in two shapes.

use model::{AuthKey, CredentialList, DomainAuth, Mapping, SipDomain};
use serde_json::{Value, json};

use super::{Verb, date, fetch, put, read};
use crate::context::{Context, Outcome, Reply};
use crate::page::whole;
use crate::problem::Problem;

/// Which mappings, and how they are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// For calls, as before there was `Auth`.
    Plain,
    Calls,
    Registrations,
}

impl Which {
    fn path(self) -> &'static str {
        match self {
            Self::Plain => "CredentialListMappings",
            Self::Calls => "Auth/Calls/CredentialListMappings",
            Self::Registrations => "Auth/Registrations/CredentialListMappings",
        }
    }

    fn of(self, auth: &mut DomainAuth) -> &mut Vec<Mapping> {
        match self {
            Self::Plain | Self::Calls => &mut auth.calls,
            Self::Registrations => &mut auth.registrations,
        }
    }
}

/// What is mapped to a domain, and whether anything ever was.
pub(super) async fn auth(
    context: &Context<'_>,
    domain: &SipDomain,
) -> Result<(DomainAuth, bool), Problem> {
    let known = read(context.backend().entity(AuthKey(domain.sid).into()).await)?;
    Ok(match known {
        Some(model::port::Entity::DomainAuth(auth)) => (auth, true),
        _ => {
            let (domain, account) = (domain.sid, domain.account);
            (DomainAuth { domain, account, ..DomainAuth::default() }, false)
        }
    })
}

pub(super) async fn handle(
    context: &Context<'_>,
    domain: &SipDomain,
    which: Which,
    rest: &[&str],
) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let _changing = context.changing().await;
    let (mut auth, is_known) = auth(context, domain).await?;
    let mapped = which.of(&mut auth);
    let find = |sid: &str| mapped.iter().position(|mapping| mapping.list.to_string() == sid);
    match verb {
        Verb::List => {
            let mut rows = Vec::new();
            for mapping in &*mapped {
                rows.push(show(context, domain, which, mapping).await?);
            }
            let key = if which == Which::Plain { "credential_list_mappings" } else { "contents" };
            let uri =
                format!("{}/SIP/Domains/{}/{}.json", context.base(), domain.sid, which.path());
            Ok(Reply::Shown(whole(key, &uri, rows)))
        }
        Verb::Fetch(sid) => {
            let at = find(sid).ok_or_else(|| context.not_found())?;
            let mapping = mapped[at];
            Ok(Reply::Shown(show(context, domain, which, &mapping).await?))
        }
        Verb::Create => {
            let sid = context.form.filled("CredentialListSid").unwrap_or_default();
            let Ok(list) = fetch::<CredentialList>(context, sid).await else {
                let message = "CredentialListSid names no list of this account";
                return Err(Problem::new(400, 21_240, message));
            };
            let mapping = match find(sid) {
                Some(at) => mapped[at],
                None => {
                    let mapping = Mapping { list: list.sid, at: context.backend().now() };
                    mapped.push(mapping);
                    put(context, auth, !is_known).await?;
                    mapping
                }
            };
            Ok(Reply::Created(show(context, domain, which, &mapping).await?))
        }
        Verb::Update(_) => Err(Problem::method_not_allowed()),
        Verb::Delete(sid) => {
            let at = find(sid).ok_or_else(|| context.not_found())?;
            mapped.remove(at);
            put(context, auth, !is_known).await?;
            Ok(Reply::Deleted)
        }
    }
}

async fn show(
    context: &Context<'_>,
    domain: &SipDomain,
    which: Which,
    mapping: &Mapping,
) -> Result<Value, Problem> {
    let sid = mapping.list.to_string();
    let list = fetch::<CredentialList>(context, &sid).await?;
    let mut body = json!({
        "sid": sid,
        "account_sid": domain.account.to_string(),
        "friendly_name": list.friendly_name,
        "date_created": date(mapping.at),
        "date_updated": date(mapping.at),
    });
    if which == Which::Plain {
        let base = format!("{}/SIP/Domains/{}/{}", context.base(), domain.sid, which.path());
        body["domain_sid"] = domain.sid.to_string().into();
        body["uri"] = format!("{base}/{sid}.json").into();
    }
    Ok(body)
}
