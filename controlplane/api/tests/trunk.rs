//! trunking v1, and the lists of networks that trunks and domains share, as a client sees them.

mod fake;

use std::sync::Arc;

use api::{Options, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake::{Fake, MAIN, STRANGER, SUB, token};
use http::{Request, header};
use model::AccountSid;
use serde_json::{Value, json};
use tower::ServiceExt as _;

async fn ask(
    app: &Router,
    (login, method, uri): (AccountSid, &str, &str),
    form: &[(&str, &str)],
) -> (u16, Value) {
    let pair = format!("{login}:{}", token(login));
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let uri = uri.strip_prefix("http://api.example:8080").unwrap_or(uri);
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, "api.example:8080")
        .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn app() -> Router {
    router(Arc::new(Fake::new()), Options::default())
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn made(app: &Router, uri: &str, form: &[(&str, &str)]) -> Value {
    let (status, body) = ask(app, (MAIN, "POST", uri), form).await;
    assert_eq!(status, 201, "{uri}: {body}");
    body
}

async fn code(
    app: &Router,
    asked: (AccountSid, &str, &str),
    form: &[(&str, &str)],
) -> (u16, Value) {
    let (status, body) = ask(app, asked, form).await;
    (status, body["code"].clone())
}

#[tokio::test]
async fn a_trunk_is_made_read_changed_listed_and_deleted() {
    let app = app();
    let form = [
        ("FriendlyName", "Office"),
        ("DomainName", "Office.trunk.example"),
        ("DisasterRecoveryUrl", "https://app.example/disaster"),
        ("Secure", "true"),
        ("TransferMode", "sip-only"),
        ("TransferCallerId", "from-transferor"),
    ];
    let trunk = made(&app, "/v1/Trunks", &form).await;
    let url = text(&trunk["url"]).to_owned();
    assert_eq!(url, format!("http://api.example:8080/v1/Trunks/{}", text(&trunk["sid"])));
    for (key, value) in [
        ("account_sid", json!(MAIN.to_string())),
        ("domain_name", json!("office.trunk.example")),
        ("disaster_recovery_method", json!("POST")),
        ("secure", json!(true)),
        ("cnam_lookup_enabled", json!(false)),
        ("transfer_mode", json!("sip-only")),
        ("transfer_caller_id", json!("from-transferor")),
        ("recording", json!({"mode": "do-not-record", "trim": "do-not-trim"})),
        ("auth_type", json!("")),
        ("auth_type_set", json!([])),
        ("symmetric_rtp_enabled", json!(true)),
    ] {
        assert_eq!(trunk[key], value, "{key}");
    }
    assert_eq!(trunk["links"]["origination_urls"], format!("{url}/OriginationUrls"));
    assert!(text(&trunk["date_created"]).ends_with('Z'));
    let bare = made(&app, "/v1/Trunks", &[]).await;
    assert_eq!(
        (&bare["transfer_mode"], &bare["transfer_caller_id"], &bare["domain_name"]),
        (&json!("disable-all"), &json!("from-transferee"), &Value::Null)
    );
    let form = [("TransferMode", "enable-all"), ("DisasterRecoveryUrl", "")];
    let (status, changed) = ask(&app, (MAIN, "POST", &url), &form).await;
    assert_eq!((status, &changed["transfer_mode"]), (200, &json!("enable-all")));
    assert_eq!(
        (&changed["disaster_recovery_url"], &changed["friendly_name"]),
        (&Value::Null, &json!("Office"))
    );

    // Pages, with absolute addresses.
    for _ in 0..3 {
        made(&app, "/v1/Trunks", &[]).await;
    }
    let (mut next, mut found) = ("/v1/Trunks?PageSize=2".to_owned(), 0);
    while !next.is_empty() {
        let (status, page) = ask(&app, (MAIN, "GET", &next), &[]).await;
        assert_eq!((status, &page["meta"]["key"]), (200, &json!("trunks")));
        assert_eq!(page.as_object().map(serde_json::Map::len), Some(2));
        found += page["trunks"].as_array().unwrap().len();
        let first = text(&page["meta"]["first_page_url"]);
        assert!(first.starts_with("http://api.example:8080/v1/Trunks?"), "{first}");
        next = page["meta"]["next_page_url"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(found, 5);
    let recording = format!("{url}/Recording");
    let form = [("Mode", "record-from-answer-dual"), ("Trim", "trim-silence")];
    let (status, body) = ask(&app, (MAIN, "POST", &recording), &form).await;
    let expected = json!({"mode": "record-from-answer-dual", "trim": "trim-silence"});
    assert_eq!((status, &body), (200, &expected));
    assert_eq!(ask(&app, (MAIN, "GET", &recording), &[]).await.1, expected);
    assert_eq!(ask(&app, (MAIN, "DELETE", &url), &[]).await.0, 204);
    assert_eq!(code(&app, (MAIN, "GET", &url), &[]).await, (404, json!(20_404)));
}

#[tokio::test]
async fn what_is_below_a_trunk_is_its_own() {
    let app = app();
    let trunk = made(&app, "/v1/Trunks", &[]).await;
    let other = made(&app, "/v1/Trunks", &[]).await;
    let (url, other) = (text(&trunk["url"]), text(&other["url"]));
    let urls = format!("{url}/OriginationUrls");
    let form = [
        ("FriendlyName", "PBX"),
        ("SipUrl", "sip:pbx.example"),
        ("Priority", "0"),
        ("Weight", "1"),
        ("Enabled", "true"),
    ];
    let first = made(&app, &urls, &form).await;
    assert_eq!((&first["priority"], &first["enabled"]), (&json!(0), &json!(true)));
    assert_eq!(first["trunk_sid"], trunk["sid"]);
    let sid = text(&first["sid"]);
    let (_, off) =
        ask(&app, (MAIN, "POST", &format!("{urls}/{sid}")), &[("Enabled", "false")]).await;
    assert_eq!((&off["enabled"], &off["weight"]), (&json!(false), &json!(1)));
    for (name, value) in
        [("Weight", "0"), ("Weight", "65536"), ("Priority", "-1"), ("SipUrl", ""), ("Enabled", "x")]
    {
        let mut bad: Vec<_> = form.to_vec();
        bad.retain(|(known, _)| *known != name);
        bad.push((name, value));
        assert_eq!(ask(&app, (MAIN, "POST", &urls), &bad).await.0, 400, "{name}={value}");
    }
    let page = ask(&app, (MAIN, "GET", &urls), &[]).await.1;
    assert_eq!(page["origination_urls"], json!([off]));
    let foreign = format!("{other}/OriginationUrls/{sid}");
    assert_eq!(code(&app, (MAIN, "GET", &foreign), &[]).await, (404, json!(20_404)));

    let account = format!("/2010-04-01/Accounts/{MAIN}");
    let acl = format!("{account}/SIP/IpAccessControlLists.json");
    let offices = made(&app, &acl, &[("FriendlyName", "Offices")]).await;
    let passwords = format!("{account}/SIP/CredentialLists.json");
    let phones = made(&app, &passwords, &[("FriendlyName", "phones")]).await;
    for (kind, name, key, list) in [
        ("IpAccessControlLists", "IpAccessControlListSid", "ip_access_control_lists", &offices),
        ("CredentialLists", "CredentialListSid", "credential_lists", &phones),
    ] {
        let lists = format!("{url}/{kind}");
        let sid = text(&list["sid"]);
        let mapped = made(&app, &lists, &[(name, sid)]).await;
        assert_eq!(
            (&mapped["sid"], &mapped["friendly_name"]),
            (&list["sid"], &list["friendly_name"])
        );
        assert_eq!(made(&app, &lists, &[(name, sid)]).await, mapped, "once more, the same");
        assert_eq!(ask(&app, (MAIN, "GET", &lists), &[]).await.1[key], json!([mapped]));
        let nobodys = format!("{}00000000000000000000000000000009", &sid[..2]);
        let form = [(name, nobodys.as_str())];
        assert_eq!(code(&app, (MAIN, "POST", &lists), &form).await, (400, json!(21_245)));
        let of = format!("{other}/{kind}/{sid}");
        assert_eq!(code(&app, (MAIN, "DELETE", &of), &[]).await, (404, json!(20_404)));
    }
    let shown = ask(&app, (MAIN, "GET", url), &[]).await.1;
    assert_eq!(shown["auth_type_set"], json!(["IP_ACL", "CREDENTIAL_LIST"]));
    let list = format!("{url}/CredentialLists/{}", text(&phones["sid"]));
    assert_eq!(ask(&app, (MAIN, "DELETE", &list), &[]).await.0, 204);
    assert_eq!(ask(&app, (MAIN, "GET", url), &[]).await.1["auth_type"], "IP_ACL");
}

#[tokio::test]
async fn a_number_is_attached_and_detached() {
    let app = app();
    let trunk = made(&app, "/v1/Trunks", &[]).await;
    let url = text(&trunk["url"]);
    let numbers = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
    let number = made(&app, &numbers, &[("PhoneNumber", "+15550177")]).await;
    assert_eq!(number["trunk_sid"], Value::Null);
    let sid = text(&number["sid"]);
    let of_trunk = format!("{url}/PhoneNumbers");
    let form = [("PhoneNumberSid", sid)];
    let attached = made(&app, &of_trunk, &form).await;
    assert_eq!((&attached["sid"], &attached["trunk_sid"]), (&number["sid"], &trunk["sid"]));
    assert_eq!(attached["capabilities"], json!({"voice": true, "sms": false, "mms": false}));
    assert_eq!(made(&app, &of_trunk, &form).await, attached, "once more, the same");
    let page = ask(&app, (MAIN, "GET", &of_trunk), &[]).await.1;
    assert_eq!(page["phone_numbers"], json!([attached]));
    let shown = ask(&app, (MAIN, "GET", text(&number["uri"])), &[]).await.1;
    assert_eq!(shown["trunk_sid"], trunk["sid"]);
    let listed = ask(&app, (MAIN, "GET", &format!("{numbers}?PhoneNumber=5550177")), &[]).await.1;
    assert_eq!(listed["incoming_phone_numbers"][0]["trunk_sid"], trunk["sid"]);
    // To another trunk by the number's own resource, and away.
    let other = made(&app, "/v1/Trunks", &[]).await;
    let form = [("TrunkSid", text(&other["sid"]))];
    let moved = ask(&app, (MAIN, "POST", text(&number["uri"])), &form).await.1;
    assert_eq!(moved["trunk_sid"], other["sid"]);
    let one = format!("{of_trunk}/{sid}");
    assert_eq!(code(&app, (MAIN, "GET", &one), &[]).await, (404, json!(20_404)));
    let one = format!("{}/PhoneNumbers/{sid}", text(&other["url"]));
    assert_eq!(ask(&app, (MAIN, "DELETE", &one), &[]).await.0, 204);
    assert_eq!(code(&app, (MAIN, "DELETE", &one), &[]).await, (404, json!(20_404)));
    let nobodys = [("PhoneNumberSid", "PN00000000000000000000000000000009")];
    assert_eq!(code(&app, (MAIN, "POST", &of_trunk), &nobodys).await, (400, json!(21_245)));
}

#[tokio::test]
async fn lists_of_networks_are_made_mapped_and_paged_beside_those_that_are_there() {
    let app = app();
    let account = format!("/2010-04-01/Accounts/{MAIN}");
    let uri = format!("{account}/SIP/IpAccessControlLists.json");
    assert_eq!(code(&app, (MAIN, "POST", &uri), &[]).await, (400, json!(21_235)));
    let list = made(&app, &uri, &[("FriendlyName", "Offices")]).await;
    let addresses = text(&list["subresource_uris"]["ip_addresses"]);
    let form = [("FriendlyName", "one"), ("IpAddress", "192.0.2.7")];
    let one = made(&app, addresses, &form).await;
    assert_eq!((&one["cidr_prefix_length"], &one["friendly_name"]), (&json!(32), &json!("one")));
    let wide = [("CidrPrefixLength", "28")];
    let (_, changed) = ask(&app, (MAIN, "POST", text(&one["uri"])), &wide).await;
    assert_eq!((&changed["sid"], &changed["cidr_prefix_length"]), (&one["sid"], &json!(28)));
    for bad in [("IpAddress", "192.0.2.300"), ("CidrPrefixLength", "33"), ("FriendlyName", "")] {
        let mut form: Vec<_> = form.to_vec();
        form.retain(|(name, _)| *name != bad.0);
        form.push(bad);
        assert_eq!(code(&app, (MAIN, "POST", addresses), &form).await, (400, json!(21_238)));
    }
    let domains = format!("{account}/SIP/Domains.json");
    let domain = made(&app, &domains, &[("DomainName", "pbx.example")]).await;
    let mappings = text(&domain["subresource_uris"]["ip_access_control_list_mappings"]);
    let form = [("IpAccessControlListSid", text(&list["sid"]))];
    let mapped = made(&app, mappings, &form).await;
    assert_eq!((&mapped["sid"], &mapped["domain_sid"]), (&list["sid"], &domain["sid"]));
    let calls = format!("{account}/SIP/Domains/{}/Auth/Calls", text(&domain["sid"]));
    let calls = format!("{calls}/IpAccessControlListMappings");
    let one_set = ask(&app, (MAIN, "GET", &format!("{calls}.json")), &[]).await.1;
    assert_eq!(one_set["contents"][0]["sid"], list["sid"]);
    assert_eq!(ask(&app, (MAIN, "GET", text(&domain["uri"])), &[]).await.1["auth_type"], "IP_ACL");
    let gone = format!("{calls}/{}.json", text(&list["sid"]));
    assert_eq!(ask(&app, (MAIN, "DELETE", &gone), &[]).await.0, 204);
    assert_eq!(code(&app, (MAIN, "DELETE", &gone), &[]).await, (404, json!(20_404)));
    assert_eq!(code(&app, (MAIN, "POST", &gone), &[]).await, (405, json!(20_004)));
    // Its own, the account's and those that were made, in pages.
    let (mut next, mut found) = (format!("{uri}?PageSize=1"), Vec::new());
    while !next.is_empty() {
        let page = ask(&app, (MAIN, "GET", &next), &[]).await.1;
        let rows = page["ip_access_control_lists"].as_array().unwrap();
        found.extend(rows.iter().map(|row| text(&row["friendly_name"]).to_owned()));
        next = page["next_page_uri"].as_str().unwrap_or_default().to_owned();
    }
    found.sort_unstable();
    assert_eq!(found, ["Offices", "Phone numbers", "pbx.example"]);
    assert_eq!(ask(&app, (MAIN, "DELETE", text(&list["uri"])), &[]).await.0, 204);
}

#[tokio::test]
async fn nobody_sees_or_uses_what_is_anothers() {
    let app = app();
    let trunk = made(&app, "/v1/Trunks", &[]).await;
    let url = text(&trunk["url"]).to_owned();
    let urls = format!("{url}/OriginationUrls");
    let form = [
        ("FriendlyName", "PBX"),
        ("SipUrl", "sip:pbx.example"),
        ("Priority", "1"),
        ("Weight", "1"),
        ("Enabled", "true"),
    ];
    let origination = made(&app, &urls, &form).await;
    let lists = format!("/2010-04-01/Accounts/{MAIN}/SIP/IpAccessControlLists.json");
    let list = made(&app, &lists, &[("FriendlyName", "Offices")]).await;
    let numbers = format!("/2010-04-01/Accounts/{MAIN}/IncomingPhoneNumbers.json");
    let number = made(&app, &numbers, &[("PhoneNumber", "+15550178")]).await;
    for other in [STRANGER, SUB] {
        for (method, below) in [
            ("GET", String::new()),
            ("POST", String::new()),
            ("DELETE", String::new()),
            ("GET", "/Recording".to_owned()),
            ("POST", "/Recording".to_owned()),
            ("GET", "/OriginationUrls".to_owned()),
            ("POST", "/OriginationUrls".to_owned()),
            ("DELETE", format!("/OriginationUrls/{}", text(&origination["sid"]))),
            ("GET", "/PhoneNumbers".to_owned()),
            ("POST", "/PhoneNumbers".to_owned()),
            ("GET", "/CredentialLists".to_owned()),
            ("POST", "/IpAccessControlLists".to_owned()),
        ] {
            let asked = (other, method, &*format!("{url}{below}"));
            assert_eq!(code(&app, asked, &form).await, (404, json!(20_404)), "{method} {below}");
        }
        let (status, own) = ask(&app, (other, "POST", "/v1/Trunks"), &[]).await;
        assert_eq!(status, 201, "{own}");
        let own = text(&own["url"]);
        for (below, name, sid) in [
            ("IpAccessControlLists", "IpAccessControlListSid", &list["sid"]),
            ("PhoneNumbers", "PhoneNumberSid", &number["sid"]),
        ] {
            let asked = (other, "POST", &*format!("{own}/{below}"));
            assert_eq!(code(&app, asked, &[(name, text(sid))]).await, (400, json!(21_245)));
        }
    }
    for path in ["/v1/Trunks/", "/v1/Trunks/TK1/X", "/v1/TrunksX"] {
        assert_eq!(
            ask(&app, (MAIN, "GET", path), &[]).await.0,
            if path == "/v1/Trunks/" { 200 } else { 404 }
        );
    }
    assert_eq!(code(&app, (MAIN, "PUT", "/v1/Trunks"), &[]).await, (405, json!(20_004)));
}
