//! `tandem demo NAME`: what the switch can do, shown with real calls through a running one, and
//! judged. A demonstration is a file here and a row in [`DEMOS`]; it returns true only if what it
//! shows was measured right.

pub mod codecs;
pub mod full_disk;
mod phones;
mod registrar;
pub mod relay;
mod sip_callback;
pub mod strangers;
pub mod tenants;
pub mod trunks;
mod wires;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::up::Endpoints;

/// A demonstration.
#[derive(Clone, Copy, Debug)]
pub struct Demo {
    pub name: &'static str,
    /// What is seen, in a line.
    pub shows: &'static str,
    run: fn(&Args) -> Result<bool>,
}

/// All of them; the first is shown where none is named.
pub const DEMOS: &[Demo] = &[
    Demo {
        name: "relay",
        shows: "calls answered by an application, every packet heard, ledger = CDRs = talk time",
        run: relay::run,
    },
    Demo {
        name: "codecs",
        shows: "two who share one codec, or none, in each way of answering and changing: both \
                heard, or refused with the reason",
        run: codecs::run,
    },
    Demo {
        name: "strangers",
        shows: "floods of strangers at 100 x the honest rate: honest calls set up, heard as without \
                them, and nobody amplified",
        run: strangers::run,
    },
    Demo {
        name: "tenants",
        shows: "a tenant that does its worst in nine ways: another's calls, callbacks and questions \
                to the API as without it",
        run: tenants::run,
    },
    Demo {
        name: "sip-callback",
        shows: "a trunk's call told message by message, taken over by an application in mid-call, \
                given back: heard in one stream throughout",
        run: sip_callback::run,
    },
    Demo {
        name: "trunks",
        shows: "a trunk dies and the next takes over, is known to be out, comes back; the \
                controlplane stopped in between: calls route, and are booked when it goes on",
        run: trunks::run,
    },
    Demo {
        name: "registrar",
        shows: "three phones registered over TLS, TCP and UDP: called, held, taken back, \
                transferred; a connection lost is 480 until its phone is back",
        run: registrar::run,
    },
    Demo {
        name: "full-disk",
        shows: "a disk filled under calls and freed: refused with the reason, back by itself, no \
                second lost (where a file system can be mounted in a namespace)",
        run: full_disk::run,
    },
];

/// Arguments of `tandem demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which one; see --list
    #[arg(default_value = DEMOS[0].name)]
    pub name: String,
    /// Say which there are
    #[arg(long)]
    pub list: bool,
    /// Data directory of a running `tandem up --demo`
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub relay: relay::Calls,
    #[command(flatten)]
    pub strangers: strangers::Scale,
    #[command(flatten)]
    pub tenants: tenants::Tenants,
    #[command(flatten)]
    pub full_disk: full_disk::Disk,
}

/// `tandem demo`; false if something was not as it is shown.
///
/// # Errors
/// There is no demonstration of this name, or the switch cannot be reached or configured.
pub fn main(args: &Args) -> Result<bool> {
    if args.list {
        for demo in DEMOS {
            println!("{:<12} {}", demo.name, demo.shows);
        }
        return Ok(true);
    }
    let Some(demo) = DEMOS.iter().find(|demo| demo.name == args.name) else {
        let names: Vec<&str> = DEMOS.iter().map(|demo| demo.name).collect();
        bail!("there is no demonstration `{}`; there are: {}", args.name, names.join(", "));
    };
    (demo.run)(args)
}

/// Where the switch is, and its first account.
fn endpoints(args: &Args) -> Result<Endpoints> {
    let endpoints = Endpoints::read(&args.data_dir)?;
    if endpoints.account_sid.is_empty() {
        bail!(
            "the switch has no account: controlplane.first_account is empty in its configuration"
        );
    }
    Ok(endpoints)
}
