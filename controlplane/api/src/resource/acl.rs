//! IP access control lists: networks under a name, which domains and trunks take calls from. Beside
//! those that the account has made stand the ones that are there by themselves (`access`): each
//! domain's own, and the account's for its numbers.

use model::port::Entity;
use model::query::{Cursor, EntityQuery, Listed};
use model::{
    AccessAddress, AccessKey, AccessListSid, AccessMapping, AddressSid, DomainAccess, EntityKind,
    IpAccessControlList, Network, Resource as _, SipDomain,
};
use serde_json::{Value, json};

use super::{Verb, access, date, delete, fetch, put, random_sid, read};
use crate::context::{Context, Outcome, Reply};
use crate::page::{Asked, whole};
use crate::problem::Problem;

/// Longest names, characters.
const NAME_MAX: usize = 255;
/// 21235: a list that cannot be; 21238: an address.
const INVALID: u32 = 21_235;
const BAD_ADDRESS: u32 = 21_238;

/// `/SIP/IpAccessControlLists`
pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    let known = match rest {
        [sid, ..] => fetch::<IpAccessControlList>(context, sid).await,
        [] => return lists(context, rest).await,
    };
    match (known, rest) {
        (Ok(_), [sid, "IpAddresses", rest @ ..]) => addresses(context, sid, rest).await,
        (Ok(_), rest) => lists(context, rest).await,
        // One that nobody has made.
        (Err(problem), rest) if problem.status == 404 => access::handle(context, rest).await,
        (Err(problem), _) => Err(problem),
    }
}

async fn lists(context: &Context<'_>, rest: &[&str]) -> Outcome {
    match Verb::of(context, rest)? {
        Verb::List => list(context).await,
        Verb::Create => {
            let now = context.backend().now();
            let list = IpAccessControlList {
                sid: AccessListSid(random_sid()?),
                account: context.account.sid,
                friendly_name: name(context, INVALID)?,
                addresses: Vec::new(),
                date_created: now,
                date_updated: now,
            };
            Ok(Reply::Created(show(&put(context, list, true).await?)))
        }
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => {
            let _changing = context.changing().await;
            let mut list = fetch::<IpAccessControlList>(context, sid).await?;
            list.friendly_name = name(context, INVALID)?;
            Ok(Reply::Shown(show(&store(context, list).await?)))
        }
        Verb::Delete(sid) => delete::<IpAccessControlList>(context, sid).await,
    }
}

/// Those that were made and those that are there, in one order.
async fn list(context: &Context<'_>) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let mut rows = vec![Entity::Account(context.account.clone())];
    for kind in [EntityKind::IpAccessControlList, EntityKind::SipDomain] {
        let query = EntityQuery {
            kind,
            account: Some(context.account.sid),
            friendly_name: None,
            number_part: None,
            list: None,
            trunk: None,
            window: asked.window(),
        };
        rows.extend(read(context.backend().entities(query).await)?);
    }
    let rows = asked.window().apply(rows, Entity::cursor);
    let uri = format!("{}/SIP/IpAccessControlLists.json", context.base());
    let show = |row: &Entity| match IpAccessControlList::in_entity(row) {
        Some(list) => show(list),
        None => access::show_own(context, row),
    };
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body("ip_access_control_lists", &uri, &context.form, rows, show)))
}

fn name(context: &Context<'_>, code: u32) -> Result<String, Problem> {
    let name = context.form.filled("FriendlyName").unwrap_or_default();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        let message = format!("FriendlyName is required, {NAME_MAX} characters at most");
        return Err(Problem::new(400, code, message));
    }
    Ok(name.to_owned())
}

async fn store(
    context: &Context<'_>,
    mut list: IpAccessControlList,
) -> Result<IpAccessControlList, Problem> {
    list.date_updated = context.backend().now();
    put(context, list, false).await
}

/// `/SIP/IpAccessControlLists/{sid}/IpAddresses`
async fn addresses(context: &Context<'_>, sid: &str, rest: &[&str]) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let _changing = context.changing().await;
    let mut list = fetch::<IpAccessControlList>(context, sid).await?;
    let find = |list: &IpAccessControlList, sid: &str| {
        let sid = sid.parse::<AddressSid>().ok();
        let at = list.addresses.iter().position(|it| Some(it.sid) == sid);
        at.ok_or_else(|| context.not_found())
    };
    match verb {
        Verb::List => {
            let asked = Asked::read(&context.form)?;
            let rows: Vec<_> = list.addresses.iter().map(Row).collect();
            let rows = asked.window().apply(rows, Listed::cursor);
            let uri = format!("{}/SIP/IpAccessControlLists/{sid}/IpAddresses.json", context.base());
            let show = |row: &Row<'_>| show_address(&list, row.0);
            Ok(Reply::Shown(asked.body("ip_addresses", &uri, &context.form, rows, show)))
        }
        Verb::Create => {
            let now = context.backend().now();
            let address = AccessAddress {
                sid: AddressSid(random_sid()?),
                friendly_name: name(context, BAD_ADDRESS)?,
                network: network(context, None)?,
                date_created: now,
                date_updated: now,
            };
            list.addresses.push(address);
            let stored = store(context, list).await?;
            let shown = stored.addresses.last().map(|it| show_address(&stored, it));
            shown.map(Reply::Created).ok_or_else(Problem::internal)
        }
        Verb::Fetch(sid) => {
            let at = find(&list, sid)?;
            Ok(Reply::Shown(show_address(&list, &list.addresses[at])))
        }
        Verb::Update(sid) => {
            let at = find(&list, sid)?;
            let address = &mut list.addresses[at];
            address.network = network(context, Some(address.network))?;
            if context.form.get("FriendlyName").is_some() {
                address.friendly_name = name(context, BAD_ADDRESS)?;
            }
            address.date_updated = context.backend().now();
            let stored = store(context, list).await?;
            Ok(Reply::Shown(show_address(&stored, &stored.addresses[at])))
        }
        Verb::Delete(sid) => {
            let at = find(&list, sid)?;
            list.addresses.remove(at);
            store(context, list).await?;
            Ok(Reply::Deleted)
        }
    }
}

fn network(context: &Context<'_>, old: Option<Network>) -> Result<Network, Problem> {
    access::asked(context, old).map_err(|bad| Problem { code: BAD_ADDRESS, ..bad })
}

struct Row<'l>(&'l AccessAddress);

impl Listed for Row<'_> {
    fn cursor(&self) -> Cursor {
        Cursor { at: self.0.date_created, id: self.0.sid.0 }
    }
}

fn show(list: &IpAccessControlList) -> Value {
    let (account, sid) = (list.account, list.sid);
    let uri = format!("/2010-04-01/Accounts/{account}/SIP/IpAccessControlLists/{sid}");
    json!({
        "sid": sid.to_string(),
        "account_sid": account.to_string(),
        "friendly_name": list.friendly_name,
        "date_created": date(list.date_created),
        "date_updated": date(list.date_updated),
        "uri": format!("{uri}.json"),
        "subresource_uris": {"ip_addresses": format!("{uri}/IpAddresses.json")},
    })
}

fn show_address(list: &IpAccessControlList, it: &AccessAddress) -> Value {
    let (account, sid) = (list.account, list.sid);
    let uri = format!("/2010-04-01/Accounts/{account}/SIP/IpAccessControlLists/{sid}");
    json!({
        "sid": it.sid.to_string(),
        "account_sid": account.to_string(),
        "ip_access_control_list_sid": sid.to_string(),
        "friendly_name": it.friendly_name,
        "ip_address": it.network.address.to_string(),
        "cidr_prefix_length": it.network.bits,
        "date_created": date(it.date_created),
        "date_updated": date(it.date_updated),
        "uri": format!("{uri}/IpAddresses/{}.json", it.sid),
    })
}

/// Which lists a domain takes besides its own, and whether anything was ever mapped.
pub(super) async fn taken(
    context: &Context<'_>,
    domain: &SipDomain,
) -> Result<(DomainAccess, bool), Problem> {
    let known = read(context.backend().entity(AccessKey(domain.sid).into()).await)?;
    Ok(match known.and_then(DomainAccess::of) {
        Some(known) => (known, true),
        None => {
            let (domain, account) = (domain.sid, domain.account);
            (DomainAccess { domain, account, lists: Vec::new() }, false)
        }
    })
}

/// `/SIP/Domains/{sid}/IpAccessControlListMappings`, and the same below `Auth/Calls` (`is_auth`),
/// which shows less.
pub(super) async fn mappings(
    context: &Context<'_>,
    domain: &SipDomain,
    is_auth: bool,
    rest: &[&str],
) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let own = access::own_sid(domain);
    let _changing = context.changing().await;
    let (mut taken, is_known) = taken(context, domain).await?;
    let find = |sid: &str| taken.lists.iter().position(|it| it.list.to_string() == sid);
    match verb {
        Verb::List => {
            let mut rows = Vec::new();
            for mapping in &taken.lists {
                rows.push(show_mapping(context, domain, is_auth, mapping).await?);
            }
            rows.push(access::show_mapping(context, domain, is_auth));
            let key = if is_auth { "contents" } else { "ip_access_control_list_mappings" };
            let uri = mappings_uri(context, domain, is_auth);
            Ok(Reply::Shown(whole(key, &format!("{uri}.json"), rows)))
        }
        Verb::Fetch(sid) => match find(sid) {
            Some(at) => {
                let mapping = taken.lists[at];
                Ok(Reply::Shown(show_mapping(context, domain, is_auth, &mapping).await?))
            }
            None if sid == own => Ok(Reply::Shown(access::show_mapping(context, domain, is_auth))),
            None => Err(context.not_found()),
        },
        Verb::Create => {
            let sid = context.form.filled("IpAccessControlListSid").unwrap_or_default();
            if sid == own {
                return Ok(Reply::Created(access::show_mapping(context, domain, is_auth)));
            }
            let Ok(list) = fetch::<IpAccessControlList>(context, sid).await else {
                let message = "IpAccessControlListSid names no list of this account";
                return Err(Problem::new(400, INVALID, message));
            };
            let mapping = match find(sid) {
                Some(at) => taken.lists[at],
                None => {
                    let mapping = AccessMapping { list: list.sid, at: context.backend().now() };
                    taken.lists.push(mapping);
                    put(context, taken, !is_known).await?;
                    mapping
                }
            };
            Ok(Reply::Created(show_mapping(context, domain, is_auth, &mapping).await?))
        }
        Verb::Update(_) => Err(Problem::method_not_allowed()),
        Verb::Delete(sid) if sid == own => Err(access::fixed()),
        Verb::Delete(sid) => {
            let at = find(sid).ok_or_else(|| context.not_found())?;
            taken.lists.remove(at);
            put(context, taken, !is_known).await?;
            Ok(Reply::Deleted)
        }
    }
}

pub(super) fn mappings_uri(context: &Context<'_>, domain: &SipDomain, is_auth: bool) -> String {
    let below = if is_auth { "Auth/Calls/" } else { "" };
    let base = context.base();
    format!("{base}/SIP/Domains/{}/{below}IpAccessControlListMappings", domain.sid)
}

async fn show_mapping(
    context: &Context<'_>,
    domain: &SipDomain,
    is_auth: bool,
    mapping: &AccessMapping,
) -> Result<Value, Problem> {
    let sid = mapping.list.to_string();
    let list = fetch::<IpAccessControlList>(context, &sid).await?;
    let mut body = json!({
        "sid": sid,
        "account_sid": domain.account.to_string(),
        "friendly_name": list.friendly_name,
        "date_created": date(mapping.at),
        "date_updated": date(mapping.at),
    });
    if !is_auth {
        body["domain_sid"] = domain.sid.to_string().into();
        body["uri"] = format!("{}/{sid}.json", mappings_uri(context, domain, is_auth)).into();
    }
    Ok(body)
}
