//! `tandem`: runs, drives and examines the switch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tools::{app, check, load, up};

#[derive(Debug, Parser)]
#[command(name = "tandem", version, about = "Runs, drives and examines the Tandem voice switch")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the switch and keep it up
    Up(up::Args),
    /// Check a configuration file
    Check(check::Args),
    /// Place and answer SIP calls with RTP, and judge what comes through
    Load(load::Args),
    /// Serve a TwiML document and take status callbacks
    App(app::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Up(args) => up::main(args),
        Command::Check(args) => check::main(args),
        Command::Load(args) => load::main(args),
        Command::App(args) => app::main(args),
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
