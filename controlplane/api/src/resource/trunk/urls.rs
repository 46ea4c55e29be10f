//! Origination URLs: where calls to a trunk's numbers go, low priorities first, within one by
//! weight.

use model::query::Cursor;
use model::stamp::rfc3339;
use model::{OriginationSid, OriginationUrl, Trunk};
use serde_json::{Value, json};

use super::{INVALID, name, parts, store};
use crate::context::{Context, Outcome, Reply};
use crate::form::Form;
use crate::problem::Problem;
use crate::resource::{Verb, fetch, random_sid};

/// What a URL has unless it is said.
const NUMBER: u16 = 10;

pub(super) async fn handle(context: &Context<'_>, trunk: &str, rest: &[&str]) -> Outcome {
    let verb = Verb::of(context, rest)?;
    let _changing = context.changing().await;
    let mut trunk = fetch::<Trunk>(context, trunk).await?;
    let find = |trunk: &Trunk, sid: &str| {
        let sid = sid.parse::<OriginationSid>().ok();
        let at = trunk.urls.iter().position(|it| Some(it.sid) == sid);
        at.ok_or_else(|| context.not_found())
    };
    match verb {
        Verb::List => {
            let url = context.url(&format!("/v1/Trunks/{}/OriginationUrls", trunk.sid));
            let cursor = |it: &OriginationUrl| Cursor { at: it.date_created, id: it.sid.0 };
            let show = |it: &_| show(context, &trunk, it);
            parts(context, ("origination_urls", &url), &trunk.urls, cursor, show)
        }
        Verb::Create => {
            let now = context.backend().now();
            let mut url = OriginationUrl {
                sid: OriginationSid(random_sid()?),
                priority: NUMBER,
                weight: NUMBER,
                is_enabled: true,
                date_created: now,
                date_updated: now,
                ..OriginationUrl::default()
            };
            for required in ["Weight", "Priority", "Enabled", "FriendlyName", "SipUrl"] {
                if context.form.filled(required).is_none() {
                    return Err(Problem::new(400, INVALID, format!("{required} is required")));
                }
            }
            change(&context.form, &mut url)?;
            trunk.urls.push(url);
            let stored = store(context, trunk).await?;
            let shown = stored.urls.last().map(|it| show(context, &stored, it));
            shown.map(Reply::Created).ok_or_else(Problem::internal)
        }
        Verb::Fetch(sid) => {
            let at = find(&trunk, sid)?;
            Ok(Reply::Shown(show(context, &trunk, &trunk.urls[at])))
        }
        Verb::Update(sid) => {
            let at = find(&trunk, sid)?;
            change(&context.form, &mut trunk.urls[at])?;
            trunk.urls[at].date_updated = context.backend().now();
            let stored = store(context, trunk).await?;
            Ok(Reply::Shown(show(context, &stored, &stored.urls[at])))
        }
        Verb::Delete(sid) => {
            let at = find(&trunk, sid)?;
            trunk.urls.remove(at);
            store(context, trunk).await?;
            Ok(Reply::Deleted)
        }
    }
}

fn change(form: &Form, url: &mut OriginationUrl) -> Result<(), Problem> {
    let number = |name: &str, least: u64| {
        let given = form.number(name, least..=u64::from(u16::MAX));
        let given = given.map_err(|bad| Problem { code: INVALID, ..bad })?;
        Ok::<_, Problem>(given.and_then(|it| u16::try_from(it).ok()))
    };
    url.weight = number("Weight", 1)?.unwrap_or(url.weight);
    url.priority = number("Priority", 0)?.unwrap_or(url.priority);
    url.is_enabled = form.boolean("Enabled")?.unwrap_or(url.is_enabled);
    if let Some(name) = name(form)? {
        url.friendly_name = name;
    }
    if let Some(text) = form.get("SipUrl") {
        // What it may be the director says, who knows whom calls may go to.
        text.trim().clone_into(&mut url.sip_url);
    }
    Ok(())
}

fn show(context: &Context<'_>, trunk: &Trunk, it: &OriginationUrl) -> Value {
    json!({
        "sid": it.sid.to_string(),
        "account_sid": trunk.account.to_string(),
        "trunk_sid": trunk.sid.to_string(),
        "friendly_name": it.friendly_name,
        "sip_url": it.sip_url,
        "priority": it.priority,
        "weight": it.weight,
        "enabled": it.is_enabled,
        "date_created": rfc3339(it.date_created),
        "date_updated": rfc3339(it.date_updated),
        "url": context.url(&format!("/v1/Trunks/{}/OriginationUrls/{}", trunk.sid, it.sid)),
    })
}
