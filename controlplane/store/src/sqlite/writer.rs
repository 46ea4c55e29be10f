//! The one writer. It lets a group gather for a moment (or until somebody waits), keeps of a call's
//! rows the last one of the group only and of its script log what the group makes of it, and
//! commits once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::CallId;
use model::AccountSid;
use model::port::{Record, StoreWrite};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::Listener;
use super::apply;
use super::retain::{Retention, Sweeper};
use super::sums::Group;
use crate::StoreError;
use crate::journal::Position;
use crate::vault::Vault;

/// What a group gathers for unless somebody waits: facts are durable in the journal already, the
/// ends of many calls lie on the same pages, and of the script of a call that begins and ends in
/// this time nothing is written.
const GATHER: Duration = Duration::from_secs(4);
/// Between commits, even if somebody waits: who asks for what is being written again and again must
/// not have every row synced by itself.
const BREATHER: Duration = Duration::from_millis(20);
/// Writes in one transaction.
const GROUP_MAX: usize = 4_096;
/// Between attempts to commit while the disk refuses.
const RETRY: Duration = Duration::from_secs(1);
/// Steps of the retention between two groups, unless somebody waits.
const STEPS: usize = 16;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Those who settle wait here.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<(Position, StoreWrite)>,
    submitted: Position,
    committed: Position,
    /// The last write about each account that is not committed.
    of_account: HashMap<AccountSid, Position>,
    /// Somebody waits for a commit.
    urgent: bool,
    /// The last commit was made because somebody waited.
    hurried: bool,
    closing: bool,
    failure: Option<String>,
    /// A sync failed: no other attempt with this connection means anything.
    is_fatal: bool,
    /// What is kept, for the writer to take.
    retention: Option<Retention>,
    /// Rows that went because of it.
    removed: u64,
}

/// What the writer does next.
enum Turn {
    Group(Vec<(Position, StoreWrite)>),
    /// Nothing came for as long as it may idle.
    Idle,
    End,
}

impl Shared {
    pub(super) fn new(committed: Position) -> Self {
        let state = State {
            queue: VecDeque::new(),
            submitted: committed,
            committed,
            of_account: HashMap::new(),
            urgent: false,
            hurried: false,
            closing: false,
            failure: None,
            is_fatal: false,
            retention: None,
            removed: 0,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn submit(&self, position: Position, write: StoreWrite) {
        let mut state = self.lock();
        for account in write.records.iter().filter_map(account_of) {
            state.of_account.insert(account, position);
        }
        state.queue.push_back((position, write));
        state.submitted = state.submitted.max(position);
        if state.queue.len() == 1 || state.queue.len() == GROUP_MAX {
            self.work.notify_one();
        }
    }

    pub(super) fn committed(&self) -> Position {
        self.lock().committed
    }

    /// Writes that wait, and rows removed so far.
    pub(super) fn figures(&self) -> (u64, u64) {
        let state = self.lock();
        (state.queue.len() as u64, state.removed)
    }

    pub(super) fn retain(&self, retention: Retention) {
        self.lock().retention = Some(retention);
        self.work.notify_one();
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    pub(super) fn fatal(&self) -> Option<String> {
        let state = self.lock();
        state.failure.clone().filter(|_| state.is_fatal)
    }

    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let target = self.lock().submitted;
        self.wait_for(target, Duration::MAX)
    }

    /// Until what is written about this account so far is committed; not longer than `patience`.
    pub(super) fn settle_account(
        &self,
        account: AccountSid,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let target = self.lock().of_account.get(&account).copied();
        target.map_or(Ok(()), |target| self.wait_for(target, patience))
    }

    /// Somebody waits for a commit, or there is a whole group.
    fn is_wanted(&self) -> bool {
        let state = self.lock();
        let asked = state.urgent && !state.queue.is_empty();
        asked || state.closing || state.queue.len() >= GROUP_MAX
    }

    fn wait_for(&self, target: Position, patience: Duration) -> Result<(), StoreError> {
        let mut state = self.lock();
        let waits = |state: &mut State| {
            let waits = state.committed < target && state.failure.is_none() && !state.closing;
            if waits {
                // Again after each group: one that was gathered before may not reach it.
                state.urgent = true;
                self.work.notify_one();
            }
            waits
        };
        if patience == Duration::MAX {
            state = self.done.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        } else {
            let waited = self.done.wait_timeout_while(state, patience, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.committed >= target {
            return Ok(());
        }
        Err(match &state.failure {
            Some(failure) => StoreError::Stuck(failure.clone()),
            None if state.closing => StoreError::Stuck("it is being closed".to_owned()),
            None => StoreError::Late,
        })
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
        self.done.notify_all();
    }

    /// The next group.
    fn gather(&self, sweeper: &mut Option<Sweeper>) -> Turn {
        let mut state = self.lock();
        let has_room = |state: &mut State| !state.closing && state.queue.len() < GROUP_MAX;
        if core::mem::take(&mut state.hurried) {
            let rested = self.work.wait_timeout_while(state, BREATHER, has_room);
            state = rested.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(retention) = state.retention.take() {
            *sweeper = Some(Sweeper::new(retention));
        }
        let waits = |state: &mut State| {
            state.queue.is_empty() && !state.closing && state.retention.is_none()
        };
        let pause = sweeper.as_ref().map_or(Duration::MAX, Sweeper::pause);
        if pause == Duration::MAX {
            state = self.work.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        } else {
            let waited = self.work.wait_timeout_while(state, pause, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.queue.is_empty() && !state.closing {
            return Turn::Idle;
        }
        let gathers = |state: &mut State| !state.urgent && has_room(state);
        let (mut state, _) = self
            .work
            .wait_timeout_while(state, GATHER, gathers)
            .unwrap_or_else(PoisonError::into_inner);
        let count = state.queue.len().min(GROUP_MAX);
        let group: Vec<_> = state.queue.drain(..count).collect();
        state.hurried = state.urgent && !group.is_empty();
        state.urgent &= !state.queue.is_empty();
        if group.is_empty() { Turn::End } else { Turn::Group(group) }
    }

    pub(super) fn succeeded(&self, position: Position) {
        let mut state = self.lock();
        state.committed = position;
        state.of_account.retain(|_, last| *last > position);
        state.failure = None;
        self.done.notify_all();
    }

    /// False if there is no point in trying again: the journal has it for the next start.
    pub(super) fn failed(&self, error: &StoreError, pause: Duration) -> bool {
        let mut state = self.lock();
        state.failure = Some(error.to_string());
        state.is_fatal = is_of_a_sync(error);
        self.done.notify_all();
        if state.is_fatal {
            return false;
        }
        let waits = |state: &mut State| !state.closing;
        let (state, _) = self
            .work
            .wait_timeout_while(state, pause, waits)
            .unwrap_or_else(PoisonError::into_inner);
        !state.closing
    }
}

pub(super) fn run(
    shared: &Shared,
    connection: &mut Connection,
    vault: &Vault,
    listener: &Listener,
) {
    let mut sweeper = None;
    loop {
        let group = match shared.gather(&mut sweeper) {
            Turn::End => break,
            Turn::Idle => Vec::new(),
            Turn::Group(group) => group,
        };
        while !group.is_empty() {
            match commit(connection, vault, &group) {
                Ok(position) => {
                    shared.succeeded(position);
                    listener();
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "the store cannot commit");
                    if !shared.failed(&error, RETRY) {
                        listener();
                        return;
                    }
                }
            }
        }
        if let Some(sweeper) = &mut sweeper
            && !sweep(shared, connection, sweeper)
        {
            listener();
            return;
        }
    }
    // What remains in the write-ahead log goes into the database now, so that a copy of it is
    // whole.
    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "the last checkpoint did not work");
    }
}

/// Dead letters of one account.
pub(super) const DEAD_LETTERS_MAX: usize = 10_000;

/// Some steps of the retention, as long as nobody waits. False if a sync failed.
fn sweep(shared: &Shared, connection: &mut Connection, sweeper: &mut Sweeper) -> bool {
    for _ in 0..STEPS {
        if sweeper.is_resting() || shared.is_wanted() {
            return true;
        }
        match sweeper.step(connection) {
            Ok(removed) => shared.lock().removed += removed,
            Err(error) if is_of_a_sync(&error) => {
                tracing::error!(%error, "the store cannot commit");
                return shared.failed(&error, Duration::ZERO);
            }
            Err(error) => {
                tracing::warn!(%error, "old rows cannot be removed now");
                sweeper.rest();
            }
        }
    }
    true
}

fn commit(
    connection: &mut Connection,
    vault: &Vault,
    group: &[(Position, StoreWrite)],
) -> Result<Position, StoreError> {
    let last = last_of_each_call(group);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut rows = Group::new(&transaction);
    let mut scripts: BTreeMap<CallId, apply::Script> = BTreeMap::new();
    let mut lettered: BTreeSet<AccountSid> = BTreeSet::new();
    for (position, write) in group {
        for (at, record) in write.records.iter().enumerate() {
            match record {
                Record::Call(row) if last.get(&row.sid) != Some(&(*position, at)) => continue,
                Record::Script(log) => {
                    scripts.entry(log.call).or_default().replace(log.state.as_ref());
                }
                Record::ScriptChange(log) => {
                    scripts.entry(log.call).or_default().follow(&log.change);
                }
                Record::DeadLetter(letter) => {
                    lettered.insert(letter.account);
                }
                _ => {}
            }
            let applied = apply::apply(&mut rows, vault, record);
            unless_refused(applied, *position)?;
        }
    }
    let position = group.last().map_or(0, |(position, _)| *position);
    for (call, script) in &scripts {
        unless_refused(apply::script(&mut rows, *call, script), position)?;
    }
    for account in lettered {
        apply::bound_letters(&mut rows, account, DEAD_LETTERS_MAX)?;
    }
    rows.close(|written| unless_refused(written, position))?;
    apply::set_applied(&transaction, position)?;
    transaction.commit()?;
    Ok(position)
}

/// Whose record it is; None of the operator's and strangers'.
fn account_of(record: &Record) -> Option<AccountSid> {
    match record {
        Record::Call(row) | Record::CallIfAbsent(row) => Some(row.account),
        Record::Cdr(cdr) => cdr.account,
        Record::Usage(usage) => usage.account,
        Record::Ledger(entry) => Some(entry.account),
        Record::Alert(alert) => Some(alert.account),
        Record::DeadLetter(letter) => Some(letter.account),
        Record::DeadLetterGone { account, .. } => Some(*account),
        Record::HideCall { account, .. } => Some(*account),
        Record::Put(entity) => entity.account(),
        Record::Binding(binding) => Some(binding.account),
        Record::Registered(binding) => Some(binding.account()),
        Record::Script(_)
        | Record::ScriptChange(_)
        | Record::Delete(_)
        | Record::BindingGone(_) => None,
    }
}

/// One bad record is left out, aloud; what it came with is applied.
fn unless_refused(applied: Result<(), StoreError>, position: Position) -> Result<(), StoreError> {
    match applied {
        Err(error) if is_of_the_record(&error) => {
            tracing::error!(%error, position, "a record is refused and left out");
            Ok(())
        }
        other => other,
    }
}

/// Where the last row of each call is: it replaces those before.
fn last_of_each_call(group: &[(Position, StoreWrite)]) -> HashMap<CallId, (Position, usize)> {
    let mut last = HashMap::new();
    for (position, write) in group {
        for (at, record) in write.records.iter().enumerate() {
            if let Record::Call(row) = record {
                last.insert(row.sid, (*position, at));
            }
        }
    }
    last
}

/// The kernel forgets the pages that it could not write, and the error once it was told.
fn is_of_a_sync(error: &StoreError) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    let StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = error else { return false };
    [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&error.extended_code)
}

/// Faults that come again however often it is tried; one bad record must not hold up the rest.
fn is_of_the_record(error: &StoreError) -> bool {
    match error {
        StoreError::Row { .. } => true,
        StoreError::Sqlite(error) => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
        ),
        _ => false,
    }
}
