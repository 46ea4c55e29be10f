//! A whole statically routed B2BUA call in the shard (GOALS.md P6): INVITE, 100, INVITE, 200, 200,
//! ACK, ACK, BYE, 200, BYE, 200, two dialogs, media planned, metered, released. Phones and
//! controlplane are played by the bench and not measured. Virtual time goes on at 1,000 calls/s, so
//! that transactions expire, ports rest and counters are published within what is measured.

use std::time::Duration;

use base::CallId;
use benches::Rounds;
use benches::bed::Bed;
use benches::directed::Directed;
use benches::peer::Side;
use wire::table::MessageFilter;

const TOGETHER: usize = 50;
const WARM: usize = 700;
const ROUNDS: usize = 20;
const EACH: usize = 40;

/// So many calls begin, stand for a moment, and end.
fn turn(bed: &mut Bed) {
    let first = bed.phones.calls.len();
    let numbers = first..first + TOGETHER;
    let invites = numbers.clone().map(|number| (Side::Caller, bed.dial(number))).collect();
    bed.exchange(invites);
    bed.pass(Duration::from_millis(25));
    let byes = numbers.clone().map(|number| (Side::Caller, bed.phones.bye(number))).collect();
    bed.exchange(byes);
    for number in numbers {
        let call = &bed.phones.calls[number];
        assert!(call.caller_over && call.callee_over, "call {number}: {call:?}");
    }
    bed.release_ended();
    bed.pass(Duration::from_millis(25));
}

fn measure(bed: &mut Bed) -> [Rounds; 2] {
    for _ in 0..WARM {
        turn(bed);
    }
    let mut rounds = [Rounds::default(), Rounds::default()];
    let calls = (TOGETHER * EACH) as f64;
    for _ in 0..ROUNDS {
        bed.spent = 0;
        if let Some(director) = &mut bed.director {
            (director.spent, director.webhooks, director.callbacks) = (0, 0, 0);
        }
        for _ in 0..EACH {
            turn(bed);
        }
        rounds[0].push(bed.spent as f64 / 1e3 / calls);
        let directing = bed.director.as_ref().map_or(0, |director| director.spent);
        rounds[1].push(directing as f64 / 1e3 / calls);
    }
    rounds
}

/// Who asks for messages: 0 nobody, 1 another account, 2 the route's for what does not come, 3 the
/// route's for everything.
fn watched(who: u64) -> Vec<MessageFilter> {
    let everything = MessageFilter {
        account: 1,
        call: CallId::NONE,
        id: 1,
        slot: 0,
        methods: 0,
        responses: Vec::new(),
        ways: 3,
        legs: 3,
        trunk_only: false,
        once: false,
        header: None,
    };
    match who {
        1 => vec![MessageFilter { account: 2, ..everything }],
        2 => vec![MessageFilter { methods: 1 << 7, ..everything }],
        3 => vec![everything],
        _ => Vec::new(),
    }
}

fn main() {
    if let Some(turns) = benches::option("--instructions") {
        let mut bed = Bed::new(4_096, 1 << 17);
        bed.watch(watched(benches::option("--watched").unwrap_or(0)));
        for _ in 0..turns {
            turn(&mut bed);
        }
        return;
    }
    benches::pin_last();
    println!("call: INVITE to BYE, CPU us per call (no kernel)");
    println!("{:<32}{:>10}{:>10}{:>14}", "", "min us", "median us", "calls/s");
    let row = |name: &str, rounds: &Rounds| {
        let (min, median) = (rounds.min(), rounds.median());
        println!("{name:<32}{min:>10.1}{median:>10.1}{:>14.0}", 1e6 / min);
    };
    let [shard, _] = measure(&mut Bed::new(4_096, 1 << 17));
    row("static route: shard", &shard);
    for (name, who) in [("another account's told", 1), ("none of its told", 2), ("all told", 3)] {
        let mut bed = Bed::new(4_096, 1 << 17);
        bed.watch(watched(who));
        let [shard, _] = measure(&mut bed);
        row(name, &shard);
    }
    println!("goal: <= 50 us whole core (this step 100)");
    let mut bed = Bed::unrouted(4_096, 1 << 17);
    Directed::attach(&mut bed);
    let [shard, director] = measure(&mut bed);
    row("by application: shard", &shard);
    row("by application: director", &director);
    if let Some(director) = &bed.director {
        let calls = (TOGETHER * EACH) as u64;
        let (webhooks, callbacks) = (director.webhooks / calls, director.callbacks / calls);
        println!("{webhooks} webhook and {callbacks} status callbacks a call");
    }
    println!("goal: director <= 50 us of the controlplane's 500");
}
