//! Applications: voice configurations that numbers, domains and calls refer to by sid.

use model::{Application, ApplicationSid};
use serde_json::{Value, json};

use super::{Verb, date, delete, fetch, friendly_name, list, put, random_sid, voice};
use crate::context::{Context, Outcome, Reply};
use crate::problem::Problem;

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("{}/Applications.json", context.base());
            list(context, "applications", &uri, None, show).await
        }
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => delete::<Application>(context, sid).await,
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
    match fetch::<Application>(context, sid).await {
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
    let stored = put(context, application, true).await?;
    Ok(Reply::Created(show(&stored)))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut application = fetch::<Application>(context, sid).await?;
    if let Some(name) = friendly_name(context)? {
        application.friendly_name = name;
    }
    voice::update(&mut application.config, &context.form, &voice::PLAIN)?;
    application.date_updated = context.backend().now();
    let stored = put(context, application, false).await?;
    Ok(Reply::Shown(show(&stored)))
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
