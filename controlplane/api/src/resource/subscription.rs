//! Subscriptions to SIP messages: which messages of the account's calls are told, to which URL, and
//! whether the answer is executed.

use base::CallId;
use model::signaling::{
    HeaderTest, HeaderValue, RESPONSES_MAX, Scope, WATCHED_METHODS, WATCHED_TEXT_MAX, Way,
};
use model::stamp::rfc3339;
use model::{Direction, Hook, SignalingSubscription, SubscriptionSid};
use serde_json::{Value, json};

use super::{Verb, delete, fetch, friendly_name, list, put, random_sid, voice};
use crate::context::{Context, Outcome, Reply};
use crate::form::{Form, printable};
use crate::problem::Problem;

const NAME: &str = "SignalingSubscriptions";

/// `segments`: the path below `/v1/Accounts/{sid}`.
pub(crate) async fn dispatch(context: &Context<'_>, segments: &[&str]) -> Outcome {
    let [NAME, rest @ ..] = segments else { return Err(context.not_found()) };
    super::may_change(context)?;
    match Verb::of(context, rest)? {
        Verb::List => {
            let uri = format!("/v1/Accounts/{}/{NAME}", context.account.sid);
            list(context, "signaling_subscriptions", &uri, None, show).await
        }
        Verb::Create => create(context).await,
        Verb::Fetch(sid) => Ok(Reply::Shown(show(&fetch(context, sid).await?))),
        Verb::Update(sid) => update(context, sid).await,
        Verb::Delete(sid) => delete::<SignalingSubscription>(context, sid).await,
    }
}

async fn create(context: &Context<'_>) -> Outcome {
    let now = context.backend().now();
    let mut subscription = SignalingSubscription {
        sid: SubscriptionSid(random_sid()?),
        account: context.account.sid,
        date_created: now,
        date_updated: now,
        ..SignalingSubscription::default()
    };
    if context.form.filled("Url").is_none() {
        return Err(Problem::bad_parameter("Url", "required"));
    }
    change(context, &mut subscription)?;
    let stored = put(context, subscription, true).await?;
    Ok(Reply::Created(show(&stored)))
}

async fn update(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut subscription = fetch::<SignalingSubscription>(context, sid).await?;
    change(context, &mut subscription)?;
    subscription.date_updated = context.backend().now();
    let stored = put(context, subscription, false).await?;
    Ok(Reply::Shown(show(&stored)))
}

/// Applies what is given; what is not given stays, what is given empty is any.
fn change(context: &Context<'_>, it: &mut SignalingSubscription) -> Result<(), Problem> {
    let form = &context.form;
    if let Some(name) = friendly_name(context)? {
        it.friendly_name = name;
    }
    if let Some(names) = words(form, "SipMethod") {
        it.methods = methods(&names)?;
    }
    if let Some(codes) = words(form, "SipResponse") {
        it.responses = responses(&codes)?;
    }
    if let Some(at) = choice(form, "Direction", ["received", "sent"])? {
        it.way = at.map(|at| [Way::Received, Way::Sent][at]);
    }
    if let Some(at) = choice(form, "Leg", ["inbound", "outbound"])? {
        it.leg = at.map(|at| [Direction::Inbound, Direction::Outbound][at]);
    }
    header(form, &mut it.header)?;
    if let Some(at) = choice(form, "Occurrence", ["every", "first"])? {
        it.once = at == Some(1);
    }
    if let Some(at) = choice(form, "Mode", ["callback", "application"])? {
        it.is_application = at == Some(1);
    }
    scope(form, &mut it.scope)?;
    hooks(form, it)
}

fn hooks(form: &Form, it: &mut SignalingSubscription) -> Result<(), Problem> {
    if let Some(url) = form.get("Url") {
        let url = voice::checked(url, "Url", 21_205)?;
        it.hook.url = url.ok_or_else(|| Problem::bad_parameter("Url", "required"))?;
    }
    if let Some(method) = voice::method(form, "Method", 21_403)? {
        it.hook.method = method;
    }
    if let Some(url) = form.get("FallbackUrl") {
        let method = it.fallback.as_ref().map(|hook| hook.method).unwrap_or_default();
        let url = voice::checked(url, "FallbackUrl", 21_205)?;
        it.fallback = url.map(|url| Hook { url, method });
    }
    let method = voice::method(form, "FallbackMethod", 21_403)?;
    if let (Some(method), Some(hook)) = (method, it.fallback.as_mut()) {
        hook.method = method;
    }
    Ok(())
}

/// What a repeated parameter says, also with commas or spaces in one value.
fn words<'f>(form: &'f Form, name: &'f str) -> Option<Vec<&'f str>> {
    form.get(name)?;
    let split = |value: &'f str| value.split([',', ' ']).filter(|word| !word.is_empty());
    Some(form.all(name).flat_map(split).collect())
}

fn methods(names: &[&str]) -> Result<u16, Problem> {
    let mut methods = 0;
    for name in names {
        let is = |method: &&str| method.eq_ignore_ascii_case(name);
        let Some(at) = WATCHED_METHODS.iter().position(is) else {
            let why = format!("{:?} is none of {}", printable(name), WATCHED_METHODS.join(", "));
            return Err(Problem::bad_parameter("SipMethod", &why));
        };
        methods |= 1 << at;
    }
    Ok(methods)
}

fn responses(texts: &[&str]) -> Result<Vec<u16>, Problem> {
    let mut responses = Vec::new();
    for text in texts {
        let class = |text: &str| text.to_ascii_lowercase().strip_suffix("xx")?.parse().ok();
        let number = class(text).filter(|number| (1..=6).contains(number));
        let code = || text.parse().ok().filter(|code| (100..700).contains(code));
        let Some(number) = number.or_else(code) else {
            let why = format!("{:?} is no code (100 to 699) and no class (2xx)", printable(text));
            return Err(Problem::bad_parameter("SipResponse", &why));
        };
        if !responses.contains(&number) {
            responses.push(number);
        }
    }
    if responses.len() > RESPONSES_MAX {
        let why = format!("more than {RESPONSES_MAX} codes and classes");
        return Err(Problem::bad_parameter("SipResponse", &why));
    }
    Ok(responses)
}

/// Which of the two a parameter says, none for an empty one; None if it is not given.
fn choice(form: &Form, name: &str, of: [&str; 2]) -> Result<Option<Option<usize>>, Problem> {
    let Some(text) = form.get(name) else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    let at = of.iter().position(|word| word.eq_ignore_ascii_case(text));
    let bad = || Problem::bad_parameter(name, &format!("{} or {}", of[0], of[1]));
    at.map(|at| Some(Some(at))).ok_or_else(bad)
}

/// HeaderName alone: it stands there. With HeaderEquals or HeaderStartsWith: and says so.
fn header(form: &Form, header: &mut Option<HeaderTest>) -> Result<(), Problem> {
    const VALUES: [&str; 2] = ["HeaderEquals", "HeaderStartsWith"];
    if form.get("HeaderName").is_some_and(str::is_empty) {
        *header = None;
        return Ok(());
    }
    let name = match form.get("HeaderName") {
        Some(text) => Some(header_name(text)?),
        None => header.as_ref().map(|test| test.name.clone()),
    };
    let given: Vec<usize> = (0..2).filter(|at| form.get(VALUES[*at]).is_some()).collect();
    if name.is_none() && given.iter().any(|at| form.filled(VALUES[*at]).is_some()) {
        return Err(Problem::bad_parameter("HeaderName", "required where its value is"));
    }
    let value = match given.as_slice() {
        [] => header.as_ref().map_or(HeaderValue::Any, |test| test.value.clone()),
        [at] => {
            let text = form.get(VALUES[*at]).unwrap_or_default().trim();
            if text.len() > WATCHED_TEXT_MAX || text.chars().any(char::is_control) {
                let why = format!("at most {WATCHED_TEXT_MAX} bytes, no control characters");
                return Err(Problem::bad_parameter(VALUES[*at], &why));
            }
            match (text, at) {
                ("", _) => HeaderValue::Any,
                (text, 0) => HeaderValue::Is(text.to_owned()),
                (text, _) => HeaderValue::StartsWith(text.to_owned()),
            }
        }
        _ => return Err(Problem::bad_parameter(VALUES[1], "not together with HeaderEquals")),
    };
    *header = name.map(|name| HeaderTest { name, value });
    Ok(())
}

/// A header's long name: a compact one is the same header (RFC 3261 section 7.3.3).
fn header_name(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(is_token) {
        return Err(Problem::bad_parameter("HeaderName", "the name of a SIP header"));
    }
    match model::signaling::long_name(text) {
        "" => Ok(text.to_owned()),
        long => Ok(long.to_owned()),
    }
}

/// CallSid is a scope of its own; an empty one is none.
fn scope(form: &Form, scope: &mut Scope) -> Result<(), Problem> {
    let given = choice(form, "Scope", ["account", "trunk"])?;
    if let Some(at) = given {
        *scope = if at == Some(1) { Scope::Trunk } else { Scope::Account };
    }
    match form.get("CallSid") {
        None => {}
        Some("") if matches!(scope, Scope::Call(_)) => *scope = Scope::Account,
        Some("") => {}
        Some(_) if given.flatten().is_some() => {
            return Err(Problem::bad_parameter("Scope", "not together with CallSid"));
        }
        Some(text) => {
            let call = text.parse::<CallId>().ok().filter(|call| *call != CallId::NONE);
            let bad = || Problem::bad_parameter("CallSid", "CA and 32 hexadecimal digits");
            *scope = Scope::Call(call.ok_or_else(bad)?);
        }
    }
    Ok(())
}

fn show(it: &SignalingSubscription) -> Value {
    let (account, sid) = (it.account, it.sid);
    let responses = it.responses.iter().map(|number| match number {
        1..=6 => format!("{number}xx"),
        code => code.to_string(),
    });
    let value = it.header.as_ref().map(|header| &header.value);
    let (equals, starts_with) = match value {
        Some(HeaderValue::Is(text)) => (Some(text), None),
        Some(HeaderValue::StartsWith(text)) => (None, Some(text)),
        _ => (None, None),
    };
    json!({
        "sid": sid.to_string(),
        "account_sid": account.to_string(),
        "friendly_name": it.friendly_name,
        "sip_method": it.method_names().collect::<Vec<_>>(),
        "sip_response": responses.collect::<Vec<_>>(),
        "direction": it.way.map(|way| ["received", "sent"][way as usize]),
        "leg": it.leg.map(|leg| match leg {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }),
        "header_name": it.header.as_ref().map(|header| &header.name),
        "header_equals": equals,
        "header_starts_with": starts_with,
        "occurrence": if it.once { "first" } else { "every" },
        "scope": match it.scope {
            Scope::Account => "account",
            Scope::Trunk => "trunk",
            Scope::Call(_) => "call",
        },
        "call_sid": it.call().map(|call| call.to_string()),
        "url": it.hook.url,
        "method": it.hook.method.name(),
        "fallback_url": it.fallback.as_ref().map(|hook| &hook.url),
        "fallback_method": it.fallback.as_ref().map(|hook| hook.method.name()),
        "mode": if it.is_application { "application" } else { "callback" },
        "date_created": rfc3339(it.date_created),
        "date_updated": rfc3339(it.date_updated),
        "uri": format!("/v1/Accounts/{account}/{NAME}/{sid}"),
    })
}
