//! The resources of 2010-04-01, one file each: a file knows its paths below the account, its
//! parameters and its JSON, nothing else. A new resource is a new file and a line in [`dispatch`].

mod access;
mod account;
mod acl;
mod alert;
mod application;
mod call;
mod credential;
mod domain;
mod key;
mod mapping;
mod number;
pub(crate) mod subscription;
pub(crate) mod token;
pub(crate) mod trunk;
mod usage;
mod voice;

use std::str::FromStr;

use base::{CallId, Wall};
use http::Method;
use model::port::{ApiDone, ApiRequest, Entity, EntityKey};
use model::query::EntityQuery;
use model::stamp::rfc2822;
use model::{AccountSid, AccountStatus, Resource};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::context::{Context, Outcome, Reply, read};
use crate::form::Form;
use crate::letters::{self, Asker};
use crate::page::Asked;
use crate::problem::Problem;

/// Longest friendly name, characters.
const FRIENDLY_NAME_MAX: usize = 256;

/// `segments`: the path below `/2010-04-01/Accounts/{sid}`; `None` for the list of accounts.
pub(crate) async fn dispatch(context: &Context<'_>, segments: Option<&[&str]>) -> Outcome {
    let Some(segments) = segments else { return account::list(context).await };
    if !segments.is_empty() {
        may_change(context)?;
    }
    match segments {
        [] => account::one(context).await,
        ["Applications", rest @ ..] => application::handle(context, rest).await,
        ["Calls", rest @ ..] => call::handle(context, rest).await,
        ["DeadLetters", rest @ ..] => {
            let account = context.account.sid;
            let asker = Asker {
                shared: context.shared,
                method: &context.method,
                path: context.path,
                form: &context.form,
                base: format!("{}/DeadLetters", context.base()),
                tenant: Some(account),
                account: Some(account),
            };
            letters::handle(&asker, rest).await
        }
        ["IncomingPhoneNumbers", rest @ ..] => number::handle(context, rest).await,
        ["Keys", rest @ ..] => key::handle(context, rest).await,
        ["Notifications", rest @ ..] => alert::handle(context, None, rest).await,
        ["SIP", "CredentialLists", rest @ ..] => credential::handle(context, rest).await,
        ["SIP", "Domains", rest @ ..] => domain::handle(context, rest).await,
        ["SIP", "IpAccessControlLists", rest @ ..] => acl::handle(context, rest).await,
        ["Usage", "Records", rest @ ..] => usage::handle(context, rest).await,
        _ => Err(context.not_found()),
    }
}

/// What belongs to an account that is not active is read alone.
fn may_change(context: &Context<'_>) -> Result<(), Problem> {
    let changes = context.method != Method::GET;
    match changes && context.account.status != AccountStatus::Active {
        true => Err(Problem::account_not_active()),
        false => Ok(()),
    }
}

/// What a list and its instances may be asked.
enum Verb<'a> {
    List,
    Create,
    Fetch(&'a str),
    Update(&'a str),
    Delete(&'a str),
}

impl<'a> Verb<'a> {
    /// From the method and what follows the resource's name.
    fn of(context: &Context<'_>, rest: &[&'a str]) -> Result<Self, Problem> {
        match (rest, context.method.as_str()) {
            ([], "GET") => Ok(Self::List),
            ([], "POST") => Ok(Self::Create),
            ([sid], "GET") => Ok(Self::Fetch(sid)),
            ([sid], "POST") => Ok(Self::Update(sid)),
            ([sid], "DELETE") => Ok(Self::Delete(sid)),
            ([] | [_], _) => Err(Problem::method_not_allowed()),
            _ => Err(context.not_found()),
        }
    }
}

/// Sends a changed or new thing to the director; gives it as stored.
async fn put<R: Resource>(context: &Context<'_>, thing: R, create: bool) -> Result<R, Problem> {
    R::of(put_entity(context, thing.into(), create).await?).ok_or_else(Problem::internal)
}

async fn put_entity(
    context: &Context<'_>,
    entity: Entity,
    create: bool,
) -> Result<Entity, Problem> {
    let account = context.account.sid;
    let request = ApiRequest::Put { entity: Box::new(entity), create };
    match submit(context, account, request).await? {
        ApiDone::Entity(entity) => Ok(*entity),
        _ => Err(Problem::internal()),
    }
}

/// Deletes the account's thing of this kind with this sid.
async fn delete<R: Resource<Key: FromStr>>(context: &Context<'_>, sid: &str) -> Outcome {
    let key = owned(context, key::<R>(context, sid)?).await?.key();
    submit(context, context.account.sid, ApiRequest::Delete(key)).await?;
    Ok(Reply::Deleted)
}

async fn delete_key(context: &Context<'_>, key: EntityKey) -> Result<(), Problem> {
    submit(context, context.account.sid, ApiRequest::Delete(key)).await.map(drop)
}

async fn submit(
    context: &Context<'_>,
    account: AccountSid,
    what: ApiRequest,
) -> Result<ApiDone, Problem> {
    submit_for(context.backend(), account, what).await
}

/// A request to the director, and its refusal as the API tells it.
pub(crate) async fn submit_for(
    backend: &dyn Backend,
    account: AccountSid,
    what: ApiRequest,
) -> Result<ApiDone, Problem> {
    let result = backend.submit(account, what).await;
    result.map_err(|error| {
        let status = if (400..600).contains(&error.status) { error.status } else { 500 };
        Problem::new(status, error.code, error.message)
    })
}

/// The account's thing of this kind with this sid.
async fn fetch<R: Resource<Key: FromStr>>(context: &Context<'_>, sid: &str) -> Result<R, Problem> {
    let entity = owned(context, key::<R>(context, sid)?).await?;
    R::of(entity).ok_or_else(|| context.not_found())
}

fn key<R: Resource<Key: FromStr>>(context: &Context<'_>, sid: &str) -> Result<EntityKey, Problem> {
    let key: R::Key = sid.parse().map_err(|_| context.not_found())?;
    Ok(key.into())
}

/// The thing with `key` if it belongs to the path's account.
async fn owned(context: &Context<'_>, key: EntityKey) -> Result<Entity, Problem> {
    let entity = read(context.backend().entity(key).await)?;
    let ours = entity.filter(|entity| entity.account() == Some(context.account.sid));
    ours.ok_or_else(|| context.not_found())
}

/// A page of the account's things of one kind, under `key`.
async fn list<R: Resource>(
    context: &Context<'_>,
    key: &str,
    uri: &str,
    number_part: Option<String>,
    show: impl Fn(&R) -> Value,
) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let query = EntityQuery {
        kind: R::KIND,
        account: Some(context.account.sid),
        friendly_name: context.form.filled("FriendlyName").map(str::to_owned),
        number_part,
        list: None,
        trunk: None,
        window: asked.window(),
    };
    let rows = read(context.backend().entities(query).await)?;
    let show = |row: &Entity| R::in_entity(row).map_or(Value::Null, &show);
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body(key, uri, &context.form, rows, show)))
}

/// The same as later products show it, with absolute addresses.
async fn list_v1<R: Resource>(
    context: &Context<'_>,
    key: &str,
    url: &str,
    show: impl Fn(&R) -> Value,
) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let query = EntityQuery {
        kind: R::KIND,
        account: Some(context.account.sid),
        friendly_name: None,
        number_part: None,
        list: None,
        trunk: None,
        window: asked.window(),
    };
    let rows = read(context.backend().entities(query).await)?;
    let show = |row: &Entity| R::in_entity(row).map_or(Value::Null, &show);
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.meta(key, url, &context.form, rows, show)))
}

/// FriendlyName if it was given.
fn friendly_name(context: &Context<'_>) -> Result<Option<String>, Problem> {
    friendly_name_of(&context.form)
}

pub(crate) fn friendly_name_of(form: &Form) -> Result<Option<String>, Problem> {
    let Some(name) = form.get("FriendlyName") else { return Ok(None) };
    if name.chars().count() > FRIENDLY_NAME_MAX || name.chars().any(char::is_control) {
        let why = format!("at most {FRIENDLY_NAME_MAX} characters, no control characters");
        return Err(Problem::bad_parameter("FriendlyName", &why));
    }
    Ok(Some(name.to_owned()))
}

/// A parameter that changes behaviour in a way that is not built yet must not be ignored.
fn refuse(context: &Context<'_>, names: &[&str]) -> Result<(), Problem> {
    let asks = |name: &str| {
        context.form.filled(name).is_some_and(|value| !value.eq_ignore_ascii_case("false"))
    };
    match names.iter().find(|name| asks(name)) {
        Some(name) => Err(Problem::unsupported(name)),
        None => Ok(()),
    }
}

/// 128 random bits for a sid.
pub(crate) fn random_sid() -> Result<u128, Problem> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// 32 hex digits nobody can guess.
pub(crate) fn random_secret() -> Result<String, Problem> {
    Ok(format!("{:032x}", random_sid()?))
}

fn random(bytes: &mut [u8]) -> Result<(), Problem> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| {
        tracing::error!("no randomness");
        Problem::internal()
    })
}

/// A status as the API writes it.
pub(crate) fn status_name(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended | AccountStatus::Held => "suspended",
        AccountStatus::Closed => "closed",
    }
}

pub(crate) fn status_named(text: &str) -> Result<AccountStatus, Problem> {
    let all = [AccountStatus::Active, AccountStatus::Suspended, AccountStatus::Closed];
    let status = all.into_iter().find(|status| status_name(*status) == text);
    status.ok_or_else(|| Problem::bad_parameter("Status", "active, suspended or closed"))
}

fn date(at: Wall) -> Value {
    rfc2822(at).into()
}

fn date_or_null(at: Option<Wall>) -> Value {
    at.map_or(Value::Null, date)
}

fn call_sid(context: &Context<'_>, sid: &str) -> Result<CallId, Problem> {
    sid.parse().map_err(|_| context.not_found())
}

/// Sub-resources as links below `uri` (a path without `.json`).
fn subresources(uri: &str, names: &[(&str, &str)]) -> Value {
    names
        .iter()
        .map(|(key, name)| ((*key).to_owned(), json!(format!("{uri}/{name}.json"))))
        .collect()
}
