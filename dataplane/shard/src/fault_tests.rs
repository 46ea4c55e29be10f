//! Faults of ours. In the middle of a leg's end: what the leg still owes is done all the same, its
//! usage first. Anywhere else: what it was about ends (a message, a call being made, a transaction,
//! a leg), the next one goes on, and nothing is lost.

use core::net::SocketAddr;
use core::sync::atomic::AtomicU64;
use core::time::Duration;

use base::{Flow, FlowReport, Frames, LegId, Local, Mono, Now, Path, Received, Wall};
use wire::cell::{Cell, CellState};
use wire::counter::Counter;
use wire::event::{Cause, Event, Party};
use wire::region::{Region, Side, Sizes};
use wire::table::{StaticRoute, Table};

use crate::Shard;
use crate::faults::{Site, planted};
use crate::leg::end::{Owes, trip};
use crate::media::bed::{Heap, shard_plan};

const STEPS: [Owes; 5] = [Owes::Usage, Owes::Event, Owes::Transactions, Owes::Media, Owes::Peers];
const CALLER: &str = "192.0.2.7:5060";

struct Plane {
    shard: Shard<'static>,
    region: Region<'static>,
    heap: Heap,
    now: Now,
    /// SIP that left, as text.
    sent: Vec<String>,
}

impl Plane {
    /// One shard with a static route to a callee that says nothing.
    fn new() -> Self {
        let plan = crate::plan::Plan { shards: 1, ..shard_plan() };
        let sizes = Sizes { legs: 8, event_words: 1 << 10, command_words: 1 << 10 };
        let words: Vec<AtomicU64> =
            (0..sizes.words(Side::Dataplane)).map(|_| AtomicU64::new(0)).collect();
        let region = Region::create(words.leak(), Side::Dataplane, sizes, 1);
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000_000) };
        let shard = Shard::new(plan, region, now);
        let (heap, sent) = (Heap::default(), Vec::new());
        let mut plane = Self { shard, region, heap, now, sent };
        let route = StaticRoute {
            account: 7,
            domain: String::new(),
            prefix: String::new(),
            sources: vec!["192.0.2.0/24".parse().unwrap()],
            trusted: Vec::new(),
            targets: vec!["198.51.100.1:5060".parse().unwrap()],
            host: String::new(),
            strip: 0,
            prepend: String::new(),
            rate_max: 0,
            calls_max: 0,
            ring_s: 30,
            media: wire::table::MediaSources::default(),
            signalling: wire::table::SignallingSources::default(),
            tls_name: String::new(),
            login: String::new(),
            transfer: false,
            dtmf: wire::table::Digits::default(),
            policy: wire::policy::RoutePolicy::default(),
        };
        let table =
            plane.shard.prepare(Table { routes: vec![route], admission: None, ..Table::default() });
        drop(plane.shard.handle_table(now, table));
        plane.pass();
        plane
    }

    /// Time for ports to open and what was sent to leave.
    fn pass(&mut self) {
        for _ in 0..4 {
            self.now = self.now.later(Duration::from_millis(200));
            self.shard.handle_tick(self.now, &mut self.heap);
            self.shard.handle_ports(self.now);
            while let Some(flow) = self.shard.poll_flow() {
                if let Flow::Open { port } = flow {
                    self.shard.handle_flow_report(FlowReport::Opened { port, path: Path::Socket });
                }
            }
            while let Some(sent) = self.shard.poll_transmit() {
                let text = String::from_utf8_lossy(self.heap.bytes(sent.frame)).into_owned();
                self.sent.push(text.replace("\r\n", "\n"));
                self.heap.free(sent.frame);
            }
        }
    }

    fn receive(&mut self, text: &str) {
        self.receive_from(CALLER, text);
    }

    fn receive_from(&mut self, source: &str, text: &str) {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        self.datagram(source, Local::Listener(0), &bytes);
    }

    fn datagram(&mut self, source: &str, at: Local, bytes: &[u8]) {
        let frame = self.heap.alloc(bytes.len()).unwrap().resized(bytes.len());
        self.heap.bytes_mut(frame).copy_from_slice(bytes);
        let source: SocketAddr = source.parse().unwrap();
        let arrived = self.now.mono;
        let received = Received { frame, at, source, arrived, is_cut: false };
        self.shard.handle_datagrams(self.now, &[received], &mut self.heap);
    }

    fn cell(&self, leg: LegId) -> Option<CellState> {
        Cell::read(self.region.cell(leg.index())?).map(|cell| cell.state)
    }

    /// The legs whose end was told, in order.
    fn ended(&mut self) -> Vec<LegId> {
        let mut ended = Vec::new();
        while let Some(bytes) = self.shard.poll_event() {
            if let Ok(Event::Ended(summary)) = wire::decode(bytes) {
                ended.push(summary.leg);
            }
            self.shard.event_taken();
        }
        ended
    }
}

fn invite() -> String {
    invite_of("x")
}

/// By Call-ID.
fn invite_of(call: &str) -> String {
    let sdp = "v=0\no=- 7 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\n\
               m=audio 4000 RTP/AVP 0\n";
    let length = sdp.replace('\n', "\r\n").len();
    format!(
        "INVITE sip:100@203.0.113.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK{call};rport\n\
         Max-Forwards: 70\nFrom: <sip:a@192.0.2.7>;tag=a\nTo: <sip:100@203.0.113.1>\nCall-ID: {call}\n\
         CSeq: 1 INVITE\nContact: <sip:a@{CALLER}>\nContent-Type: application/sdp\n\
         Content-Length: {length}\n\n{sdp}"
    )
}

/// The caller's leg ends while its end fails at `step`, so many times. What is left of both legs.
fn ends(step: Owes, times: u8) {
    let mut plane = Plane::new();
    plane.receive(&invite());
    plane.pass();
    let caller = plane.shard.legs.next_standing(0).expect("a leg");
    let callee = plane.shard.legs.next_standing(caller.index() + 1).expect("a leg is dialled");
    trip::AT.set((step, times));
    let now = plane.now;
    plane.shard.with_leg(now, &mut plane.heap, caller, |leg| {
        leg.hang_up(Cause::Normal, Party::Remote);
    });
    plane.shard.drain(now, &mut plane.heap);
    trip::AT.set((Owes::Nothing, 0));
    let case = format!("{step:?} fails {times} times");
    assert_eq!(plane.shard.counters().get(Counter::LegPanicked), u64::from(times), "{case}");
    // A step that failed twice is left out; none of the others is.
    let left_out = |it: Owes| it == step && times > 1;
    let closed = [caller, callee].map(|leg| plane.cell(leg) == Some(CellState::Closed));
    let heard = !left_out(Owes::Peers);
    assert_eq!(closed, [!left_out(Owes::Usage), heard], "{case}");
    let told = plane.ended();
    let once = |leg: LegId| told.iter().filter(|it| **it == leg).count();
    assert_eq!(once(caller), usize::from(!left_out(Owes::Event)), "{case}");
    assert_eq!(once(callee), usize::from(heard), "{case}");
    let media = usize::from(left_out(Owes::Media)) + usize::from(!heard);
    assert_eq!(plane.shard.ports_used(), media, "{case}");
}

#[test]
fn an_end_that_fails_once_is_complete_and_one_that_fails_twice_but_for_that() {
    for step in STEPS {
        ends(step, 0);
        ends(step, 1);
        ends(step, 2);
    }
}

const CALLEE: &str = "198.51.100.1:5060";

/// The value of a header.
fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let value = |line: &'t str| line.strip_prefix(name)?.strip_prefix(": ");
    text.lines().find_map(value).expect("the header")
}

impl Plane {
    fn last(&self, start: &str) -> Option<&String> {
        self.sent.iter().rev().find(|text| text.starts_with(start))
    }

    /// The call's INVITE has gone on to the callee.
    fn dialled(&self, sent_before: usize) -> bool {
        self.sent[sent_before..].iter().any(|text| text.starts_with("INVITE "))
    }

    /// A call that stands, by the static route. The caller's 200.
    fn stand(&mut self, call: &str) -> String {
        self.receive(&invite_of(call));
        self.pass();
        self.answer();
        let answer = self.last("SIP/2.0 200").expect("it is answered").clone();
        self.receive(&inside("ACK", call, 1, &answer));
        self.pass();
        answer
    }

    /// The callee answers.
    fn answer(&mut self) {
        let invite = self.last("INVITE ").expect("it is dialled").clone();
        let sdp = "v=0\no=- 9 1 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\n\
                   m=audio 5000 RTP/AVP 0\n";
        let of = |name: &str| format!("{name}: {}\n", header(&invite, name));
        let answer = format!(
            "SIP/2.0 200 OK\n{}{}To: {};tag=b\n{}{}Contact: <sip:b@{CALLEE}>\n\
             Content-Type: application/sdp\nContent-Length: {}\n\n{sdp}",
            of("Via"),
            of("From"),
            header(&invite, "To"),
            of("Call-ID"),
            of("CSeq"),
            sdp.replace('\n', "\r\n").len()
        );
        self.receive_from(CALLEE, &answer);
        self.pass();
    }

    fn faults(&self) -> u64 {
        let faults = [Counter::FaultContained, Counter::LegPanicked];
        faults.map(|it| self.shard.counters().get(it)).iter().sum()
    }

    /// Passes so many seconds, and releases what has ended.
    fn wait(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.pass();
            for leg in self.ended() {
                let epoch = self.region.epoch();
                let mut bytes = [0; 64];
                let command = wire::Command::Release { epoch, leg };
                let len = wire::encode(&command, &mut bytes).unwrap();
                self.shard.handle_command(self.now, &bytes[..len], &mut self.heap);
            }
        }
    }
}

/// A request of the caller's inside its dialog.
fn inside(method: &str, call: &str, cseq: u32, answer: &str) -> String {
    format!(
        "{method} sip:tandem@203.0.113.1 SIP/2.0\n\
         Via: SIP/2.0/UDP {CALLER};branch=z9hG4bK{call}{method};rport\nMax-Forwards: 70\n\
         From: <sip:a@192.0.2.7>;tag=a\nTo: {}\nCall-ID: {call}\nCSeq: {cseq} {method}\n\
         Content-Length: 0\n\n",
        header(answer, "To")
    )
}

/// Where the caller of the call that stands is to send media.
fn media_port(answer: &str) -> base::MediaPort {
    let line = answer.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap();
    base::MediaPort { address: 0, port: line.split(' ').next().unwrap().parse().unwrap() }
}

/// What brings a fault at this place. `answer` is of the call `first`, which stands.
fn provoke(plane: &mut Plane, site: Site, answer: &str) {
    let port = media_port(answer);
    match site {
        Site::Message | Site::ServerTimer => {
            let options = inside("OPTIONS", "other", 1, "To: <sip:203.0.113.1>");
            plane.receive(&options);
        }
        Site::Making
        | Site::Route
        | Site::Dial
        | Site::Dialing
        | Site::Peer
        | Site::PeerLeg
        | Site::ClientTimer
        | Site::LegTimer => {
            plane.receive(&invite_of("second"));
        }
        Site::Command => {
            let mut bytes = [0; 64];
            let command = wire::Command::Drain { on: true };
            let len = wire::encode(&command, &mut bytes).unwrap();
            plane.shard.handle_command(plane.now, &bytes[..len], &mut plane.heap);
        }
        Site::Packet => {
            let mut bytes = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7];
            bytes.resize(172, 0xd5);
            plane.datagram("192.0.2.7:4000", Local::Media(port), &bytes);
        }
        Site::Report => {
            let at = Local::Media(base::MediaPort { port: port.port + 1, ..port });
            plane.datagram("192.0.2.7:4001", at, &[0x80, 201, 0, 1, 0, 0, 0, 7]);
        }
        // What it stands by: the next look at its usage.
        Site::Meter => {}
    }
    plane.wait(45);
}

/// Ends what it was about, and nothing else; the call that stands goes on unless it was about that.
fn strikes(site: Site) {
    let mut plane = Plane::new();
    let (texts, frames) = (plane.shard.arena_used(), plane.heap.out());
    let answer = plane.stand("first");
    assert_eq!(plane.shard.legs.standing(), 2, "{site:?}");
    planted::plant(site, 0);
    provoke(&mut plane, site, &answer);
    assert_eq!(planted::take(), None, "{site:?} was not come to");
    assert_eq!(plane.faults(), 1, "{site:?}");
    let about_it = matches!(site, Site::Packet | Site::Report | Site::Meter);
    let stands = plane.cell(LegId::new(0, 0, 0)) == Some(CellState::Open);
    assert_eq!(stands, !about_it, "{site:?}");
    let before = plane.sent.len();
    plane.receive(&invite_of("third"));
    plane.pass();
    assert!(plane.dialled(before), "{site:?}: the next call goes on");
    for cseq in 2..4 {
        plane.receive(&inside("BYE", "first", cseq, &answer));
    }
    // The callee says nothing: the next call ends by itself.
    plane.wait(120);
    let Plane { shard, heap, .. } = &plane;
    assert_eq!((shard.legs(), shard.ports_used(), shard.transactions()), (0, 0, 0), "{site:?}");
    assert_eq!((shard.arena_used(), heap.out()), (texts, frames), "{site:?}");
}

#[test]
fn a_fault_ends_what_it_was_about() {
    Site::ALL.into_iter().for_each(strikes);
}

/// A call in which what one leg says to the other fails once, after so many times. False: so much
/// is not said in it.
fn word_lost(site: Site, later: u32) -> bool {
    let mut plane = Plane::new();
    let case = format!("{site:?} {later}");
    planted::plant(site, later);
    plane.receive(&invite_of("x"));
    plane.pass();
    if plane.faults() == 0 {
        plane.answer();
    }
    if plane.faults() == 0 {
        let answer = plane.last("SIP/2.0 200").expect("it is answered").clone();
        plane.receive(&inside("ACK", "x", 1, &answer));
        plane.receive(&inside("BYE", "x", 2, &answer));
        plane.pass();
    }
    let is_lost = planted::take().is_none();
    assert_eq!(plane.faults(), u64::from(is_lost), "{case}");
    // Neither leg waits for the other, or is billed on without it.
    assert_eq!(plane.shard.legs.standing(), 0, "{case}");
    let mut ended = plane.ended();
    ended.sort();
    let legs = ended.len();
    ended.dedup();
    let made = if plane.dialled(0) { 2 } else { ended.len() };
    assert_eq!((ended.len(), legs), (made, made), "{case}: each ends once");
    let told = |start: &str| plane.last(start).is_some();
    assert!(!told("INVITE ") || told("BYE ") || told("CANCEL "), "{case}: the callee is told");
    let refused = plane.sent.iter().any(|text| text.starts_with("SIP/2.0 5"));
    assert!(refused || told("SIP/2.0 200"), "{case}: the caller is told");
    is_lost
}

#[test]
fn a_fault_in_what_a_leg_says_to_another_ends_both() {
    for site in [Site::Dial, Site::Peer, Site::PeerLeg] {
        let said = (0..100).take_while(|later| word_lost(site, *later)).count();
        assert!(said >= if site == Site::Dial { 1 } else { 5 }, "{site:?}: {said}");
    }
}
