//! Calls: made, read, redirected, ended; with their CDRs, usage and notifications below them.

use base::{CallId, Wall};
use http::Method as HttpMethod;
use model::port::{ApiDone, ApiRequest, CreateCall, Instructions, UpdateCall};
use model::query::{CallQuery, Span};
use model::{AccountSid, CallRow, CallStatus, Hook, SipLogin, StatusHook};
use serde_json::{Value, json};

use super::{Verb, alert, call_sid, date, date_or_null, refuse, submit, subresources, voice};
use crate::context::{Context, Outcome, Reply, read};
use crate::date::parse_moment;
use crate::form::{Form, printable};
use crate::page::Asked;
use crate::problem::Problem;

/// Longest `To` and `From`, bytes.
const ADDRESS_BYTES_MAX: usize = 255;
/// Longest inline document, characters.
const TWIML_CHARS_MAX: usize = 16 * 1024;
/// Longest ringing and longest call that may be asked for, seconds.
const TIMEOUT_S_MAX: u64 = 600;
const TIME_LIMIT_S_MAX: u64 = 86_400;

/// Parameters that would change the call in ways that are not built yet. What only tunes one of
/// them (RecordingTrack, MachineDetectionTimeout, …) and what is informative (CallReason,
/// CallToken, ClientNotificationUrl, Trim) is accepted and has no effect.
const UNSUPPORTED: [&str; 7] = [
    "Record",
    "SendDigits",
    "MachineDetection",
    "AsyncAmd",
    "Byoc",
    "RecordingConfigurationId",
    "Passports",
];

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    if let [sid, below, rest @ ..] = rest {
        let call = fetch(context, sid).await?;
        return match (*below, rest) {
            ("Cdrs", []) => cdrs(context, call.sid).await,
            ("Usage", []) => usage(context, call.sid).await,
            ("Notifications", rest) => alert::handle(context, Some(call.sid), rest).await,
            _ => Err(context.not_found()),
        };
    }
    match Verb::of(context, rest)? {
        Verb::List => list(context).await,
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => shown(context, sid).await,
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => remove(context, sid).await,
    }
}

async fn fetch(context: &Context<'_>, sid: &str) -> Result<CallRow, Problem> {
    let sid = call_sid(context, sid)?;
    let row = read(context.backend().call(context.account.sid, sid).await)?;
    row.filter(|row| row.account == context.account.sid).ok_or_else(|| context.not_found())
}

/// With what the far end of its last leg said, once it is over: a call has one leg but where its
/// dataplane died.
async fn shown(context: &Context<'_>, sid: &str) -> Outcome {
    let row = fetch(context, sid).await?;
    let mut value = show(&row);
    if row.status.is_final() {
        let cdrs = read(context.backend().cdrs(context.account.sid, row.sid).await)?;
        let last = cdrs.iter().max_by_key(|cdr| cdr.ended);
        value["far_end"] = last.map_or(Value::Null, super::usage::show_said);
    }
    Ok(Reply::Shown(value))
}

async fn create(context: &Context<'_>) -> Outcome {
    let create = read_create(&context.form)?;
    refuse(context, &UNSUPPORTED)?;
    let request = ApiRequest::CreateCall(Box::new(create));
    match submit(context, context.account.sid, request).await? {
        ApiDone::Call(row) => Ok(Reply::Created(show(&row))),
        _ => Err(Problem::internal()),
    }
}

fn read_create(form: &Form) -> Result<CreateCall, Problem> {
    let missing =
        |code, name: &str| Problem::new(400, code, format!("No '{name}' number specified"));
    let to = form.filled("To").ok_or_else(|| missing(21_201, "To"))?;
    let from = form.filled("From").ok_or_else(|| missing(21_213, "From"))?;
    let instructions = instructions(form)?.ok_or_else(|| {
        Problem::new(400, 21_205, "Url, Twiml or ApplicationSid parameter is required")
    })?;
    Ok(CreateCall {
        to: callee(to)?,
        from: address(from, "From", 21_212)?,
        instructions,
        status: status(form)?,
        timeout: seconds(form, "Timeout", TIMEOUT_S_MAX, 21_208)?,
        time_limit: seconds(form, "TimeLimit", TIME_LIMIT_S_MAX, 20_001)?,
        caller_id: match form.filled("CallerId") {
            Some(caller) => Some(address(caller, "CallerId", 21_212)?),
            None => None,
        },
        login: login(form)?,
    })
}

/// What the called side is shown if it asks.
fn login(form: &Form) -> Result<Option<SipLogin>, Problem> {
    let text = |name| form.get(name).unwrap_or_default();
    let (username, password) = (text("SipAuthUsername"), text("SipAuthPassword"));
    if username.is_empty() && password.is_empty() {
        return Ok(None);
    }
    let why = "at most 255 characters, no quotes, backslashes or control characters, not alone";
    let login = SipLogin::new(username, password).filter(|_| !password.is_empty());
    login.map(Some).ok_or_else(|| Problem::bad_parameter("SipAuthUsername", why))
}

/// ApplicationSid before Url before Twiml, as the clients' documentation has it.
fn instructions(form: &Form) -> Result<Option<Instructions>, Problem> {
    if let Some(sid) = form.filled("ApplicationSid") {
        let sid = sid.parse();
        let sid = sid.map_err(|_| Problem::new(400, 21_218, "Invalid ApplicationSid"))?;
        return Ok(Some(Instructions::Application(sid)));
    }
    let fallback = hook(form, "FallbackUrl", "FallbackMethod")?;
    if let Some(hook) = hook(form, "Url", "Method")? {
        return Ok(Some(Instructions::Url { hook, fallback }));
    }
    let Some(twiml) = form.filled("Twiml") else { return Ok(None) };
    if twiml.chars().count() > TWIML_CHARS_MAX {
        let why = format!("at most {TWIML_CHARS_MAX} characters");
        return Err(Problem::bad_parameter("Twiml", &why));
    }
    Ok(Some(Instructions::Twiml(twiml.to_owned())))
}

fn hook(form: &Form, url: &str, method: &str) -> Result<Option<Hook>, Problem> {
    let method = voice::method(form, method, 21_209)?.unwrap_or_default();
    let checked = voice::checked(form.get(url).unwrap_or_default(), url, 21_205)?;
    Ok(checked.map(|url| Hook { url, method }))
}

fn status(form: &Form) -> Result<Option<StatusHook>, Problem> {
    let events = voice::events(form, "StatusCallbackEvent")?.unwrap_or_default();
    let hook = hook(form, "StatusCallback", "StatusCallbackMethod")?;
    Ok(hook.map(|hook| StatusHook { hook, events }))
}

fn seconds(form: &Form, name: &str, most: u64, code: u32) -> Result<Option<u32>, Problem> {
    let number = form.number(name, 1..=most).map_err(|problem| Problem { code, ..problem })?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

/// A `sip:` URI, or a number with or without `+`, plain or as a `tel:` URI (separators are
/// dropped).
fn callee(to: &str) -> Result<String, Problem> {
    let to = address(to, "To", 21_211)?;
    if is_sip(&to) {
        return Ok(to);
    }
    model::party::number(&to).ok_or_else(|| {
        let message = format!("Invalid 'To' phone number or SIP URI: {}", printable(&to));
        Problem::new(400, 21_211, message)
    })
}

fn is_sip(address: &str) -> bool {
    let scheme = address.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    scheme.is_some_and(|(scheme, rest)| {
        matches!(scheme.as_str(), "sip" | "sips") && !rest.is_empty() && !rest.contains(' ')
    })
}

fn address(text: &str, name: &str, code: u32) -> Result<String, Problem> {
    let text = text.trim();
    let bad = |c: char| c.is_control() || matches!(c, '<' | '>' | '"');
    if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.contains(bad) {
        let message = format!("Invalid '{name}': {}", printable(text));
        return Err(Problem::new(400, code, message));
    }
    Ok(text.to_owned())
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let call = fetch(context, sid).await?.sid;
    let form = &context.form;
    let (complete, cancel) = match form.filled("Status") {
        None => (false, false),
        Some("completed") => (true, false),
        Some("canceled") => (false, true),
        Some(_) => return Err(Problem::bad_parameter("Status", "canceled or completed")),
    };
    let update = UpdateCall {
        instructions: instructions(form)?,
        complete,
        cancel,
        status: status(form)?,
        time_limit: seconds(form, "TimeLimit", TIME_LIMIT_S_MAX, 20_001)?,
    };
    let request = ApiRequest::UpdateCall { call, update: Box::new(update) };
    // The call is the account's own, or the fetch had failed: unknown to those who carry calls, it
    // is over.
    let over = |problem: Problem| match problem.status {
        404 => Problem::new(400, 21_220, "Call is not in-progress. Cannot redirect."),
        _ => problem,
    };
    match submit(context, context.account.sid, request).await.map_err(over)? {
        ApiDone::Call(row) => Ok(Reply::Shown(show(&row))),
        _ => Err(Problem::internal()),
    }
}

/// An ended call leaves fetches and lists; what it cost stays in the ledger and the CDRs.
async fn remove(context: &Context<'_>, sid: &str) -> Outcome {
    let call = fetch(context, sid).await?;
    if !call.status.is_final() {
        let message = format!("Call {} is not over: complete it first", call.sid);
        return Err(Problem::new(400, 20_009, message));
    }
    match submit(context, context.account.sid, ApiRequest::HideCall(call.sid)).await? {
        ApiDone::Deleted => Ok(Reply::Deleted),
        _ => Err(Problem::internal()),
    }
}

async fn list(context: &Context<'_>) -> Outcome {
    let form = &context.form;
    let asked = Asked::read(form)?;
    let status = match form.filled("Status") {
        None => None,
        Some(name) => Some(
            CallStatus::from_name(name)
                .ok_or_else(|| Problem::bad_parameter("Status", "not a call's status"))?,
        ),
    };
    let parent = match form.filled("ParentCallSid") {
        None => None,
        Some(sid) => Some(
            sid.parse().map_err(|_| Problem::bad_parameter("ParentCallSid", "not a call's sid"))?,
        ),
    };
    let query = CallQuery {
        account: context.account.sid,
        to: form.filled("To").map(str::to_owned),
        from: form.filled("From").map(str::to_owned),
        status,
        parent,
        start: span(form, "StartTime")?,
        end: span(form, "EndTime")?,
        window: asked.window(),
    };
    let rows = read(context.backend().calls(query).await)?;
    let uri = format!("{}/Calls.json", context.base());
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body("calls", &uri, form, rows, show)))
}

/// `Name` (that day, or that second, or that fraction of one), `Name<` and `Name>` (up to and from,
/// both inclusive).
pub(super) fn span(form: &Form, name: &str) -> Result<Span, Problem> {
    let moment = |suffix: &str| {
        let name = format!("{name}{suffix}");
        let Some(text) = form.filled(&name) else { return Ok(None) };
        let why = "YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS with Z or an offset (in a URL %2B for its +)";
        parse_moment(text).map(Some).ok_or_else(|| Problem::bad_parameter(&printable(&name), why))
    };
    // `StartTime>2026-01-02` is a name without a value to a form: unheard, everything is listed.
    let is_known = |key: &str| ["", "<", ">"].contains(&key);
    let is_meant = |key: &str| key.starts_with(|c: char| !c.is_alphanumeric());
    let strange = |(key, _): &(&str, &str)| {
        key.strip_prefix(name).is_some_and(|rest| is_meant(rest) && !is_known(rest))
    };
    if let Some((key, _)) = form.pairs().find(strange) {
        let why = format!("{name}=, {name}<= or {name}>= with a moment");
        return Err(Problem::bad_parameter(&printable(key), &why));
    }
    let mut span = Span::ALL;
    if let Some((at, length)) = moment("")? {
        span = Span { from: at, to: Wall(at.0.saturating_add(length)) };
    }
    if let Some((at, length)) = moment("<")? {
        // Up to a day is up to its first second.
        span.to = span.to.min(Wall(at.0.saturating_add(length.min(1_000_000))));
    }
    if let Some((at, _)) = moment(">")? {
        span.from = span.from.max(at);
    }
    Ok(span)
}

async fn cdrs(context: &Context<'_>, call: CallId) -> Outcome {
    only_get(context)?;
    let cdrs = read(context.backend().cdrs(context.account.sid, call).await)?;
    let rows = cdrs.iter().map(|cdr| super::usage::show_cdr(context.account.sid, cdr)).collect();
    let uri = format!("{}/Calls/{call}/Cdrs.json", context.base());
    Ok(Reply::Shown(crate::page::whole("cdrs", &uri, rows)))
}

async fn usage(context: &Context<'_>, call: CallId) -> Outcome {
    only_get(context)?;
    let rows = read(context.backend().usage_of_call(context.account.sid, call).await)?;
    let rows = rows.iter().map(super::usage::show_row).collect();
    let uri = format!("{}/Calls/{call}/Usage.json", context.base());
    Ok(Reply::Shown(crate::page::whole("usage_rows", &uri, rows)))
}

fn only_get(context: &Context<'_>) -> Result<(), Problem> {
    if context.method == HttpMethod::GET { Ok(()) } else { Err(Problem::method_not_allowed()) }
}

fn show(row: &CallRow) -> Value {
    let uri = uri(row.account, row.sid);
    json!({
        "sid": row.sid.to_string(),
        "date_created": date(row.date_created),
        "date_updated": date(row.date_updated),
        "parent_call_sid": row.parent.map(|parent| parent.to_string()),
        "account_sid": row.account.to_string(),
        "to": row.to,
        "to_formatted": row.to,
        "from": row.from,
        "from_formatted": row.from,
        "phone_number_sid": row.phone_number.map(|number| number.to_string()),
        "status": row.status.name(),
        "start_time": date_or_null(row.start_time),
        "end_time": date_or_null(row.end_time),
        "duration": row.duration.map(|seconds| seconds.to_string()),
        // What became of it, beside what the reference product tells.
        "sip_response_code": Some(row.sip_code).filter(|code| *code > 0),
        "cause": row.cause.map(|cause| cause.name()),
        "far_end": null,
        "price": row.price.map(|price| price.to_string()),
        "price_unit": row.price_unit.code(),
        "direction": row.direction.name(),
        "answered_by": null,
        "annotation": null,
        "api_version": "2010-04-01",
        "forwarded_from": row.forwarded_from,
        "group_sid": null,
        "caller_name": row.caller_name,
        "queue_time": row.queue_time_ms.to_string(),
        "trunk_sid": row.direction.trunk().map(|trunk| trunk.to_string()),
        "stir_verstat": null,
        "uri": format!("{uri}.json"),
        "subresource_uris": subresources(&uri, &[
            ("cdrs", "Cdrs"),
            ("notifications", "Notifications"),
            ("usage", "Usage"),
        ]),
    })
}

fn uri(account: AccountSid, call: CallId) -> String {
    format!("/2010-04-01/Accounts/{account}/Calls/{call}")
}
