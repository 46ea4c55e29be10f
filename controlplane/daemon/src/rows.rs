//! Rows of calls that stand, for who asks the API. A call's row is written once, when the call has
//! ended; until then it is here, as the director last said it, and in the call's script log, from
//! which a successor has it before its director knows of any dataplane.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::{CallId, Wall};
use model::port::Record;
use model::query::{CallQuery, Cursor, Listed, Seek, Window};
use model::{AccountSid, CallRow};

/// See the module.
#[derive(Debug, Default)]
pub struct Rows {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: HashMap<AccountSid, BTreeMap<(Wall, CallId), CallRow>>,
    /// By call: where its row is.
    places: HashMap<CallId, (AccountSid, Wall)>,
    /// Rows that are about to be the store's.
    ended: Vec<CallId>,
}

impl Rows {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records on their way to the journal: rows of calls that stand stay here.
    pub fn learn(&self, records: &mut Vec<Record>) {
        let is_ours = |it: &Record| matches!(it, Record::Call(_) | Record::HideCall { .. });
        if !records.iter().any(is_ours) {
            return;
        }
        let mut inner = self.lock();
        records.retain_mut(|record| {
            if let Record::HideCall { call, .. } = record {
                inner.remove(*call);
            }
            let Record::Call(row) = record else { return true };
            if row.status.is_final() {
                // Shown until the store has it: it may be a while before that can be written.
                inner.ended.push(row.sid);
                inner.put(CallRow::clone(row));
                return true;
            }
            inner.put(core::mem::take(row));
            false
        });
    }

    /// A row as a predecessor's script log has it, until the director says it again.
    pub fn remember(&self, row: CallRow) {
        self.lock().put(row);
    }

    /// What was told so far is the store's: who asks it waits for its own writes.
    pub fn forget_ended(&self) {
        let mut inner = self.lock();
        for call in core::mem::take(&mut inner.ended) {
            inner.remove(call);
        }
    }

    /// The row of a call that stands, if it does.
    #[must_use]
    pub fn call(&self, call: CallId) -> Option<CallRow> {
        let inner = self.lock();
        let (account, created) = *inner.places.get(&call)?;
        inner.rows.get(&account)?.get(&(created, call)).cloned()
    }

    /// What a page may show of the calls that stand; asked before the store is, so that a call that
    /// ends meanwhile is found in one of the two.
    #[must_use]
    pub fn page(&self, query: &CallQuery) -> Vec<CallRow> {
        let inner = self.lock();
        let Some(rows) = inner.rows.get(&query.account) else { return Vec::new() };
        // In the list's order, and no more than the page has: an account may have many.
        let fits = |(_, row): &(&(Wall, CallId), &CallRow)| query.matches(row);
        let Window { seek, limit } = query.window;
        let key = |at: Cursor| (at.at, CallId(at.id));
        let found: Vec<CallRow> = match seek {
            Seek::First => rows.iter().rev().filter(fits).take(limit).map(cloned).collect(),
            Seek::After(after) => {
                rows.range(..key(after)).rev().filter(fits).take(limit).map(cloned).collect()
            }
            Seek::Before(before) => {
                let newer = (Bound::Excluded(key(before)), Bound::Unbounded);
                rows.range(newer).filter(fits).take(limit).map(cloned).collect()
            }
        };
        drop(inner);
        query.window.apply(found, Listed::cursor)
    }
}

fn cloned((_, row): (&(Wall, CallId), &CallRow)) -> CallRow {
    row.clone()
}

impl Inner {
    fn put(&mut self, row: CallRow) {
        let (call, account, created) = (row.sid, row.account, row.date_created);
        self.places.insert(call, (account, created));
        self.rows.entry(account).or_default().insert((created, call), row);
    }

    fn remove(&mut self, call: CallId) {
        let Some((account, created)) = self.places.remove(&call) else { return };
        if let Some(rows) = self.rows.get_mut(&account) {
            rows.remove(&(created, call));
            if rows.is_empty() {
                self.rows.remove(&account);
            }
        }
    }
}

/// The page of a list whose rows are partly here and partly in the store. A call that is in both
/// has ended meanwhile.
#[must_use]
pub fn merge(query: &CallQuery, standing: Vec<CallRow>, stored: Vec<CallRow>) -> Vec<CallRow> {
    if standing.is_empty() {
        return stored;
    }
    let ended: HashSet<CallId> =
        stored.iter().filter(|row| row.status.is_final()).map(|row| row.sid).collect();
    let alive: HashSet<CallId> = standing.iter().map(|row| row.sid).collect();
    let stored =
        stored.into_iter().filter(|row| row.status.is_final() || !alive.contains(&row.sid));
    let standing = standing.into_iter().filter(|row| !ended.contains(&row.sid));
    query.window.apply(stored.chain(standing).collect(), Listed::cursor)
}

#[cfg(test)]
mod tests {
    use model::CallStatus;
    use model::query::Span;

    use super::*;

    const ACCOUNT: AccountSid = AccountSid(1);

    fn row(call: u128, created: u64, status: CallStatus) -> CallRow {
        let (account, date_created) = (ACCOUNT, Wall(created));
        CallRow { sid: CallId(call), account, date_created, status, ..CallRow::default() }
    }

    fn query(seek: Seek, limit: usize) -> CallQuery {
        CallQuery {
            account: ACCOUNT,
            to: None,
            from: None,
            status: None,
            parent: None,
            start: Span::ALL,
            end: Span::ALL,
            window: Window { seek, limit },
        }
    }

    fn told(rows: &Rows, row: CallRow) -> usize {
        let mut records = vec![Record::Call(Box::new(row))];
        rows.learn(&mut records);
        records.len()
    }

    #[test]
    fn a_row_is_written_once_when_its_call_has_ended() {
        let rows = Rows::default();
        let written = [CallStatus::Queued, CallStatus::Ringing, CallStatus::InProgress]
            .map(|status| told(&rows, row(1, 10, status)));
        assert_eq!(written, [0, 0, 0]);
        assert_eq!(rows.call(CallId(1)).unwrap().status, CallStatus::InProgress);
        rows.forget_ended();
        assert_eq!(told(&rows, row(1, 10, CallStatus::Completed)), 1);
        assert_eq!(rows.call(CallId(1)).unwrap().status, CallStatus::Completed);
        rows.forget_ended();
        assert_eq!(rows.call(CallId(1)), None);
        assert!(rows.page(&query(Seek::First, 9)).is_empty());
    }

    /// Whatever part of the calls has ended, pages are those of one list.
    #[test]
    fn pages_are_those_of_one_list() {
        for ended in 0_u32..1 << 8 {
            let rows = Rows::default();
            let mut all = Vec::new();
            let mut stored = Vec::new();
            for call in 0..8_u32 {
                let is_over = ended >> call & 1 == 1;
                let status = if is_over { CallStatus::Busy } else { CallStatus::Ringing };
                let row = row(u128::from(call) + 1, u64::from(call / 2), status);
                all.push(row.clone());
                if is_over {
                    stored.push(row);
                } else {
                    told(&rows, row);
                }
            }
            let at = |at, id| Cursor { at: Wall(at), id };
            for seek in [Seek::First, Seek::After(at(2, 6)), Seek::Before(at(1, 3))] {
                for limit in 1..5 {
                    let query = query(seek, limit);
                    let of_store = query.window.apply(stored.clone(), Listed::cursor);
                    let found = merge(&query, rows.page(&query), of_store);
                    assert_eq!(found, query.window.apply(all.clone(), Listed::cursor));
                }
            }
        }
    }

    /// Between the question to us and the one to the store a call may end.
    #[test]
    fn a_call_that_ends_meanwhile_is_shown_once() {
        let standing = vec![row(1, 10, CallStatus::InProgress)];
        let stored = vec![row(1, 10, CallStatus::Completed)];
        let found = merge(&query(Seek::First, 9), standing, stored.clone());
        assert_eq!(found, stored);
    }

    #[test]
    fn what_a_predecessor_left_is_shown_until_it_is_told_anew() {
        let rows = Rows::default();
        rows.remember(row(1, 5, CallStatus::InProgress));
        let shown = |rows: &Rows| rows.page(&query(Seek::First, 10)).len();
        assert_eq!((shown(&rows), rows.call(CallId(1)).is_some()), (1, true));
        assert_eq!(told(&rows, row(1, 5, CallStatus::Completed)), 1);
        rows.forget_ended();
        assert_eq!((shown(&rows), rows.call(CallId(1))), (0, None));
    }
}
