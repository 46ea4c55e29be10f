//! What a programmable call costs the controlplane: one webhook, TwiML Dial, four status callbacks,
//! through the processes as they are deployed. Callers, callees and the application are this
//! program's.
//!
//! ```text
//!   programmable --bin-dir DIR [--bin-dir DIR ...] [--rate N] [--seconds N] [--rounds N] [--data DIR]
//! ```
//!
//! Several directories are measured in turns, so that what else runs on the machine hits all alike.

mod application;
mod process;
mod report;
mod traffic;

use std::path::PathBuf;

use process::Switch;
use report::Cost;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    binaries: Vec<PathBuf>,
    data: PathBuf,
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
    rounds: u64,
}

fn options() -> Result<Options, Failure> {
    let mut options = Options {
        binaries: Vec::new(),
        data: std::env::temp_dir().join("programmable"),
        rate: 100,
        seconds: 10,
        rounds: 3,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--bin-dir" => options.binaries.push(PathBuf::from(value()?)),
            "--data" => options.data = PathBuf::from(value()?),
            "--rate" => options.rate = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--rounds" => options.rounds = value()?.parse()?,
            _ => return Err(format!("{word}: unknown").into()),
        }
    }
    if options.binaries.is_empty() {
        return Err("--bin-dir says where tandem and its two processes are".into());
    }
    Ok(options)
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    let mut found: Vec<Vec<Cost>> = vec![Vec::new(); options.binaries.len()];
    for round in 0..options.rounds {
        for (binaries, costs) in options.binaries.iter().zip(&mut found) {
            let data = options.data.join(format!("{}-{round}", std::process::id()));
            let application = application::Application::start()?;
            let switch = Switch::start(binaries, &data)?;
            switch.configure(&application)?;
            let cost = traffic::run(&options, &switch, &application)?;
            println!("{} round {round}: {}", binaries.display(), cost.line());
            costs.push(cost);
            drop(switch);
            std::fs::remove_dir_all(&data)?;
        }
    }
    for (binaries, costs) in options.binaries.iter().zip(&found) {
        println!("\n{}, median of {} rounds:", binaries.display(), costs.len());
        print!("{}", report::table(costs));
    }
    Ok(())
}
