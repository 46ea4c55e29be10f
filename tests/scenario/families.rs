//! IPv4 and IPv6: a call may have one on each leg.

use wire::table::Table;
use world::{Action, Manner, Manual, Setup, World};

use crate::common::{SECOND, ends, heard, nothing_left, publish, route_to, to};

#[test]
fn each_leg_has_its_own_family() {
    for (caller_v6, callee_v6) in [(false, true), (true, false), (true, true)] {
        let mut world = World::new(&Setup::new(1));
        let make = |world: &mut World, v6: bool| {
            let manner = Manner::default().with_audio();
            if v6 { world.agent_v6(manner) } else { world.agent(manner) }
        };
        make(&mut world, caller_v6);
        make(&mut world, callee_v6);
        let routes = vec![route_to(&world, &[1])];
        publish(&mut world, &Table { routes, admission: None, ..Table::default() });
        world.control = Some(Box::new(Manual::new(&world.plane)));
        let call = world.dial(0, &to(1));
        world.run_for(5 * SECOND);
        let callee = world.callee_of(1).expect("rang");
        assert!(heard(&world, call, 3) >= 150 && heard(&world, callee, 2) >= 150);
        for (at, v6) in [(call, caller_v6), (callee, callee_v6)] {
            let media = world.call(at).media.as_ref().unwrap();
            assert_eq!(media.plan.remote_rtp.address().unwrap().is_ipv6(), v6);
            assert_eq!((media.heard.foreign, media.heard.damaged), (0, 0));
        }
        world.act(call, Action::HangUp);
        world.run_for(SECOND);
        assert_eq!(ends(&mut world).len(), 2);
        nothing_left(&mut world);
    }
}
