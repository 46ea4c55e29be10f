//! Trunks and lists of networks: what a tenant may not put into them, whoever says it is his.

mod world;

use model::port::{ApiCall, ApiError, ApiId, ApiRequest, Entity};
use model::{
    AccessAddress, AccessListSid, AccessMapping, Account, AccountSid, AddressSid, ApplicationSid,
    CredentialListSid, DomainAccess, DomainSid, IpAccessControlList, Mapping, NumberSid,
    OriginationSid, OriginationUrl, PhoneNumber, Trunk, TrunkNumber, TrunkNumberKey, TrunkSid,
};
use world::{ACCOUNT, World, xml};

const THIEF: AccountSid = AccountSid(0x7e);

fn two_tenants() -> World {
    World::new(|_| xml("<Response/>")).with_book(|book| {
        let account = Account { sid: THIEF, parent: THIEF, number: 8, ..Account::default() };
        book.accounts.push(account);
        book.grants.clear();
    })
}

/// What came of a request: its code, 0 for done.
fn came(world: &mut World, account: AccountSid, what: ApiRequest) -> u32 {
    let id = ApiId(0x1000 + world.replies.len() as u64);
    world.director.handle_api(world.now, ApiCall { id, account, what });
    world.drain();
    world.run(100);
    match world.reply(id) {
        Some(Ok(_)) => 0,
        Some(Err(ApiError { code, .. })) => *code,
        None => panic!("no answer"),
    }
}

fn put(entity: impl Into<Entity>, create: bool) -> ApiRequest {
    ApiRequest::Put { entity: Box::new(entity.into()), create }
}

fn trunk(sid: u128, account: AccountSid) -> Trunk {
    Trunk { sid: TrunkSid(sid), account, ..Trunk::default() }
}

fn list(sid: u128, account: AccountSid, networks: &[&str]) -> IpAccessControlList {
    let address = |network: &&str| AccessAddress {
        sid: AddressSid(1),
        friendly_name: String::new(),
        network: network.parse().unwrap(),
        date_created: base::Wall(0),
        date_updated: base::Wall(0),
    };
    let addresses = networks.iter().map(address).collect();
    IpAccessControlList { sid: AccessListSid(sid), account, addresses, ..Default::default() }
}

#[test]
fn a_trunk_goes_nowhere_that_a_dial_may_not_go() {
    let mut world = two_tenants();
    assert_eq!(came(&mut world, ACCOUNT, put(trunk(1, ACCOUNT), true)), 0);
    let with = |url: &str, count: usize| {
        let url = OriginationUrl {
            sid: OriginationSid(1),
            sip_url: url.to_owned(),
            ..OriginationUrl::default()
        };
        Trunk { urls: vec![url; count], ..trunk(1, ACCOUNT) }
    };
    for (url, count, code) in [
        ("sip:pbx.example", 10, 0),
        ("sip:pbx.example", 10_000, 21_249),
        ("sip:127.0.0.1", 1, 21_245),
        ("sip:127.0.0.1:9", 1, 0),
        ("sip:10.0.0.1", 1, 21_245),
        ("sip:[::ffff:127.0.0.1]", 1, 21_245),
        ("sip:169.254.169.254", 1, 21_245),
        ("sips:pbx.example", 1, 21_245),
        ("sip:pbx.example;transport=ws", 1, 21_245),
        ("tel:+1555", 1, 21_245),
    ] {
        assert_eq!(came(&mut world, ACCOUNT, put(with(url, count), false)), code, "{url}");
    }
}

#[test]
fn what_is_anothers_is_not_mapped_and_what_is_needed_stays() {
    let mut world = two_tenants();
    for (account, at) in [(ACCOUNT, 1), (THIEF, 2)] {
        assert_eq!(came(&mut world, account, put(trunk(at, account), true)), 0);
        let networks = ["192.0.2.0/28"];
        assert_eq!(came(&mut world, account, put(list(at, account, &networks), true)), 0);
    }
    let maps = |list| Trunk {
        access: vec![AccessMapping { list: AccessListSid(list), ..Default::default() }],
        ..trunk(2, THIEF)
    };
    assert_eq!(came(&mut world, THIEF, put(maps(1), false)), 20_404);
    assert_eq!(came(&mut world, THIEF, put(maps(2), false)), 0);
    let credentials = vec![Mapping { list: CredentialListSid(1), ..Mapping::default() }];
    let of_nobody = Trunk { credentials, ..trunk(2, THIEF) };
    assert_eq!(came(&mut world, THIEF, put(of_nobody, false)), 20_404);
    assert_eq!(came(&mut world, THIEF, put(trunk(1, THIEF), false)), 20_404);
    let access = DomainAccess { domain: DomainSid(1), account: THIEF, lists: Vec::new() };
    assert_eq!(came(&mut world, THIEF, put(access, true)), 20_404);
    // A network is as wide as the operator allows, 25 of them are the most.
    let wide = list(2, THIEF, &["0.0.0.0/0"]);
    assert_eq!(came(&mut world, THIEF, put(wide, false)), 21_238);
    let many = list(2, THIEF, &["192.0.2.1"; 26]);
    assert_eq!(came(&mut world, THIEF, put(many, false)), 21_237);
    assert_eq!(came(&mut world, THIEF, ApiRequest::Delete(AccessListSid(2).into())), 21_236);
    assert_eq!(came(&mut world, THIEF, ApiRequest::Delete(TrunkSid(1).into())), 20_404);
    assert_eq!(came(&mut world, THIEF, ApiRequest::Delete(TrunkSid(2).into())), 0);
    assert_eq!(came(&mut world, THIEF, ApiRequest::Delete(AccessListSid(2).into())), 0);
}

#[test]
fn a_trunks_number_has_no_application_and_goes_with_its_number() {
    let mut world = two_tenants();
    let number = "+15550155".to_owned();
    let application = Some(ApplicationSid(5));
    let phone = PhoneNumber {
        sid: NumberSid(5),
        account: ACCOUNT,
        number,
        application,
        ..PhoneNumber::default()
    };
    assert_eq!(came(&mut world, ACCOUNT, put(phone.clone(), true)), 0);
    assert_eq!(came(&mut world, ACCOUNT, put(trunk(1, ACCOUNT), true)), 0);
    assert_eq!(came(&mut world, THIEF, put(trunk(2, THIEF), true)), 0);
    let of = |trunk: u128, account| TrunkNumber {
        number: NumberSid(5),
        trunk: TrunkSid(trunk),
        account,
        ..TrunkNumber::default()
    };
    assert_eq!(came(&mut world, THIEF, put(of(2, THIEF), true)), 20_404);
    assert_eq!(came(&mut world, ACCOUNT, put(of(2, ACCOUNT), true)), 20_404);
    assert_eq!(came(&mut world, ACCOUNT, put(of(1, ACCOUNT), true)), 0);
    let known = |world: &World| {
        let directory = world.director.directory();
        let phone = directory.get::<PhoneNumber>(NumberSid(5)).unwrap();
        (phone.application, directory.trunk_of(NumberSid(5)).map(|trunk| trunk.sid))
    };
    assert_eq!(known(&world), (None, Some(TrunkSid(1))));
    assert_eq!(came(&mut world, ACCOUNT, ApiRequest::Delete(TrunkSid(1).into())), 21_247);
    assert_eq!(came(&mut world, ACCOUNT, put(phone, false)), 0);
    assert_eq!(known(&world), (application, None), "and the other way round");
    assert_eq!(came(&mut world, ACCOUNT, put(of(1, ACCOUNT), true)), 0);
    assert_eq!(came(&mut world, ACCOUNT, ApiRequest::Delete(NumberSid(5).into())), 0);
    let key = TrunkNumberKey(NumberSid(5)).into();
    assert!(world.director.directory().entity(key).is_none());
    assert_eq!(came(&mut world, ACCOUNT, ApiRequest::Delete(TrunkSid(1).into())), 0);
}
