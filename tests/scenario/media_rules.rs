//! Whom a stream believes and what goes on in it: latching, strangers, new sources, payload types.

use std::net::SocketAddr;

use base::CallId;
use sdp::Supported;
use wire::Command;
use wire::counter::Counter;
use world::{Action, Datagram, Manner, Setup, Speaks, World};

use crate::common::{
    SECOND, answered, bridged, count, dial, dialled_after_answer, heard, incoming, ms,
    nothing_left, originate, send,
};

const ATTACKER: &str = "10.66.6.6:4000";

/// The media port of ours that a phone talks with.
fn port_of(world: &World, at: world::CallRef) -> SocketAddr {
    world.call(at).media.as_ref().unwrap().plan.remote_rtp.address().unwrap()
}

fn attack(world: &mut World, to: SocketAddr, from: SocketAddr, packets: u16) {
    for seq in 0..packets {
        let mut bytes = vec![0; 172];
        let fields = rtp::HeaderFields {
            marker: false,
            pt: 0,
            seq,
            timestamp: u32::from(seq) * 160,
            ssrc: rtp::Ssrc(0x6666_6666),
        };
        rtp::write_header(&mut bytes, &fields);
        bytes[12..].copy_from_slice(&world::phone::payload(666, 666, u32::from(seq)));
        world.inject(Datagram { from, to, bytes });
        world.run_for(ms(20));
    }
}

#[test]
fn an_attacker_after_the_lock_reaches_nobody() {
    let mut setup = Setup::new(1);
    setup.plane.connected = false;
    let mut world = bridged(&setup, Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    let attacker: SocketAddr = ATTACKER.parse().unwrap();
    let (to_a, to_b) = (port_of(&world, call), port_of(&world, callee));
    attack(&mut world, to_a, attacker, 100);
    let neighbour = SocketAddr::new(world.host(1), 4_444);
    attack(&mut world, to_b, neighbour, 100);
    for at in [call, callee] {
        let heard = &world.call(at).media.as_ref().unwrap().heard;
        assert!(!heard.streams.contains_key(&(666, 666)), "the attacker is heard");
        assert_eq!((heard.sequence_jumps, heard.ssrcs.len()), (0, 1));
    }
    assert_eq!(count(&world, Counter::DiscardRtpSource), 200);
    world.act(call, Action::HangUp);
    world.act(callee, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn an_attacker_who_is_first_is_heard_until_the_phone_speaks_and_hears_nothing() {
    // The phone says nothing for 340 ms: a stranger and the host itself from another port try. The
    // second might be a gateway that sends from another port: it is heard for so long.
    for (from, most) in [(ATTACKER.parse().unwrap(), 0), ("10.1.0.1:4444".parse().unwrap(), 18)] {
        let mut setup = Setup::new(2);
        setup.plane.connected = false;
        let mut quiet = Manner::default().with_audio();
        quiet.on_answer = vec![(ms(0), Action::Mute(true)), (ms(340), Action::Mute(false))];
        let mut world = bridged(&setup, quiet, Manner::default().with_audio());
        let call = dial(&mut world, 1);
        let answered =
            world.run_while(5 * SECOND, |world| world.call(call).seen.answered_at.is_none());
        assert!(answered);
        let callee = world.callee_of(1).unwrap();
        let to = port_of(&world, call);
        attack(&mut world, to, from, 100);
        let media = world.call(callee).media.as_ref().unwrap();
        let bad = media.heard.streams.get(&(666, 666)).map_or(0, |stream| stream.packets);
        assert!(bad <= most, "{from}: {bad}");
        assert!(heard(&world, callee, 2) >= 60, "the phone's own address wins");
        assert!(heard(&world, call, 3) >= 60, "and it hears");
        world.act(call, Action::HangUp);
        world.act(callee, Action::HangUp);
        nothing_left(&mut world);
    }
}

#[test]
fn a_phone_behind_a_nat_is_heard_and_hears() {
    let mut setup = Setup::new(3);
    setup.plane.connected = true;
    let caller = Manner { nat_port: Some(61_000), ..Manner::default().with_audio() };
    let mut world = bridged(&setup, caller, Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(5 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert!(heard(&world, callee, 2) >= 150, "{}", heard(&world, callee, 2));
    world.act(call, Action::HangUp);
    world.act(callee, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn a_new_ssrc_goes_on_as_the_same_stream() {
    let caller = Manner::default().with_audio().after_answer(2 * SECOND, Action::NewSsrc);
    let mut world = bridged(&Setup::new(4), caller, Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(6 * SECOND);
    let callee = world.callee_of(1).unwrap();
    let media = &world.call(callee).media.as_ref().unwrap().heard;
    assert_eq!((media.ssrcs.len(), media.sequence_jumps, media.timestamp_backwards), (1, 0, 0));
    let stream = &media.streams[&(1, 2)];
    let sent = u64::from(world.call(call).media.as_ref().unwrap().sent);
    assert!(stream.packets + 3 >= sent, "{} of {sent}", stream.packets);
    assert_eq!(count(&world, Counter::SsrcTakenOver), 1);
    world.act(call, Action::HangUp);
    world.act(callee, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn payload_types_of_two_legs_are_mapped() {
    let own_event = Supported { pt: 96, ..Supported::TELEPHONE_EVENT };
    let codecs = vec![Supported::PCMU, own_event];
    let caller = Manner { codecs, ..Manner::default().with_audio() };
    let mut world = answered(&Setup::new(5), caller);
    let callee = world.agent(Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    // Another call of its own, with an offer of ours: digits are 101 there, 96 here.
    let target = world.address(callee);
    let wish = originate(CallId(77), target, "sip:g1@x.example");
    let (shard, id, _) = incoming(&mut world)[0];
    let other = (shard + 1) % 3;
    send(&mut world, other, &Command::Originate(wish));
    world.run_for(2 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert_eq!(world.call(callee).seen.acks, 1);
    let leg = crate::common::manual(&mut world)
        .told
        .iter()
        .find_map(|told| match told.event() {
            wire::Event::Dialed { leg, .. } => Some(leg),
            _ => None,
        })
        .unwrap();
    send(&mut world, shard, &Command::Join { call: id, b: leg });
    world.run_for(2 * SECOND);
    assert!(heard(&world, call, 3) >= 90 && heard(&world, callee, 2) >= 90);
    world.act(call, Action::Digit('7'));
    world.run_for(SECOND);
    world.act(callee, Action::Digit('#'));
    world.run_for(SECOND);
    let of = |at| &world.call(at).media.as_ref().unwrap().heard;
    assert_eq!((&of(callee).digits[..], &of(call).digits[..]), ("7", "#"));
    assert!(of(callee).payload_types.contains(&101) && of(call).payload_types.contains(&96));
    assert_eq!(of(call).bad_payload_type + of(callee).bad_payload_type, 0);
    // Parted, each hears silence.
    send(&mut world, shard, &Command::Part { call: id });
    world.run_for(SECOND);
    let (a, b) = (heard(&world, call, 3), heard(&world, callee, 2));
    world.run_for(SECOND);
    assert_eq!((heard(&world, call, 3), heard(&world, callee, 2)), (a, b));
    let media = &world.call(call).media.as_ref().unwrap().heard;
    assert!(media.silence >= 40 && media.timestamp_backwards == 0 && media.ssrcs.len() == 1);
    world.act(call, Action::HangUp);
    world.act(callee, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn reports_go_both_ways_and_loss_is_seen() {
    let mut setup = Setup::new(6);
    setup.media.loss = 100_000;
    let mut world = bridged(&setup, Manner::default().with_audio(), Manner::default().with_audio());
    let call = dial(&mut world, 1);
    world.run_for(31 * SECOND);
    let callee = world.callee_of(1).unwrap();
    for at in [call, callee] {
        let heard = &world.call(at).media.as_ref().unwrap().heard;
        assert!(heard.sender_reports >= 2, "{}", heard.sender_reports);
        assert_eq!(heard.damaged, 0);
    }
    world.act(call, Action::HangUp);
    world.act(callee, Action::HangUp);
    world.run_for(SECOND);
    for end in crate::common::ends(&mut world) {
        let media = end.media.unwrap();
        let share = media.lost * 100 / (media.lost + media.received);
        assert!((5..15).contains(&share), "{media:?}");
        // Of 256, over the last interval: what was lost before us is missing behind us too, and
        // either link loses a tenth. 49 on average, and a few packets more or less count much.
        assert!((10..90).contains(&media.reported_loss), "{media:?}");
        assert!((100..440).contains(&media.mos_centi), "{media:?}");
    }
    nothing_left(&mut world);
}

/// The packet that began a source could not be heard: the next one that can begins it.
#[test]
fn a_source_that_began_unheard_goes_on_in_the_same_stream() {
    let codecs = [Supported::PCMU, Supported::OPUS];
    let phone = || Manner::default().with_audio().with_codecs(&codecs);
    let mut world = dialled_after_answer(&Setup::new(31), phone(), phone());
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    world.act(callee, Action::Speak(Speaks::Last));
    world.act(callee, Action::NewSsrc);
    world.run_for(ms(60));
    world.act(callee, Action::Speak(Speaks::First));
    world.run_for(2 * SECOND);
    let heard = &world.call(call).media.as_ref().unwrap().heard;
    assert_eq!((heard.ssrcs.len(), heard.timestamp_backwards, heard.sequence_jumps), (1, 0, 0));
    assert!(heard.payload_types.iter().eq([&0]), "{:?}", heard.payload_types);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}
