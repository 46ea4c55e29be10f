//! An account and its sub-accounts share what one of them may have: whoever makes sub-accounts has
//! no more by them.

mod world;

use model::port::{ApiDone, ApiRequest, Entity, HttpError, HttpKind};
use model::{Account, AccountSid, DomainSid, SipDomain};
use world::{ACCOUNT, World, is_callback, status, xml};

const SUB: AccountSid = AccountSid(0xad);

/// The account, and a sub-account of it with the domain `sub.test`.
fn family(book: &mut model::Book) {
    book.accounts.push(Account { sid: SUB, number: 8, parent: ACCOUNT, ..Account::default() });
    let domain = book.domains[0].clone();
    let (sid, domain_name) = (DomainSid(5), "sub.test".to_owned());
    book.domains.push(SipDomain { sid, account: SUB, domain_name, ..domain });
}

fn deaf() -> World {
    World::new(|request| {
        if is_callback(request) {
            (10, Err(HttpError::Connect))
        } else {
            xml("<Response><Hangup/></Response>")
        }
    })
    .with_book(family)
}

#[test]
fn callbacks_that_wait_are_the_familys() {
    let mut world = deaf().with_settings(|settings| settings.limits.account_callbacks = 3);
    for domain in ["demo", "sub", "demo", "sub", "sub"] {
        world.call_in(&format!("sip:bob@{domain}.test"));
        world.run(1_500);
    }
    assert_eq!(world.director.stats().callbacks_waiting, 3);
    world.crash();
    assert_eq!(world.director.stats().callbacks_waiting, 3);
}

#[test]
fn places_at_a_host_are_the_familys() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Callback => (10_000, status(200).1),
        HttpKind::Instructions => xml("<Response><Hangup/></Response>"),
    })
    .with_book(family)
    .with_settings(|settings| settings.limits.callbacks_per_host = 4);
    for _ in 0..4 {
        world.call_in("sip:bob@demo.test");
        world.call_in("sip:bob@sub.test");
    }
    world.run(1_000);
    let told = world.asked("/status");
    assert_eq!(told.len(), 3, "one path leaves a place to the host's others");
    let of = |account: AccountSid| told.iter().filter(|it| it.account == account).count();
    assert!(of(ACCOUNT) > 0 && of(SUB) > 0 && told.iter().all(|it| it.family == ACCOUNT));
}

/// One after the other, whosever they are, and each signed by its own account.
#[test]
fn dead_letters_are_sent_again_in_one_line() {
    let mut world = World::new(|request| match request.kind {
        HttpKind::Callback => status(404),
        HttpKind::Instructions => xml("<Response><Hangup/></Response>"),
    })
    .with_book(family);
    for domain in ["demo", "sub"] {
        world.call_in(&format!("sip:bob@{domain}.test"));
    }
    world.run(20_000);
    let letters = world.store.dead.clone();
    world.requests.clear();
    let replay = ApiRequest::Operate(Box::new(ApiRequest::Replay(letters.clone())));
    let id = world.api(replay);
    let Some(Ok(ApiDone::Replay { waiting, .. })) = world.reply(id) else { panic!("refused") };
    assert_eq!((*waiting, letters.len()), (4, 4));
    assert_eq!(world.requests.len(), 1);
    world.run(1_000);
    // The second one of each call goes the way on which the first one failed.
    let sent: Vec<_> = world.requests.iter().map(|(_, it)| it.account).collect();
    assert_eq!(sent, [ACCOUNT, SUB]);
    let told = world.store.alerts.iter().filter(|it| it.reason == "replay-failed");
    let told: Vec<_> = told.map(|it| it.account).collect();
    assert_eq!(told, [ACCOUNT, SUB]);
}

#[test]
fn a_family_has_so_many_sub_accounts_and_no_more() {
    let mut world = deaf().with_settings(|settings| settings.limits.subaccounts = 3);
    let make = |world: &mut World, sid: u128| {
        let sid = AccountSid(sid);
        let sub = Account { sid, parent: ACCOUNT, ..Account::default() };
        let entity = Box::new(Entity::Account(sub));
        let id = world.api(ApiRequest::Put { entity, create: true });
        world.run(10);
        world.reply(id).cloned().expect("an answer").map_err(|error| (error.status, error.message))
    };
    assert!(make(&mut world, 0xb1).is_ok() && make(&mut world, 0xb2).is_ok());
    let (status, message) = make(&mut world, 0xb3).unwrap_err();
    assert!(status == 400 && message.contains("has 3 of these"), "{message}");
    // One that is closed makes room for another.
    let closing = world.director.directory().account(AccountSid(0xb2)).expect("an account");
    let closing = Account { status: model::AccountStatus::Closed, ..closing.clone() };
    world.api(ApiRequest::Shut(Box::new(closing)));
    world.run(10);
    assert!(make(&mut world, 0xb4).is_ok() && make(&mut world, 0xb5).is_err());
    // One that is there is changed as before.
    let mut known = world.director.directory().account(SUB).expect("an account").clone();
    known.friendly_name = "shop".to_owned();
    let entity = Box::new(Entity::Account(known));
    let id = world.api(ApiRequest::Put { entity, create: false });
    world.run(10);
    assert!(matches!(world.reply(id), Some(Ok(_))));
}

/// Names that the operator chose wait behind nobody's.
#[test]
fn names_are_looked_up_by_the_share_of_whoever_chose_them() {
    let mut world = World::new(|request| {
        if is_callback(request) {
            return status(200);
        }
        xml("<Response><Dial callerId=\"+15550100\"><Sip>sip:ok@peer.test</Sip>\
             <Number>+15550177</Number></Dial></Response>")
    })
    .with_book(|book| {
        family(book);
        book.routes[0].targets = vec!["carrier.test".to_owned()];
    });
    world.call_in("sip:bob@sub.test");
    world.run(1_000);
    world.lookups.sort_unstable();
    assert_eq!(world.lookups, [None, Some(ACCOUNT)]);
}
