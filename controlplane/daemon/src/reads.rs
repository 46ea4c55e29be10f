//! The threads that read the store for the API: so many and no more, of their own, so that neither
//! names that do not resolve nor another tenant's long questions keep a read from being answered.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use api::backend::{Read, Unavailable};
use model::AccountSid;
use store::{Store, StoreError};
use tokio::sync::oneshot;

/// Questions that wait, of one family of accounts.
const WAITING_OF_ONE_MAX: usize = 64;
/// Questions that wait, of all.
const WAITING_MAX: usize = 1_024;

type Question = Box<dyn FnOnce(&dyn Store) + Send>;

/// The pool. Its threads end with it.
pub struct Reads {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Threads that work for one family of accounts at one time.
    share: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(AccountSid, Question)>,
    running: Vec<AccountSid>,
    closed: bool,
}

impl Reads {
    /// # Errors
    /// What the system says (no thread left).
    pub fn new(store: &Arc<dyn Store>, threads: usize) -> io::Result<Self> {
        let share = threads.div_ceil(2);
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), share });
        let reads = Self { shared };
        for _ in 0..threads {
            let (shared, store) = (Arc::clone(&reads.shared), Arc::clone(store));
            let body = move || shared.work(&*store);
            std::thread::Builder::new().name("reads".to_owned()).spawn(body)?;
        }
        Ok(reads)
    }

    /// Asks for `account`, after what was written about it before is readable; by the share of
    /// `family`, the main account that it belongs to.
    ///
    /// # Errors
    /// [`Unavailable`] where too much waits, and with what the store says.
    pub async fn ask<T: Send + 'static>(
        &self,
        (family, account): (AccountSid, AccountSid),
        question: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Read<T> {
        let (answer, answered) = oneshot::channel();
        let question = move |store: &dyn Store| {
            if answer.is_closed() {
                // Whoever asked has gone.
                return;
            }
            let found = store.settle_account(account).and_then(|()| question(store));
            let _ = answer.send(found);
        };
        if !self.shared.push(family, Box::new(question)) {
            return Err(Unavailable("too many questions wait".to_owned()));
        }
        match answered.await {
            Ok(answer) => answer.map_err(|error| Unavailable(error.to_string())),
            Err(_) => Err(Unavailable("the question was dropped".to_owned())),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, family: AccountSid, question: Question) -> bool {
        let mut state = self.lock();
        let of_one = state.waiting.iter().filter(|(whose, _)| *whose == family).count();
        if state.waiting.len() >= WAITING_MAX || of_one >= WAITING_OF_ONE_MAX {
            return false;
        }
        state.waiting.push_back((family, question));
        self.work.notify_one();
        true
    }

    fn work(&self, store: &dyn Store) {
        let mut state = self.lock();
        while !state.closed {
            let Some((family, question)) = state.next(self.share) else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running.push(family);
            drop(state);
            // A question that panics is dropped, its asker told; the thread goes on.
            let question = std::panic::AssertUnwindSafe(|| question(store));
            if std::panic::catch_unwind(question).is_err() {
                tracing::error!(%family, "a read panicked");
            }
            state = self.lock();
            if let Some(at) = state.running.iter().position(|running| *running == family) {
                state.running.swap_remove(at);
            }
            // What waited for this family's share may go on.
            self.work.notify_one();
        }
    }
}

impl State {
    /// The first question of a family that has not its share of the threads.
    fn next(&mut self, share: usize) -> Option<(AccountSid, Question)> {
        let has_room = |family: &AccountSid| {
            self.running.iter().filter(|running| *running == family).count() < share
        };
        let at = self.waiting.iter().position(|(family, _)| has_room(family))?;
        self.waiting.remove(at)
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting.clear();
        self.shared.work.notify_all();
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(families: &[u128]) -> State {
        let question = |sid: &u128| (AccountSid(*sid), Box::new(|_: &dyn Store| ()) as Question);
        State { waiting: families.iter().map(question).collect(), ..State::default() }
    }

    /// One family's questions take half of the threads, however many wait before another's.
    #[test]
    fn one_family_has_its_share_of_the_threads() {
        let mut state = waiting(&[1, 1, 1, 1, 2, 1]);
        let mut order = Vec::new();
        while let Some((account, _)) = state.next(2) {
            state.running.push(account);
            order.push(account.0);
        }
        assert_eq!(order, [1, 1, 2]);
        state.running.remove(0);
        assert_eq!(state.next(2).map(|(account, _)| account), Some(AccountSid(1)));
    }

    #[test]
    fn what_waits_is_bounded_for_one_and_for_all() {
        let state = Mutex::new(State::default());
        let shared = Shared { state, work: Condvar::new(), share: 2 };
        let push = |account: u128| shared.push(AccountSid(account), Box::new(|_| ()));
        assert!((0..WAITING_OF_ONE_MAX).all(|_| push(1)));
        assert!(!push(1) && push(2));
        let taken = (3..10_000).filter(|account| push(*account)).count();
        assert_eq!(taken + WAITING_OF_ONE_MAX + 1, WAITING_MAX);
    }
}
