//! `cargo run --release -p tests --bin fuzz -- TARGET|all [--seconds N] [--seed S]`: runs a target
//! for a while, or with `--replay FILE` one input again. A finding is written to a file in the
//! current directory. Executions are added up in `tests/fuzz/LEDGER.md`.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a program for people: it runs for a while")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::fuzz::{Finding, Runner, TARGETS, Target};

struct Options {
    targets: Vec<Target>,
    seconds: u64,
    seed: u64,
    replay: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { targets: Vec::new(), seconds: 60, seed: 1, replay: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
        let number = |text: String| text.parse().map_err(|_| format!("`{text}` is no number"));
        match argument.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--replay" => options.replay = Some(value()?),
            "all" => options.targets.extend(TARGETS),
            name => {
                let target = Target::named(name).ok_or_else(|| format!("no target `{name}`"))?;
                options.targets.push(target);
            }
        }
    }
    if options.targets.is_empty() { Err("which target?".to_owned()) } else { Ok(options) }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!(
                "{problem}\n\nusage: fuzz TARGET|all [--seconds N] [--seed S] [--replay FILE]"
            );
            for target in TARGETS {
                eprintln!("  {:14} {}", target.name, target.about);
            }
            return ExitCode::from(2);
        }
    };
    let mut sound = true;
    for target in &options.targets {
        let outcome = match &options.replay {
            Some(path) => match std::fs::read(path) {
                Ok(input) => target.run(&input).map(drop),
                Err(error) => {
                    eprintln!("{path}: {error}");
                    return ExitCode::from(2);
                }
            },
            None => run(*target, &options),
        };
        if let Err(finding) = outcome {
            sound = false;
            tell(&finding, options.replay.is_none());
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(target: Target, options: &Options) -> Result<(), Finding> {
    let (from, limit) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut runner = Runner::new(target, options.seed);
    let outcome = (|| {
        runner.seeds()?;
        while from.elapsed() < limit {
            for _ in 0..64 {
                runner.step()?;
            }
        }
        Ok(())
    })();
    println!(
        "{:14} {:>12} executions in {:.0} s, seed {}, corpus {}",
        target.name,
        runner.executions,
        from.elapsed().as_secs_f64(),
        options.seed,
        runner.corpus()
    );
    outcome
}

fn tell(finding: &Finding, write: bool) {
    eprintln!("FOUND in {}: {}", finding.target, finding.message);
    let mark = finding
        .input
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let path = format!("fuzz-{}-{mark:08x}", finding.target);
    if write && std::fs::write(&path, &finding.input).is_ok() {
        eprintln!("  {} bytes in {path}; again with --replay {path}", finding.input.len());
    }
    eprintln!("  {}", finding.input.escape_ascii());
}
