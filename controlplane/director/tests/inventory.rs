//! Whose is it: a second tenant tries to take another's number, domain, caller and network. The
//! operator owns the inventory, and gives it by what no tenant can ask for.

mod world;

use model::port::{
    ApiCall, ApiDone, ApiError, ApiId, ApiRequest, CreateCall, Entity, EntityKey, Instructions,
    OwnedCommand,
};
use model::{
    Account, AccountLimits, AccountSid, AccountStatus, Book, CallerId, CallerSid, Credential,
    CredentialList, CredentialListSid, CredentialSid, DomainAuth, DomainSid, DomainSuffix, Grant,
    GrantKey, Hook, Mapping, NumberRange, NumberSid, OutboundRoute, PhoneNumber, Price, PriceKey,
    RangeSid, RouteSid, SecondToken, SipDomain, SuffixSid, TokenKey, VoiceConfig,
};
use world::{ACCOUNT, Caller, World, status, xml};

const THIEF: AccountSid = AccountSid(0x7e);
const SUB: AccountSid = AccountSid(0xad);

/// The world's account has +1555 and demo.test; the thief has +4930 and thief.test, and a
/// sub-account of the world's account has nothing of its own.
fn two_tenants(document: &'static str) -> World {
    World::new(move |_| xml(document)).with_book(|book| {
        let own = |sid, parent, number| Account { sid, parent, number, ..Account::default() };
        book.accounts.extend([own(THIEF, THIEF, 8), own(SUB, ACCOUNT, 9)]);
        book.grants.clear();
        book.ranges = [(1, ACCOUNT, "+1555"), (2, THIEF, "+4930")]
            .map(|(sid, account, prefix)| NumberRange {
                sid: RangeSid(sid),
                account: Some(account),
                prefix: prefix.to_owned(),
                ..NumberRange::default()
            })
            .to_vec();
        book.suffixes = [(1, ACCOUNT, "demo.test"), (2, THIEF, "thief.test")]
            .map(|(sid, account, suffix)| DomainSuffix {
                sid: SuffixSid(sid),
                account: Some(account),
                suffix: suffix.to_owned(),
                ..DomainSuffix::default()
            })
            .to_vec();
    })
}

fn ask(world: &mut World, account: AccountSid, what: ApiRequest) -> ApiId {
    let id = ApiId(0x1000 + world.replies.len() as u64);
    world.director.handle_api(world.now, ApiCall { id, account, what });
    world.drain();
    world.run(100);
    id
}

fn put(entity: impl Into<Entity>, create: bool) -> ApiRequest {
    ApiRequest::Put { entity: Box::new(entity.into()), create }
}

fn operate(what: ApiRequest) -> ApiRequest {
    ApiRequest::Operate(Box::new(what))
}

/// What came of a request: its code, 0 for done.
fn came(world: &mut World, account: AccountSid, what: ApiRequest) -> u32 {
    let id = ask(world, account, what);
    match world.reply(id) {
        Some(Ok(_)) => 0,
        Some(Err(ApiError { code, .. })) => *code,
        None => panic!("no answer"),
    }
}

fn phone(sid: u128, account: AccountSid, number: &str) -> PhoneNumber {
    let (sid, number) = (NumberSid(sid), number.to_owned());
    PhoneNumber { sid, account, number, ..PhoneNumber::default() }
}

fn domain(sid: u128, account: AccountSid, name: &str, network: &str) -> SipDomain {
    SipDomain {
        sid: DomainSid(sid),
        account,
        domain_name: name.to_owned(),
        sources: vec![network.parse().unwrap()],
        config: VoiceConfig {
            voice: Some(Hook::post("http://thief.test/voice")),
            ..VoiceConfig::default()
        },
        ..SipDomain::default()
    }
}

#[test]
fn numbers_come_from_the_accounts_ranges_and_some_are_nobodys() {
    let mut world = two_tenants("<Response/>");
    for (account, number, code) in [
        (THIEF, "+15550101", 21_422),
        (THIEF, "15550101", 21_422),
        (THIEF, "112", 21_422),
        (THIEF, "+911", 21_422),
        (THIEF, "+33123456789", 21_422),
        (THIEF, "+493012345", 0),
        (ACCOUNT, "+15550101", 0),
        (SUB, "+15550102", 0),
        (SUB, "+493012346", 21_422),
        (ACCOUNT, "911", 21_422),
    ] {
        let sid = 100 + world.replies.len() as u128;
        let code_of = came(&mut world, account, put(phone(sid, account, number), true));
        assert_eq!(code_of, code, "{number} for {account}");
    }
    // One that it has is not made another by a change.
    let changed = phone(1, ACCOUNT, "+493099999");
    assert_eq!(came(&mut world, ACCOUNT, put(changed, false)), 21_422);
    assert_eq!(came(&mut world, ACCOUNT, put(phone(1, ACCOUNT, "+15550100"), false)), 0);
}

/// What was taken from a range stays when the range is taken back, and the operator is told so.
#[test]
fn numbers_stay_when_their_range_is_taken_back() {
    // Given by the API, not in the file.
    let mut world = two_tenants("<Response/>").with_book(|book| {
        book.ranges.iter_mut().for_each(|range| range.date_created = base::Wall(1));
    });
    assert_eq!(came(&mut world, THIEF, put(phone(200, THIEF, "+493012345"), true)), 0);
    for sid in [1, 2] {
        let back = operate(ApiRequest::Delete(EntityKey::NumberRange(RangeSid(sid))));
        assert_eq!(came(&mut world, ACCOUNT, back), 0);
    }
    let told = world.notices.iter().filter(|it| it.contains("stay with their accounts")).count();
    assert_eq!(told, 2, "{:?}", world.notices);
    assert!(world.notices.iter().any(|it| it.contains("+493012345")));
    // Nothing new is taken from it.
    assert_eq!(came(&mut world, THIEF, put(phone(201, THIEF, "+493012346"), true)), 21_422);
}

#[test]
fn domains_come_from_the_accounts_suffixes_and_networks_are_not_wider_than_allowed() {
    let mut world = two_tenants("<Response/>").with_settings(|settings| {
        settings.own_hosts.push("sip.thief.test".to_owned());
    });
    for (account, name, network, code) in [
        (THIEF, "pbx.demo.test", "192.0.2.0/24", 21_232),
        (THIEF, "bank.example", "192.0.2.0/24", 21_232),
        (THIEF, "notthief.test", "192.0.2.0/24", 21_232),
        (THIEF, "sip.thief.test", "192.0.2.0/24", 21_232),
        (THIEF, "a.thief.test", "0.0.0.0/0", 20_001),
        (THIEF, "a.thief.test", "::/0", 20_001),
        (THIEF, "a.thief.test", "192.0.0.0/23", 20_001),
        (THIEF, "a.thief.test", "192.0.2.0/24", 0),
        (SUB, "pbx.demo.test", "2001:db8::/48", 0),
    ] {
        let sid = 100 + world.replies.len() as u128;
        let made = put(domain(sid, account, name, network), true);
        assert_eq!(came(&mut world, account, made), code, "{name} for {account} from {network}");
    }
    // The account's own list likewise; what stands there from before may stay.
    let mut account = world.director.directory().account(ACCOUNT).unwrap().clone();
    account.sources.push("203.0.113.0/24".parse().unwrap());
    assert_eq!(came(&mut world, ACCOUNT, put(account.clone(), false)), 0);
    account.sources.push("128.0.0.0/1".parse().unwrap());
    assert_eq!(came(&mut world, ACCOUNT, put(account.clone(), false)), 20_001);
    let grant = Grant {
        account: Some(ACCOUNT),
        source_bits_v4: Some(0),
        date_created: world.now.wall,
        ..Grant::default()
    };
    assert_eq!(came(&mut world, ACCOUNT, operate(put(grant, true))), 0);
    assert_eq!(came(&mut world, ACCOUNT, put(account, false)), 0);
}

fn create(from: &str) -> ApiRequest {
    ApiRequest::CreateCall(Box::new(CreateCall {
        to: "sip:ok@127.0.0.1".to_owned(),
        from: from.to_owned(),
        instructions: Instructions::Twiml("<Response/>".to_owned()),
        status: None,
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    }))
}

#[test]
fn the_api_shows_callers_that_are_owned_or_verified() {
    let mut world = two_tenants("<Response/>").with_book(|book| {
        book.callers.push(CallerId {
            sid: CallerSid(1),
            account: Some(THIEF),
            number: "+4940123456".to_owned(),
            ..CallerId::default()
        });
    });
    for (account, from, code) in [
        (THIEF, "+15550100", 21_210),
        (THIEF, "15550100", 21_210),
        (THIEF, "sip:+15550100@demo.test", 21_210),
        (THIEF, "sip:alice@demo.test", 21_210),
        (THIEF, "sip:alice@bank.example", 21_210),
        (THIEF, "sip:+15550100@127.0.0.1", 21_210),
        (THIEF, "112", 21_210),
        (THIEF, "1_5550100", 21_210),
        (THIEF, "+4940123456", 0),
        (THIEF, "alice", 0),
        (ACCOUNT, "+4940123456", 21_210),
        (ACCOUNT, "+15550100", 0),
        (ACCOUNT, "sip:alice@demo.test", 0),
        (ACCOUNT, "sip:100@demo.test", 0),
        (SUB, "+15550100", 21_210),
    ] {
        assert_eq!(came(&mut world, account, create(from)), code, "{from} of {account}");
    }
}

fn shown(world: &World) -> Vec<&str> {
    fn order(command: &OwnedCommand) -> Option<&str> {
        match command {
            OwnedCommand::Originate(order) => Some(&order.from),
            _ => None,
        }
    }
    world.commands.iter().filter_map(order).collect()
}

fn reasons(world: &World) -> Vec<&str> {
    world.store.alerts.iter().map(|alert| alert.reason.as_str()).collect()
}

#[test]
fn a_dial_shows_the_calls_own_caller_where_another_is_not_the_accounts() {
    let document = "<Response><Dial callerId=\"+493012345\">+15550199</Dial></Response>";
    let mut world = two_tenants(document);
    world.caller = Caller { from: "sip:+15557001@192.0.2.7", ..Caller::default() };
    world.call_in("sip:+15550100@10.1.1.1");
    world.run(500);
    assert_eq!(shown(&world), ["sip:+15557001@127.0.0.1:5060"]);
    assert_eq!(reasons(&world), ["dial-caller-id"]);
}

#[test]
fn what_a_tenants_own_phones_claim_is_not_shown_to_numbers() {
    let document = "<Response><Dial>+15550199</Dial></Response>";
    for (uri, from, carriers, told) in [
        // A tenant's network, by its domain: anybody's number.
        ("sip:x@demo.test", "sip:+493012345@pbx.demo.test", "", &["caller-not-owned"][..]),
        ("sip:x@demo.test", "sip:+15550100@pbx.demo.test", "", &[]),
        ("sip:x@demo.test", "sip:alice@pbx.demo.test", "", &[]),
        ("sip:x@demo.test", "sip:100@pbx.demo.test", "", &[]),
        ("sip:x@demo.test", "sip:anonymous@anonymous.invalid", "", &[]),
        // What a carrier may cut to a number, and a user of another account's.
        ("sip:x@demo.test", "sip:+493012345x@pbx.demo.test", "", &["caller-not-owned"]),
        ("sip:x@demo.test", "sip:4930123456x@pbx.demo.test", "", &["caller-not-owned"]),
        ("sip:x@demo.test", "sip:support@carrier.thief.test", "", &["caller-not-owned"]),
        // By its number, from its own network, while the carriers are known.
        ("sip:+15550100@h", "sip:+493012345@192.0.2.7", "192.0.2.0/24", &["caller-not-owned"]),
        ("sip:+15550100@h", "sip:+493012345@192.0.2.7", "127.0.0.1/32", &[]),
        ("sip:+15550100@h", "sip:+493012345@192.0.2.7", "", &[]),
    ] {
        let anothers = |book: &mut Book| {
            book.domains.push(domain(9, THIEF, "carrier.thief.test", "192.0.2.0/24"));
        };
        let mut world = two_tenants(document).with_book(anothers).with_settings(|settings| {
            settings.carriers = carriers.parse().into_iter().collect();
        });
        world.caller = Caller { from, ..Caller::default() };
        let call = world.call_in(uri);
        world.run(500);
        assert_eq!(
            (reasons(&world).as_slice(), shown(&world).len()),
            (told, 1 - told.len()),
            "{from}"
        );
        world.bye_in(call, 100);
        world.run(60_000);
        world.assert_clean();
    }
}

/// The name beside the caller: a carrier's, and of a caller that is the account's own, unless it is
/// a number itself.
#[test]
fn names_that_a_tenants_phones_claim_are_shown_for_callers_of_its_own() {
    let document = "<Response><Dial>+15550199</Dial></Response>";
    for (from, name, carriers, expected) in [
        ("sip:+15550100@pbx.demo.test", "Demo Ltd", "", "Demo Ltd"),
        ("sip:+15550100@pbx.demo.test", "+49 30 123456", "", ""),
        ("sip:alice@pbx.demo.test", "Victim Bank", "", ""),
        ("sip:alice@pbx.demo.test", "Victim Bank", "127.0.0.1/32", "Victim Bank"),
    ] {
        let mut world = two_tenants(document).with_settings(|settings| {
            settings.carriers = carriers.parse().into_iter().collect();
        });
        world.caller = Caller { from, from_name: name, ..Caller::default() };
        world.call_in("sip:x@demo.test");
        world.run(500);
        let names = world.commands.iter().filter_map(|command| match command {
            OwnedCommand::Originate(originate) => Some(originate.from_name.as_str()),
            _ => None,
        });
        assert_eq!(names.collect::<Vec<_>>(), [expected], "{from} {name} {carriers}");
    }
}

#[test]
fn what_a_carrier_sends_to_a_number_goes_there_whatever_domain_it_names() {
    let trap = |book: &mut Book| {
        book.domains.push(domain(9, THIEF, "carrier.thief.test", "127.0.0.0/8"));
    };
    for (carriers, caught) in [("", true), ("127.0.0.1/32", false)] {
        let mut world = two_tenants("<Response/>").with_book(trap).with_settings(|settings| {
            settings.carriers = carriers.parse().into_iter().collect();
        });
        world.call_in("sip:+15550100@carrier.thief.test");
        world.run(500);
        assert_eq!(world.asked("http://thief.test").len(), usize::from(caught));
        assert_eq!(world.asked("http://app.test/voice").len(), usize::from(!caught));
    }
    // Where the domain takes nothing from there and the number does, the number goes first anyhow.
    let mut world = two_tenants("<Response/>").with_book(|book| {
        book.domains.push(domain(9, THIEF, "carrier.thief.test", "192.0.2.0/24"));
    });
    world.call_in("sip:+15550100@carrier.thief.test");
    world.run(500);
    assert_eq!(world.asked("http://app.test/voice").len(), 1);
}

/// One of each thing that is the operator's.
fn operators() -> Vec<Entity> {
    let (account, date_created) = (Some(THIEF), base::Wall(1));
    let numbers = NumberRange { sid: RangeSid(9), account, date_created, ..Default::default() };
    let suffix = DomainSuffix { sid: SuffixSid(9), account, date_created, ..Default::default() };
    let number = "+15550100".to_owned();
    let caller =
        CallerId { sid: CallerSid(9), account, number, date_created, ..Default::default() };
    let targets = vec!["192.0.2.66".to_owned()];
    let route = OutboundRoute {
        sid: RouteSid(9),
        account,
        targets,
        date_created,
        ..OutboundRoute::default()
    };
    let price = Price {
        account,
        service: model::Service::SipEgress,
        unit: model::PriceUnit::Minute,
        price: model::Nanos(0),
        currency: model::Currency::USD,
        minimum_s: 0,
        increment_s: 1,
    };
    let grant = Grant { account, any_caller: true, date_created, ..Grant::default() };
    vec![numbers.into(), suffix.into(), caller.into(), route.into(), price.into(), grant.into()]
}

#[test]
fn what_is_the_operators_no_tenant_makes_or_deletes_and_the_operator_does() {
    let mut world = two_tenants("<Response/>");
    for thing in operators() {
        assert_eq!(came(&mut world, THIEF, put(thing.clone(), true)), 20_404, "{thing:?}");
        assert_eq!(came(&mut world, THIEF, operate(put(thing.clone(), true))), 0, "{thing:?}");
        assert_eq!(came(&mut world, THIEF, ApiRequest::Delete(thing.key())), 20_404, "{thing:?}");
    }
    assert_eq!(came(&mut world, THIEF, create("+15550100")), 0, "granted");
    for key in [
        EntityKey::from(GrantKey(Some(THIEF))),
        CallerSid(9).into(),
        PriceKey(Some(THIEF), model::Service::SipEgress).into(),
    ] {
        assert_eq!(came(&mut world, ACCOUNT, operate(ApiRequest::Delete(key))), 0);
    }
    assert_eq!(came(&mut world, THIEF, create("+15550100")), 21_210, "taken back");
    // The operator is no tenant, and what the file says is changed in the file.
    for (what, code) in [
        (create("alice"), 20_404),
        (put(phone(300, THIEF, "+493012345"), true), 20_404),
        (ApiRequest::Delete(NumberSid(1).into()), 20_404),
        (ApiRequest::Delete(RangeSid(1).into()), 20_001),
    ] {
        assert_eq!(came(&mut world, ACCOUNT, operate(what)), code);
    }
    let nobodys = NumberRange {
        sid: RangeSid(10),
        account: Some(AccountSid(0xbad)),
        prefix: "+33".to_owned(),
        ..NumberRange::default()
    };
    assert_eq!(came(&mut world, ACCOUNT, operate(put(nobodys, true))), 20_404);
}

#[test]
fn accounts_and_their_limits_are_the_operators_and_a_tenant_keeps_what_he_has() {
    let mut world = two_tenants("<Response/>");
    let limits = AccountLimits { calls_max: 1, calls_per_second: 7 };
    let fresh = AccountSid(0xf0);
    let account = Account { sid: fresh, parent: fresh, limits, ..Account::default() };
    assert_eq!(came(&mut world, ACCOUNT, put(account.clone(), true)), 20_404);
    assert_eq!(came(&mut world, ACCOUNT, operate(put(account, true))), 0);
    let mut known = world.director.directory().account(fresh).unwrap().clone();
    assert_eq!((known.number, known.limits), (10, limits));
    known.limits = AccountLimits::default();
    known.auth_token = "mine".into();
    assert_eq!(came(&mut world, fresh, put(known, false)), 0);
    let known = world.director.directory().account(fresh).unwrap();
    assert_eq!((known.limits, known.auth_token.0.as_str()), (limits, ""));
    // A sub-account has its family's bounds, and shares them.
    let sub = AccountSid(0xf1);
    let account = Account { sid: sub, parent: fresh, ..Account::default() };
    assert_eq!(came(&mut world, fresh, put(account, true)), 0);
    assert_eq!(world.director.directory().account(sub).unwrap().limits, limits);
    let below = Account { sid: AccountSid(0xf2), parent: sub, ..Account::default() };
    assert_eq!(came(&mut world, sub, put(below, true)), 20_404, "no sub-accounts of those");
    let dial = |world: &mut World, account| came(world, account, create("alice"));
    assert_eq!(dial(&mut world, sub), 0);
    assert_eq!((dial(&mut world, sub), dial(&mut world, fresh)), (20_429, 20_429));
    let mut account = world.director.directory().account(fresh).unwrap().clone();
    account.limits.calls_max = 2;
    assert_eq!(came(&mut world, fresh, operate(put(account.clone(), false))), 0);
    assert_eq!((dial(&mut world, sub), dial(&mut world, fresh)), (20_429, 0));
    account.status = AccountStatus::Suspended;
    assert_eq!(came(&mut world, fresh, operate(ApiRequest::Shut(Box::new(account)))), 0);
    world.run(30_000);
    assert_eq!((dial(&mut world, sub), dial(&mut world, fresh)), (20_005, 20_005));
    world.assert_clean();
}

/// Each was read before the other's was stored.
#[test]
fn an_accounts_own_update_and_the_operators_do_not_undo_each_other() {
    let mut world = two_tenants("<Response/>");
    let read = world.director.directory().account(THIEF).expect("an account").clone();
    let held = Account { status: AccountStatus::Suspended, ..read.clone() };
    assert_eq!(came(&mut world, ACCOUNT, operate(put(held, false))), 0);
    let friendly_name = "Ours".to_owned();
    let sources = vec!["192.0.2.0/24".parse().expect("a network")];
    let own = Account { friendly_name, sources: sources.clone(), ..read.clone() };
    assert_eq!(came(&mut world, THIEF, put(own, false)), 0);
    let known = world.director.directory().account(THIEF).expect("an account");
    assert_eq!((known.status, &known.sources), (AccountStatus::Held, &sources));
    assert_eq!(known.friendly_name, "Ours");
    let limits = AccountLimits { calls_max: 1, calls_per_second: 7 };
    let operators = Account { limits, status: AccountStatus::Suspended, ..read };
    assert_eq!(came(&mut world, ACCOUNT, operate(put(operators, false))), 0);
    let known = world.director.directory().account(THIEF).expect("an account");
    assert_eq!((known.limits, &known.sources), (limits, &sources));
}

#[test]
fn what_one_account_may_be_charged_is_in_one_currency() {
    let sub = AccountSid(0xb2);
    let mut world = two_tenants("<Response/>").with_book(|book| {
        let number = 20;
        book.accounts.push(Account { sid: sub, parent: THIEF, number, ..Account::default() });
        book.prices.clear();
    });
    let price = |account, service, code: &[u8; 3]| {
        let unit = model::PriceUnit::Minute;
        let (price, currency) = (model::Nanos(60_000_000_000), model::Currency(*code));
        let (minimum_s, increment_s) = (0, 1);
        let price = Price { account, service, unit, price, currency, minimum_s, increment_s };
        Entity::from(price)
    };
    let (egress, relay) = (model::Service::SipEgress, model::Service::MediaRelay);
    for (account, service, code, why) in [
        (Some(THIEF), egress, b"EUR", 0),
        (Some(sub), relay, b"USD", 20_001),
        (None, relay, b"USD", 20_001),
        (Some(ACCOUNT), relay, b"USD", 0),
        (Some(sub), relay, b"EUR", 0),
        (None, egress, b"EUR", 20_001),
    ] {
        let put = operate(put(price(account, service, code), true));
        assert_eq!(came(&mut world, ACCOUNT, put), why, "{account:?} {code:?}");
    }
    let change = operate(put(price(Some(THIEF), egress, b"USD"), false));
    assert_eq!(came(&mut world, ACCOUNT, change), 20_001, "its sub-account has euros");
    let same = operate(put(price(Some(THIEF), egress, b"EUR"), false));
    assert_eq!(came(&mut world, ACCOUNT, same), 0);
    // A row says what its price is in, whatever was charged when the call began.
    let gone = operate(ApiRequest::Delete(PriceKey(Some(THIEF), egress).into()));
    assert_eq!(came(&mut world, ACCOUNT, gone), 0);
    assert_eq!(came(&mut world, THIEF, create("alice")), 0);
    let again = operate(put(price(Some(THIEF), egress, b"EUR"), true));
    assert_eq!(came(&mut world, ACCOUNT, again), 0);
    world.run(30_000);
    let row = world.store.calls.values().next().expect("a call");
    assert_eq!(row.price_unit, model::Currency(*b"EUR"));
    assert!(row.price.is_some());
}

#[test]
fn a_second_token_takes_the_place_of_the_first_when_it_is_told_to() {
    let mut world = World::new(|_| status(200));
    let second = |account| SecondToken { account, token: "two".into(), ..SecondToken::default() };
    let key = EntityKey::from(TokenKey(ACCOUNT));
    assert_eq!(came(&mut world, ACCOUNT, ApiRequest::PromoteToken), 20_404);
    assert_eq!(came(&mut world, THIEF, put(second(ACCOUNT), true)), 20_404);
    assert_eq!(came(&mut world, ACCOUNT, put(second(ACCOUNT), true)), 0);
    assert_eq!(came(&mut world, ACCOUNT, put(second(ACCOUNT), true)), 20_409);
    assert_eq!(world.director.directory().auth_token(ACCOUNT).0, "token");
    assert_eq!(came(&mut world, THIEF, ApiRequest::Delete(key)), 20_404);
    let id = ask(&mut world, ACCOUNT, ApiRequest::PromoteToken);
    let Some(Ok(ApiDone::Entity(entity))) = world.reply(id) else { panic!("refused") };
    let Entity::Account(account) = entity.as_ref() else { panic!("no account") };
    assert_eq!((account.auth_token.0.as_str(), account.number), ("two", world::ACCOUNT_NUMBER));
    assert!(world.director.directory().second_token(ACCOUNT).is_none());
    assert_eq!(world.store.deleted, [key]);
}

/// Credentials and mappings are of the account's own lists and domains, and go with them.
#[test]
fn credentials_are_mapped_within_an_account_and_go_with_their_list() {
    let mut world = two_tenants("<Response/>");
    let list = |sid, account| CredentialList {
        sid: CredentialListSid(sid),
        account,
        ..CredentialList::default()
    };
    assert_eq!(came(&mut world, ACCOUNT, put(list(1, ACCOUNT), true)), 0);
    assert_eq!(came(&mut world, THIEF, put(list(2, THIEF), true)), 0);
    assert_eq!(
        came(&mut world, ACCOUNT, put(domain(50, ACCOUNT, "a.demo.test", "192.0.2.0/24"), true)),
        0
    );
    let credential = |sid, account, list, username: &str, password: &str| {
        let credential = Credential {
            sid: CredentialSid(sid),
            account,
            list: CredentialListSid(list),
            username: username.to_owned(),
            password: password.into(),
            ..Credential::default()
        };
        put(credential, true)
    };
    const GOOD: &str = "Secret-of-Alice-1";
    for (sid, account, of, username, password, code) in [
        (1, ACCOUNT, 1, "alice", GOOD, 0),
        (2, ACCOUNT, 1, "alice", GOOD, 20_409),
        (3, ACCOUNT, 2, "bob", GOOD, 20_404),
        (4, THIEF, 1, "bob", GOOD, 20_404),
        (5, ACCOUNT, 1, "b:ob", GOOD, 21_243),
        (6, ACCOUNT, 1, "b\"ob", GOOD, 21_243),
        (7, ACCOUNT, 1, "", GOOD, 21_243),
        (8, ACCOUNT, 1, "bob", "Short-1", 21_243),
        (9, ACCOUNT, 1, "bob", "no-capital-letter-1", 21_243),
        (10, ACCOUNT, 1, "bob", "No-Digit-At-All", 21_243),
        (11, ACCOUNT, 1, &"b".repeat(33), GOOD, 21_243),
        (12, THIEF, 2, "alice", GOOD, 0),
    ] {
        let came = came(&mut world, account, credential(sid, account, of, username, password));
        assert_eq!(came, code, "{username} {password}");
    }
    let auth = |account, domain, lists: &[u128]| {
        let mapping =
            |list: &u128| Mapping { list: CredentialListSid(*list), ..Mapping::default() };
        let calls = lists.iter().map(mapping).collect();
        let domain = DomainSid(domain);
        put(DomainAuth { domain, account, calls, ..DomainAuth::default() }, true)
    };
    assert_eq!(came(&mut world, ACCOUNT, auth(ACCOUNT, 50, &[1, 2])), 20_404, "another's list");
    assert_eq!(came(&mut world, THIEF, auth(THIEF, 50, &[2])), 20_404, "another's domain");
    assert_eq!(came(&mut world, ACCOUNT, auth(ACCOUNT, 50, &[1; 21])), 21_239);
    assert_eq!(came(&mut world, ACCOUNT, auth(ACCOUNT, 50, &[1])), 0);
    let gone = ApiRequest::Delete(CredentialListSid(1).into());
    assert_eq!(came(&mut world, ACCOUNT, gone.clone()), 21_241, "a domain takes it");
    assert_eq!(came(&mut world, ACCOUNT, ApiRequest::Delete(DomainSid(50).into())), 0);
    assert!(world.director.directory().domain_auth(DomainSid(50)).is_none());
    assert_eq!(came(&mut world, ACCOUNT, gone), 0);
    assert!(world.director.directory().credential(CredentialListSid(1), "alice").is_none());
    assert!(world.director.directory().credential(CredentialListSid(2), "alice").is_some());
}

#[test]
fn an_account_has_so_many_things_of_a_kind_and_the_rest_is_refused() {
    let mut world =
        two_tenants("<Response/>").with_settings(|settings| settings.limits.account_things = 3);
    let application = |account, sid| {
        let application = model::Application {
            sid: model::ApplicationSid(sid),
            account,
            ..model::Application::default()
        };
        put(application, true)
    };
    for sid in 1..=4 {
        let code = came(&mut world, ACCOUNT, application(ACCOUNT, sid));
        assert_eq!(code, if sid == 4 { 20_001 } else { 0 }, "{sid}");
    }
    assert_eq!(came(&mut world, THIEF, application(THIEF, 5)), 0, "another has its own");
}

/// What is subscribed to is read with each message: an account has so many, and says so.
#[test]
fn an_account_has_so_many_subscriptions_to_all_its_calls_and_to_one() {
    use model::signaling::{SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_PER_CALL_MAX, Scope};
    use model::{SignalingSubscription, SubscriptionSid};
    let mut world = World::new(|_| status(200));
    let mut made = 0;
    let mut make = |world: &mut World, account, scope| {
        made += 1;
        let sid = SubscriptionSid(made);
        let new = SignalingSubscription { sid, account, scope, ..Default::default() };
        came(world, account, put(new, true))
    };
    for _ in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(make(&mut world, ACCOUNT, Scope::Account), 0);
    }
    assert_eq!(make(&mut world, ACCOUNT, Scope::Trunk), 20_001);
    for call in [7, 8] {
        for _ in 0..SUBSCRIPTIONS_PER_CALL_MAX {
            assert_eq!(make(&mut world, ACCOUNT, Scope::Call(base::CallId(call))), 0);
        }
        assert_eq!(make(&mut world, ACCOUNT, Scope::Call(base::CallId(call))), 20_001);
    }
    // One that is there is changed all the same, and keeps its place in the dataplane.
    let known = world.director.directory().get::<SignalingSubscription>(SubscriptionSid(3));
    let mut known = known.cloned().expect("it is there");
    let slot = std::mem::replace(&mut known.slot, 9);
    assert_eq!(came(&mut world, ACCOUNT, put(known, false)), 0);
    let kept = world.director.directory().get::<SignalingSubscription>(SubscriptionSid(3));
    assert_eq!(kept.map(|it| it.slot), Some(slot));
}
