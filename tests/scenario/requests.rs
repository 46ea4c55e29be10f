//! Requests outside and inside of calls: OPTIONS, merged INVITEs, strangers, unknown dialogs,
//! addresses that no media may go to.

use wire::counter::Counter;
use world::{Action, Dial, Fate, Manner, Setup};

use crate::common::{
    SECOND, answered, bridged, count, dial, ends, first_line, ms, nothing_left, raw, routed, to,
};

const STRANGER: &str = "10.1.0.1:5060";

/// Status lines that go to phones from now on.
fn answers(world: &mut world::World) -> std::rc::Rc<std::cell::RefCell<Vec<String>>> {
    let lines = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let sink = lines.clone();
    world.network.set_filter(move |_, datagram| {
        let line = first_line(&datagram.bytes);
        if line.starts_with("SIP/2.0") && datagram.from == world::plane::listener() {
            sink.borrow_mut().push(line.to_owned());
            return Fate::Drop;
        }
        Fate::Pass
    });
    lines
}

fn request(method: &str, to_tag: &str, more: &str, body: &str) -> String {
    let length = body.replace('\n', "\r\n").len();
    format!(
        "{method} sip:g1@10.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bK77;rport\n\
         Max-Forwards: 70\nFrom: <sip:a@example.com>;tag=1\nTo: <sip:g1@10.0.0.1>{to_tag}\n\
         Call-ID: stranger\nCSeq: 1 {method}\nContact: <sip:a@10.1.0.1:5060>\n{more}\
         Content-Length: {length}\n\n{body}"
    )
}

#[test]
fn options_are_answered_outside_and_inside_of_a_call() {
    let mut world = routed(&Setup::new(1), Manner::default(), vec![Manner::default()]);
    let lines = answers(&mut world);
    raw(&mut world, STRANGER.parse().unwrap(), &request("OPTIONS", "", "", ""));
    assert_eq!(*lines.borrow(), ["SIP/2.0 200 OK"]);
    world.network.clear_filter();
    let call = dial(&mut world, 1);
    world.run_for(3 * SECOND);
    world.act(call, Action::Options);
    world.run_for(ms(100));
    assert_eq!(world.call(call).seen.answers, [("OPTIONS".to_owned(), 200)]);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn strangers_in_dialogs_get_481_and_other_methods_are_refused() {
    let mut world = routed(&Setup::new(2), Manner::default(), vec![Manner::default()]);
    let lines = answers(&mut world);
    let stranger = STRANGER.parse().unwrap();
    for method in ["BYE", "INVITE", "INFO", "UPDATE", "OPTIONS"] {
        lines.borrow_mut().clear();
        let text = request(method, ";tag=nobody", "", "");
        raw(&mut world, stranger, &text);
        assert_eq!(*lines.borrow(), ["SIP/2.0 481 Call/Transaction Does Not Exist"], "{method}");
    }
    for (method, code) in [("BYE", "481"), ("CANCEL", "481"), ("SUBSCRIBE", "405"), ("FOO", "501")]
    {
        lines.borrow_mut().clear();
        raw(&mut world, stranger, &request(method, "", "", ""));
        assert!(lines.borrow()[0].starts_with(&format!("SIP/2.0 {code}")), "{method}: {lines:?}");
    }
    lines.borrow_mut().clear();
    raw(&mut world, stranger, &request("ACK", ";tag=nobody", "", ""));
    assert!(lines.borrow().is_empty(), "an ACK is never answered");
    assert!(count(&world, Counter::DiscardSipStray) > 0);
    nothing_left(&mut world);
}

#[test]
fn a_merged_request_is_refused() {
    let mut world = bridged(&Setup::new(3), Manner::default(), Manner::default());
    let copied = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let sink = copied.clone();
    world.network.set_filter(move |_, datagram| {
        if first_line(&datagram.bytes).starts_with("INVITE") && sink.borrow().is_empty() {
            sink.borrow_mut().clone_from(&datagram.bytes);
        }
        Fate::Pass
    });
    let call = dial(&mut world, 1);
    world.run_for(ms(500));
    // The same request by another way: another branch.
    let text = String::from_utf8(copied.borrow().clone()).unwrap();
    let text = text.replacen("branch=z9hG4bK", "branch=z9hG4bKother", 1);
    let lines = answers(&mut world);
    let from = world.address(0);
    world.inject(world::Datagram { from, to: world::plane::listener(), bytes: text.into_bytes() });
    world.run_for(ms(50));
    assert!(lines.borrow().iter().any(|line| line.starts_with("SIP/2.0 482")), "{lines:?}");
    world.network.clear_filter();
    world.run_for(2 * SECOND);
    assert_eq!(world.agents[1].calls.len(), 1);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn media_never_goes_where_it_must_not() {
    let mut world = answered(&Setup::new(4), Manner::default());
    let lines = answers(&mut world);
    let stranger = STRANGER.parse().unwrap();
    let hosts = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "0.1.2.3"];
    for (at, host) in (0..).zip(hosts) {
        lines.borrow_mut().clear();
        let sdp = format!(
            "v=0\no=- 1 1 IN IP4 {host}\ns=-\nc=IN IP4 {host}\nt=0 0\nm=audio 4000 RTP/AVP 0\n"
        );
        let text = request("INVITE", "", "Content-Type: application/sdp\n", &sdp);
        let text = text.replace("z9hG4bK77", &format!("z9hG4bK{at}"));
        let text = text.replace("Call-ID: stranger", &format!("Call-ID: stranger{at}"));
        raw(&mut world, stranger, &text);
        let refused =
            |line: &String| line.starts_with("SIP/2.0 403") || line.starts_with("SIP/2.0 488");
        assert!(refused(&lines.borrow()[0]), "{host}: {lines:?}");
    }
    assert!(ends(&mut world).is_empty());
    nothing_left(&mut world);
}

#[test]
fn the_switch_need_not_speak_what_two_phones_speak() {
    let opus = vec![sdp::Supported::OPUS];
    let caller = Manner { codecs: opus.clone(), ..Manner::default() };
    let mut world = answered(&Setup::new(5), caller);
    let call = dial(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.call(call).seen.code, 200, "whoever is dialled later may speak it");
    let callee = Manner { codecs: opus.clone(), ..Manner::default() };
    let caller = Manner { codecs: opus, ..Manner::default() };
    let mut world = bridged(&Setup::new(6), caller, callee);
    let call = world.dial(0, &Dial { ..to(1) });
    world.run_for(4 * SECOND);
    assert_eq!(world.call(call).seen.code, 200);
    assert!(crate::common::heard(&world, call, 3) >= 2);
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn headers_of_an_application_go_out_and_others_do_not() {
    let mut world = routed(&Setup::new(7), Manner::default(), vec![Manner::default()]);
    let headers = vec!["X-Secret: 1".to_owned(), "P-Asserted-Identity: <sip:boss@x>".to_owned()];
    let call = world.dial(0, &Dial { headers, ..to(1) });
    world.run_for(3 * SECOND);
    let callee = world.callee_of(1).unwrap();
    assert!(world.call(callee).seen.headers.is_empty(), "nothing crosses unasked");
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}
