//! The journal's records and the rows of what is configured, as released versions wrote them: they
//! are read, and what is written now is the same. `golden/records-1.txt` has one a line, name and
//! bytes; `golden/rows-1.txt` the rows of the table `entity`. Change either only together with
//! code that still reads these.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{CallId, LegId, Wall};
use model::port::{Entity, Record, ScriptChange, ScriptLog, StoreId, StoreWrite};
use model::signaling::{HeaderTest, HeaderValue, Scope, Way};
use model::{
    AccessAddress, AccessListSid, AccessMapping, Account, AccountLimits, AccountSid, AccountStatus,
    AddressSid, Alert, AlertLevel, AlertSid, ApiKey, Application, ApplicationSid, Binding,
    BindingSid, CallDirection, CallRow, CallStatus, CallerId, CallerSid, Cause, Cdr, Credential,
    CredentialList, CredentialListSid, CredentialSid, Currency, DeadLetter, Direction,
    DomainAccess, DomainAuth, DomainSid, DomainSuffix, Events, Grant, Hook, IpAccessControlList,
    Kept, KeySid, LedgerEntry, Mapping, Method, Nanos, NumberRange, NumberSid, OriginationSid,
    OriginationUrl, OutboundRoute, Party, PhoneNumber, Price, PriceUnit, RangeSid, RecordingMode,
    Registered, RouteSid, SecondToken, Service, SignalingSubscription, SipDomain, StatusHook,
    SubscriptionSid, SuffixSid, TransferCaller, TransferMode, Trunk, TrunkNumber, TrunkSid,
    UsageKey, UsageRow, VoiceConfig,
};
use store::{Sqlite, Store as _, Vault, entry};

const ACCOUNT: AccountSid = AccountSid(0xac);
const LEG: LegId = LegId(0xff00_0001_0000_0002);
const CALL: CallId = CallId(0xca11 << 100);
const AT: Wall = Wall(1_800_000_000_000_000);

fn config() -> VoiceConfig {
    let hook = Hook { url: "https://app.example/voice#rc=2".to_owned(), method: Method::Get };
    VoiceConfig {
        voice: Some(hook.clone()),
        voice_fallback: None,
        status_callback: Some(StatusHook { hook: hook.clone(), events: Events::ALL }),
        event_application: Some(StatusHook { hook, events: Events::default() }),
    }
}

/// One of each kind that tenants have, in the order of their kinds.
fn things() -> Vec<Entity> {
    let (date_created, date_updated) = (AT, Wall(AT.0 + 1));
    let account = ACCOUNT;
    let friendly_name = "Name".to_owned();
    let sources = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    vec![
        Entity::Account(Account {
            sid: ACCOUNT,
            number: 7,
            auth_token: "token".into(),
            friendly_name: friendly_name.clone(),
            status: AccountStatus::Suspended,
            parent: AccountSid(0xaa),
            date_created,
            date_updated,
            sources: sources.clone(),
            limits: AccountLimits { calls_max: 3, calls_per_second: 4 },
        }),
        Entity::ApiKey(ApiKey {
            sid: KeySid(2),
            account,
            secret: "secret".into(),
            friendly_name: friendly_name.clone(),
            date_created,
            date_updated,
        }),
        Entity::Application(Application {
            sid: ApplicationSid(3),
            account,
            friendly_name: friendly_name.clone(),
            config: config(),
            date_created,
            date_updated,
        }),
        Entity::PhoneNumber(PhoneNumber {
            sid: NumberSid(4),
            account,
            number: "+15550100".to_owned(),
            friendly_name: friendly_name.clone(),
            config: config(),
            application: Some(ApplicationSid(3)),
            date_created,
            date_updated,
        }),
        Entity::SipDomain(SipDomain {
            sid: DomainSid(5),
            account,
            domain_name: "demo.test".to_owned(),
            friendly_name,
            config: VoiceConfig::default(),
            application: None,
            sources,
            date_created,
            date_updated,
        }),
    ]
}

/// What the operator has beside them.
fn rates() -> Vec<Entity> {
    vec![
        Entity::Route(OutboundRoute {
            sid: RouteSid(6),
            account: Some(ACCOUNT),
            friendly_name: "Name".to_owned(),
            prefix: "+1".to_owned(),
            strip: 2,
            prepend: "00".to_owned(),
            targets: vec!["192.0.2.9:5060".to_owned()],
            host: "carrier.test".to_owned(),
            date_created: AT,
            date_updated: Wall(AT.0 + 1),
        }),
        Entity::Price(Price {
            account: None,
            service: Service::SipEgress,
            unit: PriceUnit::Minute,
            price: Nanos(6_000_000),
            currency: Currency::USD,
            minimum_s: 1,
            increment_s: 6,
        }),
    ]
}

fn entities() -> Vec<Entity> {
    [things(), rates()].concat()
}

/// What the operator gives, and second tokens: kinds that came with version 2 of the files.
fn gifts() -> Vec<Entity> {
    let (date_created, date_updated) = (AT, Wall(AT.0 + 1));
    let account = Some(ACCOUNT);
    let friendly_name = "Name".to_owned();
    vec![
        Entity::NumberRange(NumberRange {
            sid: RangeSid(8),
            account,
            friendly_name: friendly_name.clone(),
            prefix: "+1555".to_owned(),
            date_created,
            date_updated,
        }),
        Entity::DomainSuffix(DomainSuffix {
            sid: SuffixSid(9),
            account: None,
            friendly_name: friendly_name.clone(),
            suffix: "example.com".to_owned(),
            date_created,
            date_updated,
        }),
        Entity::CallerId(CallerId {
            sid: CallerSid(10),
            account,
            friendly_name,
            number: "+15550001".to_owned(),
            date_created,
            date_updated,
        }),
        Entity::Grant(Grant {
            account: None,
            any_caller: true,
            source_bits_v4: Some(16),
            source_bits_v6: None,
            date_created,
            date_updated,
        }),
        Entity::SecondToken(SecondToken {
            account: ACCOUNT,
            token: "second".into(),
            date_created,
            date_updated,
        }),
    ]
}

/// Credentials and what domains take: kinds that came with version 3.
fn locks() -> Vec<Entity> {
    let (date_created, date_updated) = (AT, Wall(AT.0 + 1));
    let (account, list) = (ACCOUNT, CredentialListSid(13));
    let mapping = Mapping { list, at: AT };
    vec![
        Entity::CredentialList(CredentialList {
            sid: list,
            account,
            friendly_name: "Name".to_owned(),
            date_created,
            date_updated,
        }),
        Entity::Credential(Credential {
            sid: CredentialSid(14),
            account,
            list,
            username: "alice".to_owned(),
            password: "password".into(),
            date_created,
            date_updated,
        }),
        Entity::DomainAuth(DomainAuth {
            domain: DomainSid(5),
            account,
            registers: true,
            calls: vec![mapping],
            registrations: vec![mapping],
        }),
    ]
}

fn bindings() -> Vec<(String, Record)> {
    let id = base::ConnectionId { shard: 1, generation: 2, slot: 3 };
    let to = "192.0.2.7:5062".parse().unwrap();
    let binding = Binding {
        sid: BindingSid(16),
        account: ACCOUNT,
        domain: DomainSid(5),
        user: "alice".to_owned(),
        contact: "sip:alice@192.0.2.7:5062;transport=tcp".to_owned(),
        params: ";+sip.instance=\"<urn:uuid:1>\";reg-id=1".to_owned(),
        q: 500,
        instance: "<urn:uuid:1>".to_owned(),
        reg_id: 1,
        call_id: "x".to_owned(),
        cseq: 7,
        path: vec!["<sip:edge.test;lr>".to_owned()],
        hop: base::Hop {
            via: base::Door::Connection { listener: 1, id, name: base::TlsName::NONE },
            to,
        },
        user_agent: "phone".to_owned(),
        date_created: AT,
        expires: Wall(AT.0 + 1),
        kept: Kept::default(),
    };
    vec![
        ("binding".to_owned(), Record::Binding(Box::new(binding))),
        ("binding-gone".to_owned(), Record::BindingGone(BindingSid(16))),
    ]
}

/// What is kept of a contact, and what is metered of it, which came after.
fn registered() -> Vec<(String, Record)> {
    let Some((_, Record::Binding(binding))) = bindings().into_iter().next() else {
        panic!("a binding");
    };
    let (came, start) = (Wall(AT.0 + 5), AT);
    let (row, turn) = (BindingSid(15), 9);
    let kept = Kept { came, segment: 2, start, micros: 4, is_behind_nat: true, row, turn };
    let registered = Registered::from(Binding { kept, ..*binding });
    let (leg, service) = (LegId(16), Service::SipRegistration);
    let usage = UsageRow {
        key: UsageKey { node: 1, epoch: 0, leg, service, segment: 2 },
        account: Some(ACCOUNT),
        call: CALL,
        at: AT,
        start: AT,
        last: AT,
        count: 1,
        micros: 2,
        seconds: 3,
        bytes: 0,
    };
    vec![
        ("registered".to_owned(), Record::Registered(Box::new(registered))),
        ("usage-of-contact".to_owned(), Record::Usage(usage)),
    ]
}

/// Subscriptions to SIP messages, which came after.
fn subscriptions() -> Vec<Entity> {
    vec![Entity::SignalingSubscription(SignalingSubscription {
        sid: SubscriptionSid(20),
        account: ACCOUNT,
        friendly_name: "Name".to_owned(),
        methods: 5,
        responses: vec![4, 200],
        way: Some(Way::Sent),
        leg: Some(Direction::Outbound),
        header: Some(HeaderTest {
            name: "X-Foo".to_owned(),
            value: HeaderValue::StartsWith("bar".to_owned()),
        }),
        once: true,
        scope: Scope::Call(CALL),
        slot: 57,
        hook: Hook::post("https://app.example/sip"),
        fallback: Some(Hook::post("https://other.example/sip")),
        is_application: true,
        date_created: AT,
        date_updated: Wall(AT.0 + 1),
    })]
}

/// Lists of networks, and trunks with what they take.
fn trunks() -> Vec<Entity> {
    let (list, at) = (AccessListSid(21), AT);
    let address = AccessAddress {
        sid: AddressSid(22),
        friendly_name: "Office".to_owned(),
        network: "192.0.2.0/28".parse().unwrap(),
        date_created: AT,
        date_updated: AT,
    };
    let url = OriginationUrl {
        sid: OriginationSid(23),
        friendly_name: "PBX".to_owned(),
        sip_url: "sip:pbx.example".to_owned(),
        priority: 10,
        weight: 20,
        is_enabled: true,
        date_created: AT,
        date_updated: AT,
    };
    vec![
        Entity::IpAccessControlList(IpAccessControlList {
            sid: list,
            account: ACCOUNT,
            friendly_name: "Offices".to_owned(),
            addresses: vec![address],
            date_created: AT,
            date_updated: AT,
        }),
        Entity::DomainAccess(DomainAccess {
            domain: DomainSid(5),
            account: ACCOUNT,
            lists: vec![AccessMapping { list, at }],
        }),
        Entity::Trunk(Trunk {
            sid: TrunkSid(24),
            account: ACCOUNT,
            friendly_name: "Trunk".to_owned(),
            domain_name: "trunk.example".to_owned(),
            disaster: Some(Hook::post("https://app.example/disaster")),
            transfer: TransferMode::SipOnly,
            transfer_caller: TransferCaller::Transferor,
            secure: true,
            recording: RecordingMode::FromAnswerDual,
            recording_trim: true,
            urls: vec![url],
            credentials: vec![Mapping { list: CredentialListSid(13), at }],
            access: vec![AccessMapping { list, at }],
            date_created: AT,
            date_updated: AT,
        }),
        Entity::TrunkNumber(TrunkNumber {
            number: NumberSid(4),
            trunk: TrunkSid(24),
            account: ACCOUNT,
            at,
        }),
    ]
}

fn changes(entities: Vec<Entity>, first: usize) -> Vec<(String, Record)> {
    let change = |(entity, kind): (Entity, usize)| {
        let delete = Record::Delete(entity.key());
        [(format!("put-{kind}"), Record::Put(Box::new(entity))), (format!("delete-{kind}"), delete)]
    };
    entities.into_iter().zip(first..).flat_map(change).collect()
}

fn call() -> CallRow {
    CallRow {
        sid: CALL,
        account: ACCOUNT,
        parent: Some(CallId(1)),
        date_created: AT,
        date_updated: AT,
        to: "sip:bob@demo.test".to_owned(),
        from: "+15550100".to_owned(),
        caller_name: Some("Alice".to_owned()),
        forwarded_from: None,
        phone_number: Some(NumberSid(4)),
        status: CallStatus::NoAnswer,
        direction: CallDirection::OutboundDial,
        start_time: Some(AT),
        answer_time: None,
        end_time: Some(AT),
        duration: Some(0),
        price: Some(Nanos(-1)),
        price_unit: Currency::USD,
        queue_time_ms: 5,
        cause: Some(Cause::NoAnswer),
        sip_code: 480,
    }
}

fn cdr() -> Cdr {
    Cdr {
        node: 1,
        epoch: 9,
        leg: LEG,
        call: CALL,
        parent: None,
        account: Some(ACCOUNT),
        direction: Direction::Inbound,
        from: "a".to_owned(),
        to: "b".to_owned(),
        remote: "127.0.0.1:5060".parse().unwrap(),
        sip_call_id: "x".to_owned(),
        created: AT,
        answered: Some(AT),
        ended: AT,
        code: 200,
        cause: Cause::Normal,
        by: Party::Remote,
        reason: Some("why".to_owned()),
        media: None,
        price: Some(Nanos(-5)),
    }
}

fn letter() -> DeadLetter {
    DeadLetter {
        account: ACCOUNT,
        call: CALL,
        at: AT,
        idempotency_token: "token".to_owned(),
        url: "https://app.example/status".to_owned(),
        method: Method::Post,
        params: vec![("CallSid".to_owned(), "CA".to_owned())],
        attempts: 14,
        error: "timeout".to_owned(),
    }
}

/// What happened: every kind of record but what is configured.
fn facts() -> Vec<(&'static str, Record)> {
    let key = UsageKey { node: 1, epoch: 9, leg: LEG, service: Service::SipIngress, segment: 1 };
    let usage = UsageRow {
        key,
        account: Some(ACCOUNT),
        call: CALL,
        at: AT,
        start: AT,
        last: AT,
        count: 1,
        micros: 2,
        seconds: 3,
        bytes: 4,
    };
    let (amount, currency, quantity) = (Nanos(-5), Currency::USD, 6);
    let ledger =
        LedgerEntry { key, account: ACCOUNT, call: CALL, at: AT, amount, currency, quantity };
    let alert = Alert {
        sid: AlertSid(7),
        account: ACCOUNT,
        call: Some(CALL),
        at: AT,
        level: AlertLevel::Warning,
        code: 11_200,
        reason: "http-status".to_owned(),
        message: "HTTP retrieval failure".to_owned(),
        url: Some("https://app.example/voice".to_owned()),
        method: Some(Method::Post),
    };
    vec![
        ("call", Record::Call(Box::new(call()))),
        ("call-if-absent", Record::CallIfAbsent(Box::new(call()))),
        ("cdr", Record::Cdr(Box::new(cdr()))),
        ("usage", Record::Usage(usage)),
        ("ledger", Record::Ledger(ledger)),
        ("alert", Record::Alert(Box::new(alert))),
        ("dead-letter", Record::DeadLetter(Box::new(letter()))),
        ("script", Record::Script(ScriptLog { call: CALL, state: Some(b"{}".to_vec()) })),
        ("script-end", Record::Script(ScriptLog { call: CALL, state: None })),
        ("script-change", Record::ScriptChange(ScriptChange { call: CALL, change: vec![2, 1, 3] })),
    ]
}

fn records() -> Vec<(String, Record)> {
    let facts = facts().into_iter().map(|(name, record)| (name.to_owned(), record));
    facts.chain(changes(entities(), 1)).collect()
}

fn write(record: Record) -> StoreWrite {
    StoreWrite { id: Some(StoreId(300)), records: vec![record] }
}

/// The file's text; made of `written` when it is blessed.
fn golden(name: &str, written: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("TANDEM_BLESS").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    std::fs::read_to_string(path).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn records_are_written_as_they_were_and_read() {
    let gone = Record::DeadLetterGone { account: ACCOUNT, token: letter().idempotency_token };
    let gone = vec![("dead-letter-gone".to_owned(), gone)];
    for (file, records) in [
        ("records-1.txt", records()),
        ("records-2.txt", changes(gifts(), 8)),
        ("records-3.txt", gone),
        ("records-4.txt", changes(locks(), 13)),
        ("records-5.txt", bindings()),
        ("records-6.txt", changes(subscriptions(), 16)),
        ("records-7.txt", changes(trunks(), 17)),
        ("records-8.txt", registered()),
    ] {
        let written: String = records
            .iter()
            .map(|(name, record)| {
                let bytes = postcard::to_allocvec(&write(record.clone())).unwrap();
                format!("{name} {}\n", hex(&bytes))
            })
            .collect();
        let golden = golden(file, &written);
        assert_eq!(written, golden);
        for (line, (name, record)) in golden.lines().zip(records) {
            let bytes = unhex(line.strip_prefix(&format!("{name} ")).unwrap());
            let read: StoreWrite = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(read, write(record), "{name}");
        }
    }
}

/// The bytes in the journal: what is short stands as it is, the rest packed. Those of the version
/// before, which packed nothing, are read too.
#[test]
fn entries_of_the_journal_are_written_as_they_were_and_read() {
    let vault = Vault::from_key(&[3; 32]).unwrap();
    let all = facts().into_iter().map(|(_, record)| record).collect();
    let end = StoreWrite { id: None, records: all };
    let short = write(Record::Script(ScriptLog { call: CALL, state: None }));
    let writes = [end, short];
    let encode = |write: &StoreWrite| entry::encode(write, &vault).unwrap();
    let written: String = writes.iter().map(|write| hex(&encode(write)) + "\n").collect();
    let golden = golden("entries-1.txt", &written);
    assert_eq!(written, golden);
    for (line, write) in golden.lines().zip(&writes) {
        let plain = postcard::to_extend(write, vec![0]).unwrap();
        assert!(line.len() / 2 <= plain.len());
        assert_eq!(entry::decode(&unhex(line), &vault).as_ref(), Ok(write));
        assert_eq!(entry::decode(&plain, &vault).as_ref(), Ok(write));
    }
    let kinds: Vec<u8> = writes.iter().map(|write| encode(write)[0]).collect();
    assert_eq!(kinds, [2, 0]);
}

fn open(path: &Path) -> Sqlite {
    let vault = Arc::new(Vault::from_key(&[3; 32]).unwrap());
    Sqlite::open(path, vault, 0, Box::new(|| ())).unwrap()
}

#[test]
fn rows_of_what_is_configured_are_written_as_they_were_and_read() {
    let kinds = [
        ("rows-1.txt", entities()),
        ("rows-2.txt", gifts()),
        ("rows-3.txt", locks()),
        ("rows-4.txt", subscriptions()),
        ("rows-5.txt", trunks()),
    ];
    for (file, entities) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tandem.db");
        let store = open(&path);
        let puts = entities.iter().cloned().map(|entity| Record::Put(Box::new(entity))).collect();
        store.submit(1, StoreWrite { id: None, records: puts });
        store.settle().unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT kind || ' ' || name || ' ' || coalesce(account, '-') || ' '
                   || (secret IS NOT NULL) || ' ' || body FROM entity ORDER BY kind, name";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let written: String = rows.map(|row| row.unwrap() + "\n").collect();
        drop(statement);
        assert_eq!(written, golden(file, &written));
        let read: Vec<Entity> = store.book().unwrap().entities().collect();
        assert_eq!(read, entities);
        // And away again, by their keys.
        let deletes = entities.iter().map(|entity| Record::Delete(entity.key())).collect();
        store.submit(2, StoreWrite { id: None, records: deletes });
        store.settle().unwrap();
        let count = "SELECT count(*) FROM entity";
        let left = connection.query_row(count, [], |row| row.get::<_, i64>(0));
        assert_eq!(left.unwrap(), 0);
    }
}

#[test]
fn bindings_come_back_until_they_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("tandem.db"));
    for ((_, record), (position, left)) in bindings().into_iter().zip([(1, 1), (2, 0)]) {
        let Record::Binding(written) = &record else {
            store.submit(position, StoreWrite { id: None, records: vec![record] });
            store.settle().unwrap();
            assert_eq!(store.book().unwrap().bindings.len(), left);
            continue;
        };
        let written = (**written).clone();
        store.submit(position, StoreWrite { id: None, records: vec![record.clone(), record] });
        store.settle().unwrap();
        assert_eq!(store.book().unwrap().bindings, [written]);
    }
    // What is kept of a contact comes back with it.
    let (_, record) = registered().into_iter().next().unwrap();
    let Record::Registered(written) = &record else { panic!("{record:?}") };
    let written = written.binding();
    assert_eq!(written.kept.segment, 2);
    store.submit(3, StoreWrite { id: None, records: vec![record] });
    store.settle().unwrap();
    assert_eq!(store.book().unwrap().bindings, [written]);
}
