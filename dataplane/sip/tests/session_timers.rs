//! Session timers (RFC 4028): who asks, who refreshes, and what a refusal teaches.

use sip::session::{Agreed, TooSmall, Wanted, as_client, as_server, min_se_of_422};
use sip::{Message, Method, Writer};

const THEM: bool = false;
const US: bool = true;

fn server(lines: &str, wanted: u32, min_se: u32) -> Result<Option<(u32, bool)>, u32> {
    let text = format!("UPDATE sip:a@h SIP/2.0\r\n{lines}\r\n");
    let agreed = as_server(&Message::parse(text.as_bytes()).unwrap(), wanted, min_se);
    agreed
        .map(|agreed| agreed.map(|agreed| (agreed.seconds, agreed.refresher_is_us)))
        .map_err(|TooSmall { min_se }| min_se)
}

fn client(code: u16, lines: &str) -> Option<(u32, bool)> {
    let text = format!("SIP/2.0 {code} X\r\n{lines}\r\n");
    let agreed = as_client(&Message::parse(text.as_bytes()).unwrap());
    agreed.map(|agreed| (agreed.seconds, agreed.refresher_is_us))
}

const TIMER: &str = "Supported: replaces, TIMER\r\n";

#[test]
fn a_server_answers_by_the_table() {
    let with = |lines: &str| server(&format!("{TIMER}{lines}"), 1_800, 90);
    assert_eq!(with("Session-Expires: 1800;refresher=uas\r\n"), Ok(Some((1_800, US))));
    assert_eq!(with("x: 1800;refresher=uac\r\n"), Ok(Some((1_800, THEM))));
    assert_eq!(with("x: 1800\r\n"), Ok(Some((1_800, THEM))));
    assert_eq!(with(""), Ok(Some((1_800, THEM))));
    assert_eq!(with("Min-SE: 2900\r\n"), Ok(Some((2_900, THEM))));
    assert_eq!(with("x: rubbish\r\n"), Ok(Some((1_800, THEM))));
    // A shorter interval than ours is kept, a longer one shortened as far as the sender allows.
    assert_eq!(with("x: 600\r\n"), Ok(Some((600, THEM))));
    assert_eq!(with("x: 86400\r\n"), Ok(Some((1_800, THEM))));
    assert_eq!(with("x: 86400\r\nMin-SE: 3600\r\n"), Ok(Some((3_600, THEM))));
    assert_eq!(server("Require: timer\r\nx: 1800\r\n", 0, 90), Ok(Some((1_800, THEM))));
    assert_eq!(server(TIMER, 0, 90), Ok(None));
    // Whoever does not speak timers is not asked; what a proxy asked for is our work.
    assert_eq!(server("", 600, 90), Ok(None));
    assert_eq!(server("x: 1800\r\n", 0, 90), Ok(Some((1_800, US))));
}

#[test]
fn a_short_interval_is_refused_towards_those_who_understand_it() {
    assert_eq!(server(&format!("{TIMER}x: 89\r\n"), 600, 0), Err(90));
    assert_eq!(server(&format!("{TIMER}x: 299;refresher=uas\r\n"), 600, 300), Err(300));
    assert_eq!(server(&format!("{TIMER}x: 300\r\n"), 600, 300), Ok(Some((300, THEM))));
    assert_eq!(server("x: 60\r\n", 600, 90), Ok(None));
}

#[test]
fn a_client_takes_what_the_2xx_says() {
    assert_eq!(client(200, "x: 1800;refresher=uas\r\n"), Some((1_800, THEM)));
    assert_eq!(client(200, "x: 1800;refresher=uac\r\n"), Some((1_800, US)));
    assert_eq!(client(200, "x: 1800\r\n"), Some((1_800, US)));
    assert_eq!(client(200, ""), None);
    assert_eq!(client(200, "x: 0\r\n"), None);
    assert_eq!(client(200, "x: 1;refresher=uac\r\n"), Some((90, US)));
    assert_eq!(client(183, "x: 1800;refresher=uas\r\n"), None);
    assert_eq!(client(422, "x: 1800;refresher=uas\r\n"), None);
}

#[test]
fn a_422_raises_what_is_asked_once() {
    let wanted = Wanted { seconds: 600, min_se: 90 };
    let response = |text: &str| wanted.raised_by(&Message::parse(text.as_bytes()).unwrap());
    let raised = Some(Wanted { seconds: 1_800, min_se: 1_800 });
    assert_eq!(response("SIP/2.0 422 X\r\nMin-SE: 1800\r\n\r\n"), raised);
    assert_eq!(response("SIP/2.0 422 X\r\nMin-SE: 600\r\n\r\n"), None);
    assert_eq!(response("SIP/2.0 422 X\r\n\r\n"), None);
    let other = Message::parse(b"SIP/2.0 400 X\r\nMin-SE: 1800\r\n\r\n").unwrap();
    assert_eq!((wanted.raised_by(&other), min_se_of_422(&other)), (None, None));
    let low = Message::parse(b"SIP/2.0 422 X\r\nMin-SE: 10\r\n\r\n").unwrap();
    assert_eq!(min_se_of_422(&low), Some(90));
}

#[test]
fn headers_say_what_was_agreed() {
    let text = |write: &dyn Fn(Writer<'_>) -> usize| {
        let mut out = [0; 256];
        let len = write(Writer::new(&mut out).request_line(Method::Update, b"sip:a"));
        let text = String::from_utf8(out[..len].to_vec()).unwrap();
        text.split("\r\n")
            .skip(1)
            .take_while(|l| !l.starts_with("Content"))
            .collect::<Vec<_>>()
            .join("|")
    };
    let (us, them) = (
        Agreed { seconds: 600, refresher_is_us: true },
        Agreed { seconds: 600, refresher_is_us: false },
    );
    let wanted = Wanted { seconds: 60, min_se: 30 };
    assert_eq!(
        text(&|w| wanted.write(w).finish().unwrap().len()),
        "Session-Expires: 90|Min-SE: 90"
    );
    assert_eq!(
        text(&|w| us.write_request(w, 120).finish().unwrap().len()),
        "Supported: timer|Session-Expires: 600;refresher=uac|Min-SE: 120"
    );
    assert_eq!(
        text(&|w| them.write_request(w, 0).finish().unwrap().len()),
        "Supported: timer|Session-Expires: 600;refresher=uas|Min-SE: 90"
    );
    assert_eq!(
        text(&|w| us.write_response(w).finish().unwrap().len()),
        "Session-Expires: 600;refresher=uas"
    );
    assert_eq!(
        text(&|w| them.write_response(w).finish().unwrap().len()),
        "Session-Expires: 600;refresher=uac|Require: timer"
    );
    let small = TooSmall { min_se: 90 };
    assert_eq!(text(&|w| small.write(w).finish().unwrap().len()), "Min-SE: 90");
}
