//! Where the two sides share no codec and both are G.711, one law is turned into the other: each
//! phone hears the other's samples as they were said, in its own law.

use sdp::Supported;
use world::{Action, Manner, Setup};

use crate::common::{SECOND, bridged, dial, heard, nothing_left, routed};

/// A call between a phone of this codec alone and one of the other law.
fn across(of_caller: Supported<'static>, of_callee: Supported<'static>, apart: bool) {
    let phone =
        |codec| Manner::default().with_audio().with_codecs(&[codec, Supported::TELEPHONE_EVENT]);
    let (caller, callee) = (phone(of_caller), phone(of_callee));
    let setup = Setup::new(1);
    let mut world = match apart {
        true => bridged(&setup, caller, callee),
        false => routed(&setup, caller, vec![callee]),
    };
    let call = dial(&mut world, 1);
    world.run_for(5 * SECOND);
    let callee = world.callee_of(1).expect("asked");
    assert_eq!(world.call(call).seen.code, 200);
    let expected = [(call, 3, of_caller), (callee, 2, of_callee)];
    for (phone, stream, codec) in expected {
        assert!(heard(&world, phone, stream) >= 150, "{}", heard(&world, phone, stream));
        let heard = &world.call(phone).media.as_ref().unwrap().heard;
        // The phone checks every sample of a packet against what was said.
        assert_eq!((heard.damaged, heard.wrong_codec), (0, 0), "{}", codec.name);
        assert_eq!(heard.payload_types.iter().copied().collect::<Vec<_>>(), [codec.pt]);
        assert!(world.call(phone).seen.complaints.is_empty());
    }
    world.act(call, Action::Digit('4'));
    world.run_for(SECOND);
    assert_eq!(world.call(callee).media.as_ref().unwrap().heard.digits, "4", "digits cross too");
    world.act(call, Action::HangUp);
    nothing_left(&mut world);
}

#[test]
fn mu_law_and_a_law_hear_each_other() {
    for apart in [false, true] {
        across(Supported::PCMU, Supported::PCMA, apart);
        across(Supported::PCMA, Supported::PCMU, apart);
    }
}

/// Nothing is turned into anything where an offer gives both a law in common.
#[test]
fn two_phones_that_share_a_law_are_not_transcoded() {
    let one = [Supported::PCMA, Supported::TELEPHONE_EVENT];
    let both = [Supported::PCMU, Supported::PCMA, Supported::TELEPHONE_EVENT];
    for (of_caller, of_callee) in [(&both[..], &one[..]), (&one[..], &both[..])] {
        let phone =
            |codecs: &[Supported<'static>]| Manner::default().with_audio().with_codecs(codecs);
        let mut world = bridged(&Setup::new(2), phone(of_caller), phone(of_callee));
        let call = dial(&mut world, 1);
        world.run_for(5 * SECOND);
        let callee = world.callee_of(1).unwrap();
        for phone in [call, callee] {
            let types = &world.call(phone).media.as_ref().unwrap().heard.payload_types;
            assert!(types.contains(&Supported::PCMA.pt) && types.len() == 1, "{types:?}");
        }
        world.act(call, Action::HangUp);
        nothing_left(&mut world);
    }
}
