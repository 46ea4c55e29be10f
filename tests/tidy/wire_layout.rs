//! The wire's layout and encoding as a snapshot: `wire.snapshot` holds one value of each message,
//! encoded. A change that shows here is a change of the contract: raise `WIRE_VERSION` (or
//! `RECORD_VERSION`), then write the snapshot anew with `TANDEM_BLESS=1 cargo test -p tests --test
//! tidy`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use base::{CallId, Door, LegId, Path, Wall};
use wire::cell::{CELL_WORDS, CellWriter};
use wire::command::Verdict;
use wire::counter::Counter;
use wire::event::{Cause, Claim, Direction, MediaSummary, OutNews, OutWhy, TargetNews};
use wire::link::{ToControlplane, ToDataplane};
use wire::record::{LastWords, LegRecord, RECORD_WORDS};
use wire::region::{Side, Sizes, WIRE_VERSION, layout_hash};
use wire::table::{HeaderFilter, MessageFilter, StaticRoute, Table, ValueFilter, Watch};
use wire::{Command, Event, Incoming, Originate, Party, Service, SipMessage, Summary, Usage};

const CALL: CallId = CallId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const PARENT: CallId = CallId(1);
const AT: Wall = Wall(1_700_000_000_000_001);

fn leg() -> LegId {
    LegId::new(3, 0x0a_0b0c, 0x0102_0304)
}

/// A new variant gets a value in [`events`] and a number here.
fn event_number(event: &Event<'_>) -> usize {
    match event {
        Event::Incoming(_) => 0,
        Event::Dialed { .. } => 1,
        Event::Progress { .. } => 2,
        Event::Answered { .. } => 3,
        Event::Joined { .. } => 4,
        Event::Parted { .. } => 5,
        Event::Digit { .. } => 6,
        Event::Ended(_) => 7,
        Event::Unknown { .. } => 8,
        Event::Refused { .. } => 9,
        Event::Refer { .. } => 10,
        Event::Claim(_) => 11,
        Event::Message(_) => 12,
        Event::Target(_) => 13,
        Event::ReferSaid { .. } => 14,
        Event::Declined { .. } => 15,
        Event::Replaced { .. } => 16,
    }
}

/// A new variant gets a value in [`commands`] and a number here.
fn command_number(command: &Command<'_>) -> usize {
    match command {
        Command::Accept { .. } => 0,
        Command::Progress { .. } => 1,
        Command::Answer { .. } => 2,
        Command::Reject { .. } => 3,
        Command::Hangup { .. } => 4,
        Command::Originate(_) => 5,
        Command::Join { .. } => 6,
        Command::Part { .. } => 7,
        Command::Ringback { .. } => 8,
        Command::Limit { .. } => 9,
        Command::Release { .. } => 10,
        Command::Drain { .. } => 11,
        Command::Referred { .. } => 12,
        Command::Verdict { .. } => 13,
        Command::Take { .. } => 14,
        Command::GiveBack { .. } => 15,
        Command::TakePlace { .. } => 16,
        Command::Refer { .. } => 17,
        Command::Cancel { .. } => 18,
        Command::PassOn { .. } => 19,
    }
}

fn events() -> Vec<Event<'static>> {
    let (call, leg, at) = (CALL, leg(), AT);
    let source = "192.0.2.7:5062".parse().expect("an address");
    vec![
        Event::Incoming(Incoming {
            call,
            leg,
            at,
            listener: 1,
            source,
            uri: "sip:100@example.com",
            from: "sip:alice@example.com",
            from_name: "Alice",
            to: "sip:100@example.com",
            call_id: "a84b4c76e66710",
            diversion: "",
            headers: "X-Trace: 1\r\n",
            user: "alice",
            replaces: leg,
            forwards: "sip:+15550199@example.com\n",
            forward_count: 2,
        }),
        Event::Dialed { call, leg, at },
        Event::Progress { call, leg, at, code: 183, media: true },
        Event::Answered { call, leg, at },
        Event::Joined { call, peer: PARENT, at },
        Event::Parted { call, at },
        Event::Digit { call, at, digit: '#' },
        Event::Ended(summary()),
        Event::Unknown { call },
        Event::Refused { at, source, code: 403, cause: Cause::Forbidden, uri: "sip:1@a", why: "" },
        Event::Refer {
            call,
            peer: leg,
            at,
            to: "sip:carol@example.com",
            by: "sip:bob@a",
            headers: "X-A: b\r\n",
        },
        Event::Claim(Claim {
            registers: true,
            id: 7 << 32 | 1,
            at,
            hop: base::Hop::datagram(1, source),
            realm: "example.com",
            head: b"REGISTER sip:example.com SIP/2.0\r\n\r\n",
        }),
        Event::Message(message()),
        Event::Target(TargetNews {
            at,
            group: 9,
            target: base::Target::udp(source),
            out: Some(OutNews { why: OutWhy::Unhealthy, since: at, seconds: 90 }),
        }),
        Event::ReferSaid { call, at, code: 202, notified: 0 },
        Event::Declined { call, at, code: 603, said: "Network Blocked\r\n" },
        Event::Replaced { call, by: leg, at },
    ]
}

fn message() -> SipMessage<'static> {
    SipMessage {
        call: CALL,
        parent: PARENT,
        leg: leg(),
        account: 9,
        at: AT,
        direction: Direction::Outbound,
        sent: true,
        trunk: true,
        number: 3,
        left_out: 300,
        wanted: [1, u128::MAX].into_iter().collect(),
        from: "sip:alice@example.com",
        to: "sip:bob@example.com",
        created: AT,
        answered: Wall(0),
        method: "INVITE",
        cseq: 314_159,
        code: 486,
        start: "Busy Here",
        headers: "X-Trace: 1\r\n",
        body: "v=0\r\n",
        is_cut: true,
    }
}

fn usages() -> ArrayVec<Usage, { wire::cell::SEGMENTS_MAX }> {
    let usage = |service, segment| Usage {
        service,
        segment,
        open: false,
        start: AT,
        last: Wall(AT.0 + 5_000_000),
        count: 250,
        bytes: 43_000,
    };
    [Service::SipIngress, Service::SipEgress, Service::MediaRelay]
        .into_iter()
        .zip(0..)
        .map(|(service, segment)| usage(service, segment))
        .collect()
}

fn summary() -> Summary<'static> {
    Summary {
        epoch: 7,
        leg: leg(),
        call: CALL,
        parent: PARENT,
        account: 9,
        direction: Direction::Outbound,
        from: "sip:alice@example.com",
        to: "sip:bob@example.com",
        remote: "[2001:db8::1]:5060".parse().expect("an address"),
        call_id: "a84b4c76e66710",
        created: AT,
        answered: Wall(AT.0 + 1),
        ended: Wall(AT.0 + 2),
        code: 200,
        cause: Cause::Normal,
        by: Party::Remote,
        media: Some(MediaSummary {
            path: Path::Socket,
            received: 1_000,
            lost: 2,
            jitter_us: 300,
            mos_centi: 441,
            sent: 998,
            rtt_us: 250,
            reported_loss: 1,
            refused: wire::event::RtpRefused::default(),
        }),
        due_ms: 900,
        usage: usages(),
    }
}

fn commands() -> Vec<Command<'static>> {
    let (call, leg) = (CALL, leg());
    let targets = ["192.0.2.9:5060", "[2001:db8::9]:5060"].map(|a| a.parse().expect("an address"));
    vec![
        Command::Accept { call, account: 9, setup_ms: 60_000 },
        Command::Progress { call, code: 180 },
        Command::Answer { call, limit_ms: 3_600_000 },
        Command::Reject {
            call,
            code: 486,
            reason: "Busy Here",
            retry_after: 5,
            cause: Cause::Busy,
        },
        Command::Hangup { call, cause: Cause::Normal },
        Command::Originate(Originate {
            call,
            account: 9,
            parent: PARENT,
            peer: leg,
            listener: Originate::ANY_LISTENER,
            targets: targets.into_iter().collect(),
            uri: "sip:bob@example.com",
            to: "sip:bob@a.example",
            route: "<sip:edge.example;lr>",
            flow: Some(base::ConnectionId { shard: 1, generation: 2, slot: 3 }),
            from: "sip:alice@example.com",
            from_name: "Alice",
            headers: "X-Trace: 1\r\n",
            ring_ms: 30_000,
            limit_ms: 3_600_000,
            pass_progress: true,
            bridge: true,
            tls_names: ["sip.example.com"].into_iter().collect(),
            username: "trunk",
            password: wire::command::Secret("secret"),
            trunk: "carrier",
            failover: wire::policy::Failover::default(),
            group: 0,
        }),
        Command::Join { call, b: leg },
        Command::Part { call },
        Command::Ringback { call, on: true },
        Command::Limit { call, remaining_ms: 1_000 },
        Command::Release { epoch: 7, leg },
        Command::Drain { on: true },
        Command::Referred { call, code: 486, binds: true },
        Command::Verdict {
            id: 7 << 32 | 1,
            verdict: Verdict::Answer { code: 423, retry_after: 5, headers: "Min-Expires: 60\r\n" },
        },
        Command::Take { call },
        Command::GiveBack { call },
        Command::TakePlace { call },
        Command::Refer { call, to: "sip:carol@example.com" },
        Command::Cancel { call, cause: Cause::Rejected },
        Command::PassOn { call, code: 486, cause: Cause::Busy },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn encoded<T: serde::Serialize>(message: &T) -> String {
    let mut bytes = [0; wire::MESSAGE_BYTES_MAX];
    let len = wire::encode(message, &mut bytes).expect("it fits");
    hex(&bytes[..len])
}

/// Everything that the two processes, and two versions of one, must agree on.
fn snapshot() -> String {
    let mut text = format!("version {WIRE_VERSION}\nlayout {:016x}\n", layout_hash());
    for side in [Side::Dataplane, Side::Controlplane] {
        let words = Sizes::for_legs(64).words(side);
        let _ = writeln!(text, "words of 64 legs, {side:?}: {words}");
    }
    for (at, event) in events().iter().enumerate() {
        assert_eq!(event_number(event), at, "values in order of numbers, one of each");
        let _ = writeln!(text, "event {at} {}", encoded(event));
    }
    for (at, command) in commands().iter().enumerate() {
        assert_eq!(command_number(command), at, "values in order of numbers, one of each");
        let _ = writeln!(text, "command {at} {}", encoded(command));
    }
    for cause in Cause::ALL {
        let _ = writeln!(text, "cause {} {}", cause as u8, cause.name());
    }
    for number in 0..=u16::MAX {
        if let Some(service) = Service::from_number(number) {
            let _ = writeln!(text, "service {number} {}", service.name());
        }
    }
    let name = |counter: &Counter| match counter.reason() {
        Some(reason) => format!("{}:{reason}", counter.metric()),
        None => counter.metric().to_owned(),
    };
    let names: Vec<String> = Counter::ALL.iter().map(name).collect();
    let _ = writeln!(text, "counters {}", names.join(" "));
    text.push_str(&memory());
    text.push_str(&link());
    text
}

fn memory() -> String {
    let words =
        |count: usize| -> Vec<AtomicU64> { (0..count).map(|_| AtomicU64::new(0)).collect() };
    let show = |words: &[AtomicU64]| {
        let used = words.iter().rposition(|word| word.load(Ordering::Relaxed) != 0);
        let shown = &words[..used.map_or(0, |at| at + 1)];
        let text: Vec<String> =
            shown.iter().map(|word| format!("{:x}", word.load(Ordering::Relaxed))).collect();
        text.join(" ")
    };
    let cell = words(CELL_WORDS);
    let writer = CellWriter::new(&cell);
    writer.open(7, leg(), CALL, 9);
    for usage in usages() {
        writer.set_usage(&usage);
    }
    writer.close(AT);
    let record = words(RECORD_WORDS);
    let fields = LegRecord {
        leg: leg(),
        call: CALL,
        parent: PARENT,
        account: 9,
        direction: Direction::Inbound,
        from: "sip:alice@example.com",
        to: "sip:bob@example.com",
        remote: "192.0.2.7:5062".parse().expect("an address"),
        call_id: "a84b4c76e66710",
        created: AT,
        answered: Wall(AT.0 + 1),
        ended: Wall(0),
        code: 200,
        cause: Cause::Normal,
        by: Party::Peer,
        words: LastWords::None,
        tls_name: "",
    };
    let mut text = format!("cell {}\n", show(&cell));
    for last in last_words() {
        let fields = LegRecord { words: last, ..fields.clone() };
        wire::record::write(&record, 7, &fields).expect("it fits");
        let _ = writeln!(text, "record {}", show(&record));
        record.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
    text
}

fn last_words() -> [LastWords<'static>; 4] {
    let door = Door::Datagram(1);
    [
        LastWords::None,
        LastWords::Bye { door, numbers: &[1, 2], text: b"a84b4c76e66710" },
        LastWords::Cancel { door, invite: b"INVITE" },
        LastWords::Refuse { door, response: b"SIP/2.0 500" },
    ]
}

fn watch() -> Watch {
    let value = Some(ValueFilter { len: 5, hash: 7, is_whole: true });
    let filter = MessageFilter {
        account: 9,
        call: CALL,
        id: 20,
        slot: 57,
        methods: 5,
        responses: vec![4, 200],
        ways: 2,
        legs: 1,
        trunk_only: true,
        once: true,
        header: Some(HeaderFilter { name: 6, value }),
    };
    Watch { key: [1, 2], filters: vec![filter] }
}

fn link() -> String {
    let hello = ToDataplane::Hello { layout: 0x1122_3344_5566_7788, pid: 4_711 };
    let welcome = ToControlplane::Welcome {
        shards: 3,
        legs: 8_192,
        event_words: 1 << 21,
        command_words: 1 << 20,
        epoch: 1_700_000_000,
        node: 1,
        pid: 4_712,
    };
    let refuse = ToControlplane::Refuse { found: 1, expected: 2 };
    let route = StaticRoute {
        account: 9,
        domain: "example.com".to_owned(),
        prefix: "+49".to_owned(),
        sources: vec!["192.0.2.0/24".parse().expect("a network")],
        trusted: Vec::new(),
        targets: vec!["192.0.2.9:5060".parse().expect("an address")],
        host: String::new(),
        strip: 1,
        prepend: "00".to_owned(),
        rate_max: 10,
        calls_max: 100,
        ring_s: 60,
        media: wire::table::MediaSources::default(),
        signalling: wire::table::SignallingSources::default(),
        tls_name: String::new(),
        login: "carrier".to_owned(),
        transfer: true,
        dtmf: wire::table::Digits::Info,
        policy: wire::policy::RoutePolicy::default(),
        reliable: wire::table::ReliableRinging::Require,
        session_timer: true,
        early_media: wire::table::EarlyMedia::Ring,
    };
    format!(
        "hello {}\nattach {}\nwelcome {}\nrefuse {}\ntable {}\n",
        encoded(&hello),
        encoded(&ToDataplane::Attach { epoch: 7 }),
        encoded(&welcome),
        encoded(&refuse),
        encoded(&Table { routes: vec![route], admission: None, watch: watch() })
    )
}

#[test]
fn the_wire_is_as_it_was_snapped() {
    let path = crate::source::root().join("tests/tidy/wire.snapshot");
    let now = snapshot();
    if std::env::var_os("TANDEM_BLESS").is_some() {
        std::fs::write(&path, &now).expect("the snapshot is written");
    }
    let then = std::fs::read_to_string(&path).expect("tests/tidy/wire.snapshot is there");
    let findings: Vec<String> = then
        .lines()
        .chain(core::iter::repeat(""))
        .zip(now.lines())
        .filter(|(then, now)| then != now)
        .map(|(then, now)| format!("was {then}\n   is {now}"))
        .collect();
    crate::judge("the contract changed: raise WIRE_VERSION, then TANDEM_BLESS=1", &findings);
    assert_eq!(then.lines().count(), now.lines().count(), "messages were removed");
}

#[test]
fn every_message_comes_back_as_it_was() {
    let mut bytes = [0; wire::MESSAGE_BYTES_MAX];
    for event in events() {
        let len = wire::encode(&event, &mut bytes).expect("it fits");
        assert_eq!(wire::decode(&bytes[..len]), Ok(event));
    }
    for command in commands() {
        let len = wire::encode(&command, &mut bytes).expect("it fits");
        assert_eq!(wire::decode(&bytes[..len]), Ok(command));
    }
}
