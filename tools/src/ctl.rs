//! `tandem ctl`: looks at and acts on a running switch by its REST API.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::desk::{self, Desk};
use crate::rest::Rest;
use crate::up::Endpoints;

/// Arguments of `tandem ctl`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Data directory of a running `tandem up`
    #[arg(long, default_value = "data", global = true)]
    pub data_dir: PathBuf,
    /// The operator's credential; default: `tandem-operator` in the data directory
    #[arg(long, global = true, value_name = "FILE")]
    pub operator_file: Option<PathBuf>,
    /// JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// The account
    Account,
    /// Calls, newest first
    Calls {
        /// Only with this status: queued, ringing, in-progress, completed, busy, failed, no-answer,
        /// canceled
        #[arg(long)]
        status: Option<String>,
        /// At most so many
        #[arg(long, default_value = "50")]
        limit: String,
    },
    /// One call with its CDR and usage
    Call { sid: String },
    /// End a call
    Hangup { sid: String },
    /// Usage by category
    Usage,
    /// What applications were told was wrong
    Alerts,
    /// Where everything is
    Endpoints,
    /// Tenants (operator)
    #[command(subcommand)]
    Accounts(desk::Accounts),
    /// What an account may have at one time (operator)
    Limits(desk::Limits),
    /// Ranges that accounts take numbers from (operator)
    #[command(subcommand)]
    Ranges(desk::Given),
    /// What accounts' domains end in (operator)
    #[command(subcommand)]
    Suffixes(desk::Given),
    /// Numbers that accounts may show without having them (operator)
    #[command(subcommand)]
    Callers(desk::Given),
    /// What accounts may besides (operator)
    #[command(subcommand)]
    Grants(desk::Grants),
    /// What is charged (operator)
    #[command(subcommand)]
    Prices(desk::Prices),
    /// Callbacks that were given up (operator)
    #[command(subcommand)]
    DeadLetters(desk::Letters),
    /// Where dialled numbers go (operator)
    #[command(subcommand)]
    Routes(desk::Routes),
}

/// `tandem ctl`.
///
/// # Errors
/// The switch cannot be reached, or refuses.
pub fn main(args: &Args) -> Result<bool> {
    let endpoints = Endpoints::read(&args.data_dir)?;
    let rest = Rest::new(&endpoints);
    match &args.command {
        Command::Endpoints => println!("{}", serde_json::to_string_pretty(&endpoints)?),
        Command::Account => show(&rest.get(".json", &[])?)?,
        Command::Calls { status, limit } => {
            let mut query = vec![("PageSize", limit.as_str())];
            if let Some(status) = status {
                query.push(("Status", status));
            }
            let page = rest.get("Calls.json", &query)?;
            let fields =
                ["sid", "status", "direction", "from", "to", "start_time", "duration", "price"];
            rows(args.json, &page["calls"], &fields)?;
        }
        Command::Call { sid } => {
            for part in ["", "/Cdrs", "/Usage", "/Notifications"] {
                show(&rest.get(&format!("Calls/{sid}{part}.json"), &[])?)?;
            }
        }
        Command::Hangup { sid } => {
            let call = rest.post(&format!("Calls/{sid}.json"), &[("Status", "completed")])?;
            println!("{} is {}", sid, call["status"].as_str().unwrap_or("-"));
        }
        Command::Usage => {
            let page = rest.get("Usage/Records.json", &[])?;
            let fields =
                ["category", "count", "count_unit", "usage", "usage_unit", "usage_exact", "price"];
            rows(args.json, &page["usage_records"], &fields)?;
        }
        Command::Alerts => show(&rest.get("Notifications.json", &[])?)?,
        what => operate(args, &endpoints, what)?,
    }
    Ok(true)
}

/// What has the operator's credential.
fn operate(args: &Args, endpoints: &Endpoints, what: &Command) -> Result<()> {
    let desk = Desk::open(endpoints, &args.data_dir, args.operator_file.as_deref(), args.json)?;
    match what {
        Command::Accounts(what) => desk.accounts(what),
        Command::Limits(limits) => desk.limits(limits),
        Command::Ranges(what) => desk.given(&desk::RANGES, what),
        Command::Suffixes(what) => desk.given(&desk::SUFFIXES, what),
        Command::Callers(what) => desk.given(&desk::CALLERS, what),
        Command::Grants(what) => desk.grants(what),
        Command::Prices(what) => desk.prices(what),
        Command::DeadLetters(what) => desk.letters(what),
        Command::Routes(what) => desk.routes(what),
        _ => Ok(()),
    }
}

pub(crate) fn show(value: &Value) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

pub(crate) fn rows(json: bool, list: &Value, fields: &[&str]) -> Result<()> {
    if json {
        return show(list);
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(fields);
    for row in list.as_array().into_iter().flatten() {
        table.add_row(fields.iter().map(|field| cell(field, &row[*field])));
    }
    println!("{table}");
    Ok(())
}

fn cell(field: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    // Prices are negative; one of nothing is no less than nothing.
    let is_zero = || text.parse::<f64>().is_ok_and(|number| number == 0.0);
    if field == "price" && text.starts_with('-') && is_zero() { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_of_nothing_has_no_sign() {
        for nothing in [Value::from("-0"), Value::from("-0.00000"), Value::from(-0.0)] {
            assert_eq!(cell("price", &nothing), "0");
        }
        assert_eq!(cell("price", &Value::from("-0.0075")), "-0.0075");
        assert_eq!(cell("price", &Value::Null), "-");
        assert_eq!(cell("to", &Value::from("-0")), "-0");
    }
}
