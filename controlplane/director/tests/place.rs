//! INVITEs with Replaces: of which account they are, and who may take whose place.

mod world;

use base::{CallId, LegId};
use model::port::OwnedCommand;
use model::{
    AccessAddress, AccessListSid, AccessMapping, Account, AccountSid, AddressSid, Book,
    IpAccessControlList, Trunk, TrunkSid,
};
use world::{ACCOUNT, ACCOUNT_NUMBER, Caller, World, status, xml};

/// A call to the domain whose document dials a phone: the two legs, connected.
fn connected() -> (World, CallId, CallId) {
    let thiefs = |book: &mut Book| {
        let thief = AccountSid(0x7e);
        let trunk = Trunk { sid: TrunkSid(9), account: thief, ..Trunk::default() };
        book.accounts.push(Account { sid: thief, parent: thief, number: 8, ..Account::default() });
        book.trunks.push(Trunk { domain_name: "trunk.thief.test".to_owned(), ..trunk });
        let address = |network: &str| AccessAddress {
            sid: AddressSid(1),
            friendly_name: String::new(),
            network: network.parse().unwrap(),
            date_created: base::Wall(0),
            date_updated: base::Wall(0),
        };
        let (sid, addresses) = (AccessListSid(3), vec![address("198.51.100.0/24")]);
        let list = IpAccessControlList { sid, account: ACCOUNT, addresses, ..Default::default() };
        book.access_lists.push(list);
        let access = vec![AccessMapping { list: sid, ..AccessMapping::default() }];
        book.trunks.push(Trunk { sid: TrunkSid(10), account: ACCOUNT, access, ..Trunk::default() });
    };
    let world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Dial action=\"/done\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>")
        }
        "http://app.test/done" => xml("<Response><Hangup/></Response>"),
        _ => status(204),
    });
    let mut world = world.with_book(thiefs);
    let call = world.call_in("sip:bob@demo.test");
    world.run(4_000);
    let child = world.children_of(call)[0];
    world.commands.clear();
    (world, call, child)
}

/// What the shard was told of a call.
fn told(world: &World, call: CallId) -> (bool, Option<u16>) {
    let takes = OwnedCommand::TakePlace { call };
    let refused = world.commands.iter().find_map(|command| match command {
        OwnedCommand::Reject { call: it, code, .. } if *it == call => Some(*code),
        _ => None,
    });
    (world.commands.contains(&takes), refused)
}

fn comes(world: &mut World, place: LegId, caller: Caller, from: (&str, &str)) -> CallId {
    world.caller = Caller { replaces: place, ..caller };
    let call = world.call_in_from(from.0, from.1);
    world.run(100);
    world.caller = Caller::default();
    call
}

const CONTACT: &str = "sip:tandem@10.0.0.1:5060";
const NEAR: &str = "127.0.0.1:5099";
const FAR: &str = "192.0.2.66:5060";

#[test]
fn whoever_could_have_called_takes_the_place() {
    let (mut world, call, child) = connected();
    let places = [call, child].map(|it| world.legs[&it].id);
    for (place, uri, from, user, source, expected) in [
        (places[0], CONTACT, "sip:alice@caller.test", "", NEAR, (true, None)),
        (places[1], CONTACT, "sip:alice@demo.test", "alice", FAR, (true, None)),
        (places[1], "sip:bob@demo.test", "sip:a@x.test", "alice", FAR, (true, None)),
        // From a network of a list that a trunk of the account's takes.
        (places[1], CONTACT, "sip:a@x.test", "", "198.51.100.9:5060", (true, None)),
        // Whoever has proven whose he is elsewhere is nobody here, whatever he says.
        (
            places[1],
            "sip:x@trunk.thief.test",
            "sip:alice@demo.test",
            "mallory",
            FAR,
            (false, Some(481)),
        ),
        // Of nobody's domain, from nowhere, or no place at all.
        (places[1], CONTACT, "sip:alice@other.test", "alice", FAR, (false, Some(481))),
        (places[1], CONTACT, "sip:alice@demo.test", "", FAR, (false, Some(481))),
        (LegId::new(0, 99, 9_999), CONTACT, "sip:a@x.test", "", NEAR, (false, Some(481))),
    ] {
        let caller = Caller { from, user, ..Caller::default() };
        let comes = comes(&mut world, place, caller, (uri, source));
        assert_eq!(told(&world, comes), expected, "{uri} {from} {user} {source}");
        if expected.0 {
            assert!(world.commands.iter().any(|it| matches!(it,
                OwnedCommand::Accept { call, account: ACCOUNT_NUMBER, .. } if *call == comes)));
            assert_eq!(world.status_of(comes), "ringing");
        }
    }
    // Nobody is asked what to do with them.
    assert_eq!(world.asked("/voice").len(), 1);
}

/// Accepted and not told yet: a successor says it again.
#[test]
fn a_successor_says_it_again() {
    let (mut world, call, _) = connected();
    let place = world.legs[&call].id;
    let comes = comes(&mut world, place, Caller::default(), (CONTACT, NEAR));
    assert_eq!(told(&world, comes), (true, None));
    world.commands.clear();
    world.crash();
    world.run(100);
    assert_eq!(told(&world, comes), (true, None));
    assert_eq!(told(&world, call), (false, None), "no other call");
}

/// Whoever has been answered for a place that nobody can give any more is not left in silence: it
/// was another one's by then, or the call that had it is over.
#[test]
fn who_has_a_place_without_a_document_is_ended() {
    for is_over in [false, true] {
        let (mut world, call, _) = connected();
        let place = world.legs[&call].id;
        let both = [1, 2].map(|_| {
            let comes = comes(&mut world, place, Caller::default(), (CONTACT, NEAR));
            let (leg, at) = (world.legs[&comes].id, world.now.wall);
            let event = wire::Event::Answered { call: comes, leg, at };
            world.director.handle_event(world.now, 0, &event);
            world.drain();
            (comes, leg)
        });
        let ended = |world: &World, call: CallId| {
            let of = |it: &OwnedCommand| match it {
                OwnedCommand::Hangup { call, .. } => Some(*call),
                _ => None,
            };
            world.commands.iter().filter_map(of).filter(|it| *it == call).count()
        };
        if is_over {
            world.bye_in(call, 0);
            world.run(100);
        }
        for (at, (_, by)) in both.into_iter().enumerate() {
            let at = base::Wall(world.now.wall.0 + at as u64);
            let event = wire::Event::Replaced { call, by, at };
            for _ in 0..2 {
                // And once more, as a successor hears it.
                world.director.handle_event(world.now, 0, &event);
                world.drain();
            }
        }
        let first = usize::from(is_over);
        assert_eq!(both.map(|(it, _)| ended(&world, it)), [first, 1], "{is_over}");
        assert_eq!(ended(&world, call), usize::from(!is_over));
        world.run(200);
        assert_eq!(world.children_of(both[0].0).len(), usize::from(!is_over), "its document");
    }
}
