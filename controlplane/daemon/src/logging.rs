//! Logs: to standard error, as text on a terminal and as JSON otherwise.
//!
//! A log is the last that may cost a call. A line that cannot be written is left out, never an
//! error and never a panic; where standard error is a file, lines have a budget, and leave the
//! disk's last megabytes to the journal. What was left out is counted and said.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use base::Mono;
use config::Log;
use rustix::fs::{FileType, fstat, fstatvfs};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock;

/// Bytes that a file may get at once, and in each second.
const BURST_BYTES: u64 = 16 << 20;
const BYTES_PER_SECOND: u64 = 1 << 20;
/// Room that lines leave on the disk: twice the journal's reserve.
const KEPT_FREE_BYTES: u64 = 16 << 20;
/// How long a look at the disk counts.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Sets the process's log up, once.
///
/// # Errors
/// If the level is no filter.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("log.level `{}` is no level and no filter", log.level))?;
    let is_json = match log.format.as_str() {
        "json" => true,
        "text" => false,
        _ => !io::stderr().is_terminal(),
    };
    let is_file =
        fstat(io::stderr()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    let mut lines = Lines::to(io::stderr, is_file.then_some(free_bytes as fn() -> Option<u64>));
    lines.is_json = is_json;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(lines);
    // Whoever set a subscriber before us (a test) keeps it.
    let _ = if is_json { builder.json().try_init() } else { builder.try_init() };
    Ok(())
}

fn free_bytes() -> Option<u64> {
    let found = fstatvfs(io::stderr()).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Where lines go.
#[derive(Debug)]
struct Lines<F> {
    open: F,
    is_json: bool,
    budget: Mutex<Budget>,
}

/// What lines may still take.
#[derive(Debug)]
struct Budget {
    /// Of a file: room on its disk.
    free_bytes: Option<fn() -> Option<u64>>,
    left: u64,
    at: Mono,
    looked_at: Mono,
    has_room: bool,
    left_out: u64,
}

impl<F> Lines<F> {
    fn to(open: F, free_bytes: Option<fn() -> Option<u64>>) -> Self {
        let budget = Budget {
            free_bytes,
            left: BURST_BYTES,
            at: Mono(0),
            looked_at: Mono(0),
            has_room: true,
            left_out: 0,
        };
        Self { open, is_json: false, budget: Mutex::new(budget) }
    }
}

impl Budget {
    /// Whether a line of `len` bytes may be written.
    fn take(&mut self, now: Mono, len: usize) -> bool {
        let Some(free_bytes) = self.free_bytes else { return true };
        if self.looked_at == Mono(0) || now.since(self.looked_at) >= LOOK_EVERY {
            self.looked_at = now;
            self.has_room = free_bytes().is_none_or(|free| free >= KEPT_FREE_BYTES);
        }
        let millis = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let more = millis.saturating_mul(BYTES_PER_SECOND) / 1_000;
            self.left = self.left.saturating_add(more).min(BURST_BYTES);
            self.at = now;
        }
        let len = len as u64;
        if !self.has_room || self.left < len {
            return false;
        }
        self.left -= len;
        true
    }
}

/// One line; whatever comes of it, its writer goes on.
#[derive(Debug)]
struct Line<'l, W> {
    to: W,
    is_json: bool,
    budget: &'l Mutex<Budget>,
}

impl<W: Write> Line<'_, W> {
    fn say_left_out(&mut self, count: u64) -> io::Result<()> {
        let text = format!("{count} lines were left out");
        match self.is_json {
            true => {
                writeln!(self.to, "{{\"level\":\"WARN\",\"fields\":{{\"message\":\"{text}\"}}}}")
            }
            false => writeln!(self.to, " WARN log: {text}"),
        }
    }
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if !budget.take(clock::sample().mono, bytes.len()) {
            budget.left_out += 1;
            return Ok(bytes.len());
        }
        let left_out = budget.left_out;
        if left_out > 0 && self.say_left_out(left_out).is_ok() {
            budget.left_out = 0;
        }
        if self.to.write_all(bytes).is_err() {
            budget.left_out += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.to.flush();
        Ok(())
    }
}

impl<'l, F: Fn() -> W, W: Write + 'l> MakeWriter<'l> for Lines<F>
where
    F: 'l,
{
    type Writer = Line<'l, W>;

    fn make_writer(&'l self) -> Self::Writer {
        Line { to: (self.open)(), is_json: self.is_json, budget: &self.budget }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    /// A file that may be full.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<(Mutex<Vec<u8>>, AtomicBool)>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.1.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_disturbs_nobody_and_says_what_is_missing() {
        let paper = Paper::default();
        let shown = paper.clone();
        let lines = Lines::to(move || shown.clone(), None);
        let subscriber =
            tracing_subscriber::fmt().log_internal_errors(false).with_writer(lines).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            paper.0.1.store(true, Ordering::Relaxed);
            tracing::info!("lost");
            tracing::info!("lost");
            paper.0.1.store(false, Ordering::Relaxed);
            tracing::info!("after");
        });
        let text = String::from_utf8(paper.0.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("before") && text.contains("after") && !text.contains("lost"));
        assert!(text.contains("2 lines were left out"), "{text}");
    }

    #[test]
    fn a_file_gets_no_more_than_its_budget_and_leaves_the_disk_its_last_room() {
        static FREE: AtomicU64 = AtomicU64::new(u64::MAX);
        let lines = Lines::to(io::sink, Some(|| Some(FREE.load(Ordering::Relaxed))));
        let mut budget = lines.budget.lock().unwrap();
        let second = |count: u64| Mono(count * 1_000_000_000 + 1);
        let mut bytes = 0;
        while budget.take(second(100), 1_000) {
            bytes += 1_000;
        }
        assert_eq!(bytes, BURST_BYTES / 1_000 * 1_000);
        assert!(budget.take(second(101), 1_000), "a second later there is more");
        FREE.store(KEPT_FREE_BYTES - 1, Ordering::Relaxed);
        assert!(!budget.take(second(102), 1), "the rest is the journal's");
        FREE.store(KEPT_FREE_BYTES, Ordering::Relaxed);
        assert!(budget.take(second(103), 1));
    }
}
