//! Every fuzz target for a while: the seeds as they are, then a bounded number of mutations from a
//! fixed seed, so that the targets stay alive and a run is the same everywhere.
//! `TANDEM_FUZZ_ROUNDS` sets how many.

use tests::fuzz::{Finding, Runner, TARGETS, Target};

const ROUNDS: u64 = 3_000;

fn run(name: &str) {
    let target = Target::named(name).expect("a target");
    let rounds = std::env::var("TANDEM_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut runner = Runner::new(target, 0x7a6d);
    let outcome =
        runner.seeds().and_then(|()| (0..rounds.unwrap_or(ROUNDS)).try_for_each(|_| runner.step()));
    if let Err(Finding { input, message, .. }) = outcome {
        panic!("{name}, execution {}: {message}\n{}", runner.executions, input.escape_ascii());
    }
    println!("{name}: {} executions, corpus {}", runner.executions, runner.corpus());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_here() {
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(known, [$(stringify!($name)),*]);
            let ledger = include_str!("LEDGER.md");
            for name in known {
                assert!(ledger.contains(&format!("| {name} |")), "{name} has a row in the ledger");
            }
        }
    };
}

targets! {
    sip_message sip_stream sip_value sdp rtp_datagram rtp_stream shard wire_message wire_ring
    wire_memory twiml director config
}
