//! After warm-up a shard allocates nothing: not for packets, not for SIP transactions, not for
//! whole calls. An allocator that counts says so; the world tells it when the thread is inside of a
//! shard.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::CallId;
use wire::{Command, Event, Originate};
use world::control::encode;
use world::plane::is_within_shard;
use world::{Action, Dial, Manner, Manual, Setup, World};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

fn count() {
    if is_within_shard() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches an atomic and a
// thread-local without destructor, and allocates nothing itself. There is no safe way to be an
// allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SECOND: Duration = Duration::from_secs(1);

/// Calls that come in, are dialled on by the next shard, heard, held and hung up; others that are
/// refused or cancelled; all in a network that loses.
fn world() -> World {
    let mut setup = Setup::new(1);
    (setup.sip.loss, setup.sip.duplicate) = (30_000, 30_000);
    let mut world = World::new(&setup);
    let caller = Manner::default()
        .with_audio()
        .after_answer(SECOND, Action::Reinvite(sdp::Direction::SendOnly))
        .after_answer(2 * SECOND, Action::Digit('5'))
        .after_answer(3 * SECOND, Action::HangUp);
    world.agent(caller);
    world.agent(Manner::default().with_audio());
    world.agent(Manner::refusing(486));
    let targets = [world.address(1), world.address(2)];
    let mut made = 0_u128;
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let Event::Incoming(incoming) = told.event() else { return };
        made += 1;
        let accept = Command::Accept { call: incoming.call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
        let wish = Originate {
            call: CallId(made << 64 | made),
            account: 9,
            parent: incoming.call,
            peer: incoming.leg,
            listener: Originate::ANY_LISTENER,
            targets: [base::Target::udp(targets[usize::from(made % 4 == 3)])].into_iter().collect(),
            uri: incoming.uri,
            to: "",
            route: "",
            flow: None,
            from: "sip:switch@example.com",
            from_name: "",
            headers: "",
            ring_ms: 10_000,
            limit_ms: 0,
            pass_progress: true,
            bridge: true,
            tls_names: [].into_iter().collect(),
            username: "",
            password: wire::command::Secret(""),
            trunk: "",
            failover: wire::policy::Failover::default(),
            group: 0,
        };
        commands.push(((told.shard + 1) % 3, encode(&Command::Originate(wish))));
    });
    world.control = Some(Box::new(manual));
    for lane in &mut world.plane.lanes {
        lane.heap.fill();
    }
    world
}

fn calls(world: &mut World, groups: std::ops::Range<u32>) {
    for group in groups {
        let dial = Dial {
            to: format!("sip:g{group}@example.com"),
            from: format!("sip:c{group}@phones.example"),
            group,
            stream: group * 2,
            ..Dial::default()
        };
        let call = world.dial(0, &dial);
        if group % 5 == 4 {
            world.call_mut(call).plan(world::DAWN.mono, Action::Cancel);
        }
        world.run_for(SECOND / 5);
    }
    world.run_for(10 * SECOND);
    for agent in &mut world.agents {
        let now = world.now;
        for call in &mut agent.calls {
            call.act(now, Action::HangUp);
        }
    }
    world.run_for(90 * SECOND);
}

#[test]
fn packets_and_calls_allocate_nothing_after_warm_up() {
    world::plane::within(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert_eq!(COUNT.load(Ordering::Relaxed), 1, "the allocator counts");
    let mut world = world();
    calls(&mut world, 1..20);
    let before = COUNT.load(Ordering::Relaxed);
    calls(&mut world, 20..80);
    let allocations = COUNT.load(Ordering::Relaxed) - before;
    let count = |counter| -> u64 {
        world.plane.lanes.iter().map(|lane| lane.shard.counters().get(counter)).sum()
    };
    let relayed = count(wire::counter::Counter::RtpRelayed);
    let legs = count(wire::counter::Counter::LegEnded);
    assert!(relayed > 5_000 && legs > 120, "{relayed} packets, {legs} legs");
    assert_eq!(allocations, 0, "in {relayed} packets and {legs} legs");
    assert!(world.plane.leftovers().is_empty(), "{:?}", world.plane.leftovers());
}
