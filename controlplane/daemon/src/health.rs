//! How journal, store and disk are, in one place: written by the runtime and at boot, told by
//! `/healthz`, the service manager's STATUS and the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use store::{Position, Replay};

use crate::clock;
use crate::targets::Outs;

/// Shared by who knows and who tells.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
    /// Counts what people are told anew.
    changes: AtomicU64,
    /// Which targets are out.
    pub targets: Outs,
}

/// What the runtime finds in a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Why nothing can be written down now: everything waits.
    pub blocked: Option<String>,
    /// Why no new calls are taken, though what stands goes on.
    pub closed: Option<String>,
    /// Why the store cannot commit; the journal keeps what waits.
    pub store: Option<String>,
    /// Bytes that the journal holds and the store has not committed.
    pub backlog_bytes: u64,
    /// Room on the journal's disk.
    pub free_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    attached: bool,
    found: Found,
    blocked_times: u64,
    closed_times: u64,
    damaged: u64,
    lost: u64,
    kept: u64,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the journal's bytes looked like at the start; told in the log, and for the whole life.
    pub fn journal_found(&self, replay: &Replay, committed: Position) {
        if replay.torn_bytes > 0 {
            // A torn record, or what an earlier life of the segment's file left.
            tracing::debug!(
                bytes = replay.torn_bytes,
                "bytes behind the journal's records are none"
            );
        }
        for damage in &replay.damage {
            tracing::error!(
                segment = damage.segment,
                at = damage.at,
                bytes = damage.bytes,
                first = damage.first,
                records = damage.records,
                kept = damage.kept,
                "the journal is damaged: these bytes are no records, and whole records follow them"
            );
        }
        let lost = replay.missing(committed);
        if lost > 0 {
            tracing::error!(
                records = lost,
                "acknowledged records are gone: they are neither in the journal nor in the store"
            );
        }
        let mut state = self.lock();
        state.damaged = replay.damage.len() as u64;
        state.kept = replay.damage.iter().filter(|damage| damage.kept).count() as u64;
        state.lost = lost;
    }

    pub(crate) fn attached(&self) {
        self.lock().attached = true;
    }

    /// Another number: [`Self::status`] may say something else than before.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, found: Found) {
        let mut state = self.lock();
        let (was, is) = (&state.found, &found);
        let [blocks, closes] = [
            was.blocked.is_none() && is.blocked.is_some(),
            was.closed.is_none() && is.closed.is_some(),
        ];
        let changed =
            (&was.blocked, &was.closed, &was.store) != (&is.blocked, &is.closed, &is.store);
        state.blocked_times += u64::from(blocks);
        state.closed_times += u64::from(closes);
        state.found = found;
        if changed {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether new calls are taken, and lines about everything that is not right.
    #[must_use]
    pub fn tell(&self) -> (bool, String) {
        let state = self.lock();
        let mut lines = Vec::new();
        if !state.attached {
            lines.push("dataplane: not attached yet".to_owned());
        }
        if let Some(why) = &state.found.blocked {
            lines.push(format!("journal: nothing can be written: {why}"));
        }
        if let Some(why) = &state.found.closed {
            lines.push(format!("admission: no new calls: {why}"));
        }
        if let Some(why) = &state.found.store {
            lines.push(format!("store: cannot commit: {why}"));
        }
        lines.extend(state.damage());
        let serving =
            state.attached && state.found.blocked.is_none() && state.found.closed.is_none();
        if lines.is_empty() {
            lines.push("ok".to_owned());
        }
        lines.extend(self.targets.lines(clock::sample().mono));
        (serving, lines.join("\n") + "\n")
    }

    /// One line for the service manager: `well`, unless something is not.
    #[must_use]
    pub fn status(&self, well: &str) -> String {
        let state = self.lock();
        let found = &state.found;
        let first = found.blocked.as_ref().or(found.closed.as_ref()).or(found.store.as_ref());
        let now = first.map_or_else(|| well.to_owned(), |why| format!("not {well}: {why}"));
        match state.damage() {
            Some(damage) => format!("{now}; {damage}"),
            None => now,
        }
    }

    /// Name, help, whether it is a gauge, value.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, &'static str, bool, u64); 9] {
        let state = self.lock();
        let found = &state.found;
        let is = |why: &Option<String>| u64::from(why.is_some());
        [
            ("journal_blocked", "1 while nothing can be written", true, is(&found.blocked)),
            ("admission_closed", "1 while no new calls are taken", true, is(&found.closed)),
            ("disk_free_bytes", "Room on the journal's disk", true, found.free_bytes),
            ("store_stuck", "1 while the store cannot commit", true, is(&found.store)),
            (
                "store_backlog_bytes",
                "Bytes in the journal that the store has not committed",
                true,
                found.backlog_bytes,
            ),
            (
                "journal_damages",
                "Damaged places found in the journal at the start",
                true,
                state.damaged,
            ),
            (
                "journal_records_lost",
                "Acknowledged records that were gone at the start",
                true,
                state.lost,
            ),
            ("journal_blocks_total", "Times that writing stopped", false, state.blocked_times),
            ("admission_closures_total", "Times that admission stopped", false, state.closed_times),
        ]
    }
}

impl State {
    fn damage(&self) -> Option<String> {
        (self.damaged > 0 || self.lost > 0).then(|| {
            format!(
                "journal: damaged in {} places, {} acknowledged records lost, {} kept aside",
                self.damaged, self.lost, self.kept
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use store::journal::Damage;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_words_and_decides_readiness() {
        let health = Health::default();
        assert!(!health.tell().0, "without a dataplane");
        health.attached();
        assert_eq!(health.tell(), (true, "ok\n".to_owned()));
        let store = Some("database or disk is full".to_owned());
        health.set(Found { store, ..Found::default() });
        assert_eq!(health.changes(), 1);
        assert!(health.tell().0, "the journal keeps what waits");
        assert!(health.tell().1.contains("database or disk is full"));
        let blocked = Some("No space left".to_owned());
        health.set(Found { blocked: blocked.clone(), ..Found::default() });
        health.set(Found { blocked, backlog_bytes: 7, ..Found::default() });
        assert_eq!(health.changes(), 2, "figures are no news");
        assert!(!health.tell().0);
        assert_eq!(health.status("serving"), "not serving: No space left");
        health.set(Found::default());
        assert_eq!(health.tell(), (true, "ok\n".to_owned()));
        let times = health.figures().into_iter().find(|it| it.0 == "journal_blocks_total");
        assert_eq!(times.map(|it| it.3), Some(1));
    }

    #[test]
    fn a_damaged_journal_is_told_for_the_whole_life() {
        let health = Health::default();
        health.attached();
        let damage = Damage { segment: 1, at: 72, bytes: 30, first: 4, records: 1, kept: true };
        let records = vec![(3, vec![1]), (5, vec![1])];
        let replay = Replay { records, damage: vec![damage], durable: 5, ..Replay::default() };
        health.journal_found(&replay, 2);
        let (serving, text) = health.tell();
        assert!(serving, "what is left is served");
        assert!(
            text.contains("damaged in 1 places, 1 acknowledged records lost, 1 kept"),
            "{text}"
        );
        assert!(health.status("serving").contains("damaged"));
    }
}
