//! `/v1/Operator/Grants`: what an account may besides. One of an account, named by its sid, and one
//! of all that have none, named `*`.

use model::{Grant, GrantKey};
use serde_json::{Value, json};

use super::{Desk, Thing, holder, moment, whose};
use crate::problem::Problem;

impl Thing for Grant {
    const NAMES: (&'static str, &'static str) = ("Grants", "grants");

    fn key_of(text: &str) -> Option<GrantKey> {
        if text == "*" {
            Some(GrantKey(None))
        } else {
            text.parse().ok().map(|it| GrantKey(Some(it)))
        }
    }

    fn name(&self) -> String {
        GrantKey(self.account).to_string()
    }

    fn make(desk: &Desk<'_>) -> Result<Self, Problem> {
        let date_created = desk.shared.backend.now();
        Ok(Self { account: whose(desk)?, date_created, ..Self::default() })
    }

    fn change(&mut self, desk: &Desk<'_>) -> Result<(), Problem> {
        if let Some(any) = desk.form.boolean("AnyCallerId")? {
            self.any_caller = any;
        }
        for (name, most, bits) in [
            ("SourceBitsV4", 32, &mut self.source_bits_v4),
            ("SourceBitsV6", 128, &mut self.source_bits_v6),
        ] {
            if desk.form.get(name).is_some() {
                // An empty one is as the deployment has it.
                let number = desk.form.number(name, 0..=most)?;
                *bits = number.and_then(|bits| u8::try_from(bits).ok());
            }
        }
        self.date_updated = desk.shared.backend.now();
        Ok(())
    }

    fn show(&self) -> Value {
        json!({
            "account_sid": holder(self.account),
            "any_caller_id": self.any_caller,
            "source_bits_v4": self.source_bits_v4,
            "source_bits_v6": self.source_bits_v6,
            "date_created": moment(self.date_created),
            "date_updated": moment(self.date_updated),
        })
    }
}
