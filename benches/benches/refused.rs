//! What a refused datagram costs in the shard (GOALS.md S4: at most 1 us): floods of strangers, of
//! one and of many addresses, at 100,000 datagrams a second of virtual time; within what strangers
//! may say and far beyond it. The driver's receive is beside it (`--bench relay` says the same).
//!
//! `cargo bench -p benches --bench refused`

use std::net::SocketAddr;
use std::time::Duration;

use benches::Rounds;
use benches::bed::Bed;
use shard::plan::GuardPlan;

const ROUNDS: usize = 20;
const EACH: usize = 64_000;
/// Between two datagrams.
const GAP: Duration = Duration::from_micros(10);
const GOAL_NS: f64 = 1_000.0;

/// What strangers send: its name, and a datagram of it by number.
type Kind = (&'static str, fn(usize) -> String);

const KINDS: [Kind; 7] = [
    ("INVITE", |number| request("INVITE", number, "", "pplsip")),
    ("INVITE with an invented tag", |number| request("INVITE", number, ";tag=made-up", "phone")),
    ("BYE with an invented tag", |number| request("BYE", number, ";tag=00000000ffffffff", "phone")),
    ("REGISTER of a scanner", |number| request("REGISTER", number, "", "friendly-scanner")),
    ("OPTIONS of a scanner", |number| request("OPTIONS", number, "", "sipvicious")),
    ("response to nothing", |number| {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{number}\r\n\
             From: <sip:a@a>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: {number}\r\n\
             CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        )
    }),
    ("no SIP at all", |number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")),
];

fn request(method: &str, number: usize, tag: &str, agent: &str) -> String {
    format!(
        "{method} sip:+1{number}@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:100@192.0.2.1>;tag={number}\r\nTo: <sip:100@192.0.2.1>{tag}\r\n\
         Call-ID: {number}@203.0.113.9\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:100@203.0.113.9:5060>\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Of one host, or each of another one.
fn source(number: usize, is_one: bool) -> SocketAddr {
    let [_, a, b, c, ..] = (if is_one { 9 } else { number as u64 * 7 }).to_le_bytes();
    SocketAddr::from(([203, a, b, c], 5_060))
}

fn main() {
    benches::pin_last();
    let guard = GuardPlan { source_rate: 100, source_burst: 200, ..GuardPlan::NONE };
    let guard = GuardPlan { stranger_rate: 400, ..guard };
    let mut worst = 0.0_f64;
    println!("| refused | of | ns, least | median | answered of 1,000 | allocations |");
    println!("|---|---|---|---|---|---|");
    for (name, text) in KINDS {
        for is_one in [true, false] {
            let mut bed = Bed::guarded(1_000, 1_000, guard);
            bed.admit_listed();
            let (mut rounds, mut answered, mut allocations) = (Rounds::default(), 0, 0);
            for round in 0..ROUNDS {
                let number = |at: usize| round * EACH + at;
                let texts: Vec<String> = (0..EACH).map(|at| text(number(at))).collect();
                let all: Vec<(SocketAddr, &[u8])> = (0..EACH)
                    .map(|at| (source(number(at), is_one), texts[at].as_bytes()))
                    .collect();
                let (cost, said) = bed.flood(&all, GAP);
                rounds.push(cost.nanos as f64 / cost.packets as f64);
                (answered, allocations) = (answered + said, allocations + cost.allocations);
            }
            let whom = if is_one { "one source" } else { "many sources" };
            let part = answered as f64 * 1_000.0 / (ROUNDS * EACH) as f64;
            println!(
                "| {name} | {whom} | {:.0} | {:.0} | {part:.1} | {allocations} |",
                rounds.min(),
                rounds.median()
            );
            worst = worst.max(rounds.min());
        }
    }
    println!("\nworst {worst:.0} ns, goal {GOAL_NS:.0} ns");
}
