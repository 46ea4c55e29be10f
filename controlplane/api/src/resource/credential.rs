//! Lists of credentials, and the credentials in them. A password goes in and never comes out.

use model::query::EntityQuery;
use model::{
    Credential, CredentialList, CredentialListSid, CredentialSid, EntityKind, Resource as _, Secret,
};
use serde_json::{Value, json};

use super::{Verb, date, delete, fetch, list, put, random_sid, read, subresources};
use crate::context::{Context, Outcome, Reply};
use crate::form::printable;
use crate::page::Asked;
use crate::problem::Problem;

/// Longest name of a list, characters.
const NAME_MAX: usize = 64;

/// `/SIP/CredentialLists`
pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    if let [sid, "Credentials", rest @ ..] = rest {
        let list = fetch::<CredentialList>(context, sid).await?;
        return credentials(context, &list, rest).await;
    }
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("{}/SIP/CredentialLists.json", context.base());
            list(context, "credential_lists", &uri, None, show).await
        }
        Verb::Create => {
            let now = context.backend().now();
            let list = CredentialList {
                sid: CredentialListSid(random_sid()?),
                account: context.account.sid,
                friendly_name: name(context)?,
                date_created: now,
                date_updated: now,
            };
            Ok(Reply::Created(show(&put(context, list, true).await?)))
        }
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => {
            let _changing = context.changing().await;
            let mut list = fetch::<CredentialList>(context, sid).await?;
            list.friendly_name = name(context)?;
            list.date_updated = context.backend().now();
            Ok(Reply::Shown(show(&put(context, list, false).await?)))
        }
        Verb::Delete(sid) => delete::<CredentialList>(context, sid).await,
    }
}

fn name(context: &Context<'_>) -> Result<String, Problem> {
    let name = context.form.filled("FriendlyName").unwrap_or_default();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        let message = format!("FriendlyName is required, {NAME_MAX} characters at most");
        return Err(Problem::new(400, 21_240, message));
    }
    Ok(name.to_owned())
}

/// `/SIP/CredentialLists/{sid}/Credentials`
async fn credentials(context: &Context<'_>, of: &CredentialList, rest: &[&str]) -> Outcome {
    let verb = Verb::of(context, rest)?;
    match verb {
        Verb::List => list_of(context, of).await,
        Verb::Create => {
            let now = context.backend().now();
            let username = context.form.filled("Username").ok_or_else(|| missing("Username"))?;
            let credential = Credential {
                sid: CredentialSid(random_sid()?),
                account: of.account,
                list: of.sid,
                username: printable(username),
                password: password(context)?,
                date_created: now,
                date_updated: now,
            };
            Ok(Reply::Created(show_credential(&put(context, credential, true).await?)))
        }
        Verb::Fetch(sid) => Ok(Reply::Shown(show_credential(&one(context, of, sid).await?))),
        Verb::Update(sid) => {
            let _changing = context.changing().await;
            let mut credential = one(context, of, sid).await?;
            credential.password = password(context)?;
            credential.date_updated = context.backend().now();
            Ok(Reply::Shown(show_credential(&put(context, credential, false).await?)))
        }
        Verb::Delete(sid) => {
            one(context, of, sid).await?;
            delete::<Credential>(context, sid).await
        }
    }
}

fn missing(name: &str) -> Problem {
    Problem::new(400, 21_243, format!("{name} is required"))
}

fn password(context: &Context<'_>) -> Result<Secret, Problem> {
    let password = context.form.filled("Password").ok_or_else(|| missing("Password"))?;
    Ok(Secret(password.to_owned()))
}

/// The credential, if it is of this list.
async fn one(context: &Context<'_>, of: &CredentialList, sid: &str) -> Result<Credential, Problem> {
    let credential = fetch::<Credential>(context, sid).await?;
    if credential.list == of.sid { Ok(credential) } else { Err(context.not_found()) }
}

async fn list_of(context: &Context<'_>, of: &CredentialList) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let query = EntityQuery {
        kind: EntityKind::Credential,
        account: Some(context.account.sid),
        friendly_name: None,
        number_part: None,
        list: Some(of.sid),
        trunk: None,
        window: asked.window(),
    };
    let rows = read(context.backend().entities(query).await)?;
    let uri = format!("{}/SIP/CredentialLists/{}/Credentials.json", context.base(), of.sid);
    let show = |row: &_| Credential::in_entity(row).map_or(Value::Null, show_credential);
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body("credentials", &uri, &context.form, rows, show)))
}

fn show(list: &CredentialList) -> Value {
    let uri = format!("/2010-04-01/Accounts/{}/SIP/CredentialLists/{}", list.account, list.sid);
    json!({
        "sid": list.sid.to_string(),
        "account_sid": list.account.to_string(),
        "friendly_name": list.friendly_name,
        "date_created": date(list.date_created),
        "date_updated": date(list.date_updated),
        "uri": format!("{uri}.json"),
        "subresource_uris": subresources(&uri, &[("credentials", "Credentials")]),
    })
}

fn show_credential(it: &Credential) -> Value {
    let base = format!("/2010-04-01/Accounts/{}/SIP/CredentialLists/{}", it.account, it.list);
    json!({
        "sid": it.sid.to_string(),
        "account_sid": it.account.to_string(),
        "credential_list_sid": it.list.to_string(),
        "username": it.username,
        "date_created": date(it.date_created),
        "date_updated": date(it.date_updated),
        "uri": format!("{base}/Credentials/{}.json", it.sid),
    })
}
