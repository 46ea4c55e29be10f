//! Where a document came from: HTTP redirects move the base of what is relative in it, and a
//! fragment, which says how to connect, is in nothing that anybody is told.

mod world;

use model::Hook;
use world::{World, param, status, xml};

fn dial_then_done(world: &mut World) {
    world.call_in("sip:bob@demo.test");
    world.run(20_000);
}

#[test]
fn what_is_relative_is_seen_from_where_the_redirects_led() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/voice" => {
            let mut answer = xml("<Response><Dial action=\"../done?z=3\">\
                <Sip statusCallback=\"told\">sip:busy@127.0.0.1</Sip></Dial></Response>");
            if let Ok(answer) = &mut answer.1 {
                answer.url = "http://u:p@other.test:8000/deep/voice?x=1".to_owned();
            }
            answer
        }
        _ => xml("<Response><Redirect method=\"GET\">/end</Redirect></Response>"),
    });
    dial_then_done(&mut world);
    assert_eq!(world.asked("/done")[0].url, "http://u:p@other.test:8000/done?z=3");
    assert_eq!(world.asked("/told")[0].url, "http://u:p@other.test:8000/deep/told");
    // Nothing led away from there.
    assert_eq!(world.asked("/end")[0].url, "http://u:p@other.test:8000/end");
}

#[test]
fn a_fragment_is_in_nothing_that_is_told() {
    let mut world = World::new(|request| match request.url.as_str() {
        "http://app.test/fall" => xml("<Response><Redirect>/gone#rc=0</Redirect></Response>"),
        "http://app.test/voice" | "http://app.test/gone" => status(404),
        _ => status(404),
    })
    .with_book(|book| {
        let config = &mut book.domains[0].config;
        config.voice = Some(Hook::post("http://app.test/voice#rc=2&rp=4xx"));
        config.voice_fallback = Some(Hook::post("http://app.test/fall#rc=1"));
        config.status_callback.as_mut().unwrap().hook.url = "http://app.test/s#rc=3".to_owned();
    });
    world.call_in("sip:bob@demo.test");
    world.run(30_000);
    let fallback = world.asked("/fall")[0];
    assert_eq!(param(fallback, "ErrorUrl"), "http://app.test/voice");
    assert_eq!(world.asked("/voice").len(), 3, "the fragment is heeded");
    for (_, request) in &world.requests {
        assert!(!request.url.contains('#'), "{}", request.url);
        assert!(request.params.iter().all(|(_, value)| !value.contains('#')), "{request:?}");
    }
    assert!(world.store.alerts.len() >= 3);
    for alert in &world.store.alerts {
        let url = alert.url.as_deref().unwrap_or_default();
        assert!(!url.contains('#') && !alert.message.contains('#'), "{alert:?}");
    }
    // Whoever plays it again is told how to connect.
    assert!(world.store.dead.iter().all(|letter| letter.url.ends_with("/s#rc=3")));
}
