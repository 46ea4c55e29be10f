//! `tandem`: runs, drives and examines the switch.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tools::{app, check, ctl, demo, doctor, flood, load, up};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Show with real calls what a running switch does (`--list` says what there is)
    Demo(demo::Args),
    /// Look at and act on a running switch
    Ctl(ctl::Args),
    /// Is this machine fit?
    Doctor(doctor::Args),
    /// Check a configuration file
    Check(check::Args),
    /// Place and answer SIP calls with RTP, and judge what comes through
    Load(load::Args),
    /// Flood a switch on loopback as strangers do, and judge what comes back
    Flood(flood::Args),
    /// Serve a TwiML document and take status callbacks
    App(app::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Up(args) => up::main(args),
        Command::Demo(args) => demo::main(args),
        Command::Ctl(args) => ctl::main(args),
        Command::Doctor(args) => doctor::main(args),
        Command::Check(args) => check::main(args),
        Command::Load(args) => load::main(args),
        Command::Flood(args) => flood::main(args),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        let cli = Cli::parse_from(["tandem", "demo", "codecs", "--data-dir", "d"]);
        let Command::Demo(args) = cli.command else { panic!("a demo") };
        assert_eq!(args.name, "codecs");
        let cli = Cli::parse_from(["tandem", "ctl", "ranges", "add", "+1555", "--account", "AC1"]);
        let Command::Ctl(args) = cli.command else { panic!("ctl") };
        assert_eq!(args.operator_file, None);
        let cli = Cli::parse_from(["tandem", "demo", "-n", "3"]);
        let Command::Demo(args) = cli.command else { panic!("a demo") };
        assert_eq!((args.name.as_str(), args.relay.calls), ("relay", 3));
    }
}
