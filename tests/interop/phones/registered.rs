//! Two registered phones: each calls the other, holds, takes back, and hangs up.

use std::time::Duration;

use tests::bed::{Bed, Office, is_inside, pass};

use super::{Linphone, Way, baresip, completed_and_heard, standing, there};

fn call_each_other(way: Way) {
    let mut bed = Bed::start();
    let office = Office::open(&bed, &["alice", "bob"]);
    let mut alice = Linphone::start(&mut bed, &office, "alice", way);
    let bob = baresip(&mut bed, &office, "bob", way);

    let id = alice.call(&office.uri("bob"));
    let _ = standing(&bed, 2);
    alice.speak();
    pass(Duration::from_secs(1));
    let _ = alice.command(&format!("call-pause {id}"));
    alice.wait_for(&id, "LinphoneCallPaused");
    pass(Duration::from_secs(1));
    let _ = alice.command(&format!("call-resume {id}"));
    alice.wait_for(&id, "LinphoneCallStreamsRunning");
    pass(Duration::from_secs(1));
    bob.command("hangup");
    let _ = completed_and_heard(&bed, 2, 40);

    bob.command_with("dial", &office.uri("alice"));
    let _ = standing(&bed, 2);
    alice.speak();
    pass(Duration::from_secs(1));
    bob.command("hold");
    pass(Duration::from_secs(1));
    bob.command("resume");
    pass(Duration::from_secs(1));
    let _ = alice.command("terminate");
    let _ = completed_and_heard(&bed, 4, 40);
}

#[test]
fn linphone_and_baresip_call_each_other_by_udp() {
    if there() && is_inside("phones::registered::linphone_and_baresip_call_each_other_by_udp") {
        call_each_other(Way::Udp);
    }
}

#[test]
fn linphone_and_baresip_call_each_other_by_tcp() {
    if there() && is_inside("phones::registered::linphone_and_baresip_call_each_other_by_tcp") {
        call_each_other(Way::Tcp);
    }
}

#[test]
fn linphone_and_baresip_call_each_other_by_tls() {
    if there() && is_inside("phones::registered::linphone_and_baresip_call_each_other_by_tls") {
        call_each_other(Way::Tls);
    }
}
