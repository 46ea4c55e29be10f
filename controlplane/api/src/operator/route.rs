//! `/v1/Operator/Routes`: where dialled numbers go.

use model::{OutboundRoute, RouteSid};
use serde_json::{Value, json};

use super::{Desk, Thing, holder, moment, rename, whose};
use crate::problem::Problem;
use crate::resource::random_sid;

/// Characters of a prefix, what is put in front, a host, a target.
const TEXT_MAX: usize = 253;

impl Thing for OutboundRoute {
    const NAMES: (&'static str, &'static str) = ("Routes", "routes");

    fn key_of(text: &str) -> Option<RouteSid> {
        text.parse().ok()
    }

    fn name(&self) -> String {
        self.sid.to_string()
    }

    fn make(desk: &Desk<'_>) -> Result<Self, Problem> {
        Ok(Self {
            sid: RouteSid(random_sid()?),
            account: whose(desk)?,
            date_created: desk.shared.backend.now(),
            ..Self::default()
        })
    }

    fn change(&mut self, desk: &Desk<'_>) -> Result<(), Problem> {
        rename(desk, &mut self.friendly_name)?;
        for (name, place) in
            [("Prefix", &mut self.prefix), ("Prepend", &mut self.prepend), ("Host", &mut self.host)]
        {
            if let Some(text) = desk.form.get(name) {
                *place = plain(name, text)?;
            }
        }
        if let Some(strip) = desk.form.number("Strip", 0..=32)? {
            self.strip = u8::try_from(strip).unwrap_or(u8::MAX);
        }
        let targets: Result<Vec<String>, Problem> =
            desk.form.all("Target").map(|text| plain("Target", text)).collect();
        let targets = targets?;
        if !targets.is_empty() {
            self.targets = targets;
        }
        self.date_updated = desk.shared.backend.now();
        Ok(())
    }

    fn show(&self) -> Value {
        json!({
            "sid": self.sid.to_string(),
            "account_sid": holder(self.account),
            "friendly_name": self.friendly_name,
            "prefix": self.prefix,
            "strip": self.strip,
            "prepend": self.prepend,
            "targets": self.targets,
            "host": self.host,
            "date_created": moment(self.date_created),
            "date_updated": moment(self.date_updated),
        })
    }
}

/// What may stand in a Request-URI as it is.
fn plain(name: &str, text: &str) -> Result<String, Problem> {
    let fine = |c: u8| c.is_ascii_alphanumeric() || b"+*#.-_:[]".contains(&c);
    if text.len() > TEXT_MAX || !text.bytes().all(fine) {
        return Err(Problem::bad_parameter(name, "letters, digits and +*#.-_:[]"));
    }
    Ok(text.to_owned())
}
