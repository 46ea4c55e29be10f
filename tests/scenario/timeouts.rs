//! What ends a call without anybody asking: silence, limits, sessions, the absence of a
//! controlplane.

use std::time::Duration;

use base::CallId;
use sip::session::Refresher;
use wire::Command;
use wire::counter::Counter;
use wire::event::{Cause, Party};
use world::{Action, Dial, Manner, SessionTimer, Setup};

use crate::common::{
    SECOND, answered, bridged, count, dial, ends, incoming, manual, ms, nothing_left, originate,
    routed, send, to,
};

#[test]
fn a_call_without_media_is_ended() {
    let caller = Manner::default().after_answer(5 * SECOND, Action::Die);
    let mut setup = Setup::new(1);
    setup.plane.timers.media_timeout = 20 * SECOND;
    let callee = Manner::default().after_answer(5 * SECOND, Action::Die);
    let mut world = bridged(&setup, caller, callee);
    dial(&mut world, 1);
    world.run_for(40 * SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends.len(), 2);
    assert_eq!((ends[0].cause, ends[0].by), (Cause::MediaTimeout, Party::Switch));
    assert!((24_000..27_000).contains(&ends[0].billed_ms), "{ends:?}");
    nothing_left(&mut world);
}

#[test]
fn a_held_call_is_not_taken_for_dead() {
    let mut setup = Setup::new(2);
    setup.plane.timers.media_timeout = 10 * SECOND;
    let mut world = answered(&setup, Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(2 * SECOND);
    world.act(call, Action::Reinvite(sdp::Direction::Inactive));
    world.run_for(60 * SECOND);
    assert!(!world.call(call).is_over());
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    assert_eq!(ends(&mut world)[0].cause, Cause::Normal);
    nothing_left(&mut world);
}

#[test]
fn limits_end_a_call_and_can_be_moved() {
    let mut world = answered(&Setup::new(3), Manner::default());
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    let (shard, id, _) = incoming(&mut world)[0];
    send(&mut world, shard, &Command::Limit { call: id, remaining_ms: 3_000 });
    world.run_for(2 * SECOND);
    send(&mut world, shard, &Command::Limit { call: id, remaining_ms: 5_000 });
    world.run_for(4 * SECOND);
    assert!(!world.call(call).is_over());
    world.run_for(2 * SECOND);
    assert!(world.call(call).is_over());
    let ends = ends(&mut world);
    assert_eq!((ends[0].cause, ends[0].by), (Cause::TimeLimit, Party::Switch));
    assert!(ends[0].billed_ms.abs_diff(8_000) < 200, "{ends:?}");
    nothing_left(&mut world);
}

#[test]
fn a_dialled_leg_has_its_own_limit() {
    let mut world = answered(&Setup::new(4), Manner::default());
    let callee = world.agent(Manner::default());
    let target = world.address(callee);
    let wish = originate(CallId(5), target, "sip:g9@x.example");
    let wish = wire::Originate { limit_ms: 4_000, ..wish };
    send(&mut world, 1, &Command::Originate(wish));
    world.run_for(8 * SECOND);
    let ends = ends(&mut world);
    assert_eq!(ends[0].cause, Cause::TimeLimit);
    assert!(ends[0].billed_ms.abs_diff(4_000) < 10, "{ends:?}");
    nothing_left(&mut world);
}

#[test]
fn without_a_controlplane_a_call_is_held_two_seconds_and_refused() {
    let mut world = bridged(&Setup::new(5), Manner::default(), Manner::default());
    manual(&mut world).dead = true;
    let call = dial(&mut world, 1);
    world.run_for(ms(1_900));
    assert_eq!(
        (world.call(call).seen.code, &world.call(call).seen.provisional[..]),
        (0, &[100][..])
    );
    world.run_for(ms(300));
    assert_eq!((world.call(call).seen.code, world.call(call).seen.retry_after), (503, Some(5)));
    assert_eq!(count(&world, Counter::RefusedNoController), 1);
    manual(&mut world).dead = false;
    world.run_for(SECOND);
    assert_eq!(ends(&mut world)[0].cause, Cause::NoController);
    nothing_left(&mut world);
}

#[test]
fn a_controlplane_that_comes_back_in_time_takes_the_call() {
    let mut world = bridged(&Setup::new(6), Manner::default(), Manner::default());
    manual(&mut world).dead = true;
    let call = dial(&mut world, 1);
    world.run_for(ms(1_500));
    manual(&mut world).dead = false;
    world.run_for(3 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn static_routes_need_no_controlplane() {
    let mut world = routed(&Setup::new(7), Manner::default(), vec![Manner::default()]);
    manual(&mut world).dead = true;
    let call = dial(&mut world, 1);
    world.run_for(5 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    manual(&mut world).dead = false;
    world.run_for(SECOND);
    assert_eq!(ends(&mut world).len(), 2);
    nothing_left(&mut world);
}

#[test]
fn a_call_that_nobody_decides_about_is_given_up() {
    let mut world = answered(&Setup::new(8), Manner::default());
    let manual = world::Manual::new(&world.plane).with_reflex(|told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let accept = Command::Accept { call: incoming.call, account: 9, setup_ms: 7_000 };
        commands.push((told.shard, world::control::encode(&accept)));
    });
    world.control = Some(Box::new(manual));
    let call = dial(&mut world, 1);
    world.run_for(8 * SECOND);
    assert_eq!(world.call(call).seen.code, 480);
    nothing_left(&mut world);
}

fn timer(seconds: u32, refresher: Option<Refresher>) -> Option<SessionTimer> {
    Some(SessionTimer { seconds, refresher, min_se: 90 })
}

#[test]
fn a_session_that_is_not_refreshed_ends_and_one_that_is_goes_on() {
    let timer = timer(90, Some(Refresher::Uac));
    let mut world = answered(&Setup::new(9), Manner { timer, ..Manner::default() });
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.session_expires, Some(90));
    world.run_for(Duration::from_secs(200));
    assert!(!world.call(call).is_over());
    assert!(world.call(call).seen.refreshes >= 4);
    world.act(call, Action::Die);
    world.run_for(Duration::from_secs(100));
    assert_eq!(ends(&mut world)[0].cause, Cause::SessionExpired);
    world.run_for(Duration::from_secs(80));
    assert!(world.plane.leftovers().is_empty());
}

/// RFC 4028 section 9: whom the caller asks to refresh, refreshes.
#[test]
fn we_refresh_where_we_are_asked_to_and_a_dead_far_end_is_found_by_it() {
    let timer = timer(90, Some(Refresher::Uas));
    let mut setup = Setup::new(11);
    setup.plane.timers.media_timeout = Duration::ZERO;
    let mut world = answered(&setup, Manner { timer, ..Manner::default() });
    let call = dial(&mut world, 1);
    world.run_for(Duration::from_secs(300));
    assert!(!world.call(call).is_over());
    assert!(world.call(call).seen.refreshed >= 5, "{}", world.call(call).seen.refreshed);
    world.act(call, Action::Die);
    world.run_for(Duration::from_secs(100));
    assert_eq!(ends(&mut world)[0].cause, Cause::SessionExpired);
}

/// A callee that supports timers is asked for one; who refreshes is its choice.
#[test]
fn a_dialled_far_end_that_dies_while_it_is_held_is_found() {
    for refresher in [Refresher::Uac, Refresher::Uas] {
        let mut setup = Setup::new(12);
        setup.plane.timers.session = Duration::from_secs(90);
        let callee = Manner { timer: timer(90, Some(refresher)), ..Manner::default() };
        let mut world = bridged(&setup, Manner::default(), callee);
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        let callee = world.callee_of(1).unwrap();
        world.act(callee, Action::Reinvite(sdp::Direction::Inactive));
        world.run_for(Duration::from_secs(300));
        assert!(!world.call(call).is_over(), "a held call lives");
        world.act(callee, Action::Die);
        world.run_for(Duration::from_secs(120));
        let end = ends(&mut world).into_iter().find(|end| !end.inbound).unwrap();
        assert_eq!(end.cause, Cause::SessionExpired, "{refresher:?}");
    }
}

/// RFC 4028 section 7.3: the callee names the smallest interval that it takes, and gets it.
#[test]
fn an_interval_that_the_callee_finds_too_small_is_raised() {
    let mut setup = Setup::new(13);
    setup.plane.timers.session = Duration::from_secs(90);
    let timer = Some(SessionTimer { seconds: 1_800, refresher: None, min_se: 600 });
    let mut world = bridged(&setup, Manner::default(), Manner { timer, ..Manner::default() });
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    world.act(call, Action::HangUp);
    world.run_for(SECOND);
    nothing_left(&mut world);
}

/// RFC 4028 section 7.4: so is one that it finds too small when it is refreshed, by UPDATE and by
/// re-INVITE.
#[test]
fn an_interval_that_is_too_small_for_a_refresh_is_raised() {
    for update in [true, false] {
        let timer =
            Some(SessionTimer { seconds: 90, refresher: Some(Refresher::Uas), min_se: 100 });
        let mut caller = Manner { timer, ..Manner::default() };
        if !update {
            caller.allow.retain(|method| *method != "UPDATE");
        }
        let mut world = answered(&Setup::new(14), caller);
        let call = dial(&mut world, 1);
        world.run_for(Duration::from_secs(200));
        let seen = &world.call(call).seen;
        assert!(!seen.expired && seen.refreshed >= 2, "{update}: {seen:?}");
        let refused = seen.asked.iter().filter(|(_, code)| *code == 422).count();
        assert_eq!(refused, 1, "{update}");
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        nothing_left(&mut world);
    }
}

#[test]
fn a_session_whose_stream_is_stopped_is_refreshed() {
    for update in [true, false] {
        let timer = timer(90, Some(Refresher::Uas));
        let mut caller = Manner { timer, ..Manner::default() };
        if !update {
            caller.allow.retain(|method| *method != "UPDATE");
        }
        let mut world = answered(&Setup::new(15), caller);
        let call = dial(&mut world, 1);
        world.run_for(3 * SECOND);
        world.act(call, Action::StopStream);
        world.run_for(Duration::from_secs(200));
        let seen = &world.call(call).seen;
        assert!(!world.call(call).is_over() && seen.refreshed >= 3, "{update}: {seen:?}");
        assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        nothing_left(&mut world);
    }
}

#[test]
fn a_session_too_short_is_refused_with_what_would_do() {
    let headers = vec!["Session-Expires: 60".to_owned(), "Supported: timer".to_owned()];
    let mut world = answered(&Setup::new(10), Manner::default());
    let call = world.dial(0, &Dial { headers, ..to(1) });
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.code, 422);
    assert!(
        world.call(call).seen.text.contains("Min-SE: 90") || world.call(call).seen.too_brief > 0
    );
    nothing_left(&mut world);
}
