//! What the network says of a target that nobody is behind, and what others say in its name.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use wire::counter::Counter;
use wire::event::Cause;
use world::{CallRef, Datagram, Fate, Manner, Setup, World};

use crate::common::{SECOND, count, dial, ends, ms, nothing_left, routed};

/// The beginning of a datagram that a router quotes.
const QUOTED: usize = 520;

/// A world whose only target is silent, and the INVITE that went there.
fn asked(seed: u64) -> (World, CallRef, Datagram) {
    let mut world = routed(&Setup::new(seed), Manner::default(), vec![Manner::silent()]);
    let sent = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&sent);
    world.network.set_filter(move |_, datagram| {
        if datagram.from.port() == 5_060 && datagram.bytes.starts_with(b"INVITE") {
            *seen.borrow_mut() = Some(datagram.clone());
        }
        Fate::Pass
    });
    let call = dial(&mut world, 1);
    world.run_for(ms(300));
    let invite = sent.borrow_mut().take().expect("an INVITE to the target");
    (world, call, invite)
}

/// ICMP as the system gives it: to whichever shard.
fn icmp(world: &mut World, shard: usize, to: SocketAddr, quote: &[u8]) {
    let now = world.now;
    let lane = &mut world.plane.lanes[shard];
    lane.shard.handle_icmp(now, to, quote, &mut lane.heap);
    world.settle();
    world.run_for(ms(1));
}

#[test]
fn a_target_that_nobody_is_behind_is_left_at_once() {
    // Of three shards one has the call: the others pass it on.
    for shard in 0..3 {
        let (mut world, call, invite) = asked(2);
        icmp(&mut world, shard, invite.to, &invite.bytes[..QUOTED.min(invite.bytes.len())]);
        world.run_for(ms(50));
        assert_eq!(world.call(call).seen.code, 480);
        let ends = ends(&mut world);
        assert_eq!(ends.len(), 2);
        assert!(ends.iter().all(|end| end.cause == Cause::Unreachable && end.billed_ms == 0));
        world.run_for(20 * SECOND);
        nothing_left(&mut world);
    }
}

#[test]
fn a_target_that_cannot_be_sent_to_is_left_at_once() {
    let (mut world, call, invite) = asked(3);
    let now = world.now;
    for lane in &mut world.plane.lanes {
        lane.shard.handle_unreachable(now, invite.to, &mut lane.heap);
    }
    world.settle();
    world.run_for(ms(50));
    assert_eq!(world.call(call).seen.code, 480);
    world.run_for(20 * SECOND);
    nothing_left(&mut world);
}

#[test]
fn icmp_without_proof_is_not_believed() {
    let (mut world, call, invite) = asked(4);
    let quote = &invite.bytes[..QUOTED.min(invite.bytes.len())];
    let branch = quote.windows(7).position(|window| window == b"z9hG4bK").unwrap();
    let elsewhere = SocketAddr::new(invite.to.ip(), invite.to.port() ^ 1);
    let before = count(&world, Counter::DiscardSipStray);
    for shard in 0..3 {
        // A true quote, of a request that went to another address.
        icmp(&mut world, shard, elsewhere, quote);
        // The right address, with nothing, too little, or something made up.
        icmp(&mut world, shard, invite.to, b"");
        icmp(&mut world, shard, invite.to, &quote[..branch + 20]);
        for at in branch + 7..branch + 30 {
            let mut forged = quote.to_vec();
            forged[at] = if forged[at] == b'a' { b'b' } else { b'a' };
            icmp(&mut world, shard, invite.to, &forged);
        }
    }
    assert_eq!(world.call(call).seen.code, 0);
    assert_eq!(count(&world, Counter::DiscardSipStray) - before, 3 * 26);
}
