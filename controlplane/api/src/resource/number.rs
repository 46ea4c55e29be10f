//! Incoming phone numbers: which application answers for a number.

use std::collections::BTreeMap;

use model::query::EntityQuery;
use model::{NumberSid, PhoneNumber, Resource as _, Trunk, TrunkSid};
use serde_json::{Value, json};

use super::trunk::numbers;
use super::{
    Verb, application, date, delete, fetch, friendly_name, put, random_sid, read, refuse, voice,
};
use crate::context::{Context, Outcome, Reply};
use crate::form::printable;
use crate::page::Asked;
use crate::problem::Problem;

/// What a number could do elsewhere and cannot here.
const UNSUPPORTED: [&str; 3] = ["VoiceReceiveMode", "BundleSid", "AddressSid"];

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("{}/IncomingPhoneNumbers.json", context.base());
            let part = context.form.filled("PhoneNumber").map(digits);
            list(context, &uri, part).await
        }
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => {
            let phone = fetch::<PhoneNumber>(context, sid).await?;
            Ok(Reply::Shown(shown(context, &phone).await?))
        }
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => delete::<PhoneNumber>(context, sid).await,
    }
}

async fn create(context: &Context<'_>) -> Outcome {
    let Some(text) = context.form.filled("PhoneNumber") else {
        let message = "PhoneNumber is required; this switch has no inventory to choose from";
        return Err(Problem::new(400, 21_452, message));
    };
    let number = normalised(text).ok_or_else(|| {
        Problem::new(400, 21_421, format!("Invalid PhoneNumber: {}", printable(text)))
    })?;
    let now = context.backend().now();
    let mut phone = PhoneNumber {
        sid: NumberSid(random_sid()?),
        account: context.account.sid,
        friendly_name: number.clone(),
        number,
        date_created: now,
        date_updated: now,
        ..PhoneNumber::default()
    };
    change(context, &mut phone).await?;
    let trunk = trunk(context).await?;
    let stored = put(context, phone, true).await?;
    let stored = move_to(context, stored, trunk).await?;
    Ok(Reply::Created(shown(context, &stored).await?))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let trunk = trunk(context).await?;
    let stored = {
        let _changing = context.changing().await;
        let mut phone = fetch::<PhoneNumber>(context, sid).await?;
        change(context, &mut phone).await?;
        phone.date_updated = context.backend().now();
        put(context, phone, false).await?
    };
    let stored = move_to(context, stored, trunk).await?;
    Ok(Reply::Shown(shown(context, &stored).await?))
}

/// TrunkSid if it was given: the trunk, or none for an empty one.
async fn trunk(context: &Context<'_>) -> Result<Option<Option<TrunkSid>>, Problem> {
    match context.form.get("TrunkSid") {
        None => Ok(None),
        Some("") => Ok(Some(None)),
        Some(sid) => match fetch::<Trunk>(context, sid).await {
            Ok(trunk) => Ok(Some(Some(trunk.sid))),
            Err(_) => Err(Problem::bad_parameter("TrunkSid", "it names no trunk of this account")),
        },
    }
}

async fn move_to(
    context: &Context<'_>,
    phone: PhoneNumber,
    trunk: Option<Option<TrunkSid>>,
) -> Result<PhoneNumber, Problem> {
    match trunk {
        None => return Ok(phone),
        Some(None) => numbers::detach(context, phone.sid).await?,
        Some(Some(trunk)) => numbers::attach(context, phone.sid, trunk).await?,
    }
    fetch(context, &phone.sid.to_string()).await
}

async fn list(context: &Context<'_>, uri: &str, number_part: Option<String>) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let query = EntityQuery {
        kind: PhoneNumber::KIND,
        account: Some(context.account.sid),
        friendly_name: context.form.filled("FriendlyName").map(str::to_owned),
        number_part,
        list: None,
        trunk: None,
        window: asked.window(),
    };
    let rows = read(context.backend().entities(query).await)?;
    let mut trunks = BTreeMap::new();
    for phone in rows.iter().filter_map(PhoneNumber::in_entity) {
        let of = numbers::trunk_of(context, phone.sid).await?;
        trunks.extend(of.map(|of| (phone.sid, of.trunk)));
    }
    let show = |row: &_| {
        let phone = PhoneNumber::in_entity(row);
        phone.map_or(Value::Null, |phone| show(phone, trunks.get(&phone.sid).copied()))
    };
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body("incoming_phone_numbers", uri, &context.form, rows, show)))
}

async fn shown(context: &Context<'_>, phone: &PhoneNumber) -> Result<Value, Problem> {
    let of = numbers::trunk_of(context, phone.sid).await?;
    Ok(show(phone, of.map(|of| of.trunk)))
}

async fn change(context: &Context<'_>, phone: &mut PhoneNumber) -> Result<(), Problem> {
    refuse(context, &UNSUPPORTED)?;
    let owner = context.account.sid.to_string();
    if context.form.filled("AccountSid").is_some_and(|given| given != owner) {
        return Err(Problem::bad_parameter(
            "AccountSid",
            "a number is not moved to another account",
        ));
    }
    if let Some(name) = friendly_name(context)? {
        phone.friendly_name = name;
    }
    if let Some(application) = application::named(context, "VoiceApplicationSid").await? {
        phone.application = application;
    }
    voice::update(&mut phone.config, &context.form, &voice::PLAIN)
}

/// `+` and digits, or digits alone: 1-32 of them, without separators.
fn normalised(text: &str) -> Option<String> {
    let number = model::party::number(text)?;
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let good = digits.len() <= 32 && digits.bytes().all(|b| b.is_ascii_digit());
    good.then_some(number)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn show(phone: &PhoneNumber, trunk: Option<TrunkSid>) -> Value {
    let (account, sid) = (phone.account, phone.sid);
    let mut body = json!({
        "sid": sid.to_string(),
        "account_sid": account.to_string(),
        "api_version": "2010-04-01",
        "friendly_name": phone.friendly_name,
        "phone_number": phone.number,
        "date_created": date(phone.date_created),
        "date_updated": date(phone.date_updated),
        "address_requirements": "none",
        "address_sid": null,
        "beta": false,
        "bundle_sid": null,
        "capabilities": {"voice": true, "sms": false, "mms": false, "fax": false},
        "emergency_address_sid": null,
        "emergency_status": "Inactive",
        "identity_sid": null,
        "origin": "hosted",
        "sms_application_sid": null,
        "sms_fallback_method": "POST",
        "sms_fallback_url": null,
        "sms_method": "POST",
        "sms_url": null,
        "status": "in-use",
        "trunk_sid": trunk.map(|trunk| trunk.to_string()),
        "voice_application_sid": phone.application.map(|application| application.to_string()),
        "voice_caller_id_lookup": false,
        "voice_receive_mode": "voice",
        "uri": format!("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{sid}.json"),
    });
    voice::show(&phone.config, &voice::PLAIN, &mut body);
    body
}
