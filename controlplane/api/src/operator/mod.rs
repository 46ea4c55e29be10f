//! `/v1/Operator`: what is the operator's, for whoever has his credential and for nobody else. A
//! kind is a file with its parameters and its JSON, and a line in [`dispatch`]; how it is listed,
//! read, made, changed and deleted is the same for all. Pages and errors are as everywhere.

mod account;
mod grant;
mod inventory;
mod price;
mod route;

use http::Method;
use model::port::{ApiDone, ApiRequest, Entity};
use model::query::EntityQuery;
use model::stamp::rfc3339;
use model::{
    Account, AccountSid, CallerId, DomainSuffix, Grant, NumberRange, OutboundRoute, Price, Resource,
};
use serde_json::Value;

use crate::context::{Outcome, Reply, Shared, read};
use crate::form::Form;
use crate::letters::{self, Asker};
use crate::page::Asked;
use crate::problem::Problem;
use crate::resource::{friendly_name_of, submit_for};

/// One request of the operator.
pub(crate) struct Desk<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) method: Method,
    /// The path as it came, for messages.
    pub(crate) path: &'a str,
    pub(crate) form: Form,
}

/// `segments`: the path below `/v1/Operator`.
pub(crate) async fn dispatch(desk: &Desk<'_>, segments: &[&str]) -> Outcome {
    match segments {
        ["Accounts", rest @ ..] => handle::<Account>(desk, rest).await,
        ["NumberRanges", rest @ ..] => handle::<NumberRange>(desk, rest).await,
        ["DomainSuffixes", rest @ ..] => handle::<DomainSuffix>(desk, rest).await,
        ["CallerIds", rest @ ..] => handle::<CallerId>(desk, rest).await,
        ["Grants", rest @ ..] => handle::<Grant>(desk, rest).await,
        ["Routes", rest @ ..] => handle::<OutboundRoute>(desk, rest).await,
        ["Prices", rest @ ..] => handle::<Price>(desk, rest).await,
        ["DeadLetters", rest @ ..] => {
            let asker = Asker {
                shared: desk.shared,
                method: &desk.method,
                path: desk.path,
                form: &desk.form,
                base: "/v1/Operator/DeadLetters".to_owned(),
                tenant: None,
                account: account(desk)?,
            };
            letters::handle(&asker, rest).await
        }
        _ => Err(Problem::not_found(desk.path)),
    }
}

/// A kind of thing at the desk.
trait Thing: Resource {
    /// Its name in the path, and the key of its list.
    const NAMES: (&'static str, &'static str);

    /// What an instance is called in the path.
    fn key_of(text: &str) -> Option<Self::Key>;

    /// What [`Thing::key_of`] reads.
    fn name(&self) -> String;

    /// A new one, by the form; [`Thing::change`] comes after it.
    fn make(desk: &Desk<'_>) -> Result<Self, Problem>;

    /// What the form changes.
    fn change(&mut self, desk: &Desk<'_>) -> Result<(), Problem>;

    /// Everything but its URI.
    fn show(&self) -> Value;

    /// What is shown once, when it is made.
    fn show_secret(&self, _body: &mut Value) {}

    /// The account that it is: its own updates do not undo the operator's.
    fn is_account(_key: &Self::Key) -> Option<AccountSid> {
        None
    }

    /// What stores a changed one.
    fn request(self, _desk: &Desk<'_>) -> Result<ApiRequest, Problem> {
        Ok(ApiRequest::Put { entity: Box::new(self.into()), create: false })
    }
}

async fn handle<T: Thing>(desk: &Desk<'_>, rest: &[&str]) -> Outcome {
    let missing = || Problem::not_found(desk.path);
    match (rest, desk.method.as_str()) {
        ([], "GET") => list::<T>(desk).await,
        ([], "POST") => {
            let mut made = T::make(desk)?;
            made.change(desk)?;
            let secrets = made.clone();
            let request = ApiRequest::Put { entity: Box::new(made.into()), create: true };
            let mut body = shown(&stored::<T>(desk, request).await?);
            secrets.show_secret(&mut body);
            Ok(Reply::Created(body))
        }
        ([name], "GET") => Ok(Reply::Shown(shown(&fetch::<T>(desk, name).await?))),
        ([name], "POST") => {
            let account = T::key_of(name).and_then(|key| T::is_account(&key));
            let _account = match account {
                Some(account) => Some(desk.shared.changing(account).await),
                None => None,
            };
            let _changing = desk.shared.changing_all().await;
            let mut thing = fetch::<T>(desk, name).await?;
            thing.change(desk)?;
            let request = thing.request(desk)?;
            Ok(Reply::Shown(shown(&stored::<T>(desk, request).await?)))
        }
        ([name], "DELETE") => {
            let key = T::key_of(name).ok_or_else(missing)?;
            operate(desk, ApiRequest::Delete(key.into())).await?;
            Ok(Reply::Deleted)
        }
        ([] | [_], _) => Err(Problem::method_not_allowed()),
        _ => Err(missing()),
    }
}

async fn list<T: Thing>(desk: &Desk<'_>) -> Outcome {
    let asked = Asked::read(&desk.form)?;
    let query = EntityQuery {
        kind: T::KIND,
        account: account(desk)?,
        friendly_name: desk.form.filled("FriendlyName").map(str::to_owned),
        number_part: None,
        list: None,
        trunk: None,
        window: asked.window(),
    };
    let rows = read(desk.shared.backend.entities(query).await)?;
    let show = |row: &Entity| T::in_entity(row).map_or(Value::Null, shown);
    let (path, key) = T::NAMES;
    let _turn = desk.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body(key, &format!("/v1/Operator/{path}"), &desk.form, rows, show)))
}

async fn fetch<T: Thing>(desk: &Desk<'_>, name: &str) -> Result<T, Problem> {
    let missing = || Problem::not_found(desk.path);
    let key = T::key_of(name).ok_or_else(missing)?;
    let entity = read(desk.shared.backend.entity(key.into()).await)?;
    entity.and_then(T::of).ok_or_else(missing)
}

async fn stored<T: Thing>(desk: &Desk<'_>, request: ApiRequest) -> Result<T, Problem> {
    match operate(desk, request).await? {
        ApiDone::Entity(entity) => T::of(*entity).ok_or_else(Problem::internal),
        _ => Err(Problem::internal()),
    }
}

async fn operate(desk: &Desk<'_>, what: ApiRequest) -> Result<ApiDone, Problem> {
    let what = ApiRequest::Operate(Box::new(what));
    submit_for(&*desk.shared.backend, AccountSid(0), what).await
}

fn shown<T: Thing>(thing: &T) -> Value {
    let mut body = thing.show();
    body["uri"] = format!("/v1/Operator/{}/{}", T::NAMES.0, thing.name()).into();
    body
}

/// AccountSid, if it names one; `*` or nothing is every account.
fn account(desk: &Desk<'_>) -> Result<Option<AccountSid>, Problem> {
    match desk.form.filled("AccountSid") {
        None | Some("*") => Ok(None),
        Some(text) => {
            let bad = |_| Problem::bad_parameter("AccountSid", "an account's sid, or *");
            text.parse().map(Some).map_err(bad)
        }
    }
}

/// Whose a thing is made: said, never assumed. An empty variable in somebody's script must not give
/// everybody what was meant for one.
fn whose(desk: &Desk<'_>) -> Result<Option<AccountSid>, Problem> {
    match desk.form.filled("AccountSid") {
        Some(_) => account(desk),
        None => {
            Err(Problem::bad_parameter("AccountSid", "required: an account's sid, or * for all"))
        }
    }
}

/// FriendlyName, where the form has one.
fn rename(desk: &Desk<'_>, name: &mut String) -> Result<(), Problem> {
    if let Some(given) = friendly_name_of(&desk.form)? {
        *name = given;
    }
    Ok(())
}

/// A parameter that must be there.
fn needed<'d>(desk: &'d Desk<'_>, name: &str) -> Result<&'d str, Problem> {
    desk.form.get(name).ok_or_else(|| Problem::bad_parameter(name, "required"))
}

fn holder(account: Option<AccountSid>) -> Value {
    account.map_or_else(|| "*".into(), |account| account.to_string().into())
}

/// Null for what comes from the configuration file.
fn moment(at: base::Wall) -> Value {
    if at.0 == 0 { Value::Null } else { rfc3339(at).into() }
}
