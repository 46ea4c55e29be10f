//! A lock for each account, there while somebody has it or waits for it: nobody waits for another
//! account's, however he chooses his own.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use model::AccountSid;
use tokio::sync::{Mutex, OwnedMutexGuard};

#[derive(Debug, Default)]
pub(crate) struct Locks {
    of: std::sync::Mutex<HashMap<AccountSid, Arc<Mutex<()>>>>,
}

/// One's turn, or one's place in the line.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    locks: &'a Locks,
    account: AccountSid,
    /// Counts this turn as long as it is.
    lock: Option<Arc<Mutex<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// In the order of asking. Whoever stops waiting leaves nothing.
    pub(crate) async fn turn(&self, account: AccountSid) -> Turn<'_> {
        let lock = Arc::clone(self.all().entry(account).or_default());
        let next = Arc::clone(&lock);
        let mut turn = Turn { locks: self, account, lock: Some(lock), held: None };
        turn.held = Some(next.lock_owned().await);
        turn
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<AccountSid, Arc<Mutex<()>>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut all = self.locks.all();
        self.lock = None;
        if all.get(&self.account).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            all.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::pin::{Pin, pin};
    use core::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_account_waits_for_itself_and_for_no_other_and_nothing_is_left() {
        let locks = Locks::default();
        let mut held = Vec::new();
        for number in 0..200 {
            let Poll::Ready(turn) = poll(pin!(locks.turn(AccountSid(number)))) else {
                panic!("{number} waits for another account");
            };
            held.push(turn);
        }
        {
            let mut gives_up = Box::pin(locks.turn(AccountSid(7)));
            let mut waits = Box::pin(locks.turn(AccountSid(7)));
            assert!(poll(gives_up.as_mut()).is_pending() && poll(waits.as_mut()).is_pending());
            drop(gives_up);
            drop(held.remove(7));
            assert!(poll(waits.as_mut()).is_ready());
        }
        drop(held);
        assert!(locks.all().is_empty(), "{locks:?}");
    }
}
