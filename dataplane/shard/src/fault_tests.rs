//! A fault of ours in the middle of a leg's end: what the leg still owes is done all the same, its
//! usage first.

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
use crate::leg::end::{Owes, trip};
use crate::media::bed::{Heap, shard_plan};

const STEPS: [Owes; 5] = [Owes::Usage, Owes::Event, Owes::Transactions, Owes::Media, Owes::Peers];
const CALLER: &str = "192.0.2.7:5060";

struct Plane {
    shard: Shard<'static>,
    region: Region<'static>,
    heap: Heap,
    now: Now,
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
        let mut plane =
            Self { shard: Shard::new(plan, region, now), region, heap: Heap::default(), now };
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
        };
        let table = plane.shard.prepare(Table { routes: vec![route], admission: None });
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
                self.heap.free(sent.frame);
            }
        }
    }

    fn receive(&mut self, text: &str) {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let frame = self.heap.alloc(bytes.len()).unwrap();
        self.heap.bytes_mut(frame).copy_from_slice(&bytes);
        let source: SocketAddr = CALLER.parse().unwrap();
        let arrived = self.now.mono;
        let received = Received { frame, at: Local::Listener(0), source, arrived, is_cut: false };
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
    let sdp = "v=0\no=- 7 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\n\
               m=audio 4000 RTP/AVP 0\n";
    let length = sdp.replace('\n', "\r\n").len();
    format!(
        "INVITE sip:100@203.0.113.1 SIP/2.0\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK1;rport\n\
         Max-Forwards: 70\nFrom: <sip:a@192.0.2.7>;tag=a\nTo: <sip:100@203.0.113.1>\nCall-ID: x\n\
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
