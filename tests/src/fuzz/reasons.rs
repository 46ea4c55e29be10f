//! The shard's reasons, brought about one by one on the fuzzers' bench: each discard or refusal is
//! seen to happen, under its own name and no other.

use base::{CallId, Frame, Frames, LegId, Local, MediaPort, Received};
use wire::counter::Counter;
use wire::{Command, Event};

use super::dataplane::{Author, LEGS, Step, offer, originate, request, source};

/// A bridged call: its author, and the media ports of caller and callee.
fn bridge() -> (Author, [MediaPort; 2]) {
    let mut author = Author::new();
    let _ = author.bridge();
    author.within("ACK", 1, "");
    let port = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("m=audio ")).expect("audio");
        let port = line.split(' ').next().and_then(|it| it.parse().ok()).expect("a port");
        MediaPort { address: 0, port }
    };
    let ports = [port(author.sent(0, "SIP/2.0 200")), port(author.sent(1, "INVITE"))];
    (author, ports)
}

fn rtp(payload: u8, sequence: u16, ssrc: u8) -> Vec<u8> {
    let mut packet = vec![0x80, payload];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend([0, 0, 0, ssrc]);
    packet.extend([0x55; 160]);
    packet
}

/// Counts one more of `reason` for what `act` does, and nothing else among the discards.
#[track_caller]
fn expect(author: &mut Author, reason: Counter, act: impl FnOnce(&mut Author)) {
    let all = |author: &Author| -> Vec<(Counter, u64)> {
        let counters = author.bench.shard.counters();
        let is_reason = |counter: &&Counter| counter.reason().is_some();
        Counter::ALL.iter().filter(is_reason).map(|it| (*it, counters.get(*it))).collect()
    };
    let before = all(author);
    act(author);
    let after = all(author);
    for ((counter, was), (_, is)) in before.into_iter().zip(after) {
        if counter == reason {
            assert!(is > was, "{counter:?} is counted");
        } else {
            assert_eq!(is, was, "{counter:?} is not the reason, {reason:?} is");
        }
    }
}

fn hear(author: &mut Author, port: MediaPort, from: u8, packet: &[u8]) {
    author.bench.datagram(Local::Media(port), source(from, true), packet);
    author.bench.drain();
}

#[test]
fn what_comes_to_a_media_port() {
    let (mut author, [caller, _]) = bridge();
    let free =
        author.bench.ports.iter().copied().max_by_key(|port| port.port).expect("spare ports");
    let talk = |author: &mut Author, packet: &[u8]| hear(author, caller, 0, packet);
    talk(&mut author, &rtp(0, 1, 9));
    talk(&mut author, &rtp(0, 2, 9));
    expect(&mut author, Counter::DiscardRtpPort, |it| hear(it, free, 0, &rtp(0, 1, 9)));
    expect(&mut author, Counter::DiscardRtpMalformed, |it| talk(it, b"\x7f"));
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    expect(&mut author, Counter::DiscardStunDtls, |it| talk(it, &stun));
    expect(&mut author, Counter::DiscardRtpPayload, |it| talk(it, &rtp(33, 3, 9)));
    expect(&mut author, Counter::DiscardRtpSource, |it| hear(it, caller, 3, &rtp(0, 3, 9)));
    expect(&mut author, Counter::DiscardRtpSsrc, |it| talk(it, &rtp(0, 900, 8)));
    expect(&mut author, Counter::DiscardRtpSequence, |it| talk(it, &rtp(0, 2, 9)));
}

#[test]
fn a_stranger_before_the_latch() {
    let (mut author, [caller, _]) = bridge();
    expect(&mut author, Counter::DiscardRtpUnlatched, |it| hear(it, caller, 3, &rtp(0, 1, 9)));
}

#[test]
fn rtp_of_a_leg_that_nobody_hears() {
    let mut author = Author::new();
    author.invite(&offer("10.0.0.9"));
    let (call, _) = author.incoming();
    author.command(&Command::Accept { call, account: 1, setup_ms: 60_000 });
    author.command(&Command::Answer { call, limit_ms: 0 });
    author.within("ACK", 1, "");
    let ports = author.bench.ports.clone();
    expect(&mut author, Counter::DiscardRtpUnjoined, |it| {
        let owned = ports.iter().copied().min_by_key(|port| port.port).expect("a port");
        hear(it, owned, 0, &rtp(0, 1, 9));
    });
}

#[test]
fn rtp_to_a_leg_on_hold() {
    let (mut author, [_, callee]) = bridge();
    let hold = offer("10.0.0.9").replace("RTP/AVP 0 101\r\n", "RTP/AVP 0 101\r\na=sendonly\r\n");
    author.within("INVITE", 2, &hold.replace("o=- 1 1", "o=- 1 2"));
    author.within("ACK", 2, "");
    author.bench.told.clear();
    expect(&mut author, Counter::DiscardRtpHold, |it| hear(it, callee, 1, &rtp(0, 1, 9)));
}

#[test]
fn what_comes_to_a_sip_listener() {
    let mut author = Author::new();
    expect(&mut author, Counter::DiscardSipKeepAlive, |it| it.step(Step::Sip, 0, b"\r\n\r\n"));
    expect(&mut author, Counter::DiscardSipMalformed, |it| it.step(Step::Sip, 0, b"hello\r\n\r\n"));
    let stray = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    expect(&mut author, Counter::DiscardSipStray, |it| it.step(Step::Sip, 0, stray.as_bytes()));
    let needs =
        request("OPTIONS", 1, "", "").replace("Max-Forwards", "Require: teleport\r\nMax-Forwards");
    expect(&mut author, Counter::RefusedProtocol, |it| it.step(Step::Sip, 0, needs.as_bytes()));
    assert!(author.sent(0, "SIP/2.0 420").contains("Unsupported: teleport"), "and is told why");
}

#[test]
fn what_the_other_processes_say() {
    let mut author = Author::new();
    expect(&mut author, Counter::DiscardCommandMalformed, |it| {
        it.step(Step::Command, 0, &[0xff; 9])
    });
    expect(&mut author, Counter::DiscardHandoffMalformed, |it| {
        it.step(Step::Handoff, 0, &[0xff; 9])
    });
}

#[test]
fn nothing_left_to_write_into() {
    let mut author = Author::new();
    let mut taken: Vec<Frame> = Vec::new();
    for len in [100, 8_000] {
        while let Some(frame) = author.bench.heap.alloc(len) {
            taken.push(frame);
        }
    }
    expect(&mut author, Counter::DiscardNoFrame, |it| {
        it.command(&Command::Originate(originate(CallId::NONE, LegId::NONE)));
    });
    for frame in taken {
        author.bench.heap.free(frame);
    }
    // The INVITE goes out by its timer, or whoever asked for the call is told that it is over:
    // never silence.
    author.step(Step::Deadline, 0, &[]);
    let is_end = |bytes: &Vec<u8>| matches!(wire::decode(bytes), Ok(Event::Ended(_)));
    let sent = author.bench.sent.iter().any(|(_, bytes)| bytes.starts_with(b"INVITE"));
    assert!(sent || author.bench.told.iter().any(is_end), "{:?}", author.bench.told);
    author.bench.judge();
}

#[test]
fn tables_of_fixed_size_are_full() {
    let mut author = Author::new();
    // Every other one is the other shard's.
    for number in 0..4 * LEGS {
        let text = request("INVITE", 1, "", &offer("10.0.0.9"))
            .replace("c1@", &format!("c{number}@"))
            .replace("z9hG4bKINVITE1", &format!("z9hG4bKmany{number}"));
        author.step(Step::Sip, 0, text.as_bytes());
    }
    let counters = author.bench.shard.counters();
    let refused = Counter::ALL.iter().filter(|counter| counter.metric() == "refusals_total");
    let refused: u64 = refused.map(|counter| counters.get(*counter)).sum();
    let full = counters.get(Counter::DiscardNoRoom);
    assert!(refused + full > 0, "more calls than there is room for: refused, and counted");
    assert!(author.bench.shard.legs() <= LEGS as usize);
    assert!(author.sent(0, "SIP/2.0 503").contains("503"), "the caller is told");
    author.bench.judge();
}

#[test]
fn another_shards_queue_is_full() {
    let mut author = Author::new();
    // Datagrams of calls that belong to the other shard, which takes none of them.
    for number in 0..400_u32 {
        let text = request("INVITE", 1, "", &offer("10.0.0.9"))
            .replace("c1@", &format!("far{number}@"))
            .replace("z9hG4bKINVITE1", &format!("z9hG4bKfar{number}"));
        let bench = &mut author.bench;
        let Some(frame) = bench.heap.receive(text.as_bytes()) else { break };
        let (at, arrived) = (Local::Listener(0), bench.now.mono);
        let received = Received { frame, at, source: source(0, false), arrived, is_cut: false };
        bench.shard.handle_datagrams(bench.now, &[received], &mut bench.heap);
        while let Some(transmit) = bench.shard.poll_transmit() {
            bench.heap.free(transmit.frame);
        }
    }
    let full = author.bench.shard.counters().get(Counter::DiscardHandoffFull);
    assert!(full > 0, "64 KiB hold fewer than 400 INVITEs");
    let call = CallId(1);
    author.command(&Command::Part { call });
}
