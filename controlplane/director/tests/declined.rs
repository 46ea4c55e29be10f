//! What a far end says beside the status by which it refuses a call is in the CDR, and in what the
//! call's followers are told.

mod world;

use world::{World, is_callback, param, xml};

const SAID: &str = "Network Blocked\r\nReason: Q.850;cause=21;\
                    text=\"v=analytics1;url=https://a.example/x;tel=+15550100\"\r\n";

#[test]
fn who_has_blocked_a_call_is_in_its_cdr_and_told() {
    let mut world = World::new(|request| match is_callback(request) {
        true => world::status(204),
        false => xml("<Response><Dial><Sip statusCallback=\"/cb\" \
                      statusCallbackEvent=\"ringing completed\">sip:code603@127.0.0.1</Sip>\
                      </Dial></Response>"),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(300);
    let child = world.children_of(call)[0];
    world.declined(child, 603, SAID);
    world.run(10_000);
    let cdr = world.store.cdrs.values().find(|cdr| cdr.call == child).unwrap();
    let kept = cdr.reason.as_deref().unwrap_or_default();
    assert!(kept.starts_with("603 Network Blocked\nReason: Q.850;cause=21;"), "{kept}");
    let told = world.asked("/cb");
    let last = *told.last().unwrap();
    assert_eq!(param(last, "SipResponseCode"), "603");
    assert_eq!(param(last, "Q850Cause"), "21");
    assert_eq!(param(last, "BlockedBy"), "analytics1");
    assert_eq!(param(last, "BlockedUrl"), "https://a.example/x");
    assert_eq!(param(last, "BlockedTel"), "+15550100");
    assert!(param(last, "SipReason").starts_with("Q.850;cause=21;"));
    world.assert_clean();
}

/// A call that the dataplane routes alone is nobody's here before its end.
#[test]
fn what_is_said_of_an_unknown_leg_waits_for_its_end() {
    let mut world = World::new(|_| xml("<Response><Hangup/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    let strange = base::CallId(call.0 ^ 1);
    world.declined(strange, 608, "\r\nCall-Info: <https://c.example>;purpose=jwscard\r\n");
    // Ends that were lost leave no more than so many.
    for number in 0..2_000 {
        world.declined(base::CallId(1 << 100 | number), 486, "\r\nReason: Q.850;cause=17\r\n");
    }
    world.run(10_000);
    world.assert_clean();
}

/// Whoever calls nobody and says why he gives up leaves nothing, and the operator is told of no
/// lost ends.
#[test]
fn what_callers_of_nobody_say_is_forgotten_with_them() {
    let mut world = World::new(|_| xml("<Response/>"));
    for number in 0..1_500 {
        let call = world.call_in(&format!("sip:{number}@nowhere.test"));
        world.declined(call, 0, "\r\nReason: SIP;cause=200\r\n");
        world.end_unheard(call);
        world.run(20);
    }
    let lost = world.notices.iter().filter(|notice| notice.contains("never told")).count();
    assert_eq!(lost, 0, "{:?}", world.notices);
    for number in 0..3_000 {
        world.declined(base::CallId(1 << 100 | number), 486, "\r\nReason: Q.850;cause=17\r\n");
    }
    let lost = world.notices.iter().filter(|notice| notice.contains("never told")).count();
    assert_eq!(lost, 1, "once, and not for each");
}

/// Between the two events the process dies, and the first one is released.
#[test]
fn what_was_said_outlives_a_death_before_the_end() {
    let mut world = World::new(|request| match is_callback(request) {
        true => world::status(204),
        false => xml("<Response><Dial><Sip>sip:code603@127.0.0.1</Sip></Dial></Response>"),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(300);
    let child = world.children_of(call)[0];
    world.declined(child, 603, SAID);
    world.crash();
    world.run(10_000);
    let cdr = world.store.cdrs.values().find(|cdr| cdr.call == child).unwrap();
    assert!(cdr.reason.as_deref().unwrap_or_default().contains("cause=21"), "{cdr:?}");
}
