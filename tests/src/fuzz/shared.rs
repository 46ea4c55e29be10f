//! What crosses between the processes: whatever the other side writes is refused or believed, never
//! a panic.

use std::net::SocketAddr;

use std::sync::atomic::{AtomicU64, Ordering};

use base::{CallId, Door, LegId, Mono, Wall};
use shard::handoff::{Handoff, PeerMessage};
use wire::cell::{CELL_WORDS, Cell, CellWriter};
use wire::event::{Cause, Direction};
use wire::link::{ToControlplane, ToDataplane};
use wire::record::{FIELD_BYTES_MAX, LastWords, LegRecord, RECORD_WORDS};
use wire::region::{Region, Side, Sizes};
use wire::ring::{Consumer, Cursors, Producer, RECORD_BYTES_MAX, Slots};
use wire::{Command, Event, Party, Service, Summary, Usage};

use super::picture;

/// Reads `bytes` as `T`; what is read must be written and read again as itself.
fn decode<'a, T: serde::Serialize + serde::Deserialize<'a>>(bytes: &'a [u8]) -> u64 {
    let Ok(message) = wire::decode::<T>(bytes) else { return 0 };
    let mut out = vec![0; wire::MESSAGE_BYTES_MAX + 1_024];
    let written = wire::encode(&message, &mut out).expect("what was read can be written");
    assert!(written <= bytes.len(), "the written form is the short one");
    1 + u64::from(bytes.first().copied().unwrap_or(0))
}

pub(super) fn message(input: &[u8]) -> u64 {
    picture(&[
        decode::<Event<'_>>(input),
        decode::<Command<'_>>(input),
        decode::<ToDataplane>(input),
        decode::<ToControlplane>(input),
        decode::<Handoff<'_>>(input),
    ])
}

fn encoded<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![0; wire::MESSAGE_BYTES_MAX];
    let len = wire::encode(message, &mut out).expect("it fits");
    out.truncate(len);
    out
}

pub(super) fn message_seeds() -> Vec<Vec<u8>> {
    let (call, leg, at) = (CallId(7), LegId::new(0, 1, 1), Wall(1_700_000_000_000_000));
    let source: SocketAddr = "10.0.0.9:5060".parse().expect("an address");
    let mut seeds = vec![
        encoded(&Event::Dialed { call, leg, at }),
        encoded(&Event::Progress { call, leg, at, code: 180, media: true }),
        encoded(&Event::Answered { call, leg, at }),
        encoded(&Event::Joined { call, peer: CallId(8), at }),
        encoded(&Event::Digit { call, at, digit: '5' }),
        encoded(&Event::Unknown { call }),
        encoded(&Event::Refused {
            at,
            source,
            code: 403,
            cause: Cause::Forbidden,
            uri: "sip:x",
            why: "",
        }),
        encoded(&Event::Ended(summary())),
        encoded(&ToDataplane::Hello { layout: 1, pid: 2 }),
        encoded(&Handoff::Sip {
            hop: base::Hop::datagram(0, source),
            arrived: Mono(7),
            standing: shard::handoff::Standing::Known,
            by: 0,
            bytes: b"OPTIONS sip:x SIP/2.0\r\n\r\n",
            source: source.ip().into(),
        }),
        encoded(&Handoff::Proven { source }),
        encoded(&Handoff::Leg {
            to: leg,
            from: leg,
            at: Mono(7),
            message: PeerMessage::OfferRequest,
        }),
        encoded(&Handoff::Leg {
            to: leg,
            from: leg,
            at: Mono(7),
            message: PeerMessage::Ended { code: 486, cause: Cause::Busy, reason: "" },
        }),
    ];
    seeds.push(encoded(&Event::Incoming(incoming())));
    seeds.push(encoded(&Event::Claim(claim())));
    let verdict = wire::command::Verdict::Proven { user: "a" };
    seeds.push(encoded(&Command::Verdict { id: 1 << 32, verdict }));
    seeds.push(encoded(&Command::Accept { call, account: 1, setup_ms: 60_000 }));
    seeds.push(encoded(&Command::Hangup { call, cause: Cause::Normal }));
    seeds.extend(connection_seeds(source));
    seeds
}

fn incoming() -> wire::Incoming<'static> {
    wire::Incoming {
        call: CallId(7),
        leg: LegId::new(0, 1, 1),
        at: Wall(1_700_000_000_000_000),
        listener: 0,
        source: "10.0.0.9:5060".parse().expect("an address"),
        uri: "sip:+15550100@10.0.0.1",
        from: "sip:a@10.0.0.9",
        from_name: "A",
        to: "sip:+15550100@10.0.0.1",
        call_id: "c1",
        diversion: "",
        headers: "X-A: b\r\n",
        user: "",
        replaces: LegId::NONE,
        forwards: "",
        forward_count: 0,
    }
}

fn claim() -> wire::event::Claim<'static> {
    wire::event::Claim {
        registers: true,
        id: 1 << 32,
        at: Wall(1_700_000_000_000_000),
        hop: base::Hop::datagram(0, "10.0.0.9:5060".parse().expect("an address")),
        realm: "a.example",
        head: b"REGISTER sip:a.example SIP/2.0\r\nTo: <sip:a@a.example>\r\n\r\n",
    }
}

/// What shards hand over about connections.
fn connection_seeds(source: SocketAddr) -> [Vec<u8>; 2] {
    [
        encoded(&Handoff::Lost {
            id: base::ConnectionId { shard: 1, generation: 0, slot: 1 },
            end: shard::handoff::End { listener: 1, remote: source, name: base::TlsName(7) },
        }),
        encoded(&Handoff::Send {
            hop: base::Hop::connection(1, source, base::TlsName(7)),
            text: "sip.example.com",
            bytes: b"SIP/2.0 200 OK\r\n\r\n",
        }),
    ]
}

fn summary() -> Summary<'static> {
    let usage = Usage {
        service: Service::SipEgress,
        segment: 0,
        open: false,
        start: Wall(1),
        last: Wall(2),
        count: 1,
        bytes: 0,
    };
    Summary {
        epoch: 1,
        leg: LegId::new(0, 1, 1),
        call: CallId(7),
        parent: CallId::NONE,
        account: 1,
        direction: Direction::Outbound,
        from: "sip:a@10.0.0.9",
        to: "sip:b@10.0.0.8",
        remote: "10.0.0.8:5060".parse().expect("an address"),
        call_id: "c1",
        created: Wall(1),
        answered: Wall(1),
        ended: Wall(2),
        code: 200,
        cause: Cause::Normal,
        by: Party::Remote,
        media: None,
        due_ms: 0,
        usage: [usage].into_iter().collect(),
    }
}

/// Words as an input gives them.
struct Words<'a>(core::slice::Chunks<'a, u8>);

impl<'a> Words<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self(input.chunks(8))
    }

    fn next(&mut self) -> Option<u64> {
        let chunk = self.0.next()?;
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        Some(u64::from_le_bytes(word))
    }
}

const RING_WORDS: usize = 8_192;

thread_local! {
    static RING: Vec<AtomicU64> = (0..RING_WORDS).map(|_| AtomicU64::new(0)).collect();
}

/// Steps of both ends, between which the other side's page becomes anything.
pub(super) fn ring(input: &[u8]) -> u64 {
    RING.with(|words| {
        let own = || AtomicU64::new(0);
        let (head, read, released, sleeping) = (own(), own(), own(), own());
        let slots = Slots { head: &head, words };
        let cursors = Cursors { read: &read, released: &released, sleeping: &sleeping };
        let mut input = Words::new(input);
        let start = input.next().unwrap_or(0);
        head.store(start, Ordering::Relaxed);
        released.store(start, Ordering::Relaxed);
        let mut consumer = Consumer::join(slots, cursors);
        let mut producer = Producer::join(slots, cursors);
        let mut buffer = [0; RECORD_BYTES_MAX];
        let (mut popped, mut corrupt, mut full) = (0, 0, 0);
        while let Some(word) = input.next() {
            let value = word >> 8;
            match word & 7 {
                0 => {
                    let at = usize::try_from(value).unwrap_or(0) % RING_WORDS;
                    words[at].store(input.next().unwrap_or(0), Ordering::Relaxed);
                }
                1 => head.store(input.next().unwrap_or(0), Ordering::Relaxed),
                2 => released.store(input.next().unwrap_or(0), Ordering::Relaxed),
                3 => {
                    let len = usize::try_from(value).unwrap_or(0) % (RECORD_BYTES_MAX + 8);
                    full += u64::from(producer.push(&buffer[..len.min(RECORD_BYTES_MAX)]).is_err());
                    let _ = producer.publish();
                }
                4 => match consumer.pop(&mut buffer) {
                    Ok(record) => popped += u64::from(record.is_some()),
                    Err(_) => {
                        corrupt += 1;
                        let _ = consumer.skip_to_head();
                    }
                },
                5 => consumer.release(consumer.position()),
                6 => {
                    let _ = consumer.prepare_sleep();
                    consumer.wake();
                }
                _ => {
                    consumer = Consumer::join(slots, cursors);
                    producer = Producer::join(slots, cursors);
                }
            }
        }
        picture(&[popped, corrupt, full])
    })
}

/// Cells, records, tables and region headers of any words.
pub(super) fn memory(input: &[u8]) -> u64 {
    let mut source = Words::new(input);
    let count = RECORD_WORDS.max(CELL_WORDS);
    let words: Vec<AtomicU64> = (0..count.max(input.len() / 8))
        .map(|_| AtomicU64::new(source.next().unwrap_or(0)))
        .collect();
    let cell = Cell::read(&words[..CELL_WORDS]);
    let mut bytes = [0; FIELD_BYTES_MAX];
    let record = wire::record::read(&words[..RECORD_WORDS], &mut bytes).is_ok();
    let mut seen = 0;
    let table = wire::table::read(&words, &mut seen);
    let region = [Side::Dataplane, Side::Controlplane].map(|side| {
        let opened = Region::open(&words, side).or_else(|_| Region::succeed(&words, side, 1));
        opened.is_ok_and(|region| {
            let _ = (region.cell(u32::MAX), region.record(0), region.table(), region.counters());
            true
        })
    });
    let table = match table {
        Ok(None) => 0,
        Ok(Some(table)) => 1 + table.routes.len() as u64,
        Err(_) => 2,
    };
    let state = cell.map_or(0, |cell| 1 + cell.state as u64 + cell.usage.len() as u64 * 4);
    picture(&[state, u64::from(record), table, u64::from(region[0]), u64::from(region[1])])
}

/// Memory as both sides write it.
pub(super) fn word_seeds() -> Vec<Vec<u8>> {
    let bytes = |words: &[AtomicU64]| -> Vec<u8> {
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
    };
    let fresh =
        |count: usize| -> Vec<AtomicU64> { (0..count).map(|_| AtomicU64::new(0)).collect() };
    let cell = fresh(CELL_WORDS);
    let writer = CellWriter::new(&cell);
    writer.open(1, LegId::new(0, 1, 1), CallId(7), 1);
    writer.close(Wall(9));
    let record = fresh(RECORD_WORDS);
    let fields = LegRecord {
        leg: LegId::new(0, 1, 1),
        call: CallId(7),
        parent: CallId::NONE,
        account: 1,
        direction: Direction::Inbound,
        from: "sip:a@b",
        to: "sip:c@d",
        remote: "10.0.0.9:5060".parse().expect("an address"),
        call_id: "c1",
        created: Wall(1),
        answered: Wall(0),
        ended: Wall(0),
        code: 0,
        cause: Cause::Normal,
        by: Party::Remote,
        words: LastWords::Cancel { door: Door::Datagram(0), invite: b"INVITE" },
        tls_name: "",
    };
    wire::record::write(&record, 1, &fields).expect("it fits");
    let table = fresh(64);
    wire::table::publish(&table, &wire::table::Table::default()).expect("it fits");
    let sizes = Sizes { legs: 1, event_words: 1, command_words: 1 };
    let region = fresh(sizes.words(Side::Dataplane));
    let _ = Region::create(&region, Side::Dataplane, sizes, 1);
    // Ring steps: push, publish, pop, release, rejoin, in turn.
    let steps: Vec<u8> = [0_u64, 0x1003, 4, 5, 0x4_0003, 3, 4, 4, 7, 4, 6]
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    vec![bytes(&cell), bytes(&record), bytes(&table), bytes(&region[..64]), steps]
}
