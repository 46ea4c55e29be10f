//! Registered-contact hours are metered for each account, whatever dies.

use std::time::Duration;

use model::Service;
use world::World;
use world::directed::Directed;

use crate::claims::{Login, directed};
use crate::common::SECOND;
use crate::registrar::Phone;
use crate::strangers::STRANGER;

fn control(world: &mut World) -> &mut Directed {
    world.control.as_mut().unwrap().any().downcast_mut::<Directed>().unwrap()
}

/// Whole seconds that contacts were registered, and rows that say so.
fn metered(world: &mut World) -> (u64, usize) {
    let rows = control(world).ledger.usage.values();
    let rows: Vec<_> = rows.filter(|row| row.key.service == Service::SipRegistration).collect();
    assert!(rows.iter().all(|row| row.account.is_some() && row.key.node > 0 && row.count == 1));
    (rows.iter().map(|row| row.micros).sum::<u64>() / 1_000_000, rows.len())
}

fn die_and_come_back(world: &mut World, after: Duration) {
    control(world).kill();
    world.run_for(after);
    let (now, mut taken) = (world.now, world.control.take().unwrap());
    taken.any().downcast_mut::<Directed>().unwrap().boot(now, &world.plane);
    world.control = Some(taken);
    world.run_for(SECOND);
}

#[test]
fn contacts_are_metered_over_the_death_of_the_controlplane() {
    let (mut world, log) = directed(1, |_| ());
    let mut alice = Phone::new(STRANGER, "alice", 1);
    let brief = "Contact: <sip:alice@192.168.1.7>;expires=600\n";
    alice.register(&mut world, &log, brief, &Login::default());
    world.run_for(400 * SECOND);
    // A refresh, and its process dies at once; the contact is registered all the while.
    alice.register(&mut world, &log, brief, &Login::default());
    die_and_come_back(&mut world, 20 * SECOND);
    world.run_for(80 * SECOND);
    alice.register(&mut world, &log, "Contact: *\nExpires: 0\n", &Login::default());
    let (seconds, rows) = metered(&mut world);
    assert!((500..503).contains(&seconds) && rows == 1, "{seconds} in {rows}");
    // Nobody comes back, and nobody is there when its time is over.
    alice.register(&mut world, &log, brief, &Login::default());
    die_and_come_back(&mut world, 900 * SECOND);
    assert_eq!(control(&mut world).ledger.bindings.len(), 0);
    let (all, rows) = metered(&mut world);
    // In the row of the one that had gone on the same day.
    assert_eq!((all - seconds, rows), (600, 1));
}
