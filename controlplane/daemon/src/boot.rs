//! Boot: configuration, key, journal, store, first tenant, API, link, runtime; and the end of all
//! that.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, bail};
use api::{Options, WebhookClient};
use base::Mono;
use clap::Parser;
use config::Config;
use director::Director;
use model::address::webhook::Policy;
use model::port::{Entity, Record, StoreWrite};
use rustix::fs::{FlockOperation, Mode, flock};
use store::sqlite::Deadline;
use store::{Folder, Journal, Sqlite, Store, Vault, entry};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::alive::{self, Seen};
use crate::backend::Local;
use crate::bell;
use crate::certificates::Certificates;
use crate::clock;
use crate::directory::Directory;
use crate::documents::Documents;
use crate::facts::Facts;
use crate::health::Health;
use crate::inbox::{Inbox, Input};
use crate::link;
use crate::logging;
use crate::metrics::Gauges;
use crate::names::Reach;
use crate::notify::{self, Notify};
use crate::outside::{Replies, World};
use crate::plan::{self, Places};
use crate::publish::Publisher;
use crate::reads::Reads;
use crate::rows::Rows;
use crate::runtime::{Exit, Known, Next, Runtime, Start};
use crate::{operator, sweep, tenant};

/// How long READY=1 waits for the dataplane: it is usually started at the same time.
const DATAPLANE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest the runtime sleeps.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How long a predecessor may take to go.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(10);
/// Webhook requests of one tenant under way to one host.
const REQUESTS_PER_HOST: usize = 256;

/// The Tandem controlplane: accounts, scripts, API, store.
#[derive(Debug, Parser)]
#[command(name = "tandem-controlplane", version)]
struct Arguments {
    /// The configuration, TOML. Without it everything has its default.
    #[arg(long)]
    config: Option<PathBuf>,
    /// In place of `node.data_dir`.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// What is open before anything runs.
struct Opened {
    facts: Facts,
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
}

/// The program.
///
/// # Errors
/// What kept it from starting, or ended it out of order.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut config = read_config(arguments.config.as_deref())?;
    if let Some(data_dir) = arguments.data_dir {
        config.node.data_dir = data_dir;
    }
    logging::init(&config.log)?;
    // Nothing that is made here is for others: the database, its log, the journal.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting tokio")?;
    let outcome = runtime.block_on(run(config));
    // Requests under way were given their time; what still blocks is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// # Errors
/// If the file cannot be read, or with line and column what is wrong in it.
pub fn read_config(path: Option<&Path>) -> anyhow::Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    config::load(&text).with_context(|| format!("{}", path.display()))
}

async fn run(config: Config) -> anyhow::Result<()> {
    let notify = Arc::new(Notify::from_env().context("NOTIFY_SOCKET")?);
    let places = Places::of(&config);
    make_private(&places.data_dir)?;
    make_private(&places.runtime_dir)?;
    let _lock = lock(&places.data_dir)?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let file = &config.controlplane.operator_file;
    let operator = operator::credential(&places.data_dir, credentials.as_deref(), file)?;
    let inbox = Arc::new(Inbox::new().context("making a doorbell")?);
    let (gauges, replies) = (Arc::new(Gauges::default()), Arc::new(Replies::default()));
    let seen = alive::read(&places.data_dir);
    seen.iter().for_each(|seen| clock::expect(seen.at));
    let opened = open(&config, &places, &inbox, &gauges.health)?;

    let listener = listen(config.controlplane.http).await?;
    let (world, documents) = outside(&config, &inbox, &replies)?;

    let Opened { facts, store, directory } = opened;
    let _alive =
        alive::keep(&places.data_dir, Arc::clone(&gauges)).context("writing down who is alive")?;
    let start = starter(config.clone(), Arc::clone(&store), seen);
    let shown = Arc::clone(&gauges);
    let rows = Arc::new(Rows::default());
    let scripts = store.book().context("reading the calls that stand")?.scripts;
    scripts.iter().filter_map(director::standing_row).for_each(|row| rows.remember(row));
    let known = Known { directory: Arc::clone(&directory), rows: Arc::clone(&rows) };
    let runtime = Runtime::new(start, facts, known, shown, Box::new(world));
    let (attached, dataplane) = oneshot::channel();
    let told = (Arc::clone(&notify), Arc::clone(&gauges));
    let exited = spawn(runtime, Arc::clone(&inbox), told, attached)?;
    let node = config.node.id;
    let epoch = u32::try_from(clock::sample().wall.seconds()).unwrap_or(u32::MAX);
    let with = (Arc::clone(&notify), Certificates::of(&config));
    link::spawn(places.link(), node, epoch, with, Arc::clone(&inbox))
        .context("starting the link")?;

    let next = AtomicU64::new(1);
    let threads = config.controlplane.api.read_threads.into();
    let reads = Reads::new(&store, threads).context("starting the threads that read")?;
    let told = Arc::clone(&inbox);
    let shown = Arc::clone(&gauges);
    let backend = Local {
        store,
        reads,
        directory,
        rows,
        documents,
        inbox: told,
        replies,
        gauges: shown,
        next,
    };
    let limits = api::Limits::from(&config.controlplane.api);
    let public_url = config.controlplane.public_url.clone();
    let options = Options { limits, operator, public_url, ..Options::default() };
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(api::serve(listener, Arc::new(backend), options, stopped));
    tell_ready(&notify, &gauges, dataplane).await;
    let exit = wait_for_end(&inbox, exited).await;
    notify.stopping();
    stop.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    match exit? {
        Exit::Stopped => Ok(()),
        Exit::Succeeded => bail!("another controlplane has taken over"),
        Exit::Restart(why) => bail!("restart needed: {why}"),
    }
}

async fn listen(http: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(http).await.with_context(|| {
        format!(
            "the API cannot listen on {http} (`ss -ltnp 'sport = :{}'` names who has it)",
            http.port()
        )
    })
}

/// Whoever asks applications, and whoever reads what they and the API's users say.
fn outside(
    config: &Config,
    inbox: &Arc<Inbox>,
    replies: &Arc<Replies>,
) -> anyhow::Result<(World, Arc<Documents>)> {
    let http = config.controlplane.http;
    let policy = Policy::new(&config.controlplane.webhook_allow, &[http])
        .map_err(|error| anyhow::anyhow!("controlplane.webhook_allow: {}", error.0))?;
    let client = WebhookClient::new(policy, REQUESTS_PER_HOST);
    let documents = Documents::new(config.controlplane.limits.document_bytes)
        .context("starting the threads of documents")?;
    let documents = Arc::new(documents);
    let read = Arc::clone(&documents);
    let ways = (Arc::clone(inbox), Arc::clone(replies));
    let world = World::new(client, read, ways, Reach::of(config))
        .context("starting the thread of webhooks")?;
    Ok((world, documents))
}

/// READY=1 once the dataplane is attached, or after a while without it: the API answers all the
/// same.
async fn tell_ready(notify: &Notify, gauges: &Gauges, dataplane: oneshot::Receiver<()>) {
    notify.status(&gauges.health.status("waiting for the dataplane"));
    if matches!(tokio::time::timeout(DATAPLANE_PATIENCE, dataplane).await, Ok(Ok(_))) {
        notify.status(&gauges.health.status("serving"));
    }
    notify.ready();
    tracing::info!("ready");
}

/// Ends with the runtime, which a signal asks to stop.
async fn wait_for_end(inbox: &Inbox, mut exited: oneshot::Receiver<Exit>) -> anyhow::Result<Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            exit = &mut exited => return exit.context("the runtime thread died"),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        inbox.tell(Input::Stop);
    }
}

/// The runtime on a thread of its own. Told through the channels: the first attachment, the end.
fn spawn(
    mut runtime: Runtime,
    inbox: Arc<Inbox>,
    (notify, gauges): (Arc<Notify>, Arc<Gauges>),
    attached: oneshot::Sender<()>,
) -> anyhow::Result<oneshot::Receiver<Exit>> {
    let (ended, exited) = oneshot::channel();
    let watchdog = notify::watchdog_interval().map(|interval| interval / 3);
    let mut attached = Some(attached);
    let mut fed = Mono(0);
    let mut changes = gauges.health.changes();
    let body = move || {
        let exit = loop {
            let now = clock::sample();
            let next = runtime.turn(now, inbox.take(now.mono));
            if runtime.is_attached()
                && let Some(attached) = attached.take()
            {
                let _ = attached.send(());
            }
            if changes != gauges.health.changes() {
                changes = gauges.health.changes();
                notify.status(&gauges.health.status("serving"));
            }
            // Fed by turns that were really taken: a runtime that hangs is not alive.
            if watchdog.is_some_and(|every| now.mono.since(fed) >= every) {
                fed = now.mono;
                notify.watchdog();
            }
            match next {
                Next::Exit(exit) => break exit,
                Next::Again => {}
                Next::Sleep(until) => {
                    let most = watchdog.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
                    sleep(&mut runtime, &inbox, until.since(now.mono).min(most));
                }
            }
        };
        // Syncs the journal and says so before the process ends.
        drop(runtime);
        let _ = ended.send(exit);
    };
    std::thread::Builder::new().name("runtime".to_owned()).spawn(body).context("the runtime")?;
    Ok(exited)
}

/// Until a shard rings, something is told, or the time has passed.
fn sleep(runtime: &mut Runtime, inbox: &Inbox, time: Duration) {
    if inbox.prepare_sleep() && runtime.prepare_sleep() {
        match runtime.bell() {
            Some(bell) => bell::wait(&[inbox.bell(), bell], time),
            None => bell::wait(&[inbox.bell()], time),
        }
    }
    inbox.wake();
    runtime.wake();
}

/// The director begins with what the store knows and what stands in the shards.
fn starter(config: Config, store: Arc<dyn Store>, seen: Option<Seen>) -> Start {
    Box::new(move |now, attachment| {
        let shards = u8::try_from(attachment.shards.len()).context("more than 255 shards")?;
        store.settle()?;
        let mut book = store.book()?;
        let theirs = || attachment.shards.iter().map(|shard| &shard.theirs);
        let is_other = |seen: &Seen| theirs().all(|theirs| theirs.epoch() != seen.epoch);
        // Where the memory of that life was kept, its cells say it better.
        let is_kept = theirs().any(|theirs| !sweep::left_behind(theirs).is_empty());
        book.lost = seen.filter(|seen| is_other(seen) && !is_kept).map(|seen| seen.at);
        let standing = attachment.shards.iter().flat_map(|shard| sweep::standing(&shard.theirs));
        book.standing = standing.collect();
        tracing::info!(
            accounts = book.accounts.len(),
            scripts = book.scripts.len(),
            standing = book.standing.len(),
            "the director starts"
        );
        let table = plan::table(&config, &book.accounts)?;
        let settings = plan::settings(&config, shards)?;
        plan::given(&config, &mut book)?;
        let seed = tenant::random::<32>()?;
        let (words, _) = seed.as_chunks::<8>();
        let mut seed = [0; 4];
        for (word, bytes) in seed.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        let key = tenant::random::<16>()?;
        let (words, _) = key.as_chunks::<8>();
        let key = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
        let publisher = Publisher::listing(table, settings.clone(), key);
        Ok((Director::restore(settings, seed, now, book), publisher))
    })
}

/// Key, journal, store; what the journal has and the store has not is applied; a first tenant if
/// there is none.
fn open(
    config: &Config,
    places: &Places,
    inbox: &Arc<Inbox>,
    health: &Health,
) -> anyhow::Result<Opened> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let vault = Arc::new(Vault::open(&places.data_dir, credentials.as_deref())?);
    let progress = |inbox: &Arc<Inbox>| {
        let inbox = Arc::clone(inbox);
        Box::new(move || inbox.tell(Input::Progress))
    };
    let segment_bytes = config.controlplane.journal.segment_bytes as usize;
    let folder = Folder::open(&places.journal()).context("opening the journal")?;
    let (journal, replay) =
        Journal::open(folder, segment_bytes, progress(inbox)).context("opening the journal")?;
    let (path, end) = (places.database(), journal.durable());
    let store = Sqlite::open(&path, Arc::clone(&vault), end, progress(inbox))
        .with_context(|| format!("opening {}", path.display()))?
        .with_deadline(Deadline {
            clock: || clock::sample().mono,
            limit: Duration::from_millis(config.controlplane.api.read_ms.into()),
        });
    let committed = store.committed();
    health.journal_found(&replay, committed);
    let mut applied = 0;
    for (position, bytes) in replay.records.iter().filter(|(position, _)| *position > committed) {
        match entry::decode(bytes, &vault) {
            Ok(write) => {
                store.submit(*position, write);
                applied += 1;
            }
            // It was acknowledged: money is not passed over in silence.
            Err(error) => anyhow::bail!(
                "journal record {position} cannot be read ({error}): this binary does not understand \
                 what its predecessor wrote; start the older one, or move the journal away"
            ),
        }
    }
    store.settle().context("applying the journal to the store")?;
    let store = store.with_retention(plan::retention(&config.controlplane.retention));
    if applied > 0 {
        tracing::info!(records = applied, "applied from the journal");
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let mut facts = Facts::new(journal, Arc::clone(&store), vault);
    enrol(config, places, &mut facts, &*store)?;
    let mut book = store.book()?;
    plan::given(config, &mut book)?;
    let directory = Arc::new(Directory::new(&book));
    Ok(Opened { facts, store, directory })
}

fn enrol(
    config: &Config,
    places: &Places,
    facts: &mut Facts,
    store: &dyn Store,
) -> anyhow::Result<()> {
    let mut accounts = store.book()?.accounts;
    let name = &config.controlplane.first_account;
    if accounts.is_empty() && !name.is_empty() {
        let account = tenant::first_account(name, clock::sample().wall)?;
        let put = Record::Put(Box::new(Entity::Account(account.clone())));
        facts.write(StoreWrite { id: None, records: vec![put] });
        if !facts.flush() {
            let why = facts.waits().unwrap_or_default();
            bail!("the first account cannot be stored: {why}");
        }
        store.settle().context("storing the first account")?;
        tracing::info!(account = %account.sid, "the first account was made");
        accounts.push(account);
    }
    // A trunk that bills nobody is told at boot, not at the first dataplane.
    plan::table(config, &accounts)?;
    let Some(account) = tenant::first_of(&accounts) else { return Ok(()) };
    let (api, sip) = (plan::api_base(config), plan::sip_address(config).to_string());
    tenant::tell(&places.runtime_dir, account, &api, &sip)
        .with_context(|| format!("writing {}", tenant::FILE))
}

fn make_private(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making the directory {}", path.display()))
}

/// One controlplane per data directory; a predecessor that is still going is waited for.
fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("controlplane.lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    let begin = clock::sample().mono;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if clock::sample().mono.since(begin) > PREDECESSOR_PATIENCE {
            bail!("{} is in use by another tandem-controlplane", data_dir.display());
        }
        bell::wait(&[], Duration::from_millis(20));
    }
    Ok(file)
}
