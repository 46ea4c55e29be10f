//! What the runtime thread is told by others, and how it is woken.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use director::{Answer, Asked};
use model::port::Resolved;

use crate::bell::Bell;
use crate::link::Attachment;

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
    bell: Bell,
}

impl Inbox {
    /// # Errors
    /// What the system says (no descriptor left).
    pub fn new() -> io::Result<Self> {
        let (queue, sleeping) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { queue, sleeping, bell: Bell::new()? })
    }

    pub fn tell(&self, input: Input) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// Everything told so far.
    #[must_use]
    pub fn take(&self) -> VecDeque<Input> {
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
