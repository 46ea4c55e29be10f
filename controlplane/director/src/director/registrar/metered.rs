//! Registered-contact hours: each moment that a contact was registered is counted once, whatever
//! happens to it.

use std::time::Duration;

use model::{DomainSid, Service};

use super::Registrar;
use super::tests::World;

const ONE: &str = "Contact: <sip:alice@192.0.2.7>;expires=600\n";
const TWO: &str = "Contact: <sip:alice@192.0.2.8>;expires=600\n";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl World {
    /// Microseconds that are written down, in all.
    fn metered(&self) -> u64 {
        assert!(self.used.values().all(|row| row.key.service == Service::SipRegistration));
        assert!(self.used.values().all(|row| row.micros == row.last.micros_since(row.start)));
        self.used.values().map(|row| row.micros).sum()
    }

    /// The process dies, its successor has what was written, and is there after `span`, by a wall
    /// clock that was set by so many microseconds in between.
    fn dies_for(&mut self, span: Duration, set: i64) {
        self.now.mono.0 = 5_000;
        self.now.wall.0 += u64::try_from(span.as_micros()).unwrap();
        self.now.wall.0 = self.now.wall.0.saturating_add_signed(set);
        let bindings: Vec<_> = self.kept.values().cloned().collect();
        self.registrar = Registrar::default();
        self.registrar.load(self.now, &bindings);
    }
}

#[test]
fn a_contact_is_metered_until_it_goes() {
    // Taken back, all at once, expired, its domain gone.
    for way in 0..4 {
        let mut world = World::new();
        world.ask(("c", 1), ONE);
        world.after(seconds(100));
        world.ask(("d", 1), TWO);
        world.after(seconds(50));
        match way {
            0 => {
                let gone = ONE.replace("600", "0") + &TWO.replace("600", "0");
                assert_eq!(world.ask(("e", 1), &gone).code, 200);
            }
            1 => assert_eq!(world.ask(("e", 1), "Contact: *\nExpires: 0\n").code, 200),
            2 => {
                // The tick comes late: nobody was registered in between.
                world.after(seconds(5_000));
                assert_eq!(world.tick(), 2);
                assert_eq!(world.metered(), 1_200_000_000);
                continue;
            }
            _ => {
                let gone = world.registrar.forget(world.now, DomainSid(1), None);
                world.store(&gone);
            }
        }
        assert_eq!((world.metered(), world.used.len()), (200_000_000, 2), "{way}");
        assert!(world.used.values().all(|row| row.count == 1 && row.account.is_some()));
    }
}

/// A phone that refreshes each minute writes no row each time; one that comes again gets one.
#[test]
fn a_refresh_goes_on_and_its_row_grows() {
    let mut world = World::new();
    world.ask(("c", 1), ONE);
    for minute in 1..=60 {
        world.after(seconds(60));
        world.ask(("c", 1 + minute), ONE);
    }
    assert_eq!((world.metered(), world.used.len(), world.rows), (3_600_000_000, 1, 12));
    world.after(seconds(30));
    // Its answer was lost: the same again counts nothing.
    world.ask(("c", 61), ONE);
    world.after(seconds(30));
    world.ask(("c", 62), &ONE.replace("600", "0"));
    assert_eq!((world.metered(), world.used.len()), (3_660_000_000, 1));
}

/// A part belongs to the day on which it began; a contact that stands for days has a row for each.
#[test]
fn every_day_has_its_part() {
    let mut world = World::new();
    world.ask(("c", 1), ONE);
    for at in 0..288 * 2 {
        world.after(seconds(300));
        world.ask(("c", 2 + at), ONE);
    }
    assert_eq!(world.metered(), 2 * 86_400_000_000 - world.now.wall.micros_since(world.last()));
    let starts: Vec<u64> = world.used.values().map(|row| row.at.0 / 86_400_000_000).collect();
    assert!(starts.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{starts:?}");
    assert_eq!(starts.len(), 3);
    let calls: std::collections::BTreeSet<_> = world.used.values().map(|row| row.call).collect();
    assert_eq!(calls.len(), 3, "each goes for its age by itself");
    world.ask(("d", 1), "Contact: *\nExpires: 0\n");
    assert_eq!(world.metered(), 2 * 86_400_000_000);
}

#[test]
fn a_successor_goes_on_where_its_predecessor_was() {
    // The clock as it was; set back by more than the contact lasts; set forward by more.
    for (set, metered) in [(0, 500), (-3_600_000_000, 470), (86_400_000_000, 700)] {
        let mut world = World::new();
        world.ask(("c", 1), ONE);
        world.after(seconds(100));
        world.ask(("c", 2), ONE);
        world.after(seconds(70));
        world.dies_for(seconds(30), set);
        world.after(seconds(300));
        world.tick();
        if set <= 0 {
            assert_eq!(world.ask(("c", 3), &ONE.replace("600", "0")).code, 200);
        }
        // What it had counted and not written is known to be lost where no clock tells.
        let metered = if set < 0 { metered - 70 } else { metered };
        assert_eq!(world.metered(), metered * 1_000_000, "{set}");
        assert_eq!(world.used.len(), 1);
    }
}

/// It was granted for so long, and nobody came back: that long it counts, whoever is there to see.
#[test]
fn nothing_is_counted_behind_its_end() {
    let mut world = World::new();
    world.ask(("c", 1), ONE);
    world.after(seconds(10));
    world.dies_for(seconds(50_000), 0);
    assert_eq!(world.tick(), 1);
    assert_eq!((world.metered(), world.kept.len()), (600_000_000, 0));
    // And not longer than it was granted, by a clock that was set back.
    let mut world = World::new();
    world.ask(("c", 1), ONE);
    world.dies_for(seconds(0), -86_400_000_000);
    world.after(seconds(599));
    assert_eq!(world.tick(), 0);
    world.after(seconds(1));
    assert_eq!((world.tick(), world.metered()), (1, 600_000_000));
}

/// What is written comes again after a death, in whatever order: the longest counts.
#[test]
fn what_comes_twice_counts_once() {
    let mut world = World::new();
    world.ask(("c", 1), ONE);
    world.after(seconds(400));
    let before = world.kept.clone();
    world.ask(("c", 2), ONE);
    // The row was written, the contact's record beside it was not.
    world.kept = before;
    world.dies_for(seconds(20), 0);
    world.after(seconds(30));
    world.ask(("d", 1), "Contact: *\nExpires: 0\n");
    assert_eq!((world.metered(), world.used.len()), (450_000_000, 1));
}

/// Phones that come and go leave as many rows as there were of them at one time.
#[test]
fn short_registrations_share_a_row_a_day() {
    let mut world = World::new();
    for round in 0..10_000_u32 {
        let contact = format!("Contact: <sip:alice@192.0.2.7:{}>;expires=600\n", 2_000 + round);
        assert_eq!(world.ask((&format!("c{round}"), 1), &contact).code, 200);
        world.after(seconds(u64::from(round % 3)));
        let gone = contact.replace("=600", "=0");
        assert_eq!(world.ask((&format!("c{round}"), 2), &gone).code, 200);
    }
    assert_eq!((world.metered(), world.used.len()), (9_999_000_000, 1));
    // Two at a time.
    for round in 0..100 {
        for (contact, cseq) in [(ONE, 1), (TWO, 1)] {
            assert_eq!(world.ask((&format!("d{round}"), cseq), contact).code, 200);
        }
        world.after(seconds(10));
        world.ask(("e", round), "Contact: *\nExpires: 0\n");
    }
    assert_eq!((world.metered(), world.used.len()), (11_999_000_000, 2));
    // Whoever stays goes on with the row; another process, and another day, have rows of their own.
    world.ask(("f", 1), ONE);
    world.after(seconds(100));
    world.ask(("f", 2), ONE);
    world.dies_for(seconds(50), 0);
    world.ask(("g", 1), "Contact: *\nExpires: 0\n");
    assert_eq!((world.metered(), world.used.len()), (12_149_000_000, 2));
    world.after(seconds(86_400));
    world.ask(("h", 1), ONE);
    world.after(seconds(100));
    world.ask(("h", 2), "Contact: *\nExpires: 0\n");
    assert_eq!((world.metered(), world.used.len()), (12_249_000_000, 3));
}

/// What was registered while a clock was years ahead ends with that; a clock that is set by minutes
/// round midnight ends nothing.
#[test]
fn a_part_of_a_day_to_come_ends_when_the_clock_is_right() {
    const YEARS: u64 = 10 * 365 * 86_400_000_000;
    let mut world = World::new();
    world.now.wall.0 += YEARS;
    world.ask(("c", 1), ONE);
    world.now.wall.0 -= YEARS;
    world.after(seconds(100));
    world.ask(("c", 2), ONE);
    world.after(seconds(200));
    world.ask(("c", 3), &ONE.replace("600", "0"));
    let today = world.now.wall.0 / 86_400_000_000;
    let is_today = |row: &&model::UsageRow| row.at.0 / 86_400_000_000 == today;
    let rows = world.used.values().filter(is_today);
    assert_eq!(rows.map(|row| row.micros).collect::<Vec<_>>(), [200_000_000]);
    assert_eq!((world.metered(), world.used.len()), (300_000_000, 2));
    let mut world = World::new();
    world.now.wall.0 = (today + 1) * 86_400_000_000;
    world.ask(("c", 1), ONE);
    world.now.wall.0 -= 60_000_000;
    world.after(seconds(30));
    world.ask(("c", 2), ONE);
    world.after(seconds(100));
    world.ask(("c", 3), &ONE.replace("600", "0"));
    assert_eq!((world.metered(), world.used.len()), (130_000_000, 1));
}

impl World {
    fn last(&self) -> base::Wall {
        self.used.values().map(|row| row.last).max().unwrap()
    }
}
