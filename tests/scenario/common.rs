//! What scenarios share: a world with a static route, and a call through it.

use std::net::SocketAddr;
use std::time::Duration;

use base::{CallId, LegId};
use wire::counter::Counter;
use wire::event::Summary;
use wire::table::{StaticRoute, Table};
use wire::{Command, Originate};
use world::control::encode;
use world::{CallRef, Datagram, Dial, Fate, Manner, Manual, Setup, World};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A route from every phone to these agents.
pub(crate) fn route_to(world: &World, targets: &[usize]) -> StaticRoute {
    StaticRoute {
        account: 7,
        domain: String::new(),
        prefix: String::new(),
        sources: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()],
        trusted: Vec::new(),
        targets: targets.iter().map(|agent| world.target(*agent)).collect(),
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
        reliable: wire::table::ReliableRinging::default(),
        session_timer: true,
        early_media: wire::table::EarlyMedia::default(),
    }
}

/// A world whose static route leads to callees with these manners; agent 0 is the caller.
pub(crate) fn routed(setup: &Setup, caller: Manner, callees: Vec<Manner>) -> World {
    let mut world = World::new(setup);
    world.agent(caller);
    let callees: Vec<usize> = callees.into_iter().map(|manner| world.agent(manner)).collect();
    let table =
        Table { routes: vec![route_to(&world, &callees)], admission: None, ..Table::default() };
    publish(&mut world, &table);
    world.control = Some(Box::new(Manual::new(&world.plane)));
    world
}

pub(crate) fn publish(world: &mut World, table: &Table) {
    for regions in &world.plane.regions {
        wire::table::publish(regions.controlplane().table().unwrap(), table).unwrap();
    }
    world.run_for(ms(200));
}

/// What agent 0 dials for a conversation.
pub(crate) fn to(group: u32) -> Dial {
    Dial {
        to: format!("sip:g{group}@example.com"),
        from: format!("sip:c{group}@phones.example"),
        group,
        stream: group * 2,
        ..Dial::default()
    }
}

pub(crate) fn dial(world: &mut World, group: u32) -> CallRef {
    world.dial(0, &to(group))
}

pub(crate) fn manual(world: &mut World) -> &mut Manual {
    let control = world.control.as_mut().unwrap().any();
    control.downcast_mut::<Manual>().unwrap()
}

/// A summary with its text, as far as scenarios look at it.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) call: CallId,
    pub(crate) parent: CallId,
    pub(crate) inbound: bool,
    pub(crate) account: u64,
    pub(crate) code: u16,
    pub(crate) cause: wire::event::Cause,
    pub(crate) by: wire::Party,
    /// Milliseconds from answer to end; 0 if never answered.
    pub(crate) billed_ms: u64,
    pub(crate) relay_ms: u64,
    pub(crate) relayed: u64,
    pub(crate) media: Option<wire::event::MediaSummary>,
    pub(crate) due_ms: u32,
    pub(crate) shard: u8,
}

/// Every leg's end so far, in order.
pub(crate) fn ends(world: &mut World) -> Vec<End> {
    let told = &manual(world).told;
    let end = |told: &world::Told| match told.event() {
        wire::Event::Ended(summary) => Some(end_of(told.shard, &summary)),
        _ => None,
    };
    told.iter().filter_map(end).collect()
}

fn end_of(shard: u8, summary: &Summary<'_>) -> End {
    let of = |relay: bool| {
        let is = |usage: &&wire::Usage| (usage.service == wire::Service::MediaRelay) == relay;
        summary.usage.iter().find(is).copied()
    };
    End {
        call: summary.call,
        parent: summary.parent,
        inbound: summary.direction == wire::event::Direction::Inbound,
        account: summary.account,
        code: summary.code,
        cause: summary.cause,
        by: summary.by,
        billed_ms: of(false).map_or(0, |usage| usage.micros() / 1_000),
        relay_ms: of(true).map_or(0, |usage| usage.micros() / 1_000),
        relayed: of(true).map_or(0, |usage| usage.count),
        media: summary.media,
        due_ms: summary.due_ms,
        shard,
    }
}

/// Names of the events told so far.
pub(crate) fn told(world: &mut World) -> Vec<&'static str> {
    manual(world).told.iter().map(|told| name(&told.event())).collect()
}

pub(crate) fn name(event: &wire::Event<'_>) -> &'static str {
    match event {
        wire::Event::Incoming(_) => "incoming",
        wire::Event::Dialed { .. } => "dialed",
        wire::Event::Progress { .. } => "progress",
        wire::Event::Answered { .. } => "answered",
        wire::Event::Joined { .. } => "joined",
        wire::Event::Parted { .. } => "parted",
        wire::Event::Digit { .. } => "digit",
        wire::Event::Ended(_) => "ended",
        wire::Event::Unknown { .. } => "unknown",
        wire::Event::Refused { .. } => "refused",
        wire::Event::Refer { .. } => "refer",
        wire::Event::Claim(_) => "claim",
        wire::Event::Message(_) => "message",
        wire::Event::Target(_) => "target",
        wire::Event::ReferSaid { .. } => "refer-said",
        wire::Event::Declined { .. } => "declined",
        wire::Event::Replaced { .. } => "replaced",
    }
}

/// Waits until all transactions have run out, then nothing may be left of anything.
pub(crate) fn nothing_left(world: &mut World) {
    world.run_for(Duration::from_secs(80));
    let left = world.plane.leftovers();
    assert!(left.is_empty(), "{left:?}");
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

/// How much of the other side's voice a phone heard.
pub(crate) fn heard(world: &World, at: CallRef, stream: u32) -> u64 {
    let call = world.call(at);
    let heard = call.media.as_ref().map(|media| &media.heard);
    let stream = heard.and_then(|heard| heard.streams.get(&(call.group, stream)));
    stream.map_or(0, |stream| stream.packets)
}

/// A controlplane that takes each call and dials for it on the next shard, as a director would with
/// `answerOnBridge`: the two legs of a call are never on one shard.
pub(crate) fn bridged(setup: &Setup, caller: Manner, callee: Manner) -> World {
    let mut world = World::new(setup);
    world.agent(caller);
    let callee = world.agent(callee);
    let target = world.address(callee);
    let shards = setup.plane.shards;
    let mut made = 0_u128;
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        made += 1;
        let accept = Command::Accept { call: incoming.call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
        let wish = originate(CallId(made << 64 | made), target, incoming.uri);
        let wish = Originate { peer: incoming.leg, parent: incoming.call, ..wish };
        let shard = (told.shard + 1) % shards;
        commands.push((shard, encode(&Command::Originate(wish))));
    });
    world.control = Some(Box::new(manual));
    world
}

/// A controlplane that takes each call, answers it, and does no more.
pub(crate) fn answered(setup: &Setup, caller: Manner) -> World {
    let mut world = World::new(setup);
    world.agent(caller);
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        let call = incoming.call;
        let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
        commands.push((told.shard, encode(&Command::Answer { call, limit_ms: 0 })));
    });
    world.control = Some(Box::new(manual));
    world
}

/// A controlplane that answers each call, lets it hear ringing, and dials for it on the next shard.
pub(crate) fn dialled_after_answer(setup: &Setup, caller: Manner, callee: Manner) -> World {
    let mut world = World::new(setup);
    world.agent(caller);
    let callee = world.agent(callee);
    let target = world.address(callee);
    let shards = setup.plane.shards;
    let mut made = 0_u128;
    let manual = Manual::new(&world.plane).with_reflex(move |told, commands| {
        let wire::Event::Incoming(incoming) = told.event() else { return };
        made += 1;
        let call = incoming.call;
        let accept = Command::Accept { call, account: 9, setup_ms: 60_000 };
        commands.push((told.shard, encode(&accept)));
        commands.push((told.shard, encode(&Command::Answer { call, limit_ms: 0 })));
        commands.push((told.shard, encode(&Command::Ringback { call, on: true })));
        let wish = originate(CallId(made << 64 | made), target, incoming.uri);
        let wish = Originate { peer: incoming.leg, parent: incoming.call, ..wish };
        commands.push(((told.shard + 1) % shards, encode(&Command::Originate(wish))));
    });
    world.control = Some(Box::new(manual));
    world
}

/// A leg to dial, with a bridge if it gets a peer.
pub(crate) fn originate<'a>(call: CallId, target: SocketAddr, uri: &'a str) -> Originate<'a> {
    Originate {
        call,
        account: 9,
        parent: CallId::NONE,
        peer: LegId::NONE,
        listener: Originate::ANY_LISTENER,
        targets: [base::Target::udp(target)].into_iter().collect(),
        uri,
        to: "",
        route: "",
        flow: None,
        from: "sip:switch@example.com",
        from_name: "",
        headers: "",
        ring_ms: 30_000,
        limit_ms: 0,
        pass_progress: true,
        bridge: true,
        tls_names: [].into_iter().collect(),
        username: "",
        password: wire::command::Secret(""),
        trunk: "",
        failover: wire::policy::Failover::default(),
        group: 0,
    }
}

/// The incoming calls so far: shard, call and leg.
pub(crate) fn incoming(world: &mut World) -> Vec<(u8, CallId, LegId)> {
    let told = manual(world).told.iter();
    let of = |told: &world::Told| match told.event() {
        wire::Event::Incoming(incoming) => Some((told.shard, incoming.call, incoming.leg)),
        _ => None,
    };
    told.filter_map(of).collect()
}

/// A counter of all shards together.
pub(crate) fn count(world: &World, counter: Counter) -> u64 {
    world.plane.lanes.iter().map(|lane| lane.shard.counters().get(counter)).sum()
}

/// The first line of a SIP datagram.
pub(crate) fn first_line(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or("")
}

/// Loses the first `times` datagrams whose first line has all of these words and whose CSeq has
/// `method`.
pub(crate) fn lose(world: &mut World, times: u32, start: &'static str, method: &'static str) {
    let mut left = times;
    world.network.set_filter(move |_, datagram| {
        let is = world::network::is_sip(&datagram.bytes)
            && first_line(&datagram.bytes).starts_with(start)
            && String::from_utf8_lossy(&datagram.bytes).contains(&format!(" {method}\r\n"));
        if is && left > 0 {
            left -= 1;
            return Fate::Drop;
        }
        Fate::Pass
    });
}

pub(crate) fn send(world: &mut World, shard: u8, command: &Command<'_>) {
    manual(world).send(shard, command);
    world.settle();
}

/// Plain text of a request that no phone would send.
pub(crate) fn raw(world: &mut World, from: SocketAddr, text: &str) {
    let bytes = text.replace('\n', "\r\n").into_bytes();
    world.inject(Datagram { from, to: world::plane::listener(), bytes });
    world.run_for(ms(50));
}
