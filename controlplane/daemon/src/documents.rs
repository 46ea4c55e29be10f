//! Documents of applications, read before the runtime hears of them: neither the thread that
//! decides nor the one that has the webhooks waits for what somebody else's document costs. Short
//! ones are read where they come in, handing them over would cost more; the others by threads of
//! their own, of which a family of accounts has its share.

use std::io;

use api::webhook::Gates;
use director::{Answer, Asked};
use model::AccountSid;
use model::port::{HttpError, HttpKind, HttpReply, HttpRequest};
use tokio::runtime::{Builder, Handle, Runtime};

/// Bytes of a document that is read where it comes in.
const SHORT_BYTES: usize = 4 * 1024;
/// Threads that read the others, for all and for one family of accounts.
const THREADS: usize = 2;
const FAMILY_THREADS: usize = 1;

/// See the module. Its threads end with it.
#[derive(Debug)]
pub struct Documents {
    runtime: Option<Runtime>,
    threads: Handle,
    gates: Gates<AccountSid>,
    /// The longest document that is taken, bytes.
    bytes_max: usize,
}

impl Documents {
    /// # Errors
    /// What the system says (no thread left).
    pub fn new(bytes_max: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(THREADS)
            .thread_name("documents")
            .build()?;
        let threads = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), threads, gates: Gates::new(FAMILY_THREADS), bytes_max })
    }

    /// What came of a request, with the document in it if one was asked for.
    pub async fn answer(&self, request: &HttpRequest, reply: HttpReply) -> Answer {
        if request.kind != HttpKind::Instructions {
            return reply.into();
        }
        let (id, bytes_max) = (reply.id, self.bytes_max);
        let bytes = reply.result.as_ref().map_or(0, |answer| answer.body.len());
        let read = self.read(request.family, bytes, move || Answer::read(reply, bytes_max)).await;
        read.unwrap_or_else(|| HttpReply { id, result: Err(HttpError::Protocol) }.into())
    }

    /// A request of the API, with the document that it brings; None if that could not be read for
    /// a fault of ours.
    pub async fn asked(&self, family: AccountSid, asked: Asked) -> Option<Asked> {
        let (bytes, bytes_max) = (asked.document_bytes(), self.bytes_max);
        self.read(family, bytes, move || asked.read(bytes_max)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        family: AccountSid,
        bytes: usize,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if bytes <= SHORT_BYTES {
            return Some(read());
        }
        let permit = self.gates.of(family).acquire_owned().await.ok()?;
        let read = self.threads.spawn_blocking(move || {
            let _permit = permit;
            read()
        });
        read.await.inspect_err(|error| tracing::error!(%error, "reading a document failed")).ok()
    }
}

impl Drop for Documents {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};
    use std::thread;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn run(test: impl Future<Output = ()>) {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn long_documents_are_read_elsewhere_and_short_ones_here() {
        run(async {
            let documents = Documents::new(65_536).unwrap();
            let place = || (thread::current().id(), thread::current().name().map(str::to_owned));
            let here = documents.read(AccountSid(1), SHORT_BYTES, place).await.unwrap();
            assert_eq!(here.0, thread::current().id());
            let there = documents.read(AccountSid(1), SHORT_BYTES + 1, place).await.unwrap();
            assert_ne!(there.0, thread::current().id());
            assert_eq!(there.1.as_deref(), Some("documents"));
        });
    }

    /// One family's documents take as long as they like: another's is read beside them, and
    /// whoever has the webhooks goes on.
    #[test]
    fn one_family_has_its_share_of_the_threads() {
        run(async {
            let documents = Arc::new(Documents::new(65_536).unwrap());
            let (end, ended) = mpsc::channel::<()>();
            let ended = Arc::new(Mutex::new(ended));
            let slow: Vec<_> = (0..8)
                .map(|_| {
                    let (documents, ended) = (Arc::clone(&documents), Arc::clone(&ended));
                    let wait = move || {
                        let _ = ended.lock().unwrap().recv();
                    };
                    tokio::spawn(async move {
                        documents.read(AccountSid(1), 65_536, wait).await.unwrap();
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            let other = documents.read(AccountSid(2), 65_536, || 7);
            assert_eq!(timeout(PATIENCE, other).await.expect("no thread was left"), Some(7));
            drop(end);
            for slow in slow {
                timeout(PATIENCE, slow).await.unwrap().unwrap();
            }
        });
    }
}
