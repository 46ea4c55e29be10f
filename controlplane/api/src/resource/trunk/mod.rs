//! trunking v1: a tenant's switch behind ours. A trunk, what it takes calls from, where calls to
//! its numbers go. Everything below a trunk is part of it but its numbers: those are the account's.

mod lists;
pub(super) mod numbers;
mod urls;

use model::query::{Cursor, Listed};
use model::stamp::rfc3339;
use model::{Hook, RecordingMode, TransferCaller, TransferMode, Trunk, TrunkSid};
use serde_json::{Value, json};

use super::{Verb, delete, fetch, list_v1, put, random_sid, refuse, voice};
use crate::context::{Context, Outcome, Reply};
use crate::form::{Form, printable};
use crate::page::Asked;
use crate::problem::Problem;

/// Longest names, characters.
const NAME_MAX: usize = 64;
/// 21245: something of a trunk's that cannot be.
const INVALID: u32 = 21_245;

/// `/v1/Trunks`; `segments`: the path below.
pub(crate) async fn dispatch(context: &Context<'_>, segments: &[&str]) -> Outcome {
    super::may_change(context)?;
    match segments {
        [sid, "OriginationUrls", rest @ ..] => urls::handle(context, sid, rest).await,
        [sid, "CredentialLists", rest @ ..] => {
            lists::handle(context, sid, lists::Which::Credentials, rest).await
        }
        [sid, "IpAccessControlLists", rest @ ..] => {
            lists::handle(context, sid, lists::Which::Access, rest).await
        }
        [sid, "PhoneNumbers", rest @ ..] => numbers::handle(context, sid, rest).await,
        [sid, "Recording"] => recording(context, sid).await,
        rest => trunks(context, rest).await,
    }
}

async fn trunks(context: &Context<'_>, rest: &[&str]) -> Outcome {
    match Verb::of(context, rest)? {
        Verb::List => {
            let url = context.url("/v1/Trunks");
            list_v1(context, "trunks", &url, |trunk| show(context, trunk)).await
        }
        Verb::Create => {
            let now = context.backend().now();
            let mut trunk = Trunk {
                sid: TrunkSid(random_sid()?),
                account: context.account.sid,
                date_created: now,
                date_updated: now,
                ..Trunk::default()
            };
            change(context, &mut trunk)?;
            Ok(Reply::Created(show(context, &put(context, trunk, true).await?)))
        }
        Verb::Fetch(sid) => Ok(Reply::Shown(show(context, &fetch(context, sid).await?))),
        Verb::Update(sid) => {
            let _changing = context.changing().await;
            let mut trunk = fetch::<Trunk>(context, sid).await?;
            change(context, &mut trunk)?;
            Ok(Reply::Shown(show(context, &store(context, trunk).await?)))
        }
        Verb::Delete(sid) => {
            let _changing = context.changing().await;
            delete::<Trunk>(context, sid).await
        }
    }
}

/// A trunk of which something has changed.
async fn store(context: &Context<'_>, mut trunk: Trunk) -> Result<Trunk, Problem> {
    trunk.date_updated = context.backend().now();
    put(context, trunk, false).await
}

/// Applies what is given; what is not given stays, what is given empty goes.
fn change(context: &Context<'_>, trunk: &mut Trunk) -> Result<(), Problem> {
    let form = &context.form;
    refuse(context, &["CnamLookupEnabled"])?;
    if let Some(name) = name(form)? {
        trunk.friendly_name = name;
    }
    if let Some(name) = form.get("DomainName") {
        let is_name = |name: &str| super::domain::domain_name(name);
        trunk.domain_name = match name.trim() {
            "" => String::new(),
            name => is_name(name).map_err(|bad| Problem { code: INVALID, ..bad })?,
        };
    }
    if let Some(url) = form.get("DisasterRecoveryUrl") {
        let method = trunk.disaster.as_ref().map(|hook| hook.method).unwrap_or_default();
        let url = voice::checked(url, "DisasterRecoveryUrl", INVALID)?;
        trunk.disaster = url.map(|url| Hook { url, method });
    }
    let method = voice::method(form, "DisasterRecoveryMethod", INVALID)?;
    if let (Some(method), Some(hook)) = (method, trunk.disaster.as_mut()) {
        hook.method = method;
    }
    if let Some(mode) = named(form, "TransferMode", &TransferMode::ALL, TransferMode::name)? {
        trunk.transfer = mode;
    }
    let callers = &TransferCaller::ALL;
    if let Some(caller) = named(form, "TransferCallerId", callers, TransferCaller::name)? {
        trunk.transfer_caller = caller;
    }
    if let Some(secure) = form.boolean("Secure")? {
        trunk.secure = secure;
    }
    Ok(())
}

/// FriendlyName if it was given.
fn name(form: &Form) -> Result<Option<String>, Problem> {
    let Some(name) = form.get("FriendlyName") else { return Ok(None) };
    if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        let message = format!("FriendlyName has {NAME_MAX} characters at most, no control ones");
        return Err(Problem::new(400, INVALID, message));
    }
    Ok(Some(name.to_owned()))
}

/// The one of `all` that a parameter names.
fn named<T: Copy>(
    form: &Form,
    name: &str,
    all: &[T],
    called: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Problem> {
    let Some(text) = form.filled(name) else { return Ok(None) };
    let known = all.iter().find(|it| called(**it).eq_ignore_ascii_case(text));
    let known = known.copied().map(Some);
    known.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|it| called(*it)).collect();
        let message = format!("{name} {:?} is none of {}", printable(text), names.join(", "));
        Problem::new(400, INVALID, message)
    })
}

/// `Recording`: kept, and shown; recordings come with media.
async fn recording(context: &Context<'_>, sid: &str) -> Outcome {
    let _changing = context.changing().await;
    let mut trunk = fetch::<Trunk>(context, sid).await?;
    match context.method.as_str() {
        "GET" => Ok(Reply::Shown(show_recording(&trunk))),
        "POST" => {
            let form = &context.form;
            if let Some(mode) = named(form, "Mode", &RecordingMode::ALL, RecordingMode::name)? {
                trunk.recording = mode;
            }
            if let Some(trim) = named(form, "Trim", &[false, true], trim_name)? {
                trunk.recording_trim = trim;
            }
            Ok(Reply::Shown(show_recording(&store(context, trunk).await?)))
        }
        _ => Err(Problem::method_not_allowed()),
    }
}

fn trim_name(trim: bool) -> &'static str {
    if trim { "trim-silence" } else { "do-not-trim" }
}

fn show_recording(trunk: &Trunk) -> Value {
    json!({ "mode": trunk.recording.name(), "trim": trim_name(trunk.recording_trim) })
}

fn show(context: &Context<'_>, trunk: &Trunk) -> Value {
    let url = context.url(&format!("/v1/Trunks/{}", trunk.sid));
    let mut auth = Vec::new();
    if !trunk.access.is_empty() {
        auth.push("IP_ACL");
    }
    if !trunk.credentials.is_empty() {
        auth.push("CREDENTIAL_LIST");
    }
    json!({
        "sid": trunk.sid.to_string(),
        "account_sid": trunk.account.to_string(),
        "friendly_name": trunk.friendly_name,
        "domain_name": Some(&trunk.domain_name).filter(|name| !name.is_empty()),
        "disaster_recovery_url": trunk.disaster.as_ref().map(|hook| &hook.url),
        "disaster_recovery_method": trunk.disaster.as_ref().map(|hook| hook.method.name()),
        "secure": trunk.secure,
        "cnam_lookup_enabled": false,
        "recording": show_recording(trunk),
        "transfer_mode": trunk.transfer.name(),
        "transfer_caller_id": trunk.transfer_caller.name(),
        "auth_type": auth.join(","),
        "auth_type_set": auth,
        "symmetric_rtp_enabled": true,
        "date_created": rfc3339(trunk.date_created),
        "date_updated": rfc3339(trunk.date_updated),
        "links": {
            "origination_urls": format!("{url}/OriginationUrls"),
            "credential_lists": format!("{url}/CredentialLists"),
            "ip_access_control_lists": format!("{url}/IpAccessControlLists"),
            "phone_numbers": format!("{url}/PhoneNumbers"),
        },
        "url": url,
    })
}

/// What stands below a trunk, as rows of a list.
struct Part<'t, T> {
    it: &'t T,
    cursor: Cursor,
}

impl<T> Listed for Part<'_, T> {
    fn cursor(&self) -> Cursor {
        self.cursor
    }
}

/// A page of what stands below a trunk, newest first.
fn parts<T>(
    context: &Context<'_>,
    (key, url): (&str, &str),
    all: &[T],
    cursor: impl Fn(&T) -> Cursor,
    show: impl Fn(&T) -> Value,
) -> Outcome {
    let asked = Asked::read(&context.form)?;
    let rows: Vec<_> = all.iter().map(|it| Part { it, cursor: cursor(it) }).collect();
    let rows = asked.window().apply(rows, Listed::cursor);
    Ok(Reply::Shown(asked.meta(key, url, &context.form, rows, |row| show(row.it))))
}
