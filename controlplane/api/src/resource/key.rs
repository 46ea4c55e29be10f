//! API keys. A key's secret is shown once, in the answer to its creation.

use model::{ApiKey, KeySid, Secret};
use serde_json::{Value, json};

use super::account::no_keys;
use super::{Verb, date, delete, fetch, friendly_name, list, put, random_secret, random_sid};
use crate::context::{Context, Outcome, Reply};

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    no_keys(context)?;
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("{}/Keys.json", context.base());
            list(context, "keys", &uri, None, show).await
        }
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => delete::<ApiKey>(context, sid).await,
    }
}

async fn create(context: &Context<'_>) -> Outcome {
    let now = context.backend().now();
    let secret = random_secret()?;
    let key = ApiKey {
        sid: KeySid(random_sid()?),
        account: context.account.sid,
        secret: Secret(secret.clone()),
        friendly_name: friendly_name(context)?.unwrap_or_default(),
        date_created: now,
        date_updated: now,
    };
    let stored = put(context, key, true).await?;
    let mut body = show(&stored);
    body["secret"] = secret.into();
    Ok(Reply::Created(body))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut key = fetch::<ApiKey>(context, sid).await?;
    if let Some(name) = friendly_name(context)? {
        key.friendly_name = name;
    }
    key.date_updated = context.backend().now();
    let stored = put(context, key, false).await?;
    Ok(Reply::Shown(show(&stored)))
}

fn show(key: &ApiKey) -> Value {
    json!({
        "sid": key.sid.to_string(),
        "friendly_name": key.friendly_name,
        "date_created": date(key.date_created),
        "date_updated": date(key.date_updated),
    })
}
