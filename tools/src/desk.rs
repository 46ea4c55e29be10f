//! The operator's half of `tandem ctl`: accounts and their limits, what they may take and show,
//! routes and prices, by `/v1/Operator`. The credential is read from a file, never from an
//! argument.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::ctl::{rows, show};
use crate::rest::Rest;
use crate::up::Endpoints;

/// Name of the credential's file in the data directory.
const FILE: &str = "tandem-operator";

/// Whose something is.
#[derive(Clone, Debug, clap::Args)]
pub struct Whose {
    /// AccountSid; `*` for every account
    #[arg(long, default_value = "*")]
    pub account: String,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Accounts {
    /// All of them, newest first
    List,
    /// A new main account; its token is shown once
    Create { name: String },
    /// Takes and makes no calls any more
    Suspend {
        sid: String,
        /// Its standing calls end, and its sub-accounts'
        #[arg(long)]
        hard: bool,
    },
    /// A suspended one is active again
    Resume { sid: String },
    /// For good: its numbers, domains and keys are free
    Close { sid: String },
}

/// What accounts may take and show: ranges, suffixes, caller ids.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Given {
    /// All of them, newest first
    List,
    /// Give one: how numbers begin, what domains end in, a number
    Add {
        text: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Take one back; what was taken of it stays
    Remove { sid: String },
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Grants {
    /// All of them
    List,
    /// What an account (or `*`, every other) may besides
    Set {
        account: String,
        /// It may show any caller
        #[arg(long)]
        any_caller: Option<bool>,
        /// Bits that its IPv4 source networks have at least
        #[arg(long)]
        source_bits_v4: Option<String>,
        /// The same for IPv6
        #[arg(long)]
        source_bits_v6: Option<String>,
    },
    /// As the deployment has it
    Remove { account: String },
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Prices {
    /// All of them
    List,
    /// What is charged for sip-ingress, sip-egress or media-relay
    Set {
        service: String,
        price: String,
        #[command(flatten)]
        whose: Whose,
        /// minute or each
        #[arg(long, default_value = "minute")]
        unit: String,
        #[arg(long, default_value = "USD")]
        currency: String,
        /// Seconds billed at least
        #[arg(long, default_value = "0")]
        minimum: String,
        /// Seconds to which is rounded up
        #[arg(long, default_value = "1")]
        increment: String,
    },
    /// By its name, `*-sip-egress` or `AC...-sip-egress`
    Remove { name: String },
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Routes {
    /// All of them, newest first
    List,
    /// Where numbers go
    Add {
        /// How they begin; empty for any
        prefix: String,
        /// host or host:port, in order of trial, at most 4
        #[arg(required = true)]
        targets: Vec<String>,
        #[command(flatten)]
        whose: Whose,
        /// Leading characters removed
        #[arg(long, default_value = "0")]
        strip: String,
        /// Put in front then
        #[arg(long, default_value = "")]
        prepend: String,
    },
    /// Not any more
    Remove { sid: String },
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Letters {
    /// Newest first
    List {
        #[command(flatten)]
        whose: Whose,
        /// At most so many
        #[arg(long, default_value = "50")]
        limit: usize,
    },
    /// Send one again, or the oldest 1,000; what is delivered is in the list no more
    Replay {
        /// As the list has it
        sid: Option<String>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Nobody wants it
    Remove { sid: String },
}

#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// AccountSid
    pub sid: String,
    /// Legs at one time, its sub-accounts' with it; 0 for the deployment's
    #[arg(long)]
    pub calls: Option<String>,
    /// New calls a second; 0 for the deployment's
    #[arg(long)]
    pub rate: Option<String>,
}

/// The API as the operator has it.
#[derive(Debug)]
pub struct Desk {
    rest: Rest,
    json: bool,
}

/// The operator's view of the API.
///
/// # Errors
/// The credential cannot be read.
pub fn operator(endpoints: &Endpoints, data_dir: &Path, file: Option<&Path>) -> Result<Rest> {
    let path = file.map_or_else(|| data_dir.join(FILE), Path::to_owned);
    let secret = std::fs::read_to_string(&path)
        .with_context(|| format!("the operator's credential {}", path.display()))?;
    Ok(Rest::with_login(endpoints, "operator", secret.trim_end()))
}

impl Desk {
    /// # Errors
    /// The credential cannot be read.
    pub fn open(
        endpoints: &Endpoints,
        data_dir: &Path,
        file: Option<&Path>,
        json: bool,
    ) -> Result<Self> {
        Ok(Self { rest: operator(endpoints, data_dir, file)?, json })
    }

    /// # Errors
    /// The switch cannot be reached, or refuses.
    pub fn accounts(&self, what: &Accounts) -> Result<()> {
        let change =
            |sid: &str, fields: &[(&str, &str)]| self.put(&format!("Accounts/{sid}"), fields);
        match what {
            Accounts::List => self.list(
                "Accounts",
                "accounts",
                &["sid", "parent_sid", "status", "friendly_name", "calls_max", "calls_per_second"],
            ),
            Accounts::Create { name } => self.put("Accounts", &[("FriendlyName", name)]),
            Accounts::Suspend { sid, hard } => {
                let hard = if *hard { "true" } else { "false" };
                change(sid, &[("Status", "suspended"), ("Hard", hard)])
            }
            Accounts::Resume { sid } => change(sid, &[("Status", "active")]),
            Accounts::Close { sid } => change(sid, &[("Status", "closed")]),
        }
    }

    /// # Errors
    /// As [`Desk::accounts`].
    pub fn limits(&self, limits: &Limits) -> Result<()> {
        let given = [("CallsMax", &limits.calls), ("CallsPerSecond", &limits.rate)];
        let fields: Vec<_> = given
            .iter()
            .filter_map(|(name, value)| value.as_deref().map(|value| (*name, value)))
            .collect();
        let path = format!("Accounts/{}", limits.sid);
        if fields.is_empty() {
            return show(&self.rest.get(&format!("/v1/Operator/{path}"), &[])?);
        }
        self.put(&path, &fields)
    }

    /// # Errors
    /// As [`Desk::accounts`].
    pub fn given(&self, kind: &Kind, what: &Given) -> Result<()> {
        match what {
            Given::List => {
                self.list(kind.path, kind.key, &["sid", "account_sid", kind.field, "friendly_name"])
            }
            Given::Add { text, whose } => {
                self.put(kind.path, &[(kind.parameter, text), ("AccountSid", &whose.account)])
            }
            Given::Remove { sid } => self.remove(kind.path, sid),
        }
    }

    /// # Errors
    /// As [`Desk::accounts`].
    pub fn grants(&self, what: &Grants) -> Result<()> {
        match what {
            Grants::List => self.list(
                "Grants",
                "grants",
                &["account_sid", "any_caller_id", "source_bits_v4", "source_bits_v6"],
            ),
            Grants::Set { account, any_caller, source_bits_v4, source_bits_v6 } => {
                let any_caller = any_caller.map(|any| any.to_string());
                let given = [
                    ("AnyCallerId", &any_caller),
                    ("SourceBitsV4", source_bits_v4),
                    ("SourceBitsV6", source_bits_v6),
                ];
                let fields = given
                    .iter()
                    .filter_map(|(name, value)| value.as_deref().map(|value| (*name, value)))
                    .collect();
                self.set("Grants", account, fields, &[("AccountSid", account)])
            }
            Grants::Remove { account } => self.remove("Grants", account),
        }
    }

    /// # Errors
    /// As [`Desk::accounts`].
    pub fn prices(&self, what: &Prices) -> Result<()> {
        match what {
            Prices::List => self.list(
                "Prices",
                "prices",
                &["name", "price", "currency", "unit", "minimum_seconds", "increment_seconds"],
            ),
            Prices::Set { service, price, whose, unit, currency, minimum, increment } => {
                let fields = vec![
                    ("Price", price.as_str()),
                    ("Unit", unit),
                    ("Currency", currency),
                    ("MinimumSeconds", minimum),
                    ("IncrementSeconds", increment),
                ];
                let name = format!("{}-{service}", whose.account);
                let more = [("Service", service.as_str()), ("AccountSid", &whose.account)];
                self.set("Prices", &name, fields, &more)
            }
            Prices::Remove { name } => self.remove("Prices", name),
        }
    }

    /// # Errors
    /// As [`Desk::accounts`].
    pub fn routes(&self, what: &Routes) -> Result<()> {
        match what {
            Routes::List => self.list(
                "Routes",
                "routes",
                &["sid", "account_sid", "prefix", "strip", "prepend", "targets", "friendly_name"],
            ),
            Routes::Add { prefix, targets, whose, strip, prepend } => {
                let mut fields = vec![
                    ("Prefix", prefix.as_str()),
                    ("AccountSid", &whose.account),
                    ("Strip", strip),
                    ("Prepend", prepend),
                ];
                fields.extend(targets.iter().map(|target| ("Target", target.as_str())));
                self.put("Routes", &fields)
            }
            Routes::Remove { sid } => self.remove("Routes", sid),
        }
    }

    /// # Errors
    /// As [`Desk::accounts`].
    pub fn letters(&self, what: &Letters) -> Result<()> {
        let path = "/v1/Operator/DeadLetters";
        match what {
            Letters::List { whose, limit } => {
                let size = (*limit).clamp(1, 1_000).to_string();
                let query = [("PageSize", size.as_str()), ("AccountSid", &whose.account)];
                let (mut found, mut page) = (Vec::new(), self.rest.get(path, &query)?);
                loop {
                    found.extend(
                        page["dead_letters"].as_array_mut().map(std::mem::take).unwrap_or_default(),
                    );
                    let next = page["next_page_uri"].as_str().map(str::to_owned);
                    let Some(next) = next.filter(|_| found.len() < *limit) else { break };
                    page = self.rest.get(&next, &[])?;
                }
                found.truncate(*limit);
                let fields =
                    ["sid", "account_sid", "call_sid", "date_created", "url", "attempts", "error"];
                rows(self.json, &Value::Array(found), &fields)
            }
            Letters::Replay { sid: Some(sid), .. } => {
                show(&self.rest.post(&format!("{path}/{sid}/Replay"), &[])?)
            }
            Letters::Replay { sid: None, whose } => {
                let form = [("AccountSid", whose.account.as_str())];
                show(&self.rest.post(&format!("{path}/Replay"), &form)?)
            }
            Letters::Remove { sid } => self.remove("DeadLetters", sid),
        }
    }

    fn list(&self, path: &str, key: &str, fields: &[&str]) -> Result<()> {
        let query = [("PageSize", "1000")];
        let all = self.rest.list(&format!("/v1/Operator/{path}"), key, &query)?;
        rows(self.json, &Value::Array(all), fields)
    }

    fn put(&self, path: &str, fields: &[(&str, &str)]) -> Result<()> {
        show(&self.rest.post(&format!("/v1/Operator/{path}"), fields)?)
    }

    /// Changes the one of this name, or makes it with what names it besides.
    fn set<'f>(
        &self,
        path: &str,
        name: &str,
        mut fields: Vec<(&'f str, &'f str)>,
        more: &[(&'f str, &'f str)],
    ) -> Result<()> {
        let one = format!("{path}/{name}");
        if self.rest.get(&format!("/v1/Operator/{one}"), &[]).is_ok() {
            return self.put(&one, &fields);
        }
        fields.extend(more);
        self.put(path, &fields)
    }

    fn remove(&self, path: &str, name: &str) -> Result<()> {
        self.rest.delete(&format!("/v1/Operator/{path}/{name}"))?;
        println!("{name} is removed");
        Ok(())
    }
}

/// A kind of what [`Given`] speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    path: &'static str,
    key: &'static str,
    field: &'static str,
    parameter: &'static str,
}

pub const RANGES: Kind =
    Kind { path: "NumberRanges", key: "number_ranges", field: "prefix", parameter: "Prefix" };
pub const SUFFIXES: Kind =
    Kind { path: "DomainSuffixes", key: "domain_suffixes", field: "suffix", parameter: "Suffix" };
pub const CALLERS: Kind =
    Kind { path: "CallerIds", key: "caller_ids", field: "number", parameter: "PhoneNumber" };
