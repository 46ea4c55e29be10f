//! The voice parameters that applications, phone numbers and SIP domains share: three URIs with
//! three meanings (endpoint mapping, event callback, event application), each with its method.

use model::{CallEvent, Events, Hook, Method, StatusHook, VoiceConfig};
use serde_json::{Value, json};

use crate::form::Form;
use crate::problem::Problem;
use crate::webhook::is_webhook_url;

/// How one resource names the parameters of its callback.
pub(super) struct Names {
    pub(super) status: &'static str,
    pub(super) status_method: &'static str,
}

/// Applications and phone numbers.
pub(super) const PLAIN: Names =
    Names { status: "StatusCallback", status_method: "StatusCallbackMethod" };
/// SIP domains.
pub(super) const DOMAIN: Names =
    Names { status: "VoiceStatusCallbackUrl", status_method: "VoiceStatusCallbackMethod" };

/// Applies the given parameters to `config`; what is not given stays, what is given empty goes.
pub(super) fn update(config: &mut VoiceConfig, form: &Form, names: &Names) -> Result<(), Problem> {
    hook(&mut config.voice, form, "VoiceUrl", "VoiceMethod")?;
    hook(&mut config.voice_fallback, form, "VoiceFallbackUrl", "VoiceFallbackMethod")?;
    let status = &mut config.status_callback;
    status_hook(status, form, names.status, names.status_method, "StatusCallbackEvent")?;
    let application = &mut config.event_application;
    let (url, method) = ("EventApplicationUrl", "EventApplicationMethod");
    status_hook(application, form, url, method, "EventApplicationEvent")
}

fn hook(
    hook: &mut Option<Hook>,
    form: &Form,
    url_name: &str,
    method_name: &str,
) -> Result<(), Problem> {
    if let Some(url) = form.get(url_name) {
        let method = hook.as_ref().map(|hook| hook.method).unwrap_or_default();
        *hook = checked(url, url_name, 21_402)?.map(|url| Hook { url, method });
    }
    if let (Some(method), Some(hook)) = (method(form, method_name, 21_403)?, hook.as_mut()) {
        hook.method = method;
    }
    Ok(())
}

fn status_hook(
    status: &mut Option<StatusHook>,
    form: &Form,
    url_name: &str,
    method_name: &str,
    event_name: &str,
) -> Result<(), Problem> {
    let kept = status.as_ref().map(|status| status.events).unwrap_or_default();
    let mut inner = status.take().map(|status| status.hook);
    hook(&mut inner, form, url_name, method_name)?;
    let events = events(form, event_name)?.unwrap_or(kept);
    *status = inner.map(|hook| StatusHook { hook, events });
    Ok(())
}

/// The URL if it is one that webhooks can go to; `None` for an empty one.
pub(super) fn checked(url: &str, name: &str, code: u32) -> Result<Option<String>, Problem> {
    let url = url.trim();
    if url.is_empty() {
        return Ok(None);
    }
    if !is_webhook_url(url) {
        let message = format!("{name} is not an absolute http or https URL");
        return Err(Problem::new(400, code, message));
    }
    Ok(Some(url.to_owned()))
}

/// GET or POST.
pub(super) fn method(form: &Form, name: &str, code: u32) -> Result<Option<Method>, Problem> {
    let Some(text) = form.filled(name) else { return Ok(None) };
    let bad = || Problem::new(400, code, format!("{name} is neither GET nor POST"));
    Method::from_name(text).map(Some).ok_or_else(bad)
}

/// The set of a repeated event parameter; also one value with names separated by spaces.
pub(super) fn events(form: &Form, name: &str) -> Result<Option<Events>, Problem> {
    let names: Vec<&str> = form.all(name).filter(|value| !value.trim().is_empty()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let bad = || Problem::bad_parameter(name, "initiated, ringing, answered, completed");
    Events::parse(&names.join(" ")).map(Some).ok_or_else(bad)
}

/// Adds the configuration's keys to a resource's JSON.
pub(super) fn show(config: &VoiceConfig, names: &Names, body: &mut Value) {
    let url = |hook: Option<&Hook>| hook.map_or(Value::Null, |hook| json!(hook.url));
    let method =
        |hook: Option<&Hook>| json!(hook.map(|hook| hook.method).unwrap_or_default().name());
    let status = config.status_callback.as_ref().map(|status| &status.hook);
    let event = config.event_application.as_ref();
    body["voice_url"] = url(config.voice.as_ref());
    body["voice_method"] = method(config.voice.as_ref());
    body["voice_fallback_url"] = url(config.voice_fallback.as_ref());
    body["voice_fallback_method"] = method(config.voice_fallback.as_ref());
    let (status_key, method_key) = match names.status {
        "StatusCallback" => ("status_callback", "status_callback_method"),
        _ => ("voice_status_callback_url", "voice_status_callback_method"),
    };
    body[status_key] = url(status);
    body[method_key] = method(status);
    body["status_callback_event"] = event_names(config.status_callback.as_ref());
    body["event_application_url"] = url(event.map(|event| &event.hook));
    body["event_application_method"] = method(event.map(|event| &event.hook));
    body["event_application_event"] = event_names(event);
}

fn event_names(status: Option<&StatusHook>) -> Value {
    let Some(status) = status else { return Value::Null };
    CallEvent::ALL
        .iter()
        .filter(|event| status.events.has(**event))
        .map(|event| event.name())
        .collect()
}
