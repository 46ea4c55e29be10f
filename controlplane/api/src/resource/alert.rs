//! Notifications: what went wrong with an account's calls and applications.

use base::CallId;
use http::Method;
use model::query::AlertQuery;
use model::{Alert, AlertLevel};
use serde_json::{Value, json};

use super::call::span;
use super::{date, read};
use crate::context::{Context, Outcome, Reply};
use crate::page::Asked;
use crate::problem::Problem;

/// The account's notifications, or those of one call.
pub(super) async fn handle(context: &Context<'_>, call: Option<CallId>, rest: &[&str]) -> Outcome {
    if context.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    match rest {
        [] => list(context, call).await,
        [sid] => {
            let sid = sid.parse().map_err(|_| context.not_found())?;
            let alert = read(context.backend().alert(context.account.sid, sid).await)?;
            let ours = |alert: &Alert| {
                alert.account == context.account.sid && (call.is_none() || alert.call == call)
            };
            let alert = alert.filter(ours).ok_or_else(|| context.not_found())?;
            let mut body = show(&alert);
            for detail in ["request_variables", "response_headers", "response_body"] {
                body[detail] = "".into();
            }
            Ok(Reply::Shown(body))
        }
        _ => Err(context.not_found()),
    }
}

async fn list(context: &Context<'_>, call: Option<CallId>) -> Outcome {
    let form = &context.form;
    let asked = Asked::read(form)?;
    let level = form.number("Log", 0..=1)?.map(|level| match level {
        0 => AlertLevel::Error,
        _ => AlertLevel::Warning,
    });
    let query = AlertQuery {
        account: context.account.sid,
        call,
        level,
        at: span(form, "MessageDate")?,
        window: asked.window(),
    };
    let rows = read(context.backend().alerts(query).await)?;
    let uri = match call {
        None => format!("{}/Notifications.json", context.base()),
        Some(call) => format!("{}/Calls/{call}/Notifications.json", context.base()),
    };
    let _turn = context.shared.writing(rows.len()).await;
    Ok(Reply::Shown(asked.body("notifications", &uri, form, rows, show)))
}

fn show(alert: &Alert) -> Value {
    json!({
        "sid": alert.sid.to_string(),
        "account_sid": alert.account.to_string(),
        "api_version": "2010-04-01",
        "call_sid": alert.call.map(|call| call.to_string()),
        "date_created": date(alert.at),
        "date_updated": date(alert.at),
        "error_code": alert.code.to_string(),
        "log": match alert.level { AlertLevel::Error => "0", AlertLevel::Warning => "1" },
        "message_date": date(alert.at),
        "message_text": alert.message,
        "reason": alert.reason,
        "more_info": format!("https://www.twilio.com/docs/errors/{}", alert.code),
        "request_method": alert.method.map(|method| method.name()),
        "request_url": alert.url,
        "uri": format!("/2010-04-01/Accounts/{}/Notifications/{}.json", alert.account, alert.sid),
    })
}
