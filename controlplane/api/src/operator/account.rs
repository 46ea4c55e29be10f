//! `/v1/Operator/Accounts`: tenants, main accounts and sub-accounts, and their limits.

use model::port::ApiRequest;
use model::{Account, AccountSid, AccountStatus, Secret};
use serde_json::{Value, json};

use super::{Desk, Thing, moment, rename};
use crate::problem::Problem;
use crate::resource::{random_secret, random_sid, status_name, status_named};

impl Thing for Account {
    const NAMES: (&'static str, &'static str) = ("Accounts", "accounts");

    fn key_of(text: &str) -> Option<AccountSid> {
        text.parse().ok()
    }

    fn is_account(key: &AccountSid) -> Option<AccountSid> {
        Some(*key)
    }

    fn name(&self) -> String {
        self.sid.to_string()
    }

    fn make(desk: &Desk<'_>) -> Result<Self, Problem> {
        let (sid, now) = (AccountSid(random_sid()?), desk.shared.backend.now());
        Ok(Self {
            sid,
            parent: sid,
            auth_token: Secret(random_secret()?),
            friendly_name: format!("Account created at {}", model::stamp::rfc3339(now)),
            date_created: now,
            ..Self::default()
        })
    }

    fn change(&mut self, desk: &Desk<'_>) -> Result<(), Problem> {
        rename(desk, &mut self.friendly_name)?;
        if let Some(status) = desk.form.filled("Status") {
            self.status = status_named(status)?;
        }
        for (name, limit) in [
            ("CallsMax", &mut self.limits.calls_max),
            ("CallsPerSecond", &mut self.limits.calls_per_second),
        ] {
            if let Some(number) = desk.form.number(name, 0..=1_000_000)? {
                *limit = u32::try_from(number).unwrap_or(u32::MAX);
            }
        }
        self.date_updated = desk.shared.backend.now();
        Ok(())
    }

    fn show(&self) -> Value {
        json!({
            "sid": self.sid.to_string(),
            "parent_sid": self.parent.to_string(),
            "number": self.number,
            "friendly_name": self.friendly_name,
            "status": status_name(self.status),
            "calls_max": self.limits.calls_max,
            "calls_per_second": self.limits.calls_per_second,
            "date_created": moment(self.date_created),
            "date_updated": moment(self.date_updated),
        })
    }

    fn show_secret(&self, body: &mut Value) {
        body["auth_token"] = self.auth_token.0.clone().into();
    }

    /// `Hard`: its calls and its sub-accounts' end with it.
    fn request(self, desk: &Desk<'_>) -> Result<ApiRequest, Problem> {
        if desk.form.boolean("Hard")? == Some(true) {
            if self.status == AccountStatus::Active {
                return Err(Problem::bad_parameter("Hard", "with Status=suspended or closed"));
            }
            return Ok(ApiRequest::Shut(Box::new(self)));
        }
        Ok(ApiRequest::Put { entity: Box::new(self.into()), create: false })
    }
}
