//! Numbers whose calls are a trunk's. Attached, a number loses its application; its own URLs are
//! kept and not asked.

use model::query::{EntityQuery, Listed as _};
use model::stamp::rfc3339;
use model::{
    EntityKind, NumberSid, PhoneNumber, Resource as _, Trunk, TrunkNumber, TrunkNumberKey, TrunkSid,
};
use serde_json::{Value, json};

use super::{INVALID, Part};
use crate::context::{Context, Outcome, Reply, read};
use crate::page::Asked;
use crate::problem::Problem;
use crate::resource::{Verb, delete_key, fetch, put, voice};

pub(super) async fn handle(context: &Context<'_>, trunk: &str, rest: &[&str]) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let trunk = fetch::<Trunk>(context, trunk).await?;
    match verb {
        Verb::List => list(context, &trunk).await,
        Verb::Create => {
            let sid = context.form.filled("PhoneNumberSid").unwrap_or_default();
            let Ok(phone) = fetch::<PhoneNumber>(context, sid).await else {
                let message = "PhoneNumberSid names no number of this account";
                return Err(Problem::new(400, INVALID, message));
            };
            attach(context, phone.sid, trunk.sid).await?;
            let phone = fetch::<PhoneNumber>(context, sid).await?;
            Ok(Reply::Created(show(context, &trunk, &phone)))
        }
        Verb::Fetch(sid) => {
            Ok(Reply::Shown(show(context, &trunk, &one(context, &trunk, sid).await?)))
        }
        Verb::Update(_) => Err(Problem::method_not_allowed()),
        Verb::Delete(sid) => {
            let phone = one(context, &trunk, sid).await?;
            detach(context, phone.sid).await?;
            Ok(Reply::Deleted)
        }
    }
}

/// The trunk that a number is attached to.
pub(in crate::resource) async fn trunk_of(
    context: &Context<'_>,
    number: NumberSid,
) -> Result<Option<TrunkNumber>, Problem> {
    let known = read(context.backend().entity(TrunkNumberKey(number).into()).await)?;
    Ok(known.and_then(TrunkNumber::of))
}

/// Attaches a number, from wherever it was.
pub(in crate::resource) async fn attach(
    context: &Context<'_>,
    number: NumberSid,
    trunk: TrunkSid,
) -> Result<(), Problem> {
    let _changing = context.changing().await;
    let known = trunk_of(context, number).await?;
    if known.is_some_and(|known| known.trunk == trunk) {
        return Ok(());
    }
    let (account, at) = (context.account.sid, context.backend().now());
    put(context, TrunkNumber { number, trunk, account, at }, known.is_none()).await?;
    Ok(())
}

pub(in crate::resource) async fn detach(
    context: &Context<'_>,
    number: NumberSid,
) -> Result<(), Problem> {
    match delete_key(context, TrunkNumberKey(number).into()).await {
        // Somebody else was quicker.
        Err(problem) if problem.status == 404 => Ok(()),
        done => done,
    }
}

/// The number, if it is of this trunk.
async fn one(context: &Context<'_>, trunk: &Trunk, sid: &str) -> Result<PhoneNumber, Problem> {
    let phone = fetch::<PhoneNumber>(context, sid).await?;
    let of = trunk_of(context, phone.sid).await?;
    let is_ours = of.is_some_and(|of| of.trunk == trunk.sid);
    is_ours.then_some(phone).ok_or_else(|| context.not_found())
}

async fn list(context: &Context<'_>, trunk: &Trunk) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let query = EntityQuery {
        kind: EntityKind::TrunkNumber,
        account: Some(context.account.sid),
        friendly_name: None,
        number_part: None,
        list: None,
        trunk: Some(trunk.sid),
        window: asked.window(),
    };
    let rows = read(context.backend().entities(query).await)?;
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(of) = TrunkNumber::in_entity(&row) else { continue };
        let phone = read(context.backend().entity(of.number.into()).await)?;
        shown.push((row.cursor(), phone.and_then(PhoneNumber::of)));
    }
    let rows: Vec<_> = shown.iter().map(|(cursor, it)| Part { it, cursor: *cursor }).collect();
    let url = context.url(&format!("/v1/Trunks/{}/PhoneNumbers", trunk.sid));
    let show = |row: &Part<'_, Option<PhoneNumber>>| {
        row.it.as_ref().map_or(Value::Null, |phone| show(context, trunk, phone))
    };
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.meta("phone_numbers", &url, &context.form, rows, show)))
}

fn show(context: &Context<'_>, trunk: &Trunk, phone: &PhoneNumber) -> Value {
    let (account, sid) = (phone.account, phone.sid);
    let number = format!("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{sid}.json");
    let mut body = json!({
        "sid": sid.to_string(),
        "account_sid": account.to_string(),
        "trunk_sid": trunk.sid.to_string(),
        "api_version": "v1",
        "friendly_name": phone.friendly_name,
        "phone_number": phone.number,
        "address_requirements": "none",
        "beta": false,
        "capabilities": {"voice": true, "sms": false, "mms": false},
        "sms_application_sid": null,
        "sms_fallback_method": "POST",
        "sms_fallback_url": null,
        "sms_method": "POST",
        "sms_url": null,
        "voice_application_sid": phone.application.map(|it| it.to_string()),
        "voice_caller_id_lookup": false,
        "date_created": rfc3339(phone.date_created),
        "date_updated": rfc3339(phone.date_updated),
        "links": {"phone_number": context.url(&number)},
        "url": context.url(&format!("/v1/Trunks/{}/PhoneNumbers/{sid}", trunk.sid)),
    });
    voice::show(&phone.config, &voice::PLAIN, &mut body);
    for ours in [
        "status_callback_event",
        "event_application_url",
        "event_application_method",
        "event_application_event",
    ] {
        body.as_object_mut().map(|body| body.remove(ours));
    }
    body
}
