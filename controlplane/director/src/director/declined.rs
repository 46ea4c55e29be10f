//! What far ends say beside the status by which they refuse a call, or in ending it: it is told
//! before the leg's end, and goes into its CDR and to the call's followers.

use std::collections::BTreeMap;

use base::CallId;
use model::declined;

use super::Director;

/// What is kept of legs that this process has no state of. Each is taken out by its leg's end,
/// which follows at once.
#[derive(Debug, Default)]
pub(super) struct Said {
    words: BTreeMap<CallId, String>,
    /// It was told that there is too much of it, and there was not less since.
    is_told: bool,
}

/// Ends that were lost leave what was said before them.
const SAID_MAX: usize = 1_024;

impl Said {
    /// The call's end is nobody's.
    pub(super) fn forget(&mut self, call: CallId) {
        self.take(call);
    }

    fn take(&mut self, call: CallId) -> Option<String> {
        let taken = self.words.remove(&call);
        self.is_told &= self.words.len() > SAID_MAX / 2;
        taken
    }
}

impl Director {
    pub(super) fn on_declined(&mut self, call: CallId, code: u16, said: &str) {
        if (300..400).contains(&code) {
            self.on_moved(call, said);
        }
        // Where the call is to go is no reason of its end.
        let words: String = said.split_inclusive('\n').filter(|it| !is_contact(it)).collect();
        if words.trim().is_empty() {
            return;
        }
        let kept = declined::kept(code, &words);
        if let Some(mut live) = self.calls.get_mut(&call) {
            if !live.is_over() && live.reason.is_none() {
                // Its end may be read by a successor alone.
                live.reason = Some(kept);
                live.touch();
            }
            return;
        }
        // Calls are numbered by their time: the oldest goes.
        while self.said.words.len() >= SAID_MAX {
            self.said.words.pop_first();
            if !core::mem::replace(&mut self.said.is_told, true) {
                let message = "ends of legs were never told, and what their far ends said is \
                               forgotten";
                self.notice(None, None, true, message.to_owned());
            }
        }
        self.said.words.insert(call, kept);
    }

    /// What is told of a leg's end beside its cause.
    pub(super) fn reason_of(&mut self, call: CallId) -> Option<String> {
        let said = self.said.take(call);
        self.calls.get(&call).and_then(|live| live.reason.clone()).or(said)
    }
}

fn is_contact(line: &str) -> bool {
    line.starts_with("Contact: ")
}
