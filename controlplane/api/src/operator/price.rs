//! `/v1/Operator/Prices`: what accounts are charged. A price is named by whose it is and of what:
//! `*-sip-egress`, `AC...-sip-egress`.

use model::{Currency, Nanos, Price, PriceKey, PriceUnit, Service};
use serde_json::{Value, json};

use super::{Desk, Thing, holder, needed, whose};
use crate::problem::Problem;

/// Of `minimum_s` and `increment_s`.
const DAY_S: u64 = 86_400;

fn service(text: &str) -> Option<Service> {
    Service::ALL.into_iter().find(|service| service.name() == text)
}

impl Thing for Price {
    const NAMES: (&'static str, &'static str) = ("Prices", "prices");

    fn key_of(text: &str) -> Option<PriceKey> {
        let (account, named) = text.split_once('-')?;
        let account = if account == "*" { None } else { Some(account.parse().ok()?) };
        Some(PriceKey(account, service(named)?))
    }

    fn name(&self) -> String {
        let account = self.account.map_or_else(|| "*".to_owned(), |account| account.to_string());
        format!("{account}-{}", self.service.name())
    }

    fn make(desk: &Desk<'_>) -> Result<Self, Problem> {
        needed(desk, "Price")?;
        let why = "sip-ingress, sip-egress, media-relay or sip-registration";
        let service = service(needed(desk, "Service")?);
        Ok(Self {
            account: whose(desk)?,
            service: service.ok_or_else(|| Problem::bad_parameter("Service", why))?,
            unit: PriceUnit::Minute,
            price: Nanos(0),
            currency: Currency::USD,
            minimum_s: 0,
            increment_s: 1,
        })
    }

    fn change(&mut self, desk: &Desk<'_>) -> Result<(), Problem> {
        let form = &desk.form;
        if let Some(text) = form.filled("Price") {
            let price = text.parse().ok().filter(|price: &Nanos| price.0 >= 0);
            let why = "a decimal amount of at most nine places, not negative";
            self.price = price.ok_or_else(|| Problem::bad_parameter("Price", why))?;
        }
        self.unit = match form.filled("Unit") {
            None => self.unit,
            Some("minute") => PriceUnit::Minute,
            Some("each") => PriceUnit::Each,
            Some(_) => return Err(Problem::bad_parameter("Unit", "minute or each")),
        };
        if let Some(text) = form.filled("Currency") {
            let code = <[u8; 3]>::try_from(text.as_bytes()).ok();
            let code = code.filter(|code| code.iter().all(u8::is_ascii_uppercase));
            let why = "three capital letters";
            let code = code.ok_or_else(|| Problem::bad_parameter("Currency", why))?;
            self.currency = Currency(code);
        }
        // As it is shown, and as `tandem ctl` calls it.
        for (names, seconds) in [
            (["MinimumSeconds", "Minimum"], &mut self.minimum_s),
            (["IncrementSeconds", "Increment"], &mut self.increment_s),
        ] {
            for name in names {
                if let Some(number) = form.number(name, 0..=DAY_S)? {
                    *seconds = u32::try_from(number).unwrap_or(u32::MAX);
                }
            }
        }
        Ok(())
    }

    fn show(&self) -> Value {
        json!({
            "name": self.name(),
            "account_sid": holder(self.account),
            "service": self.service.name(),
            "unit": if self.unit == PriceUnit::Each { "each" } else { "minute" },
            "price": self.price.to_string(),
            "currency": self.currency.code(),
            "minimum_seconds": self.minimum_s,
            "increment_seconds": self.increment_s,
        })
    }
}
