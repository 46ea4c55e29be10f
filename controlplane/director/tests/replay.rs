//! Dead letters are sent again: in order, with the tokens they had and signed as ever; delivered
//! they are gone, and where one fails those behind it stay.

mod world;

use std::cell::Cell;
use std::rc::Rc;

use model::port::{ApiDone, ApiRequest, HttpError, HttpKind, HttpRequest};
use model::{AccountSid, DeadLetter};
use world::{ACCOUNT, World, param, status, xml};

/// So many calls whose follower refuses what it is told.
fn died(calls: usize) -> (World, Rc<Cell<u16>>) {
    let answer = Rc::new(Cell::new(404));
    let seen = answer.clone();
    let mut world = World::new(move |request| match (request.kind, seen.get()) {
        (HttpKind::Instructions, _) => xml("<Response><Pause length=\"1\"/></Response>"),
        (HttpKind::Callback, 0) => (10, Err(HttpError::Connect)),
        (HttpKind::Callback, code) => status(code),
    });
    for _ in 0..calls {
        world.call_in("sip:bob@demo.test");
    }
    world.run(20_000);
    assert_eq!(world.store.dead.len(), 2 * calls);
    world.requests.clear();
    (world, answer)
}

fn replay(world: &mut World, letters: Vec<DeadLetter>) -> (usize, Vec<&'static str>) {
    let id = world.api(ApiRequest::Replay(letters));
    match world.reply(id) {
        Some(Ok(ApiDone::Replay { waiting, refused })) => {
            (*waiting, refused.iter().map(|(_, why)| *why).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn tokens(requests: &[HttpRequest]) -> Vec<&str> {
    requests.iter().map(|it| it.idempotency_token.as_str()).collect()
}

#[test]
fn letters_are_sent_in_the_order_in_which_they_died() {
    let (mut world, answer) = died(5);
    answer.set(200);
    let letters = world.store.dead.clone();
    assert!(letters.windows(2).all(|pair| pair[0].at < pair[1].at), "no two at one time");
    let shuffled: Vec<_> = letters.iter().rev().cloned().collect();
    assert_eq!(replay(&mut world, shuffled), (10, vec![]));
    world.run(5_000);
    let sent: Vec<_> = world.requests.iter().map(|(_, it)| it.clone()).collect();
    let died: Vec<_> = letters.iter().map(|it| it.idempotency_token.as_str()).collect();
    assert_eq!(tokens(&sent), died);
    for (request, letter) in sent.iter().zip(&letters) {
        assert_eq!(request.params, letter.params);
        assert_eq!((request.account, request.auth_token.0.as_str()), (ACCOUNT, "token"));
        assert!(["in-progress", "completed"].contains(&param(request, "CallStatus")));
    }
    assert!(world.store.dead.is_empty(), "delivered they are gone");
    assert_eq!(world.director.stats().callbacks_replayed, 10);
    world.assert_clean();
}

#[test]
fn where_one_fails_those_behind_it_stay() {
    // Refused, each lane of a call for itself.
    let (mut world, _) = died(3);
    let letters = world.store.dead.clone();
    replay(&mut world, letters);
    world.run(5_000);
    assert_eq!(world.requests.len(), 3, "the first one of each call");
    assert_eq!(world.store.dead.len(), 6);
    assert!(world.store.dead.iter().any(|it| it.attempts == 2 && it.error == "HTTP status 404"));
    let told = |world: &World| {
        let told = world.store.alerts.iter().rev().find(|it| it.reason == "replay-failed");
        told.map(|it| it.message.clone()).unwrap_or_default()
    };
    assert!(told(&world).contains("0 delivered, 3 failed, 3 left"), "{}", told(&world));
    // A host that is not there is asked once, a path that fails too.
    for (code, error) in [(0, "connect"), (503, "HTTP status 503")] {
        let (mut world, answer) = died(3);
        answer.set(code);
        let letters = world.store.dead.clone();
        replay(&mut world, letters);
        world.run(60_000);
        assert_eq!((world.requests.len(), world.store.dead.len()), (1, 6));
        assert!(world.store.dead.iter().any(|it| it.error == error));
        assert!(told(&world).contains("0 delivered, 1 failed, 5 left"), "{}", told(&world));
    }
}

#[test]
fn what_cannot_be_sent_again_says_why() {
    let (mut world, answer) = died(1);
    answer.set(200);
    let letter = world.store.dead[0].clone();
    let foreign = DeadLetter { account: AccountSid(0xbad), ..letter.clone() };
    let nowhere = DeadLetter { url: "mailto:a@b".to_owned(), ..letter.clone() };
    let twice = vec![letter.clone(), letter.clone(), foreign, nowhere];
    let (waiting, why) = replay(&mut world, twice);
    assert_eq!((waiting, why.len()), (1, 3));
    for part in ["not this account's", "already", "not an http"] {
        assert!(why.iter().any(|why| why.contains(part)), "{part}: {why:?}");
    }
    let many = (0..1_500_u128)
        .map(|number| DeadLetter { idempotency_token: format!("{number:032x}"), ..letter.clone() });
    let many = many.collect();
    let (waiting, why) = replay(&mut world, many);
    assert!(waiting <= 1_000 && why.len() >= 500 && why[0].contains("too many"), "{waiting}");
}

/// What was delivered or forgotten meanwhile is neither sent nor written again.
#[test]
fn a_letter_that_is_gone_does_not_come_back() {
    let (mut world, answer) = died(2);
    answer.set(200);
    let letters = world.store.dead.clone();
    assert_eq!(replay(&mut world, letters.clone()).0, 4);
    world.run(5_000);
    world.requests.clear();
    // Read before it was delivered, asked for afterwards.
    let (waiting, why) = replay(&mut world, letters);
    assert_eq!((waiting, why), (0, vec!["it is gone already"; 4]));
    let (mut world, answer) = died(1);
    answer.set(503);
    let letters = world.store.dead.clone();
    let token = letters[0].idempotency_token.clone();
    replay(&mut world, letters);
    world.api(ApiRequest::Forget { account: ACCOUNT, token: token.clone() });
    world.run(5_000);
    assert_eq!(world.requests.len(), 1, "it was under way");
    assert!(world.store.dead.iter().all(|it| it.idempotency_token != token));
}

/// Whoever asks for all of them while some are being sent is told before they are read.
#[test]
fn nothing_is_read_while_letters_are_being_sent() {
    let (mut world, answer) = died(2);
    answer.set(200);
    let letters = world.store.dead.clone();
    assert_eq!(replay(&mut world, Vec::new()), (0, vec![]));
    replay(&mut world, letters);
    let id = world.api(ApiRequest::Replay(Vec::new()));
    let Some(Err(error)) = world.reply(id) else { panic!("not refused") };
    assert_eq!((error.status, error.code), (429, 20_429));
    world.run(5_000);
    assert_eq!(replay(&mut world, Vec::new()), (0, vec![]));
}

#[test]
fn letters_of_an_account_that_is_suspended_stay() {
    let (mut world, answer) = died(3);
    answer.set(200);
    let letters = world.store.dead.clone();
    replay(&mut world, letters);
    let mut account = world.director.directory().account(ACCOUNT).expect("an account").clone();
    account.status = model::AccountStatus::Suspended;
    let entity = Box::new(model::port::Entity::Account(account));
    let put = ApiRequest::Put { entity, create: false };
    world.api(ApiRequest::Operate(Box::new(put)));
    world.run(5_000);
    assert_eq!((world.requests.len(), world.store.dead.len()), (1, 5));
}

#[test]
fn a_letter_that_nobody_wants_is_forgotten() {
    let (mut world, _) = died(1);
    let token = world.store.dead[0].idempotency_token.clone();
    let id = world.api(ApiRequest::Forget { account: ACCOUNT, token });
    world.run(1_000);
    assert_eq!(world.reply(id), Some(&Ok(ApiDone::Deleted)));
    assert_eq!(world.store.dead.len(), 1);
}
