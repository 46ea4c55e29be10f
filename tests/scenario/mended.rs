//! What a hostile reader found and nothing else holds: rules at the edges of two legs' agreement.

use base::CallId;
use wire::Command;
use wire::counter::Counter;
use world::{Manner, Setup, World};

use crate::common::{SECOND, answered, count, ends, incoming, manual, send};
use crate::raw::{A, B, Far, header, invite, last, nothing_left, reply, say, sdp, tap};

/// A second caller, at the other address, in a call of its own.
fn invite_of_b(sdp: &str) -> String {
    let text =
        invite("", sdp).replace("10.1.0.1", "10.1.0.2").replace("Call-ID: call", "Call-ID: b");
    text.replace("tag=1", "tag=2").replace("z9hG4bKfirst", "z9hG4bKsecond")
}

/// The caller's half of the dialog that this response makes.
fn far(at: &'static str, answer: &str) -> Far {
    Far {
        at,
        call: header(answer, "Call-ID"),
        from: header(answer, "From"),
        to: header(answer, "To"),
        cseq: 1,
    }
}

fn acknowledge(world: &mut World, at: &'static str, answer: &str) -> Far {
    let mut far = far(at, answer);
    let ack = far.request("ACK", "", "");
    say(world, at, &ack);
    far
}

fn parted(world: &mut World) -> Vec<CallId> {
    let of = |told: &world::Told| match told.event() {
        wire::Event::Parted { call, .. } => Some(call),
        _ => None,
    };
    manual(world).told.iter().filter_map(of).collect()
}

/// Neither was dialled for the other: neither is more wanted, so the join is undone.
#[test]
fn a_join_of_two_that_cannot_hear_each_other_is_undone_and_both_stand() {
    for shards in 1..=3 {
        let mut setup = Setup::new(1);
        setup.plane.shards = shards;
        let mut world = answered(&setup, Manner::silent());
        world.agent(Manner::silent());
        let log = tap(&mut world);
        say(&mut world, A, &invite("", &sdp("10.1.0.1", 1, "9", "")));
        say(&mut world, B, &invite_of_b(&sdp("10.1.0.2", 1, "0", "")));
        for at in [A, B] {
            let ok = last(&log, at, "SIP/2.0 200", "INVITE").unwrap();
            acknowledge(&mut world, at, &ok);
        }
        let [(shard, first, _), (other, second, leg)] = incoming(&mut world)[..] else {
            panic!("two calls came")
        };
        send(&mut world, shard, &Command::Join { call: first, b: leg });
        world.run_for(5 * SECOND);
        assert!(ends(&mut world).is_empty(), "{shards}: {:?}", ends(&mut world));
        assert_eq!(count(&world, Counter::JoinStanding), 0, "{shards}");
        let mut parted = parted(&mut world);
        parted.sort();
        let mut both = vec![first, second];
        both.sort();
        assert_eq!(parted, both, "{shards}: each is told once");
        for (shard, call) in [(shard, first), (other, second)] {
            let cause = wire::event::Cause::Normal;
            send(&mut world, shard, &Command::Hangup { call, cause });
        }
        for at in [A, B] {
            let bye = last(&log, at, "BYE", "").unwrap();
            say(&mut world, at, &reply(&bye, "200 OK", "", "", ""));
        }
        nothing_left(&mut world);
    }
}
