//! `tandem ctl`: looks at and acts on a running switch by its REST API.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::rest::Rest;
use crate::up::Endpoints;

/// Arguments of `tandem ctl`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Data directory of a running `tandem up`
    #[arg(long, default_value = "data", global = true)]
    pub data_dir: PathBuf,
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
    }
    Ok(true)
}

fn show(value: &Value) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn rows(json: bool, list: &Value, fields: &[&str]) -> Result<()> {
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
