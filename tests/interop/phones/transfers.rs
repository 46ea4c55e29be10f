//! Three registered phones, by a transport each: one of two that talk transfers the other to the
//! third, blind or after it has asked there.

use std::time::Duration;

use tests::bed::{Bed, Office, is_inside, pass};

use super::{Linphone, Way, baresip, completed_and_heard, heard, standing, there};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// linphone transfers baresip, who has called it, to another linphone.
#[test]
fn linphone_transfers_its_caller_blind() {
    if !there() || !is_inside("phones::transfers::linphone_transfers_its_caller_blind") {
        return;
    }
    let mut bed = Bed::start();
    let office = Office::open(&bed, &USERS);
    let mut alice = Linphone::start(&mut bed, &office, "alice", Way::Tls);
    let mut carol = Linphone::start(&mut bed, &office, "carol", Way::Tcp);
    let bob = baresip(&mut bed, &office, "bob", Way::Udp);
    bob.command_with("dial", &office.uri("alice"));
    let _ = standing(&bed, 2);
    alice.speak();
    pass(Duration::from_secs(1));
    let said = alice.command(&format!("call-transfer 1 {}", office.uri("carol")));
    assert!(said.contains("Status: Ok"), "{said}");
    carol.wait_for("1", "LinphoneCallStreamsRunning");
    carol.speak();
    pass(Duration::from_secs(2));
    let calls = standing(&bed, 2);
    assert_eq!(calls.len(), 2, "alice is out of it");
    let _ = carol.command("terminate");
    let _ = completed_and_heard(&bed, 3, 20);
}

/// baresip, who was called, transfers linphone.
#[test]
fn baresip_transfers_its_caller_blind() {
    if !there() || !is_inside("phones::transfers::baresip_transfers_its_caller_blind") {
        return;
    }
    let mut bed = Bed::start();
    let office = Office::open(&bed, &USERS);
    let mut alice = Linphone::start(&mut bed, &office, "alice", Way::Udp);
    let mut carol = Linphone::start(&mut bed, &office, "carol", Way::Tls);
    let bob = baresip(&mut bed, &office, "bob", Way::Tcp);
    let id = alice.call(&office.uri("bob"));
    alice.speak();
    pass(Duration::from_secs(1));
    bob.command_with("transfer", &office.uri("carol"));
    carol.wait_for("1", "LinphoneCallStreamsRunning");
    carol.speak();
    pass(Duration::from_secs(2));
    let _ = standing(&bed, 2);
    let _ = alice.command(&format!("terminate {id}"));
    let _ = completed_and_heard(&bed, 3, 20);
}

/// linphone calls two phones and connects them (REFER with Replaces of a dialog of ours).
#[test]
fn linphone_transfers_after_asking() {
    if !there() || !is_inside("phones::transfers::linphone_transfers_after_asking") {
        return;
    }
    let mut bed = Bed::start();
    let office = Office::open(&bed, &USERS);
    let mut alice = Linphone::start(&mut bed, &office, "alice", Way::Tcp);
    let mut carol = Linphone::start(&mut bed, &office, "carol", Way::Udp);
    let bob = baresip(&mut bed, &office, "bob", Way::Tls);
    let first = alice.call(&office.uri("bob"));
    alice.speak();
    pass(Duration::from_secs(1));
    let _ = alice.command(&format!("call-pause {first}"));
    alice.wait_for(&first, "LinphoneCallPaused");
    let second = alice.call(&office.uri("carol"));
    let _ = standing(&bed, 4);
    alice.speak();
    carol.speak();
    pass(Duration::from_secs(1));
    let said = alice.command(&format!("call-transfer {first} {second}"));
    assert!(said.contains("Status: Ok"), "{said}");
    let _ = standing(&bed, 2);
    carol.speak();
    pass(Duration::from_secs(2));
    assert_eq!(standing(&bed, 2).len(), 2, "alice is out of it");
    bob.command("hangup");
    // Who asks without a sound card says nothing while it asks; the two that talk on are heard.
    for call in completed_and_heard(&bed, 4, 0) {
        let packets = heard(&bed, &call);
        assert!(call["direction"] == "inbound" || packets >= 20, "{packets} packets of {call}");
    }
}
