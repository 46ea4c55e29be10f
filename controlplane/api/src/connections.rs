//! Connections within bounds: so many of all and of a source, the oldest silent one shed for a
//! newcomer; a first byte in time; answers taken in time, and within a budget of bytes.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::door::Source;
use crate::limits::Limits;
use crate::problem::Problem;

/// All of them.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By the order in which they came.
    open: BTreeMap<u64, Arc<Connection>>,
    of_source: HashMap<Source, usize>,
    bytes: usize,
    bytes_of_source: HashMap<Source, usize>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    source: Source,
    /// Told to end.
    pub(crate) shed: Notify,
    turn: Mutex<Turn>,
}

/// Whose turn it is.
#[derive(Debug)]
enum Turn {
    /// The client's: nothing was asked, or everything is answered.
    Silent,
    /// Ours.
    Asked,
    /// The client's to take the answer, since then.
    Answered { since: Instant, _bytes: Option<Bytes> },
}

/// Bytes of the budget; they go back when dropped.
#[derive(Debug)]
pub(crate) struct Bytes {
    connections: Arc<Connections>,
    source: Source,
    count: usize,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A newcomer's place. Where there is none the oldest silent connection makes room, of the same
    /// source where that one has too many; None where all of them are busy.
    pub(crate) fn enter(&self, source: Source) -> Option<Arc<Connection>> {
        let most = |limit: u32| usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        let mut state = self.lock();
        let of_source = state.of_source.get(&source).copied().unwrap_or(0);
        if of_source >= most(self.limits.source_connections) {
            state.shed_oldest(|connection| connection.source == source)?;
        }
        if state.open.len() >= most(self.limits.connections) {
            state.shed_oldest(|_| true)?;
        }
        state.next += 1;
        let (id, shed, turn) = (state.next, Notify::new(), Mutex::new(Turn::Silent));
        let connection = Arc::new(Connection { id, source, shed, turn });
        state.open.insert(id, Arc::clone(&connection));
        *state.of_source.entry(source).or_default() += 1;
        Some(connection)
    }

    pub(crate) fn leave(&self, connection: &Connection) {
        self.lock().remove(connection.id);
    }

    /// So many bytes of the budget for an answer to this source; None while others are not taken.
    pub(crate) fn reserve(self: &Arc<Self>, source: Source, count: usize) -> Option<Bytes> {
        let mut bytes = Bytes { connections: Arc::clone(self), source, count: 0 };
        bytes.resize(count).then_some(bytes)
    }
}

impl State {
    fn shed_oldest(&mut self, of: impl Fn(&Connection) -> bool) -> Option<()> {
        let oldest = self.open.values().find(|it| of(it) && it.is_silent())?;
        let oldest = Arc::clone(oldest);
        self.remove(oldest.id);
        oldest.shed.notify_one();
        Some(())
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.open.remove(&id) else { return };
        subtract(&mut self.of_source, connection.source, 1);
    }
}

fn subtract(table: &mut HashMap<Source, usize>, source: Source, count: usize) {
    if let Some(have) = table.get_mut(&source) {
        *have = have.saturating_sub(count);
        if *have == 0 {
            table.remove(&source);
        }
    }
}

impl Bytes {
    /// False, and as before, if the budget has not so many.
    pub(crate) fn resize(&mut self, count: usize) -> bool {
        let most = usize::try_from(self.connections.limits.answer_bytes).unwrap_or(usize::MAX);
        let mut state = self.connections.lock();
        let total = state.bytes - self.count + count;
        let of_source = state.bytes_of_source.get(&self.source).copied().unwrap_or(0);
        let of_source = of_source - self.count + count;
        if count > self.count && most > 0 && (total > most || of_source > most / 4) {
            return false;
        }
        state.bytes = total;
        state.bytes_of_source.insert(self.source, of_source);
        subtract(&mut state.bytes_of_source, self.source, 0);
        drop(state);
        self.count = count;
        true
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.resize(0);
    }
}

impl Connection {
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        matches!(*self.turn(), Turn::Silent)
    }

    pub(crate) fn asked(&self) {
        let before = core::mem::replace(&mut *self.turn(), Turn::Asked);
        drop(before);
    }

    /// The answer stands; its bytes are held until it is taken.
    pub(crate) fn answered(&self, bytes: Option<Bytes>) {
        let answered = Turn::Answered { since: Instant::now(), _bytes: bytes };
        let before = core::mem::replace(&mut *self.turn(), answered);
        drop(before);
    }

    fn taken(&self) {
        let mut turn = self.turn();
        if matches!(*turn, Turn::Answered { .. }) {
            let before = core::mem::replace(&mut *turn, Turn::Silent);
            drop(turn);
            drop(before);
        }
    }

    fn answered_since(&self) -> Option<Instant> {
        match *self.turn() {
            Turn::Answered { since, .. } => Some(since),
            Turn::Silent | Turn::Asked => None,
        }
    }
}

/// The stream of a connection, which ends what takes too long, and says in our words what the HTTP
/// library refuses in none.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    connection: Arc<Connection>,
    limits: Limits,
    /// Until the first byte.
    silence: Option<Pin<Box<Sleep>>>,
    /// While an answer is not taken.
    writing: Option<Pin<Box<Sleep>>>,
    /// A refusal, and how much of it was sent.
    refusal: Option<(Vec<u8>, usize)>,
}

impl<S> Guarded<S> {
    pub(crate) fn new(stream: S, connection: Arc<Connection>, limits: Limits) -> Self {
        let silence = Some(Box::pin(sleep_until(Instant::now() + limits.first_byte)));
        Self { stream, connection, limits, silence, writing: None, refusal: None }
    }
}

fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.silence = None;
        }
        if read.is_pending()
            && let Some(silence) = &mut self.silence
        {
            ready!(silence.as_mut().poll(cx));
            return Poll::Ready(Err(late()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// The stream's own answer, or an error once the whole answer has had its time.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let (since, most) = (self.connection.answered_since(), self.limits.write);
            let timer = || Box::pin(sleep_until(since.unwrap_or_else(Instant::now) + most));
            ready!(self.writing.get_or_insert_with(timer).as_mut().poll(cx));
            return Poll::Ready(Err(late()));
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refusal.is_none() && this.connection.is_silent() {
            this.refusal = refusal(buf).map(|bytes| (bytes, 0));
        }
        let Some((bytes, sent)) = &mut this.refusal else {
            let written = Pin::new(&mut this.stream).poll_write(cx, buf);
            return this.in_time(cx, written);
        };
        while *sent < bytes.len() {
            match Pin::new(&mut this.stream).poll_write(cx, &bytes[*sent..]) {
                Poll::Ready(Ok(count)) => *sent += count,
                other => return this.in_time(cx, other),
            }
        }
        this.refusal = None;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // The library flushes when it has handed over everything that it had.
        if let Poll::Ready(Ok(())) = flushed {
            self.writing = None;
            self.connection.taken();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What the library answers to a request that never came to us, in our words. An interim answer
/// (100) is none.
fn refusal(head: &[u8]) -> Option<Vec<u8>> {
    let status = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let status: u16 = core::str::from_utf8(status.get(..3)?).ok()?.parse().ok()?;
    if !(400..600).contains(&status) {
        return None;
    }
    let problem = match status {
        413 | 414 | 431 => Problem::new(status, 20_413, "Request head too long"),
        _ => Problem::new(
            status,
            20_001,
            "Not an HTTP request that can be read: what a URL does not hold as it is, `<` and `>` in \
             StartTime> for example, must be percent-encoded (StartTime%3E=)",
        ),
    };
    let body = problem.body().to_string();
    let reason = StatusCode::from_u16(status).ok()?.canonical_reason().unwrap_or("Error");
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    Some((head + &body).into_bytes())
}
