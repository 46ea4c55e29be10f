//! What the runtime thread is told by others, and how it is woken.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Mono;
use director::{Answer, Asked};
use model::port::Resolved;

use crate::bell::Bell;
use crate::link::Attachment;

/// Who looked so short a time ago looks again about as soon: at a hundred calls a second, each
/// millisecond or two.
const BUSY: Duration = Duration::from_millis(5);

/// One thing told.
#[derive(Debug)]
pub enum Input {
    Http(Answer),
    Api(Asked),
    Resolved(Resolved),
    /// The journal synced, or the store committed: look at their positions.
    Progress,
    Attached(Box<Attachment>),
    /// The dataplane process is gone; its successor will be attached.
    Detached,
    /// End in order.
    Stop,
}

/// A queue with a bell that is rung only for a sleeper.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<VecDeque<Input>>,
    sleeping: AtomicBool,
    /// When somebody looked last.
    taken: AtomicU64,
    bell: Bell,
}

impl Inbox {
    /// # Errors
    /// What the system says (no descriptor left).
    pub fn new() -> io::Result<Self> {
        let (queue, sleeping) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { queue, sleeping, taken: AtomicU64::new(0), bell: Bell::new()? })
    }

    pub fn tell(&self, input: Input) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// Tells what may wait. Where somebody has looked just now, somebody will again, and
    /// [`Inbox::remind`] sees to it: true if that is to be called.
    pub fn tell_later(&self, now: Mono, input: Input) -> bool {
        if now.since(Mono(self.taken.load(Ordering::Relaxed))) > BUSY {
            self.tell(input);
            return false;
        }
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        true
    }

    /// Wakes the sleeper if something waits for him.
    pub fn remind(&self) {
        let waits = !self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if waits && self.sleeping.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// Everything told so far.
    #[must_use]
    pub fn take(&self, now: Mono) -> VecDeque<Input> {
        self.taken.store(now.0, Ordering::Relaxed);
        core::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces sleep. False if something is there: do not sleep then. The lock orders this
    /// against [`Inbox::tell`]: either it sees the announcement or we see what it told.
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let empty = self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !empty {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        empty
    }

    pub fn wake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.bell
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_rung(inbox: &Inbox) -> bool {
        let mut bell = [PollFd::new(inbox.bell(), PollFlags::IN)];
        let rung = poll(&mut bell, Some(&Timespec::default())).unwrap() > 0;
        inbox.bell().clear();
        rung
    }

    #[test]
    fn what_may_wait_wakes_nobody_who_was_awake_just_now_and_is_not_forgotten() {
        let inbox = Inbox::new().unwrap();
        let at = |millis: u64| Mono(millis * 1_000_000);
        assert!(inbox.take(at(1_000)).is_empty());
        assert!(inbox.prepare_sleep());
        assert!(inbox.tell_later(at(1_002), Input::Progress), "to be reminded of");
        assert!(!is_rung(&inbox));
        inbox.remind();
        assert!(is_rung(&inbox));
        inbox.remind();
        assert!(!is_rung(&inbox), "rung already");
        assert_eq!(inbox.take(at(1_010)).len(), 1);
        assert!(inbox.prepare_sleep());
        inbox.remind();
        assert!(!is_rung(&inbox), "nothing waits");
        assert!(!inbox.tell_later(at(2_000), Input::Progress), "he sleeps for long");
        assert!(is_rung(&inbox));
        assert!(!inbox.prepare_sleep(), "who has not looked does not sleep");
    }
}
