//! Usage: sums over days by category, and the facts below one call. A category is a micro-service;
//! the others are sums of them: `calls` (legs, both ways), `calls-inbound`, `calls-outbound` and
//! `totalprice`.

use base::Wall;
use http::Method;
use model::declined::Declined;
use model::query::UsageDay;
use model::{
    AccountSid, Cdr, Currency, Direction, Nanos, Party, RtpRefused, Service, UsageRow,
    whole_seconds,
};
use serde_json::{Value, json};

use super::{date, date_or_null, read};
use crate::context::{Context, Outcome, Reply};
use crate::date::Day;
use crate::page::whole;
use crate::problem::Problem;

/// Rows of one answer at most: nine years by day, eight categories.
const ROWS_MAX: usize = 26_000;

/// How the days of a list are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Period {
    Total,
    Day,
    Month,
    Year,
}

/// One category's sum over one period, in one currency.
struct Sum {
    category: &'static str,
    first: Day,
    last: Day,
    count: u64,
    micros: u64,
    seconds: u64,
    bytes: u64,
    price: Nanos,
    currency: Currency,
}

pub(super) async fn handle(context: &Context<'_>, rest: &[&str]) -> Outcome {
    if context.method != Method::GET {
        return Err(Problem::method_not_allowed());
    }
    let today = Day::of(context.backend().now().seconds());
    let month = today.month_start();
    let yesterday = Day::of(today.start_s().saturating_sub(1));
    let (name, fixed, period) = match rest {
        [] => ("", None, Period::Total),
        ["AllTime"] => ("/AllTime", None, Period::Total),
        ["Daily"] => ("/Daily", None, Period::Day),
        ["Monthly"] => ("/Monthly", None, Period::Month),
        ["Yearly"] => ("/Yearly", None, Period::Year),
        ["Today"] => ("/Today", Some((today, today)), Period::Total),
        ["Yesterday"] => ("/Yesterday", Some((yesterday, yesterday)), Period::Total),
        ["ThisMonth"] => ("/ThisMonth", Some((month, today)), Period::Total),
        ["LastMonth"] => {
            let last = Day::of(month.start_s().saturating_sub(1));
            ("/LastMonth", Some((month.month_before(), last)), Period::Total)
        }
        _ => return Err(context.not_found()),
    };
    let asked = (day(context, "StartDate", today)?, day(context, "EndDate", today)?);
    let first = fixed.map(|fixed| fixed.0).or(asked.0).unwrap_or_else(|| Day::of(0));
    let last = fixed.map(|fixed| fixed.1).or(asked.1).unwrap_or(today);
    if first > last {
        return Err(Problem::bad_parameter("StartDate", "after EndDate"));
    }
    let (from, to) = (Wall(first.start_s() * 1_000_000), Wall(last.next().start_s() * 1_000_000));
    let days = read(context.backend().usage(context.account.sid, from, to).await)?;
    let first = match (fixed.is_some() || asked.0.is_some(), days.first()) {
        (false, Some(day)) => Day::of(day.day.seconds()),
        (false, None) => last,
        (true, _) => first,
    };
    let category = context.form.filled("Category");
    if category.is_some_and(|category| !CATEGORIES.contains(&category)) {
        return Err(Problem::bad_parameter("Category", &CATEGORIES.join(", ")));
    }
    let sums = sum(&days, period, first, last);
    let wanted = sums.iter().filter(|sum| category.is_none_or(|wanted| wanted == sum.category));
    let rows = wanted.take(ROWS_MAX).map(|sum| show(context, name, sum)).collect();
    let uri = format!("{}/Usage/Records{name}.json", context.base());
    Ok(Reply::Shown(whole("usage_records", &uri, rows)))
}

/// A day, or days before today (`-30days`, `0days`).
fn day(context: &Context<'_>, name: &str, today: Day) -> Result<Option<Day>, Problem> {
    let Some(text) = context.form.filled(name) else { return Ok(None) };
    if let Some(count) = text.strip_suffix("days") {
        let back = count.strip_prefix('-').unwrap_or(count).parse::<u32>().ok();
        let ago = |days: u32| today.start_s().saturating_sub(u64::from(days) * 86_400);
        if let Some(back) = back {
            return Ok(Some(Day::of(ago(back))));
        }
    }
    Day::parse(text).map(Some).ok_or_else(|| Problem::bad_parameter(name, "YYYY-MM-DD"))
}

/// Sums by period and category; a total has every category, also those nothing was used of. What
/// was charged in a second currency is a row of its own behind them.
fn sum(days: &[UsageDay], period: Period, first: Day, last: Day) -> Vec<Sum> {
    let mut sums: Vec<Sum> = Vec::new();
    let mut begun = 0;
    if period == Period::Total {
        open(&mut sums, first, last);
    }
    for day in days {
        let at = Day::of(day.day.seconds());
        let (begin, end) = match period {
            Period::Total => (first, last),
            Period::Day => (at, at),
            Period::Month => (at.month_start().max(first), month_end(at).min(last)),
            Period::Year => {
                let start = Day { year: at.year, month: 1, day: 1 };
                (start.max(first), Day { year: at.year, month: 12, day: 31 }.min(last))
            }
        };
        if sums.last().is_none_or(|sum| sum.first != begin) {
            begun = sums.len();
            open(&mut sums, begin, end);
        }
        for category in CATEGORIES.into_iter().filter(|it| is_in(day, it)) {
            let fits = |sum: &Sum| sum.category == category && sum.takes(day);
            let at = sums[begun..].iter().position(fits).map(|at| begun + at);
            let at = at.unwrap_or_else(|| {
                sums.push(Sum::new(category, begin, end));
                sums.len() - 1
            });
            sums[at].add(day);
        }
    }
    sums
}

const CATEGORIES: [&str; 8] = [
    "sip-ingress",
    "sip-egress",
    "media-relay",
    "sip-registration",
    "calls",
    "calls-inbound",
    "calls-outbound",
    "totalprice",
];

fn open(sums: &mut Vec<Sum>, first: Day, last: Day) {
    sums.extend(CATEGORIES.into_iter().map(|category| Sum::new(category, first, last)));
}

fn is_in(day: &UsageDay, category: &str) -> bool {
    match category {
        "totalprice" => true,
        "calls" => matches!(day.service, Service::SipIngress | Service::SipEgress),
        "calls-inbound" => day.service == Service::SipIngress,
        "calls-outbound" => day.service == Service::SipEgress,
        category => category == day.service.name(),
    }
}

fn month_end(day: Day) -> Day {
    let next = if day.month == 12 {
        Day { year: day.year + 1, month: 1, day: 1 }
    } else {
        Day { month: day.month + 1, day: 1, ..day }
    };
    Day::of(next.start_s().saturating_sub(1))
}

impl Sum {
    fn new(category: &'static str, first: Day, last: Day) -> Self {
        Self {
            category,
            first,
            last,
            count: 0,
            micros: 0,
            seconds: 0,
            bytes: 0,
            price: Nanos(0),
            currency: Currency::default(),
        }
    }

    /// Amounts of different currencies are never one sum.
    fn takes(&self, day: &UsageDay) -> bool {
        self.currency == day.currency || self.price == Nanos(0) || day.price == Nanos(0)
    }

    fn add(&mut self, day: &UsageDay) {
        if self.price == Nanos(0) {
            self.currency = day.currency;
        }
        self.price = Nanos(self.price.0.saturating_add(day.price.0));
        if self.category != "totalprice" {
            self.count += day.count;
            self.micros += day.micros;
            self.seconds += day.seconds;
            self.bytes += day.bytes;
        }
    }
}

/// Amounts are charges here: positive, where the ledger has them negative.
fn charge(price: Nanos) -> String {
    Nanos(price.0.saturating_neg()).to_string()
}

fn micros_as_seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn show(context: &Context<'_>, list: &str, sum: &Sum) -> Value {
    let base = format!("{}/Usage/Records{list}.json", context.base());
    let (first, last) = (sum.first.iso(), sum.last.iso());
    let price = charge(sum.price);
    let total = sum.category == "totalprice";
    let currency = sum.currency.code().to_ascii_lowercase();
    let (count_unit, usage_unit) = match sum.category {
        "media-relay" => ("packets", "seconds"),
        "sip-registration" => ("contacts", "seconds"),
        "totalprice" => ("", currency.as_str()),
        _ => ("calls", "seconds"),
    };
    json!({
        "account_sid": context.account.sid.to_string(),
        "api_version": "2010-04-01",
        "as_of": model::stamp::rfc3339(context.backend().now()),
        "category": sum.category,
        "description": sum.category,
        "count": if total { Value::Null } else { sum.count.to_string().into() },
        "count_unit": count_unit,
        "usage": if total { price.as_str().to_owned() } else { sum.seconds.to_string() },
        "usage_unit": usage_unit,
        "usage_exact": if total { Value::Null } else { micros_as_seconds(sum.micros).into() },
        "bytes": sum.bytes.to_string(),
        "price": price,
        "price_unit": currency,
        "start_date": first,
        "end_date": last,
        "subresource_uris": {},
        "uri": format!("{base}?Category={}&StartDate={first}&EndDate={last}", sum.category),
    })
}

/// A usage row below a call.
pub(super) fn show_row(row: &UsageRow) -> Value {
    json!({
        "call_sid": row.call.to_string(),
        "account_sid": row.account.map(|account| account.to_string()),
        "category": row.key.service.name(),
        "segment": row.key.segment,
        "node": row.key.node,
        "epoch": row.key.epoch,
        "start_time": date_or_null((row.start.0 != 0).then_some(row.start)),
        "end_time": date(row.last),
        "count": row.count.to_string(),
        "usage": row.seconds.to_string(),
        "usage_unit": "seconds",
        "usage_exact": micros_as_seconds(row.micros),
        "bytes": row.bytes.to_string(),
    })
}

/// Media that came for the leg and was not taken, by reason.
fn show_refused(refused: &RtpRefused) -> Value {
    json!({
        "source": refused.source,
        "payload": refused.payload,
        "rate": refused.rate,
        "looped": refused.looped,
        "first_source": refused.foreign.map(|source| source.to_string()),
    })
}

/// What the far end said beside its status; null for nothing.
pub(super) fn show_said(cdr: &Cdr) -> Value {
    let Some(said) = cdr.reason.as_deref().and_then(Declined::read) else { return Value::Null };
    json!({
        "sip_reason": Some(said.reason).filter(|reason| !reason.is_empty()),
        "q850_cause": said.q850,
        "blocked": said.blocked.map(|blocked| json!({
            "by": blocked.by,
            "url": blocked.url,
            "tel": blocked.tel,
            "email": blocked.email,
            "card": blocked.card,
        })),
    })
}

/// A CDR below a call.
pub(super) fn show_cdr(account: AccountSid, cdr: &Cdr) -> Value {
    let media = cdr.media.map(|media| {
        let mos = media.mos_centi;
        json!({
            "path": format!("{:?}", media.path).to_ascii_lowercase(),
            "packets_received": media.received,
            "packets_lost": media.lost,
            "packets_sent": media.sent,
            "jitter_us": media.jitter_us,
            "rtt_us": media.rtt_us,
            "mos": format!("{}.{:02}", mos / 100, mos % 100),
            "reported_loss_256th": media.reported_loss,
        })
    });
    json!({
        "call_sid": cdr.call.to_string(),
        "account_sid": account.to_string(),
        "parent_call_sid": cdr.parent.map(|parent| parent.to_string()),
        "direction": match cdr.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        },
        "from": cdr.from,
        "to": cdr.to,
        "remote": cdr.remote.to_string(),
        "sip_call_id": cdr.sip_call_id,
        "date_created": date(cdr.created),
        "answer_time": date_or_null(cdr.answered),
        "end_time": date(cdr.ended),
        "created_us": cdr.created.0,
        "answered_us": cdr.answered.map(|at| at.0),
        "ended_us": cdr.ended.0,
        "duration": whole_seconds(cdr.micros()).to_string(),
        "duration_exact": micros_as_seconds(cdr.micros()),
        "sip_code": cdr.code,
        "cause": cdr.cause.name(),
        "ended_by": match cdr.by {
            Party::Remote => "remote",
            Party::Peer => "peer",
            Party::Application => "application",
            Party::Switch => "switch",
        },
        "reason": cdr.reason,
        "far_end": show_said(cdr),
        "media": media,
        "media_refused": cdr.media.map(|media| show_refused(&media.refused)),
        "price": cdr.price.map(|price| price.to_string()),
        "node": cdr.node,
        "epoch": cdr.epoch,
    })
}
