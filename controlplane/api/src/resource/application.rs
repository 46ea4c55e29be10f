//! Applications: voice configurations that numbers, domains and calls refer to by sid.

use model::port::{Entity, EntityKey};
use model::query::EntityKind;
use model::{Application, ApplicationSid};
use serde_json::{Value, json};

use super::{Verb, date, delete, friendly_name, list_entities, owned, put, random_sid, voice};
use crate::problem::Problem;
use crate::server::{Context, Outcome, Reply};

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("{}/Applications.json", context.base());
            let kind = EntityKind::Application;
            list_entities(context, kind, "applications", &uri, None, show_entity).await
        }
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => {
            let key = EntityKey::Application(fetch(context, sid).await?.sid);
            delete(context, key).await
        }
    }
}

async fn fetch(context: &Context<'_>, sid: &str) -> Result<Application, Problem> {
    let sid = sid.parse().map_err(|_| context.not_found())?;
    match owned(context, EntityKey::Application(sid)).await? {
        Entity::Application(application) => Ok(application),
        _ => Err(context.not_found()),
    }
}

/// The account's application that a parameter of another resource names; an empty one names none.
pub(super) async fn named(
    context: &Context<'_>,
    name: &str,
) -> Result<Option<Option<ApplicationSid>>, Problem> {
    let Some(sid) = context.form.get(name) else { return Ok(None) };
    if sid.is_empty() {
        return Ok(Some(None));
    }
    match fetch(context, sid).await {
        Ok(application) => Ok(Some(Some(application.sid))),
        Err(problem) if problem.status == 404 => {
            Err(Problem::new(400, 21_218, format!("Invalid {name}")))
        }
        Err(problem) => Err(problem),
    }
}

async fn create(context: &Context<'_>) -> Outcome {
    let now = context.backend().now();
    let mut application = Application {
        sid: ApplicationSid(random_sid()?),
        account: context.account.sid,
        friendly_name: friendly_name(context)?.unwrap_or_default(),
        date_created: now,
        date_updated: now,
        ..Application::default()
    };
    voice::update(&mut application.config, &context.form, &voice::PLAIN)?;
    let stored = put(context, Entity::Application(application), true).await?;
    Ok(Reply::Created(show_entity(&stored)))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut application = fetch(context, sid).await?;
    if let Some(name) = friendly_name(context)? {
        application.friendly_name = name;
    }
    voice::update(&mut application.config, &context.form, &voice::PLAIN)?;
    application.date_updated = context.backend().now();
    let stored = put(context, Entity::Application(application), false).await?;
    Ok(Reply::Shown(show_entity(&stored)))
}

fn show_entity(entity: &Entity) -> Value {
    match entity {
        Entity::Application(application) => show(application),
        _ => Value::Null,
    }
}

fn show(application: &Application) -> Value {
    let (account, sid) = (application.account, application.sid);
    let mut body = json!({
        "sid": sid.to_string(),
        "account_sid": account.to_string(),
        "api_version": "2010-04-01",
        "friendly_name": application.friendly_name,
        "date_created": date(application.date_created),
        "date_updated": date(application.date_updated),
        "message_status_callback": null,
        "sms_fallback_method": "POST",
        "sms_fallback_url": null,
        "sms_method": "POST",
        "sms_status_callback": null,
        "sms_url": null,
        "voice_caller_id_lookup": false,
        "public_application_connect_enabled": false,
        "uri": format!("/2010-04-01/Accounts/{account}/Applications/{sid}.json"),
    });
    voice::show(&application.config, &voice::PLAIN, &mut body);
    body
}
