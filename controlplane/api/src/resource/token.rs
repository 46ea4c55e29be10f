//! `/v1/AuthTokens`: an account's tokens change without a moment at which none is right. The second
//! one opens what the first one does; promoted, it takes its place, and the first opens nothing.

use model::port::{ApiDone, ApiRequest, Entity, EntityKey};
use model::stamp::rfc3339;
use model::{SecondToken, Secret, TokenKey};
use serde_json::json;

use super::account::no_keys;
use super::{put, random_secret, submit};
use crate::context::{Context, Outcome, Reply};
use crate::problem::Problem;

/// `segments`: the path below `/v1/AuthTokens`.
pub(crate) async fn dispatch(context: &Context<'_>, segments: &[&str]) -> Outcome {
    no_keys(context)?;
    match (segments, context.method.as_str()) {
        (["Secondary"], "POST") => create(context).await,
        (["Secondary"], "DELETE") => {
            let key = EntityKey::SecondToken(TokenKey(context.account.sid));
            submit(context, context.account.sid, ApiRequest::Delete(key)).await?;
            Ok(Reply::Deleted)
        }
        (["Promote"], "POST") => promote(context).await,
        (["Secondary" | "Promote"], _) => Err(Problem::method_not_allowed()),
        _ => Err(context.not_found()),
    }
}

async fn create(context: &Context<'_>) -> Outcome {
    let (now, token) = (context.backend().now(), random_secret()?);
    let second = SecondToken {
        account: context.account.sid,
        token: Secret(token.clone()),
        date_created: now,
        date_updated: now,
    };
    put(context, second, true).await?;
    Ok(Reply::Created(json!({
        "account_sid": context.account.sid.to_string(),
        "date_created": rfc3339(now),
        "date_updated": rfc3339(now),
        "secondary_auth_token": token,
        "url": "/v1/AuthTokens/Secondary",
    })))
}

async fn promote(context: &Context<'_>) -> Outcome {
    let _changing = context.changing().await;
    let done = submit(context, context.account.sid, ApiRequest::PromoteToken).await?;
    let ApiDone::Entity(entity) = done else { return Err(Problem::internal()) };
    let Entity::Account(account) = *entity else { return Err(Problem::internal()) };
    Ok(Reply::Shown(json!({
        "account_sid": account.sid.to_string(),
        "auth_token": account.auth_token.0,
        "date_created": rfc3339(account.date_created),
        "date_updated": rfc3339(account.date_updated),
        "url": "/v1/AuthTokens/Promote",
    })))
}
