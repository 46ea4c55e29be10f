//! The table of transactions is no ceiling of the call rate: what is finished makes room for what
//! begins, oldest first; what is not finished never does. What comes again is answered all the
//! same, by its transaction or by its dialog.

use std::time::Duration;

use wire::counter::Counter;
use wire::event::Cause;
use world::{Action, Manner, Setup};

use crate::by_hand::{self, A, B, Hand, described, empty, header, one_shard};
use crate::common::{SECOND, count, manual, ms, nothing_left, routed, told};

/// A phone that neither sends media nor rings before it answers.
fn quick() -> Manner {
    Manner {
        on_ring: vec![(Duration::ZERO, Action::Answer)],
        packet_every: Duration::ZERO,
        report_every: Duration::ZERO,
        ..Manner::default()
    }
}

/// A number of the environment, else this one.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Offers so many calls of a second each at this rate: all are answered, and nothing is left.
/// Peaks: transactions, arena bytes.
fn offer(calls: u32, rate: u32, transactions: u32) -> (usize, usize) {
    let mut setup = Setup::new(u64::from(rate));
    let plane = &mut setup.plane;
    (plane.shards, plane.legs, plane.transactions) = (1, rate * 8 + 64, transactions);
    (plane.spare_ports, plane.blocks) = (512, u16::try_from(rate / 16 + 8).unwrap().min(180));
    plane.frames = (8_192, 1_024);
    plane.ring_words = (1 << 18, 1 << 17);
    let caller = Manner { on_answer: vec![(SECOND, Action::HangUp)], ..quick() };
    let mut world = routed(&setup, caller, vec![quick()]);
    let (mut answered, mut peaks) = (0, (0, 0));
    for group in 1..=calls {
        crate::common::dial(&mut world, group);
        world.run_for(SECOND / rate);
        if group.is_multiple_of(rate / 4) || group == calls {
            if group == calls {
                world.run_for(4 * SECOND);
            }
            for call in world.agents[0].calls.extract_if(.., |call| call.is_over()) {
                assert_eq!(call.seen.code, 200, "call {} of {calls} at {rate}/s", call.group);
                answered += 1;
            }
            world.agents[1].calls.retain(|call| !call.is_over());
            manual(&mut world).told.clear();
            let shard = &world.plane.lanes[0].shard;
            peaks.0 = peaks.0.max(shard.transactions());
            peaks.1 = peaks.1.max(shard.arena_used());
        }
    }
    assert_eq!(answered, calls, "all answered");
    for refused in [
        Counter::RefusedNoTransaction,
        Counter::RefusedNoPort,
        Counter::RefusedNoCell,
        Counter::RefusedOverload,
        Counter::DiscardNoRoom,
        Counter::DiscardNoFrame,
    ] {
        assert_eq!(count(&world, refused), 0, "{refused:?}");
    }
    nothing_left(&mut world);
    peaks
}

/// `TANDEM_CALLS=50000` for the whole of it.
#[test]
fn calls_at_350_a_second_are_all_answered_and_leave_nothing() {
    let calls = number("TANDEM_CALLS", 1_500);
    let peaks = offer(calls, 350, 1 << 17);
    println!("{calls} calls at 350/s: at most {} transactions, {} bytes", peaks.0, peaks.1);
}

#[test]
fn calls_at_1000_a_second_are_all_answered_and_leave_nothing() {
    let calls = number("TANDEM_CALLS", 2_000);
    let peaks = offer(calls, 1_000, 1 << 17);
    println!("{calls} calls at 1000/s: at most {} transactions, {} bytes", peaks.0, peaks.1);
}

/// Twenty times as many transactions in their 32 s as there is room for.
#[test]
fn a_table_that_is_too_small_for_the_rate_refuses_nobody() {
    let (transactions, _) = offer(1_500, 100, 300);
    assert!(transactions <= 600, "{transactions}");
}

#[test]
fn what_makes_room_is_counted_and_what_is_under_way_makes_none() {
    let mut setup = one_shard(1);
    setup.plane.transactions = 4;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = by_hand::Log::new(&mut world, &[A, B]);
    for at in 0..4 {
        by_hand::ask(&mut world, &log, &Hand::caller(&format!("open{at}")), "0");
    }
    assert_eq!(count(&world, Counter::TransactionEvicted), 0);
    let fifth = Hand::caller("fifth");
    let offer = described("10.1.0.1", 4_000, 1, "0");
    by_hand::send(&mut world, A, &fifth.request("INVITE", 1, "", &offer));
    let refused = log.last(A, "SIP/2.0 503", "Call-ID: fifth");
    assert_eq!(header(&refused, "Retry-After"), "5");
    assert!(header(&refused, "Warning").contains("no room for another transaction"), "{refused}");
    assert!(count(&world, Counter::RefusedNoTransaction) > 0);
    assert!(told(&mut world).contains(&"refused"), "the operator hears of it");
    // One of them is refused and acknowledged: its place is free for the next.
    let invite = log.last(B, "INVITE", "");
    let b = Hand::callee(&invite, "b");
    by_hand::send(&mut world, B, &b.reply(&invite, "486 Busy Here", "", &empty()));
    let busy = log.last(A, "SIP/2.0 486", "");
    let mut last = Hand::caller("open3");
    header(&busy, "To").clone_into(&mut last.to);
    let ack = last.request("ACK", 1, "", &empty()).replace("open3ACK1", "open3INVITE1");
    by_hand::send(&mut world, A, &ack);
    let sixth = Hand::caller("sixth");
    by_hand::send(&mut world, A, &sixth.request("INVITE", 1, "", &offer));
    log.last(A, "SIP/2.0 100", "Call-ID: sixth");
    assert!(count(&world, Counter::TransactionEvicted) > 0);
}

#[test]
fn a_repeated_2xx_is_acknowledged_by_its_dialog_when_its_transaction_is_gone() {
    let mut setup = one_shard(2);
    setup.plane.transactions = 2;
    let mut world = routed(&setup, Manner::silent(), vec![Manner::silent()]);
    let log = by_hand::Log::new(&mut world, &[A, B]);
    let mut a = Hand::caller("first");
    let invite = by_hand::ask(&mut world, &log, &a, "0");
    let b = Hand::callee(&invite, "b");
    let ok = b.reply(&invite, "200 OK", "", &described("10.1.0.2", 5_000, 1, "0"));
    by_hand::send(&mut world, B, &ok);
    header(&log.last(A, "SIP/2.0 200", "INVITE"), "To").clone_into(&mut a.to);
    by_hand::send(&mut world, A, &a.request("ACK", 1, "", &empty()));
    // Two more calls that ring take both places on either side.
    for other in ["second", "third"] {
        by_hand::ask(&mut world, &log, &Hand::caller(other), "0");
    }
    assert!(count(&world, Counter::TransactionEvicted) >= 2);
    log.clear();
    by_hand::send(&mut world, B, &ok);
    log.last(B, "ACK", &b.call_id);
    // Another tag has no dialog of ours: nothing is said to it.
    log.clear();
    by_hand::send(&mut world, B, &ok.replace(";tag=b", ";tag=x"));
    assert_eq!(log.lines(), Vec::<String>::new());
}

#[test]
fn a_repeated_bye_gets_the_same_answer_again() {
    let (mut world, log) = by_hand::world_by_hand(3);
    let call = by_hand::call(&mut world, &log, "bye", ("0", "0"));
    let bye = call.a.request("BYE", 2, "", &empty());
    by_hand::send(&mut world, A, &bye);
    let first = log.last(A, "SIP/2.0 200", "2 BYE");
    log.clear();
    for _ in 0..3 {
        by_hand::send(&mut world, A, &bye);
    }
    assert_eq!(log.all(A, "SIP/2.0 200", "2 BYE"), vec![first; 3]);
    assert_eq!(count(&world, Counter::SipRetransmitted), 3);
    let bye = log.all(B, "BYE", "");
    assert!(bye.len() <= 1, "{bye:?}");
    world.run_for(ms(10));
    assert!(manual(&mut world).told.iter().all(|told| {
        !matches!(told.event(), wire::Event::Ended(summary) if summary.cause != Cause::Normal)
    }));
}
