//! Calls of the API: created, run when answered, redirected, completed, cancelled; and what is
//! configured by it.

mod world;

use base::CallId;
use model::port::{
    ApiDone, ApiError, ApiId, ApiRequest, CreateCall, Entity, EntityKey, Instructions,
    OwnedCommand, UpdateCall,
};
use model::{
    Account, AccountSid, AccountStatus, Application, ApplicationSid, DomainSid, Events, Hook,
    NumberSid, PhoneNumber, SipDomain, StatusHook, VoiceConfig,
};
use world::{ACCOUNT, World, param, status, xml};

fn create(to: &str, instructions: Instructions) -> ApiRequest {
    ApiRequest::CreateCall(Box::new(CreateCall {
        to: to.to_owned(),
        from: "+15550100".to_owned(),
        instructions,
        status: Some(StatusHook {
            hook: Hook::post("http://app.test/status"),
            events: Events::ALL,
        }),
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    }))
}

fn twiml(text: &str) -> Instructions {
    Instructions::Twiml(text.to_owned())
}

fn created(world: &World, id: ApiId) -> CallId {
    match world.reply(id) {
        Some(Ok(ApiDone::Call(row))) => row.sid,
        other => panic!("{other:?}"),
    }
}

fn refused(world: &World, id: ApiId) -> &ApiError {
    match world.reply(id) {
        Some(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn update(call: CallId, update: UpdateCall) -> ApiRequest {
    ApiRequest::UpdateCall { call, update: Box::new(update) }
}

#[test]
fn a_created_call_runs_its_document_when_answered() {
    let mut world = World::new(|_| status(200));
    let id =
        world.api(create("sip:ok@127.0.0.1", twiml("<Response><Pause length=\"4\"/></Response>")));
    assert!(world.reply(id).is_none(), "answered when it is durable");
    world.run(10);
    let call = created(&world, id);
    world.run(30_000);
    let statuses: Vec<_> =
        world.asked("/status").iter().map(|it| param(it, "CallStatus").to_owned()).collect();
    assert_eq!(statuses, ["initiated", "ringing", "in-progress", "completed"]);
    let last = *world.asked("/status").last().unwrap();
    assert_eq!((param(last, "CallDuration"), param(last, "SequenceNumber")), ("4", "3"));
    assert_eq!(param(last, "CallbackSource"), "call-progress-events");
    assert!(param(last, "Timestamp").ends_with("+0000"));
    let row = &world.store.calls[&call];
    assert_eq!((row.duration, row.direction.name()), (Some(4), "outbound-api"));
    world.assert_clean();
}

#[test]
fn a_url_and_an_application_are_asked_when_answered() {
    let hook = Hook::post("http://app.test/out");
    let url = Instructions::Url { hook, fallback: None };
    for instructions in [url, Instructions::Application(ApplicationSid(5))] {
        let mut world = World::new(|request| match request.url.as_str() {
            "http://app.test/out" => xml("<Response><Hangup/></Response>"),
            _ => status(200),
        })
        .with_book(|book| {
            book.applications.push(Application {
                sid: ApplicationSid(5),
                account: ACCOUNT,
                config: VoiceConfig {
                    voice: Some(Hook::post("http://app.test/out")),
                    ..VoiceConfig::default()
                },
                ..Application::default()
            });
        });
        let id = world.api(create("sip:ok@127.0.0.1", instructions));
        world.run(20_000);
        let asked = world.asked("/out")[0];
        assert_eq!(param(asked, "CallStatus"), "in-progress");
        assert_eq!(param(asked, "Direction"), "outbound-api");
        assert_eq!(world.status_of(created(&world, id)), "completed");
        world.assert_clean();
    }
}

#[test]
fn outcomes_of_created_calls() {
    for (to, end) in [
        ("sip:busy@127.0.0.1", "busy"),
        ("sip:ring@127.0.0.1", "no-answer"),
        ("sip:ok@unknown.test", "failed"),
    ] {
        let mut world = World::new(|_| status(200));
        let id = world.api(create(to, twiml("<Response/>")));
        world.run(100_000);
        assert_eq!(world.status_of(created(&world, id)), end);
        let last = *world.asked("/status").last().unwrap();
        assert_eq!(param(last, "CallStatus"), end);
        world.assert_clean();
    }
}

#[test]
fn what_cannot_be_created_is_refused_with_its_code() {
    for (to, instructions, http, code) in [
        ("bob", twiml("<Response/>"), 400, 21_211),
        ("sip:ok@169.254.169.254", twiml("<Response/>"), 400, 13_224),
        ("+4420", twiml("<Response/>"), 400, 13_224),
        ("sip:ok@127.0.0.1", twiml("<Response>"), 400, 12_100),
        ("sip:ok@127.0.0.1", Instructions::Application(ApplicationSid(9)), 400, 21_218),
        (
            "sip:ok@127.0.0.1",
            Instructions::Url { hook: Hook::post("ftp://x"), fallback: None },
            400,
            21_205,
        ),
    ] {
        let mut world = World::new(|_| status(200));
        let id = world.api(create(to, instructions));
        let error = refused(&world, id);
        assert_eq!((error.status, error.code), (http, code), "{to}: {}", error.message);
        world.run(1_000);
        world.assert_clean();
    }
}

#[test]
fn a_redirect_leaves_the_dial_and_goes_on_elsewhere() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Dial action=\"/no\"><Sip>sip:ok@127.0.0.1</Sip></Dial></Response>")
        }
        "http://app.test/elsewhere" => xml("<Response><Pause length=\"2\"/></Response>"),
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let hook = Hook::post("http://app.test/elsewhere");
    let instructions = Some(Instructions::Url { hook, fallback: None });
    let id = world.api(update(call, UpdateCall { instructions, ..UpdateCall::default() }));
    world.run(20_000);
    assert!(world.reply(id).is_some_and(Result::is_ok));
    assert_eq!(world.status_of(world.children_of(call)[0]), "completed");
    assert!(world.asked("/no").is_empty());
    assert_eq!(world.asked("/elsewhere").len(), 1);
    assert_eq!(world.status_of(call), "completed");
    world.assert_clean();
}

/// The dialled leg runs a document of its own, its parent goes on behind the Dial, and neither ends
/// with the other.
#[test]
fn a_dialled_leg_that_is_redirected_leaves_its_dial() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => xml("<Response><Dial action=\"/done\" timeLimit=\"60\">\
             <Sip statusCallback=\"/child\">sip:ok@127.0.0.1</Sip></Dial></Response>"),
        "http://app.test/done" => xml("<Response><Pause length=\"3\"/></Response>"),
        "http://app.test/elsewhere" => xml(
            "<Response><Pause length=\"20\"/><Dial action=\"/own\"><Sip>sip:drop@127.0.0.1</Sip>\
                 </Dial></Response>",
        ),
        "http://app.test/own" => xml("<Response><Pause length=\"1\"/></Response>"),
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(5_000);
    let child = world.children_of(call)[0];
    let hook = Hook::post("http://app.test/elsewhere");
    let instructions = Some(Instructions::Url { hook, fallback: None });
    let id = world.api(update(child, UpdateCall { instructions, ..UpdateCall::default() }));
    world.run(10_000);
    let Some(Ok(ApiDone::Call(row))) = world.reply(id) else { panic!("no row") };
    assert_eq!((row.sid, row.parent), (child, Some(call)));
    assert!(world.commands.contains(&OwnedCommand::Part { call: child }));
    // The parent's action is asked at once; how long they talked is not said.
    let done = world.asked("/done")[0];
    let told = ["DialCallStatus", "DialBridged", "DialCallSid", "DialCallDuration"];
    let told = told.map(|name| param(done, name).to_owned());
    assert_eq!(told, ["completed".to_owned(), "true".to_owned(), child.to_string(), String::new()]);
    assert_eq!(param(world.asked("/elsewhere")[0], "CallSid"), child.to_string());
    assert_eq!(world.status_of(call), "completed", "three seconds later it is over");
    world.run(80_000);
    // Its own Dial, its own end, long after its parent's; the first Dial's limit is not its limit.
    assert_eq!(param(world.asked("/own")[0], "DialCallStatus"), "completed");
    assert_eq!(world.asked("/done").len(), 1);
    assert_eq!(world.status_of(child), "completed");
    let lasted = world.store.calls[&child].duration.unwrap();
    assert!((25..40).contains(&lasted), "{lasted} s");
    assert_eq!(world.asked("/child").len(), 1, "its follower hears of its end");
    world.assert_clean();
}

#[test]
fn a_dialled_leg_is_redirected_while_it_talks_alone() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Dial timeout=\"9\"><Sip>sip:ring@127.0.0.1</Sip></Dial></Response>")
        }
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(3_000);
    let child = world.children_of(call)[0];
    let away = || UpdateCall {
        instructions: Some(twiml("<Response><Pause length=\"1\"/></Response>")),
        ..UpdateCall::default()
    };
    let id = world.api(update(child, away()));
    assert_eq!(refused(&world, id).code, 21_220, "it rings");
    world.run(30_000);
    let id = world.api(update(child, away()));
    assert_eq!(refused(&world, id).status, 404, "it is over");
    world.assert_clean();
}

/// A call whose end was taken for earlier than it was, while somebody still waits to be told of it:
/// its row says what is true, and nobody is told twice.
#[test]
fn an_end_that_was_told_too_early_is_corrected() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Pause length=\"0\"/><Pause length=\"60\"/></Response>")
        }
        // Told of its end again and again: the call is known for some time.
        _ if param(request, "CallStatus") == "completed" => status(500),
        _ => status(200),
    });
    let call = world.call_in("sip:bob@demo.test");
    world.run(2_000);
    world.bye_in(call, 3_000);
    world.run(4_000);
    assert_eq!(world.calls_known(), 1, "its callback waits");
    let row = world.store.calls[&call].clone();
    world.ends_later(call, 7_000_000);
    world.run(1_000);
    let corrected = world.store.calls[&call].clone();
    assert_eq!(corrected.duration, row.duration.map(|seconds| seconds + 7));
    assert_eq!(corrected.end_time.unwrap().0, row.end_time.unwrap().0 + 7_000_000);
    assert_eq!((corrected.status, corrected.answer_time), (row.status, row.answer_time));
    // An earlier one changes nothing, and what is told is the first one.
    world.ends_later(call, 0);
    assert_eq!(world.store.calls[&call], corrected);
    world.run(300_000);
    let completed = |it: &&&model::port::HttpRequest| param(it, "CallStatus") == "completed";
    let told = world.asked("/status");
    let tokens: std::collections::BTreeSet<_> =
        told.iter().filter(completed).map(|it| it.idempotency_token.clone()).collect();
    assert_eq!(tokens.len(), 1, "one end, told until it is heard");
}

#[test]
fn an_account_that_the_operator_suspended_is_brought_back_by_him_alone() {
    let mut world = World::new(|_| status(200));
    let sub = AccountSid(0x5b);
    let account = |status| Account {
        sid: sub,
        parent: ACCOUNT,
        friendly_name: "sub".to_owned(),
        status,
        ..Account::default()
    };
    let put = |status, create| ApiRequest::Put {
        entity: Box::new(Entity::Account(account(status))),
        create,
    };
    let operate = |what| ApiRequest::Operate(Box::new(what));
    let mut ask = |what, wanted: Result<AccountStatus, u32>| {
        let id = world.api(what);
        world.run(100);
        let got = match world.reply(id) {
            Some(Ok(ApiDone::Entity(entity))) => match &**entity {
                Entity::Account(account) => Ok(account.status),
                other => panic!("{other:?}"),
            },
            Some(Err(error)) => Err(error.code),
            other => panic!("{other:?}"),
        };
        assert_eq!(got, wanted);
    };
    use AccountStatus::{Active, Held, Suspended};
    ask(put(Active, true), Ok(Active));
    ask(put(Suspended, false), Ok(Suspended));
    ask(put(Active, false), Ok(Active));
    ask(operate(put(Suspended, false)), Ok(Held));
    ask(put(Active, false), Err(20_403));
    ask(put(Suspended, false), Ok(Held));
    ask(put(Active, false), Err(20_403));
    ask(operate(put(Active, false)), Ok(Active));
    ask(put(Suspended, false), Ok(Suspended));
}

#[test]
fn an_ended_call_is_deleted_and_one_that_stands_is_not() {
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"5\"/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    world.run(2_000);
    let id = world.api(ApiRequest::HideCall(call));
    assert_eq!((refused(&world, id).status, refused(&world, id).code), (400, 20_009));
    world.run(30_000);
    assert!(world.store.calls.contains_key(&call));
    let id = world.api(ApiRequest::HideCall(call));
    world.run(1_000);
    assert_eq!(world.reply(id), Some(&Ok(ApiDone::Deleted)));
    assert!(!world.store.calls.contains_key(&call));
    assert_eq!((world.store.cdrs.len(), world.store.usage.len()), (1, 1), "what it cost stays");
}

#[test]
fn completing_answers_with_the_end() {
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"600\"/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    world.run(3_000);
    let complete = UpdateCall { complete: true, ..UpdateCall::default() };
    let id = world.api(update(call, complete.clone()));
    world.run(3_000);
    let Some(Ok(ApiDone::Call(row))) = world.reply(id) else { panic!("no row") };
    assert_eq!(row.status.name(), "completed");
    let id = world.api(update(call, complete));
    assert_eq!(refused(&world, id).status, 404, "the live state is gone; the API knows the row");
    world.assert_clean();
}

#[test]
fn cancelling_is_for_calls_without_an_answer() {
    let mut world = World::new(|_| status(200));
    let cancel = || UpdateCall { cancel: true, ..UpdateCall::default() };
    let ringing = world.api(create("sip:ring@127.0.0.1", twiml("<Response/>")));
    let answered =
        world.api(create("sip:ok@127.0.0.1", twiml("<Response><Pause length=\"9\"/></Response>")));
    world.run(3_000);
    let (ringing, answered) = (created(&world, ringing), created(&world, answered));
    let id = world.api(update(answered, cancel()));
    assert_eq!(refused(&world, id).code, 21_220);
    let id = world.api(update(ringing, cancel()));
    world.run(20_000);
    assert!(world.reply(id).is_some_and(Result::is_ok));
    assert_eq!(world.status_of(ringing), "canceled");
    assert_eq!(world.status_of(answered), "completed");
    world.assert_clean();
}

#[test]
fn a_foreign_call_does_not_exist() {
    let mut world =
        World::new(|_| xml("<Response><Pause length=\"0\"/><Pause length=\"5\"/></Response>"));
    let call = world.call_in("sip:bob@demo.test");
    world.run(1_000);
    let what = update(call, UpdateCall { complete: true, ..UpdateCall::default() });
    let id = ApiId(1);
    let request = model::port::ApiCall { id, account: AccountSid(0xbad), what };
    world.director.handle_api(world.now, request);
    world.drain();
    assert_eq!(refused(&world, id).status, 404);
    world.run(20_000);
    world.assert_clean();
}

#[test]
fn what_is_configured_takes_effect_and_is_unique() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://new.test/voice" => xml("<Response><Reject reason=\"busy\"/></Response>"),
        _ => status(200),
    });
    let domain = |sid, name: &str| ApiRequest::Put {
        entity: Box::new(Entity::SipDomain(SipDomain {
            sid: DomainSid(sid),
            account: ACCOUNT,
            domain_name: name.to_owned(),
            config: VoiceConfig {
                voice: Some(Hook::post("http://new.test/voice")),
                ..VoiceConfig::default()
            },
            sources: vec!["127.0.0.0/8".parse().unwrap()],
            ..SipDomain::default()
        })),
        create: true,
    };
    let id = world.api(domain(9, "new.test"));
    world.run(10);
    assert!(matches!(world.reply(id), Some(Ok(ApiDone::Entity(_)))));
    let call = world.call_in("sip:x@new.test");
    world.run(1_000);
    assert_eq!(world.status_of(call), "busy");
    for (request, code) in [
        (domain(10, "new.test"), 21_231),
        (domain(10, "New.test"), 21_232),
        (domain(9, "other.test"), 20_409),
    ] {
        let id = world.api(request);
        assert_eq!(refused(&world, id).code, code);
    }
    let number = PhoneNumber {
        sid: NumberSid(77),
        account: ACCOUNT,
        number: "15550100".to_owned(),
        ..PhoneNumber::default()
    };
    let put = ApiRequest::Put { entity: Box::new(Entity::PhoneNumber(number)), create: true };
    let id = world.api(put);
    assert_eq!(refused(&world, id).code, 21_422, "the same number without its plus");
    let id = world.api(ApiRequest::Delete(EntityKey::SipDomain(DomainSid(9))));
    world.run(10);
    assert!(matches!(world.reply(id), Some(Ok(ApiDone::Deleted))));
    world.call_in("sip:x@new.test");
    world.run(1_000);
    assert!(world.commands.iter().any(|it| matches!(it, OwnedCommand::Reject { code: 404, .. })));
}

#[test]
fn no_tenant_can_make_the_switchs_own_address_a_domain() {
    let settings = |settings: &mut director::Settings| {
        settings.sip_host = "SIP.demo.test:5060".to_owned();
        settings.own_hosts = vec!["edge.demo.test".to_owned()];
    };
    let trap = |name: &str| SipDomain {
        sid: DomainSid(66),
        account: AccountSid(0xbad),
        domain_name: name.to_owned(),
        config: VoiceConfig {
            voice: Some(Hook::post("http://thief.test/voice")),
            ..VoiceConfig::default()
        },
        sources: vec!["0.0.0.0/0".parse().unwrap()],
        ..SipDomain::default()
    };
    for host in ["127.0.0.1", "sip.demo.test", "edge.demo.test"] {
        let mut world = World::new(|_| status(200)).with_settings(settings);
        let entity = Box::new(Entity::SipDomain(SipDomain { account: ACCOUNT, ..trap(host) }));
        let id = world.api(ApiRequest::Put { entity, create: true });
        assert_eq!(refused(&world, id).code, 21_232, "{host}");
        // One that is there from before catches nothing.
        let mut world = world.with_book(|book| book.domains.push(trap(host)));
        world.call_in(&format!("sip:+15550100@{host}"));
        world.run(1_000);
        assert_eq!(world.asked("http://thief.test").len(), 0, "{host}");
        assert_eq!(world.asked("http://app.test/voice").len(), 1, "{host}");
    }
}

#[test]
fn accounts_get_the_next_number() {
    let mut world = World::new(|_| status(200));
    let sub = Account { sid: AccountSid(0xad), parent: ACCOUNT, ..Account::default() };
    let put = ApiRequest::Put { entity: Box::new(Entity::Account(sub)), create: true };
    let id = world.api(put);
    world.run(10);
    let Some(Ok(ApiDone::Entity(entity))) = world.reply(id) else { panic!("refused") };
    let Entity::Account(account) = entity.as_ref() else { panic!("no account") };
    assert_eq!(account.number, world::ACCOUNT_NUMBER + 1);
}

/// The account and a sub-account of it with a number, a domain and a key of its own.
fn family(book: &mut model::Book) {
    let sub = AccountSid(0xad);
    book.accounts.push(Account { sid: sub, number: 8, parent: ACCOUNT, ..Account::default() });
    let number = "+15550200".to_owned();
    let sid = NumberSid(5);
    book.numbers.push(PhoneNumber { sid, account: sub, number, ..PhoneNumber::default() });
    let domain = book.domains[0].clone();
    let (sid, domain_name) = (DomainSid(5), "sub.test".to_owned());
    book.domains.push(SipDomain { sid, account: sub, domain_name, ..domain });
    let sid = model::KeySid(5);
    book.api_keys.push(model::ApiKey { sid, account: sub, ..model::ApiKey::default() });
}

fn sub_account(world: &World, status: AccountStatus) -> Account {
    let mut account =
        world.director.directory().account(AccountSid(0xad)).expect("an account").clone();
    account.status = status;
    account
}

fn put(account: Account) -> ApiRequest {
    ApiRequest::Put { entity: Box::new(Entity::Account(account)), create: false }
}

fn pausing() -> World {
    World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            xml("<Response><Pause length=\"0\"/><Pause length=\"5\"/><Dial>\
             <Sip>sip:ok@127.0.0.1</Sip></Dial></Response>")
        }
        _ => status(200),
    })
    .with_book(family)
}

#[test]
fn a_suspended_account_dials_nobody_and_its_standing_call_goes_on() {
    let mut world = pausing();
    let call = world.call_in("sip:bob@sub.test");
    world.run(1_000);
    world.api(put(sub_account(&world, AccountStatus::Suspended)));
    world.run(2_000);
    assert_eq!(world.status_of(call), "in-progress");
    world.run(10_000);
    assert!(world.children_of(call).is_empty());
    let reasons: Vec<_> = world.store.alerts.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["account-not-active"]);
    world.assert_clean();
    // So is one whose parent is suspended.
    let mut world = pausing().with_book(|book| book.accounts[0].status = AccountStatus::Suspended);
    world.call_in("sip:bob@sub.test");
    world.run(1_000);
    assert!(world.asked("/voice").is_empty());
}

#[test]
fn a_hard_suspension_ends_the_calls_of_the_account_and_of_nobody_else() {
    let mut world = pausing();
    let (hit, spared) = (world.call_in("sip:bob@sub.test"), world.call_in("sip:bob@demo.test"));
    world.run(1_000);
    let shut = ApiRequest::Shut(Box::new(sub_account(&world, AccountStatus::Suspended)));
    // A stranger asks for it.
    let (id, account) = (ApiId(3), AccountSid(0xbad));
    let request = model::port::ApiCall { id, account, what: shut.clone() };
    world.director.handle_api(world.now, request);
    world.run(500);
    assert_eq!(refused(&world, id).status, 404);
    assert_eq!(world.status_of(hit), "in-progress");
    let id = world.api(shut);
    world.run(100);
    assert!(matches!(world.reply(id), Some(Ok(ApiDone::Entity(_)))));
    assert_eq!((world.status_of(hit), world.status_of(spared)), ("completed", "in-progress"));
    let active = ApiRequest::Shut(Box::new(sub_account(&world, AccountStatus::Active)));
    let id = world.api(active);
    assert_eq!(refused(&world, id).code, 20_001);
}

#[test]
fn a_closed_account_frees_what_it_held_for_good() {
    let mut world = pausing();
    let call = world.call_in("sip:bob@sub.test");
    world.run(1_000);
    // The parent goes, and its sub-account with it.
    let mut parent = world.director.directory().account(ACCOUNT).expect("an account").clone();
    parent.status = AccountStatus::Closed;
    let id = world.api(ApiRequest::Operate(Box::new(put(parent.clone()))));
    world.run(100);
    assert!(matches!(world.reply(id), Some(Ok(ApiDone::Entity(_)))));
    assert_eq!(world.status_of(call), "completed");
    let directory = world.director.directory();
    assert_eq!(directory.account(AccountSid(0xad)).expect("kept").status, AccountStatus::Closed);
    assert!(directory.number("+15550200").is_none() && directory.number("+15550100").is_none());
    assert!(directory.domain("sub.test").is_none() && directory.domain("demo.test").is_none());
    assert_eq!(directory.all::<model::ApiKey>().count(), 0);
    let deleted = world.store.deleted.len();
    assert_eq!(deleted, 5, "two numbers, two domains, a key");
    parent.status = AccountStatus::Active;
    let id = world.api(put(parent));
    assert_eq!(refused(&world, id).code, 20_001);
    let sid = NumberSid(9);
    let number = "+15550300".to_owned();
    let number = PhoneNumber { sid, account: ACCOUNT, number, ..PhoneNumber::default() };
    let entity = Box::new(Entity::PhoneNumber(number));
    let id = world.api(ApiRequest::Put { entity, create: true });
    assert_eq!(refused(&world, id).code, 20_001);
}
