//! Whose is it, over the running switch: a tenant takes nothing that the operator did not give him,
//! the operator gives it without a restart, and it is there after one.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::bed::{Bed, Rest, Setup, eventually};

/// The operator's view of the API, with the credential that the switch made.
fn desk(bed: &Bed) -> Rest {
    let token = std::fs::read_to_string(bed.data().join("tandem-operator")).expect("a credential");
    Rest {
        address: bed.rest.address,
        account: "operator".to_owned(),
        token: token.trim_end().to_owned(),
    }
}

#[test]
fn a_tenant_has_what_the_operator_gave_and_no_more() {
    let mut bed = Setup { grants: String::new(), ..Setup::default() }.start();
    let desk = desk(&bed);
    let number = |rest: &Rest, number: &str| {
        rest.post("/IncomingPhoneNumbers.json", &[("PhoneNumber", number)]).status
    };
    // Nothing was given: nothing may be taken.
    for (path, form) in [
        ("/IncomingPhoneNumbers.json", [("PhoneNumber", "+15551234567")]),
        ("/SIP/Domains.json", [("DomainName", "pbx.example.com")]),
    ] {
        let refused = bed.rest.post(path, &form);
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    // The operator makes a second tenant, and gives each his own.
    let other = desk.make("/v1/Operator/Accounts", &[("FriendlyName", "Other")]);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (sid, token) = (text(&other["sid"]), text(&other["auth_token"]));
    let other = Rest { address: bed.rest.address, account: sid.clone(), token };
    for (account, prefix) in [(&bed.rest.account, "+1555"), (&sid, "+4930")] {
        let form = [("Prefix", prefix), ("AccountSid", account.as_str())];
        let _ = desk.make("/v1/Operator/NumberRanges", &form);
    }
    assert_eq!(number(&bed.rest, "+15551234567"), 201);
    for (taken, status) in
        [("+15551234567", 400), ("+15551234568", 400), ("112", 400), ("+49301234567", 201)]
    {
        assert_eq!(number(&other, taken), status, "{taken}");
    }
    let call = |rest: &Rest, from: &str| {
        let form = [("To", "sip:x@127.0.0.1:9"), ("From", from), ("Twiml", "<Response/>")];
        let answer = rest.post("/Calls.json", &form);
        if answer.status == 201 { json!(0) } else { answer.body["code"].clone() }
    };
    assert_eq!(call(&other, "+15551234567"), 21_210);
    assert_eq!(call(&other, "+49301234567"), 0);
    let form = [("SourceNetwork", "0.0.0.0/0"), ("DomainName", "x.example.com")];
    assert_eq!(other.post("/SIP/Domains.json", &form).status, 400);
    // A tenant is no operator.
    for rest in [&bed.rest, &other] {
        assert_eq!(rest.get("/v1/Operator/Accounts").status, 403);
    }
    // All of it is there after the process was killed.
    let before = bed.pid("controlplane");
    bed.signal("controlplane", Signal::KILL);
    bed.wait_for_successor("controlplane", before);
    let ranges = desk.get("/v1/Operator/NumberRanges").body;
    assert_eq!(ranges["number_ranges"].as_array().map(Vec::len), Some(2), "{ranges}");
    eventually("the director is back", Duration::from_secs(20), || {
        (call(&other, "+15551234567") == 21_210).then_some(())
    });
    // Suspended, it neither changes nor calls.
    let path = format!("/v1/Operator/Accounts/{sid}");
    assert_eq!(desk.post(&path, &[("Status", "suspended")]).status, 200);
    assert_eq!(call(&other, "+49301234567"), 20_005);
    bed.stop();
}
