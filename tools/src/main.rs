//! `tandem`: runs, drives and examines the switch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tools::load;

#[derive(Debug, Parser)]
#[command(name = "tandem", version, about = "Runs, drives and examines the Tandem voice switch")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Place and answer SIP calls with RTP, and judge what comes through
    Load(load::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Load(args) => load::main(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tandem: {error:#}");
            ExitCode::FAILURE
        }
    }
}
