//! The unmodified twilio-python: its client drives the REST API of a real switch, its validator
//! judges our webhooks' signatures.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::bed::{Bed, Peer, Web, program, require};

/// An interpreter that has the library: `TANDEM_PYTHON`, else the system's.
fn python() -> Option<String> {
    let named = std::env::var("TANDEM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let known = Command::new(&named).args(["-c", "import twilio"]).output();
    if known.is_ok_and(|output| output.status.success()) {
        return Some(named);
    }
    // Loud, and a failure where peers are required.
    let _ = require("twilio-python (pip install -r tests/interop/twilio/requirements.txt)");
    None
}

fn script(name: &str) -> String {
    format!("{}/interop/twilio/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_client_library_creates_lists_redirects_and_completes_calls() {
    let Some(python) = python() else { return };
    let mut bed = Bed::start();
    let callee = bed.ports.address();
    let mut phone = Command::new(program("tandem"));
    phone.args(["load", "--uas", "--calls", "0", "--quiet", "--callee", &callee.to_string()]);
    let _phone = Peer::start("phone", &mut phone, bed.folder());
    let web = Web::start(|asked| {
        if asked.target == "/status" {
            String::new()
        } else {
            "<Response><Pause length=\"60\"/></Response>".to_owned()
        }
    });
    let mut contract = Command::new(python);
    contract
        .arg(script("rest_contract.py"))
        .args(["--endpoints", &bed.data().join("endpoints.json").to_string_lossy()])
        .args(["--to", &format!("sip:callee@{callee}"), "--webhook", &web.url("/voice")]);
    let mut contract = Peer::start("rest_contract", &mut contract, bed.folder());
    let status = contract.wait(Duration::from_secs(150));
    println!("{}", contract.said());
    assert!(status.success(), "the contract is broken: {status}");
}

/// `NODE_PATH` names the folder where twilio-node is, if it is not the system's.
#[test]
fn the_other_client_library_makes_trunks() {
    let known = Command::new("node").args(["-e", "require('twilio')"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        let _ =
            require("twilio-node (npm install of tests/interop/twilio/package.json, NODE_PATH)");
        return;
    }
    let bed = Bed::start();
    let mut contract = Command::new("node");
    contract.arg(script("rest_contract.js")).arg(bed.data().join("endpoints.json"));
    let mut contract = Peer::start("rest_contract_js", &mut contract, bed.folder());
    let status = contract.wait(Duration::from_secs(60));
    println!("{}", contract.said());
    assert!(status.success(), "the contract is broken: {status}");
}

#[test]
fn the_validator_accepts_our_signatures() {
    let Some(python) = python() else { return };
    let bed = Bed::start();
    let web = Web::start(|asked| {
        if asked.target.starts_with("/voice") {
            "<Response><Reject reason=\"busy\"/></Response>".to_owned()
        } else {
            String::new()
        }
    });
    // Parameters in the URL, and headers of the call with what needs escaping, are signed too.
    let url = web.url("/voice?tenant=a%20b&x=1");
    let _ = bed.number("+15550300", &url, &web.url("/status"));
    let mut caller = Command::new(program("tandem"));
    caller
        .args(["load", "--uac", "--calls", "1", "--quiet", "--no-rtp"])
        .args(["--to", &format!("sip:+15550300@{}", bed.sip)])
        .args(["--header", "X-Note: \u{e4} & b=c+d"]);
    let mut caller = Peer::start("caller", &mut caller, bed.folder());
    let _ = caller.wait(Duration::from_secs(30));
    let _ = web.expect("/status", "CallStatus", "busy");
    let lines: Vec<String> = web
        .asked()
        .iter()
        .map(|asked| {
            let case = json!({
                "token": bed.rest.token,
                "url": web.url(&asked.target),
                "params": asked.fields,
                "signature": asked.signature,
            });
            case.to_string()
        })
        .collect();
    let file = bed.folder().join("signatures");
    std::fs::write(&file, lines.join("\n") + "\n").expect("it is written");
    let judged = Command::new(python)
        .arg(script("signature.py"))
        .stdin(std::fs::File::open(file).expect("it is there"))
        .output()
        .expect("the validator runs");
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success(), "{said}");
    assert!(lines.len() >= 2, "the document's request and a callback were judged");
}
