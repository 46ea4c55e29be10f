//! What a called side is shown if it asks who calls: whose credentials go with which leg.

mod world;

use model::port::OwnedCommand;
use model::{RouteSid, SipLogin};
use world::{World, status, xml};

fn logins(document: &'static str) -> Vec<Option<SipLogin>> {
    let mut world = World::new(move |request| match request.url.as_str() {
        "http://app.test/voice" => xml(document),
        _ => status(204),
    })
    .with_settings(|settings| settings.route_trunks = vec![(RouteSid(1), "carrier".to_owned())]);
    let call = world.call_in("sip:bob@demo.test");
    world.run(100);
    let of = |command: &OwnedCommand| match command {
        OwnedCommand::Originate(originate) => Some(originate.login.clone()),
        _ => None,
    };
    let logins = world.commands.iter().filter_map(of).collect();
    world.cancel_in(call, 0);
    world.bye_in(call, 0);
    world.run(60_000);
    world.assert_clean();
    logins
}

#[test]
fn a_document_gives_its_own_and_a_route_its_trunks() {
    let own = SipLogin::new("alice", "secret");
    assert_eq!(
        logins(
            "<Response><Dial answerOnBridge=\"true\">\
             <Sip username=\"alice\" password=\"secret\">sip:ring@127.0.0.1</Sip>\
             <Sip>sip:ring2@127.0.0.1</Sip><Number>+15550199</Number></Dial></Response>"
        ),
        [own.clone(), None, Some(SipLogin::Trunk("carrier".to_owned()))]
    );
    assert!(!format!("{own:?}").contains("secret"), "no log has it");
    let bad = "<Response><Dial answerOnBridge=\"true\">\
        <Sip username='a\"b' password=\"x\">sip:ring@127.0.0.1</Sip></Dial></Response>";
    assert_eq!(logins(bad), [None], "told, and tried without");
}
