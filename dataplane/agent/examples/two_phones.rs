//! Two phones that call each other without a switch and without a network: what one puts out, the
//! other takes.
//!
//! `cargo run -p agent --example two_phones`

use std::time::Duration;

use agent::{Action, Agent, Datagram, Dial, Manner};
use base::{Mono, Now, Wall};

fn main() {
    let caller_at = "192.0.2.1:5060".parse().expect("an address");
    let callee_at = "192.0.2.2:5060".parse().expect("an address");
    let manner = Manner::default()
        .with_audio()
        .after_answer(Duration::from_secs(1), Action::Digit('5'))
        .after_answer(Duration::from_secs(3), Action::HangUp);
    let mut phones = [
        Agent::new(caller_at, manner, 1),
        Agent::new(callee_at, Manner::answering(Duration::from_secs(1)).with_audio(), 2),
    ];
    let mut now = Now { mono: Mono(1), wall: Wall(1) };
    let dial = Dial {
        to: format!("sip:g1@{callee_at}"),
        from: "sip:a@x".into(),
        group: 1,
        stream: 2,
        ..Dial::default()
    };
    let mut out: Vec<Datagram> = Vec::new();
    phones[0].dial(now, callee_at, &dial, &mut out);
    for _ in 0..6_000 {
        for datagram in std::mem::take(&mut out) {
            let to = usize::from(datagram.to.ip() == callee_at.ip());
            if datagram.to.port() == 5_060 {
                phones[to].handle_sip(now, &datagram, &mut out);
            } else {
                phones[to].handle_media(now, &datagram);
            }
        }
        now.mono = now.mono + Duration::from_millis(1);
        for phone in &mut phones {
            phone.handle_tick(now, &mut out);
        }
    }
    for (name, phone) in ["caller", "callee"].iter().zip(&phones) {
        let call = &phone.calls[0];
        let heard = call.media.as_ref().map(|media| &media.heard);
        println!(
            "{name}: {:?} after {} ms, heard {} packets and the digits `{}`",
            call.state,
            call.connected().as_millis(),
            heard.map_or(0, |heard| heard.voice()),
            heard.map_or("", |heard| heard.digits.as_str()),
        );
    }
}
