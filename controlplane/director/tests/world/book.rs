//! What is configured in the world.

use model::{
    Account, Book, Currency, DomainSid, DomainSuffix, Events, Grant, Hook, Nanos, NumberRange,
    NumberSid, OutboundRoute, PhoneNumber, Price, PriceUnit, RangeSid, RouteSid, SipDomain,
    StatusHook, SuffixSid, VoiceConfig,
};
use wire::Service;
use wire::table::Network;

use super::{ACCOUNT, ACCOUNT_NUMBER};

pub(super) fn book() -> Book {
    let network = |text: &str| text.parse::<Network>().unwrap();
    let sources = vec![network("127.0.0.0/8"), network("::1/128")];
    let config = VoiceConfig {
        voice: Some(Hook::post("http://app.test/voice")),
        voice_fallback: None,
        status_callback: Some(StatusHook {
            hook: Hook::post("http://app.test/status"),
            events: Events::ALL,
        }),
        event_application: None,
    };
    let price = |service| Price {
        account: None,
        service,
        unit: PriceUnit::Minute,
        price: Nanos(6_000_000),
        currency: Currency::USD,
        minimum_s: 0,
        increment_s: 1,
    };
    Book {
        accounts: vec![Account {
            sid: ACCOUNT,
            number: ACCOUNT_NUMBER,
            auth_token: "token".into(),
            parent: ACCOUNT,
            sources: sources.clone(),
            ..Account::default()
        }],
        numbers: vec![PhoneNumber {
            sid: NumberSid(1),
            account: ACCOUNT,
            number: "+15550100".to_owned(),
            config: config.clone(),
            ..PhoneNumber::default()
        }],
        domains: vec![SipDomain {
            sid: DomainSid(1),
            account: ACCOUNT,
            domain_name: "demo.test".to_owned(),
            config,
            sources,
            ..SipDomain::default()
        }],
        routes: vec![OutboundRoute {
            sid: RouteSid(1),
            prefix: "+1".to_owned(),
            targets: vec!["192.0.2.9:5060".to_owned()],
            ..OutboundRoute::default()
        }],
        prices: vec![price(Service::SipIngress), price(Service::SipEgress)],
        // What is whose has tests of its own.
        ranges: vec![NumberRange { sid: RangeSid(1), ..NumberRange::default() }],
        suffixes: vec![DomainSuffix { sid: SuffixSid(1), ..DomainSuffix::default() }],
        grants: vec![Grant {
            any_caller: true,
            source_bits_v4: Some(0),
            source_bits_v6: Some(0),
            ..Grant::default()
        }],
        ..Book::default()
    }
}
