//! What the runtime has others do: webhooks, names, answers to the API.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::WebhookClient;
use base::Mono;
use model::port::{ApiId, ApiResult, HttpKind, HttpRequest, Notice, Resolve};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::documents::Documents;
use crate::inbox::{Inbox, Input};
use crate::names::{Names, Reach};

/// Where the director's effects go that are neither commands nor writes. Nothing here blocks.
pub trait Outside: Send {
    fn http(&mut self, now: Mono, request: HttpRequest);
    /// Sends what has waited long enough, or all of it. When the next must go.
    fn let_go(&mut self, now: Mono, all: bool) -> Mono;
    fn resolve(&mut self, resolve: Resolve);
    fn reply(&mut self, id: ApiId, result: ApiResult);
    fn notice(&mut self, notice: Notice);
}

/// API requests under way.
#[derive(Debug, Default)]
pub struct Replies(Mutex<HashMap<ApiId, oneshot::Sender<ApiResult>>>);

impl Replies {
    pub fn expect(&self, id: ApiId) -> oneshot::Receiver<ApiResult> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        receiver
    }

    pub fn answer(&self, id: ApiId, result: ApiResult) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // Whoever asked may have gone; the request was carried out all the same.
        if let Some(sender) = sender {
            let _ = sender.send(result);
        }
    }
}

/// The real outside, on tokio. Webhooks have a thread of their own: a request, its connection and
/// its answer wake nobody but that one, and those who read documents. Neither readers of the API
/// nor names that do not resolve nor long documents stand in their way.
#[derive(Debug)]
pub struct World {
    requests: UnboundedSender<Vec<HttpRequest>>,
    /// Callbacks that wait for others, and until when.
    waiting: Vec<HttpRequest>,
    until: Mono,
    names: Names,
    inbox: Arc<Inbox>,
    replies: Arc<Replies>,
    said: Said,
}

/// How long a callback waits for others, or for a request for instructions, to go along with: to
/// wake the thread that sends them costs more than what it does then.
const PATIENCE: Duration = Duration::from_millis(10);
/// So many do not wait for more.
const TOGETHER: usize = 32;

/// Notices written in one second: a flood of strangers must not fill the disk.
const NOTICES_PER_SECOND: u32 = 20;

impl World {
    /// # Errors
    /// What the system says (no thread left).
    pub fn new(
        client: WebhookClient,
        documents: Arc<Documents>,
        (inbox, replies): (Arc<Inbox>, Arc<Replies>),
        reach: Reach,
    ) -> io::Result<Self> {
        // The director bounds what is under way; nothing waits here but for the thread.
        let (requests, taken) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let told = Arc::clone(&inbox);
        std::thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || runtime.block_on(ask(client, documents, taken, told)))?;
        Ok(Self {
            requests,
            waiting: Vec::new(),
            until: Mono::NEVER,
            names: Names::new(reach)?,
            inbox,
            replies,
            said: Said::default(),
        })
    }
}

impl Outside for World {
    fn http(&mut self, now: Mono, request: HttpRequest) {
        let may_wait = request.kind == HttpKind::Callback && self.waiting.len() < TOGETHER;
        self.until = self.until.min(if may_wait { now + PATIENCE } else { now });
        self.waiting.push(request);
    }

    fn let_go(&mut self, now: Mono, all: bool) -> Mono {
        if (all || self.until <= now) && !self.waiting.is_empty() {
            // The thread lives as long as we do.
            let _ = self.requests.send(core::mem::take(&mut self.waiting));
            self.until = Mono::NEVER;
        }
        self.until
    }

    fn resolve(&mut self, resolve: Resolve) {
        self.names.resolve(resolve, Arc::clone(&self.inbox));
    }

    fn reply(&mut self, id: ApiId, result: ApiResult) {
        self.replies.answer(id, result);
    }

    fn notice(&mut self, notice: Notice) {
        let second = crate::clock::sample().wall.seconds();
        let (may, left_out) = self.said.take(second, notice.error);
        if left_out > 0 {
            tracing::warn!(more = left_out, "notices were left out");
        }
        if !may {
            return;
        }
        let Notice { account, call, error, message } = notice;
        let account = account.map(|account| account.to_string());
        let call = call.map(|call| call.to_string());
        if error {
            tracing::warn!(account, call, "{message}");
        } else {
            tracing::info!(account, call, "{message}");
        }
    }
}

/// What was said in a second. Errors have a budget of their own: a flood of refusals does not keep
/// the operator from hearing that something is broken.
#[derive(Debug, Default)]
struct Said {
    second: u64,
    /// Errors, and the rest.
    said: [u32; 2],
    left_out: u32,
}

impl Said {
    /// Whether one more may be said in this second, and how many were left out in the one before.
    fn take(&mut self, second: u64, error: bool) -> (bool, u32) {
        let mut left_out = 0;
        if self.second != second {
            left_out = core::mem::take(self).left_out;
            self.second = second;
        }
        let said = &mut self.said[usize::from(!error)];
        let may = *said < NOTICES_PER_SECOND;
        *said += u32::from(may);
        self.left_out += u32::from(!may);
        (may, left_out)
    }
}

/// What an answered callback waits at most until the runtime, which was awake just now, is woken
/// for it.
const REMINDED: Duration = Duration::from_millis(50);
/// No request's time is shorter, nearly. A timer that is the nearest of all makes tokio wake its
/// own thread when it is set; with one that is always nearer, those of requests do not.
const NEARER: Duration = Duration::from_millis(500);

/// Sends what is asked for until nobody asks any more.
async fn ask(
    client: WebhookClient,
    documents: Arc<Documents>,
    mut requests: UnboundedReceiver<Vec<HttpRequest>>,
    inbox: Arc<Inbox>,
) {
    tokio::spawn(async {
        let mut nearer = tokio::time::interval(NEARER);
        loop {
            nearer.tick().await;
        }
    });
    let answered = Arc::new(tokio::sync::Notify::new());
    let (heard, reminded) = (Arc::clone(&answered), Arc::clone(&inbox));
    tokio::spawn(async move {
        loop {
            heard.notified().await;
            tokio::time::sleep(REMINDED).await;
            reminded.remind();
        }
    });
    while let Some(together) = requests.recv().await {
        for request in together {
            let (client, inbox) = (client.clone(), Arc::clone(&inbox));
            let (documents, answered) = (Arc::clone(&documents), Arc::clone(&answered));
            tokio::spawn(async move {
                let reply = client.send(&request).await;
                let answer = Input::Http(documents.answer(&request, reply).await);
                if request.kind == HttpKind::Instructions {
                    inbox.tell(answer);
                } else if inbox.tell_later(crate::clock::sample().mono, answer) {
                    answered.notify_one();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::{CallId, Wall};
    use model::address::webhook::Policy;
    use model::cookie::Jar;
    use model::port::{HttpId, HttpKind};
    use model::{AccountSid, Method, Secret};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn request(id: u64, kind: HttpKind, url: String) -> HttpRequest {
        HttpRequest {
            id: HttpId(id),
            account: AccountSid(1),
            family: AccountSid(1),
            auth_token: Secret::default(),
            call: CallId::NONE,
            kind,
            url,
            method: Method::Post,
            params: Vec::new(),
            idempotency_token: String::new(),
            connect_ms: 5_000,
            read_ms: 5_000,
            total_ms: 10_000,
            body_max: 65_536,
            at: Wall(0),
            cookies: Jar::default(),
        }
    }

    /// The runtime is told what a document says, not what it is to read.
    #[test]
    fn documents_are_read_before_the_runtime_hears_of_them() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.41.1:0")).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let served = runtime.spawn(async move {
            for padding in [0, 60_000, 0] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4_096]).await.unwrap();
                let body = format!("<Response>{}</Response>", " ".repeat(padding));
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n";
                let length = body.len();
                let answer = format!("{head}Content-Length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let policy = Policy::new(&["127.0.41.0/24".to_owned()], &[]).unwrap();
        let client = WebhookClient::new(policy, 8);
        let documents = Arc::new(Documents::new(65_536).unwrap());
        let inbox = Arc::new(Inbox::new().unwrap());
        let replies = Arc::new(Replies::default());
        let reach = Reach { tcp: false, tls: false };
        let ways = (Arc::clone(&inbox), replies);
        let mut world = World::new(client, documents, ways, reach).unwrap();
        let kinds = [HttpKind::Instructions, HttpKind::Instructions, HttpKind::Callback];
        for (id, kind) in (0..).zip(kinds) {
            world.http(Mono(0), request(id, kind, url.clone()));
            world.let_go(Mono(0) + PATIENCE, false);
            let answer = loop {
                crate::bell::wait(&[inbox.bell()], Duration::from_millis(20));
                if let Some(Input::Http(answer)) = inbox.take(Mono(0)).pop_front() {
                    break answer;
                }
            };
            assert_eq!(answer.is_read(), kind == HttpKind::Instructions, "{answer:.200?}");
        }
        runtime.block_on(served).unwrap();
    }

    /// Those that were asked for first are the first of those that go.
    #[test]
    fn callbacks_go_along_with_others_or_a_little_later() {
        let (requests, mut sent) = mpsc::unbounded_channel();
        let mut world = World {
            requests,
            waiting: Vec::new(),
            until: Mono::NEVER,
            names: Names::new(Reach { tcp: false, tls: false }).unwrap(),
            inbox: Arc::new(Inbox::new().unwrap()),
            replies: Arc::default(),
            said: Said::default(),
        };
        let mut gone = || -> Vec<u64> {
            let together = sent.try_recv().unwrap_or_default();
            together.iter().map(|request| request.id.0).collect()
        };
        let at = |millis: u64| Mono(millis * 1_000_000);
        let ask = |world: &mut World, millis, id, kind| {
            world.http(at(millis), request(id, kind, String::new()));
            world.let_go(at(millis), false)
        };
        assert_eq!(ask(&mut world, 100, 1, HttpKind::Callback), at(110));
        assert_eq!(ask(&mut world, 105, 2, HttpKind::Callback), at(110));
        assert!(gone().is_empty());
        assert_eq!(ask(&mut world, 106, 3, HttpKind::Instructions), Mono::NEVER);
        assert_eq!(gone(), [1, 2, 3]);
        ask(&mut world, 200, 4, HttpKind::Callback);
        assert_eq!(world.let_go(at(209), false), at(210));
        assert!(gone().is_empty());
        world.let_go(at(210), false);
        assert_eq!(gone(), [4]);
        ask(&mut world, 300, 5, HttpKind::Callback);
        world.let_go(at(300), true);
        assert_eq!(gone(), [5], "the process ends");
        let many = (0..40).map(|id| ask(&mut world, 400, id, HttpKind::Callback));
        assert_eq!(many.filter(|until| *until == Mono::NEVER).count(), 1);
        assert_eq!(gone().len(), TOGETHER + 1);
    }

    #[test]
    fn a_flood_of_refusals_does_not_silence_errors() {
        let mut said = Said::default();
        let told = (0..1_000).filter(|_| said.take(7, false).0).count();
        assert_eq!(told, NOTICES_PER_SECOND as usize);
        assert_eq!(said.take(7, true), (true, 0));
        assert_eq!(said.take(8, false), (true, 1_000 - NOTICES_PER_SECOND));
        assert_eq!(said.take(9, false), (true, 0));
    }
}
