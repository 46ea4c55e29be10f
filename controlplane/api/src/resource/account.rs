//! Accounts: the login's own and its sub-accounts.

use model::port::{ApiDone, ApiRequest, Entity, EntityKey};
use model::{Account, AccountSid, AccountStatus, Secret};
use serde_json::{Value, json};

use super::{
    date, friendly_name, put, random_secret, random_sid, read, status_name, status_named, submit,
    subresources,
};
use crate::context::{Context, Outcome, Reply};
use crate::problem::Problem;

/// `/2010-04-01/Accounts`
pub(super) async fn list(context: &Context<'_>) -> Outcome {
    no_keys(context)?;
    match context.method.as_str() {
        "GET" => {
            let uri = "/2010-04-01/Accounts.json";
            super::list(context, "accounts", uri, None, |account| show(context, account)).await
        }
        "POST" => create(context).await,
        _ => Err(Problem::method_not_allowed()),
    }
}

/// `/2010-04-01/Accounts/{sid}`
pub(super) async fn one(context: &Context<'_>) -> Outcome {
    match context.method.as_str() {
        "GET" => Ok(Reply::Shown(show(context, &context.account))),
        "POST" => update(context).await,
        _ => Err(Problem::method_not_allowed()),
    }
}

/// API keys manage neither accounts nor keys.
pub(super) fn no_keys(context: &Context<'_>) -> Result<(), Problem> {
    if context.login.key {
        let message = "API keys cannot access this resource; use the account's own credentials";
        return Err(Problem::new(403, 20_403, message));
    }
    Ok(())
}

async fn create(context: &Context<'_>) -> Outcome {
    let parent = &context.login.account;
    if parent.parent != parent.sid {
        return Err(Problem::new(403, 20_403, "A sub-account cannot have sub-accounts"));
    }
    let now = context.backend().now();
    let account = Account {
        sid: AccountSid(random_sid()?),
        number: 0,
        auth_token: Secret(random_secret()?),
        friendly_name: friendly_name(context)?
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("SubAccount Created at {}", model::stamp::rfc3339(now))),
        status: AccountStatus::Active,
        parent: parent.sid,
        date_created: now,
        date_updated: now,
        sources: Vec::new(),
        limits: parent.limits,
    };
    let stored = put(context, account, true).await?;
    Ok(Reply::Created(show(context, &stored)))
}

async fn update(context: &Context<'_>) -> Outcome {
    no_keys(context)?;
    let _changing = context.changing().await;
    let key = EntityKey::Account(context.account.sid);
    let Some(Entity::Account(mut account)) = read(context.backend().entity(key).await)? else {
        return Err(context.not_found());
    };
    if let Some(name) = friendly_name(context)? {
        account.friendly_name = name;
    }
    if let Some(status) = context.form.filled("Status") {
        account.status = status_of(context, &account, status)?;
    }
    account.date_updated = context.backend().now();
    let request = if ends_calls(context, &account)? {
        ApiRequest::Shut(Box::new(account))
    } else {
        ApiRequest::Put { entity: Box::new(account.into()), create: false }
    };
    // By whoever asks: a main account suspends, nobody himself.
    match submit(context, context.login.account.sid, request).await? {
        ApiDone::Entity(entity) => match *entity {
            Entity::Account(account) => Ok(Reply::Shown(show(context, &account))),
            _ => Err(Problem::internal()),
        },
        _ => Err(Problem::internal()),
    }
}

/// `Hard`: the calls of an account that is suspended end too; without, they go on.
fn ends_calls(context: &Context<'_>, account: &Account) -> Result<bool, Problem> {
    match context.form.filled("Hard") {
        None | Some("false") => Ok(false),
        Some("true") if account.status != AccountStatus::Active => Ok(true),
        Some("true") => Err(Problem::bad_parameter("Hard", "with Status=suspended or closed")),
        Some(_) => Err(Problem::bad_parameter("Hard", "true or false")),
    }
}

fn status_of(
    context: &Context<'_>,
    account: &Account,
    status: &str,
) -> Result<AccountStatus, Problem> {
    let status = status_named(status)?;
    if account.status == status {
        return Ok(status);
    }
    if account.sid == context.login.account.sid {
        return Err(Problem::new(403, 20_403, "An account cannot change its own status"));
    }
    if account.status == AccountStatus::Closed {
        return Err(Problem::new(400, 20_001, "A closed account cannot be opened again"));
    }
    Ok(status)
}

fn show(context: &Context<'_>, account: &Account) -> Value {
    let uri = format!("/2010-04-01/Accounts/{}", account.sid);
    // Who came with a key does not learn the token by which keys are made.
    let token = (!context.login.key).then_some(&account.auth_token.0);
    json!({
        "sid": account.sid.to_string(),
        "owner_account_sid": account.parent.to_string(),
        "friendly_name": account.friendly_name,
        "status": status_name(account.status),
        "type": "Full",
        "auth_token": token,
        "date_created": date(account.date_created),
        "date_updated": date(account.date_updated),
        "uri": format!("{uri}.json"),
        "subresource_uris": subresources(&uri, &[
            ("applications", "Applications"),
            ("calls", "Calls"),
            ("incoming_phone_numbers", "IncomingPhoneNumbers"),
            ("keys", "Keys"),
            ("notifications", "Notifications"),
            ("sip_domains", "SIP/Domains"),
            ("usage", "Usage/Records"),
        ]),
    })
}
