//! Fuzz targets: short shims over real functions, each taking any bytes, none allowed to panic. A
//! seeded mutational runner on the ordinary toolchain drives them, so that they are kept compiling
//! and run a little by every test run, and for hours by `cargo run --release -p tests --bin fuzz`.
//!
//! ```text
//!   seeds (vectors, messages of our own) -> mutate -> shim -> real function
//!         ^                                             | panic: the input is written down
//!         +---- kept when the shim says it is new ------+
//! ```
//!
//! What a shim returns is a rough picture of where the input came to (parsed or not, which kind,
//! how many parts); inputs with a new picture join the corpus. That is no coverage, but it leads
//! past the first check.

mod controlplane;
mod corpus;
mod dataplane;
mod mutate;
#[cfg(test)]
mod reasons;
mod shared;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base::Prng;

/// The longest input.
pub const INPUT_BYTES_MAX: usize = 8_192;
/// Inputs kept beside the seeds.
const KEPT_MAX: usize = 4_096;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// What of ours it runs.
    pub about: &'static str,
    run: fn(&[u8]) -> u64,
    seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "sip_message",
        about: "sip: parse, every header reader, replies, ACK, CANCEL, dialogs",
        run: dataplane::sip_message,
        seeds: corpus::sip,
    },
    Target {
        name: "sip_stream",
        about: "sip: framing of a byte stream",
        run: dataplane::sip_stream,
        seeds: corpus::sip,
    },
    Target {
        name: "sip_value",
        about: "sip: URIs, digest, tokens",
        run: dataplane::sip_value,
        seeds: corpus::values,
    },
    Target {
        name: "sdp",
        about: "sdp: reader, plan, relay rewrites, answers",
        run: dataplane::sdp,
        seeds: corpus::sdp,
    },
    Target {
        name: "rtp_datagram",
        about: "rtp: header, RTCP, telephone-event",
        run: dataplane::rtp_datagram,
        seeds: corpus::rtp,
    },
    Target {
        name: "rtp_stream",
        about: "rtp: receiver and sender over a described stream",
        run: dataplane::rtp_stream,
        seeds: corpus::streams,
    },
    Target {
        name: "shard",
        about: "shard: datagrams, commands, handoffs, reports and time, in any order",
        run: dataplane::shard,
        seeds: dataplane::shard_seeds,
    },
    Target {
        name: "wire_message",
        about: "wire: events, commands, link messages, handoffs",
        run: shared::message,
        seeds: shared::message_seeds,
    },
    Target {
        name: "wire_ring",
        about: "wire: a ring whose other side writes anything, for both ends",
        run: shared::ring,
        seeds: shared::word_seeds,
    },
    Target {
        name: "wire_memory",
        about: "wire: cells, leg records, tables and region headers of any words",
        run: shared::memory,
        seeds: shared::word_seeds,
    },
    Target {
        name: "twiml",
        about: "director: documents of applications, run through a call",
        run: controlplane::twiml,
        seeds: corpus::twiml,
    },
    Target {
        name: "director",
        about: "director: events of a shard, in any order",
        run: controlplane::events,
        seeds: controlplane::event_seeds,
    },
    Target {
        name: "config",
        about: "wire: the configuration file",
        run: controlplane::config,
        seeds: corpus::config,
    },
];

/// An input that made a target panic.
#[derive(Clone, Debug)]
pub struct Finding {
    pub target: &'static str,
    pub input: Vec<u8>,
    pub message: String,
}

/// A run over one target.
#[derive(Debug)]
pub struct Runner {
    target: Target,
    random: Prng,
    corpus: Vec<Vec<u8>>,
    seen: HashSet<u64>,
    seeds: usize,
    /// Inputs run so far.
    pub executions: u64,
}

impl Target {
    /// The target with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().copied().find(|target| target.name == name)
    }

    /// Runs one input.
    ///
    /// # Errors
    /// With what the target said when it panicked.
    pub fn run(&self, input: &[u8]) -> Result<u64, Finding> {
        catch_unwind(AssertUnwindSafe(|| (self.run)(input))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            let message = text.unwrap_or_default();
            Finding { target: self.name, input: input.to_vec(), message }
        })
    }
}

impl Runner {
    /// # Panics
    /// If the target has no seeds.
    #[must_use]
    pub fn new(target: Target, seed: u64) -> Self {
        let corpus = (target.seeds)();
        assert!(!corpus.is_empty(), "{} has seeds", target.name);
        let seeds = corpus.len();
        let random = Prng::new(seed);
        Self { target, random, corpus, seen: HashSet::new(), seeds, executions: 0 }
    }

    /// Inputs in the corpus: seeds, and what was kept.
    #[must_use]
    pub fn corpus(&self) -> usize {
        self.corpus.len()
    }

    /// Every seed as it is.
    ///
    /// # Errors
    /// The first that makes the target panic.
    pub fn seeds(&mut self) -> Result<(), Finding> {
        for input in &self.corpus[..self.seeds] {
            self.executions += 1;
            let picture = self.target.run(input)?;
            self.seen.insert(picture);
        }
        Ok(())
    }

    /// One mutated input.
    ///
    /// # Errors
    /// If it makes the target panic.
    pub fn step(&mut self) -> Result<(), Finding> {
        let input = mutate::next(&mut self.random, &self.corpus);
        self.executions += 1;
        let picture = self.target.run(&input)?;
        if self.seen.insert(picture) {
            if self.corpus.len() < self.seeds + KEPT_MAX {
                self.corpus.push(input);
            } else {
                let kept = self.random.below(KEPT_MAX as u64);
                let at = self.seeds + usize::try_from(kept).unwrap_or(0);
                self.corpus[at] = input;
            }
        }
        Ok(())
    }
}

/// A picture of where an input came to: small numbers in, one number out.
fn picture(parts: &[u64]) -> u64 {
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        // Counts by order of magnitude: otherwise every length would be new.
        let class = if *part < 8 { *part } else { 8 + u64::from(part.ilog2()) };
        (hash ^ class).wrapping_mul(0x0100_0000_01b3)
    })
}
