//! Whatever stands in the commands ring, a shard neither panics nor sends media where it must not
//! (THREATS.md, tampered shared memory).

use base::{CallId, LegId, Prng};
use wire::counter::Counter;
use wire::event::Cause;
use wire::{Command, Originate};
use world::control::encode;
use world::{Action, Manner, Setup, World};

use crate::common::{SECOND, bridged, count, dial, incoming, manual, ms, originate};

/// A command with something to it: real calls and legs, absurd numbers.
fn any_command(random: &mut Prng, calls: &[(u8, CallId, LegId)]) -> Vec<u8> {
    let at = usize::try_from(random.below(calls.len() as u64)).unwrap();
    let (_, call, leg) = calls[at];
    let call = if random.chance(1, 4) { CallId(random.u128()) } else { call };
    let leg = if random.chance(1, 3) { LegId(random.u64()) } else { leg };
    let small = u32::try_from(random.below(5_000)).unwrap();
    let code = u16::try_from(random.below(800)).unwrap();
    let targets = ["10.1.0.2:5060", "127.0.0.1:5060", "224.0.0.1:1", "[::1]:5060", "0.0.0.0:0"];
    let target = targets[usize::try_from(random.below(5)).unwrap()].parse().unwrap();
    let texts = ["sip:g9@x.example", "", "sip:", "\r\nX: y", "sip:a@b\r\nEvil: 1", "\u{1f600}"];
    let text = |random: &mut Prng| texts[usize::try_from(random.below(6)).unwrap()];
    let (uri, from, headers) = (text(random), text(random), text(random));
    let wish =
        Originate { peer: leg, ring_ms: small, limit_ms: small, ..originate(call, target, uri) };
    let made = CallId(random.u128());
    let wish =
        Originate { call: if random.chance(1, 2) { made } else { call }, from, headers, ..wish };
    let cause = Cause::ALL[usize::try_from(random.below(21)).unwrap()];
    encode(&match random.below(12) {
        0 => Command::Accept { call, account: random.u64(), setup_ms: small },
        1 => Command::Progress { call, code },
        2 => Command::Answer { call, limit_ms: small },
        3 => Command::Reject { call, code, reason: headers, retry_after: small, cause },
        4 => Command::Hangup { call, cause },
        5 | 6 => Command::Originate(wish),
        7 => Command::Join { call, b: leg },
        8 => Command::Part { call },
        9 => Command::Ringback { call, on: random.chance(1, 2) },
        10 => Command::Limit { call, remaining_ms: small },
        _ => Command::Release { epoch: small, leg },
    })
}

fn play(seed: u64) -> World {
    let mut random = Prng::new(seed);
    let mut world = bridged(&Setup::new(seed), Manner::default(), Manner::default());
    for group in 1..=4 {
        dial(&mut world, group);
    }
    world.run_for(ms(random.below(3_000)));
    let calls = incoming(&mut world);
    for _ in 0..60 {
        let mut bytes = any_command(&mut random, &calls);
        if random.chance(1, 3) && !bytes.is_empty() {
            let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= random.u64().to_le_bytes()[0];
        }
        if random.chance(1, 10) {
            bytes.truncate(usize::try_from(random.below(8)).unwrap());
        }
        let shard = u8::try_from(random.below(3)).unwrap();
        manual(&mut world).send_bytes(shard, bytes);
        world.run_for(ms(random.below(300)));
    }
    world
}

#[test]
fn no_bytes_in_the_ring_make_a_shard_panic_or_misbehave() {
    for seed in 1..=60 {
        let mut world = play(seed);
        assert_eq!(count(&world, Counter::LegPanicked), 0, "{seed}");
        assert!(world.faults.is_empty(), "{seed}: {:?}", world.faults);
        for shard in 0..3 {
            manual(&mut world).send(shard, &Command::Drain { on: false });
        }
        for agent in 0..2 {
            for call in 0..world.agents[agent].calls.len() {
                world.act(world::CallRef { agent, call }, Action::HangUp);
                world.act(world::CallRef { agent, call }, Action::Cancel);
            }
        }
        world.run_for(120 * SECOND);
        let left = world.plane.leftovers();
        assert!(left.is_empty(), "{seed}: {left:?}");
    }
}
