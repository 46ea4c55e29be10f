//! The runtime against a dataplane made of plain memory: real rings, journal and database, virtual
//! time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{CallId, LegId, Mono, Now, Wall};
use director::{Director, Settings};
use model::port::{
    ApiCall, ApiId, ApiRequest, ApiResult, CreateCall, Entity, HttpRequest, Instructions, Notice,
    Record, Resolve, StoreWrite,
};
use model::{Account, AccountSid, CallStatus};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use store::journal::{Medium, SEGMENT_BYTES};
use store::{Folder, Journal, Sqlite, Store, Vault, entry};
use wire::cell::CellWriter;
use wire::event::{Cause, Direction, Incoming, Party, Summary};
use wire::record::{self, LastWords, LegRecord};
use wire::region::{Region, Side, Sizes};
use wire::ring::{Consumer, Producer, RECORD_BYTES_MAX};
use wire::{Command, Event, Service, Usage};

use crate::admission::Admission;
use crate::bell::{self, Bell};
use crate::directory::Directory;
use crate::facts::Facts;
use crate::inbox::{Inbox, Input};
use crate::link::{Attachment, Memory, Peer};
use crate::metrics::Gauges;
use crate::outside::Outside;
use crate::publish::Publisher;
use crate::runtime::{Exit, Known, Next, Runtime};
use crate::sweep;
use crate::tenant;

const ACCOUNT: AccountSid = AccountSid(0xac);
const EPOCH: u32 = 7;

/// One shard's memory, and the shard's ends of the rings.
struct Shard {
    theirs: Region<'static>,
    ours: Region<'static>,
    our_words: &'static [AtomicU64],
    events: Producer<'static>,
    commands: Consumer<'static>,
    /// Its end of the link, and the controlplane's; none once it is dead.
    link: Option<(OwnedFd, OwnedFd)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Got {
    Release { epoch: u32, leg: LegId },
    Reject { call: CallId },
    Drain(bool),
    Other,
}

impl Shard {
    fn new() -> Self {
        let sizes = Sizes::for_legs(32);
        let words = |side| -> &'static [AtomicU64] {
            Vec::leak((0..sizes.words(side)).map(|_| AtomicU64::new(0)).collect())
        };
        let theirs = Region::create(words(Side::Dataplane), Side::Dataplane, sizes, EPOCH);
        let our_words = words(Side::Controlplane);
        let ours = Region::create(our_words, Side::Controlplane, sizes, 1);
        let events = Producer::join(theirs.slots(), ours.cursors());
        let commands = Consumer::join(ours.slots(), theirs.cursors());
        let flags = SocketFlags::CLOEXEC;
        let link = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        Self { theirs, ours, our_words, events, commands, link: Some(link) }
    }

    fn tell(&mut self, event: &Event<'_>) {
        let mut bytes = vec![0; RECORD_BYTES_MAX];
        let len = wire::encode(event, &mut bytes).unwrap();
        self.events.push(&bytes[..len]).unwrap();
        self.events.publish();
    }

    fn heard(&mut self) -> Vec<Got> {
        let mut bytes = vec![0; RECORD_BYTES_MAX];
        let mut heard = Vec::new();
        while let Some(record) = self.commands.pop(&mut bytes).unwrap() {
            heard.push(match wire::decode(record).unwrap() {
                Command::Release { epoch, leg } => Got::Release { epoch, leg },
                Command::Reject { call, .. } => Got::Reject { call },
                Command::Drain { on } => Got::Drain(on),
                _ => Got::Other,
            });
        }
        self.commands.release(self.commands.position());
        heard
    }

    /// A leg that is over, in its cell and record.
    fn close_leg(&self, leg: LegId, call: CallId) {
        let cell = CellWriter::new(self.theirs.cell(leg.index()).unwrap());
        cell.open(EPOCH, leg, call, 1);
        cell.set_usage(&usage());
        cell.close(Wall(9_000_000));
        let fields = LegRecord {
            leg,
            call,
            parent: CallId::NONE,
            account: 1,
            direction: Direction::Inbound,
            from: "sip:a@example.com",
            to: "sip:b@example.com",
            remote: "192.0.2.1:5060".parse().unwrap(),
            call_id: "id",
            created: Wall(1_000_000),
            answered: Wall(2_000_000),
            ended: Wall(9_000_000),
            code: 200,
            cause: Cause::Normal,
            by: Party::Remote,
            words: LastWords::None,
            tls_name: "",
        };
        record::write(self.theirs.record(leg.index()).unwrap(), EPOCH, &fields).unwrap();
    }

    fn attachment(&self, fresh: bool) -> Input {
        let (theirs, ours) = (self.theirs, self.ours);
        let memory = Memory { theirs, ours, epoch: ours.epoch(), bell: Bell::new().unwrap() };
        let bell = Bell::new().unwrap();
        let (_, connection) = self.link.as_ref().unwrap();
        let peer = Peer::by_connection(connection.try_clone().unwrap());
        let shards = vec![memory];
        Input::Attached(Box::new(Attachment { shards, bell, node: 1, pid: 1, peer, fresh }))
    }
}

fn usage() -> Usage {
    Usage {
        service: Service::SipIngress,
        segment: 0,
        open: false,
        start: Wall(2_000_000),
        last: Wall(9_000_000),
        count: 1,
        bytes: 0,
    }
}

fn summary(leg: LegId, call: CallId) -> Summary<'static> {
    Summary {
        epoch: EPOCH,
        leg,
        call,
        parent: CallId::NONE,
        account: 1,
        direction: Direction::Inbound,
        from: "sip:a@example.com",
        to: "sip:b@example.com",
        remote: "192.0.2.1:5060".parse().unwrap(),
        call_id: "id",
        created: Wall(1_000_000),
        answered: Wall(2_000_000),
        ended: Wall(9_000_000),
        code: 200,
        cause: Cause::Normal,
        by: Party::Remote,
        media: None,
        due_ms: 0,
        usage: [usage()].into_iter().collect(),
    }
}

#[derive(Default)]
struct Recorded {
    replies: Vec<(ApiId, ApiResult)>,
}

struct Recorder(Arc<Mutex<Recorded>>);

impl Outside for Recorder {
    fn http(&mut self, _now: Mono, _request: HttpRequest) {}
    fn let_go(&mut self, _now: Mono, _all: bool) -> Mono {
        Mono::NEVER
    }
    fn resolve(&mut self, _resolve: Resolve) {}
    fn reply(&mut self, id: ApiId, result: ApiResult) {
        self.0.lock().unwrap().replies.push((id, result));
    }
    fn notice(&mut self, _notice: Notice) {}
}

/// A disk whose fsync may begin to fail, and that may be full.
#[derive(Debug)]
struct Disk {
    folder: Folder,
    broken: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        let full = self.full.load(Ordering::Relaxed);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Medium for Disk {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.folder.segments()
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.folder.read(number)
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<()> {
        self.room()?;
        self.folder.create(number, bytes)
    }

    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        if self.room().is_err() {
            self.folder.append(number, &bytes[..bytes.len() / 2])?;
        }
        self.room()?;
        self.folder.append(number, bytes)
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("EIO")),
            false => self.folder.sync(number),
        }
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.folder.remove(number)
    }

    fn keep_aside(&self, number: u64) -> io::Result<bool> {
        self.folder.keep_aside(number)
    }

    fn reserve(&self) -> io::Result<()> {
        self.room()
    }

    fn give_up_reserve(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::from(self.room().is_ok()))
    }
}

/// A life of the controlplane over a directory.
struct Life {
    runtime: Runtime<Disk>,
    broken: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
    store: Arc<dyn Store>,
    inbox: Arc<Inbox>,
    recorded: Arc<Mutex<Recorded>>,
    gauges: Arc<Gauges>,
    now: Now,
}

impl Life {
    fn begin(path: &Path) -> Self {
        let inbox = Arc::new(Inbox::new().unwrap());
        let vault = Arc::new(Vault::from_key(&[1; 32]).unwrap());
        let wake = |inbox: &Arc<Inbox>| {
            let inbox = Arc::clone(inbox);
            Box::new(move || inbox.tell(Input::Progress))
        };
        let folder = Folder::open(&path.join("journal")).unwrap();
        let broken = Arc::new(AtomicBool::new(false));
        let full = Arc::new(AtomicBool::new(false));
        let disk = Disk { folder, broken: Arc::clone(&broken), full: Arc::clone(&full) };
        let (journal, replay) = Journal::open(disk, SEGMENT_BYTES, wake(&inbox)).unwrap();
        let end = journal.durable();
        let db = path.join("tandem.db");
        let store = Sqlite::open(&db, Arc::clone(&vault), end, wake(&inbox)).unwrap();
        let committed = store.committed();
        for (position, bytes) in replay.records.iter().filter(|(at, _)| *at > committed) {
            store.submit(*position, entry::decode(bytes, &vault).unwrap());
        }
        let store: Arc<dyn Store> = Arc::new(store);
        let mut facts = Facts::new(journal, Arc::clone(&store), vault);
        if store.book().unwrap().accounts.is_empty() {
            let account =
                Account { sid: ACCOUNT, number: 1, parent: ACCOUNT, ..Account::default() };
            let put = Record::Put(Box::new(Entity::Account(account)));
            facts.write(StoreWrite { id: None, records: vec![put] });
            assert!(facts.flush());
        }
        store.settle().unwrap();
        let directory = Arc::new(Directory::new(&store.book().unwrap()));
        let recorded = Arc::new(Mutex::new(Recorded::default()));
        let gauges = Arc::new(Gauges::default());
        let asked = Arc::clone(&store);
        let start = Box::new(move |now, attachment: &Attachment| {
            let mut book = asked.book()?;
            for shard in &attachment.shards {
                book.standing.extend(sweep::standing(&shard.theirs));
            }
            let director = Director::restore(Settings::default(), [1, 2, 3, 4], now, book);
            Ok((director, Publisher::default()))
        });
        let outside = Box::new(Recorder(Arc::clone(&recorded)));
        let known = Known { directory, rows: Arc::default() };
        let runtime = Runtime::new(start, facts, known, Arc::clone(&gauges), outside);
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(20_000_000) };
        Self { runtime, broken, full, store, inbox, recorded, gauges, now }
    }

    fn turn(&mut self, more: Option<Input>) -> Next {
        let mut inputs: VecDeque<Input> = self.inbox.take(self.now.mono);
        inputs.extend(more);
        self.runtime.turn(self.now, inputs)
    }

    /// Turns until `done`; in between it waits for the journal or the store to say something.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1_000 {
            self.turn(None);
            if done(self) {
                return;
            }
            if self.inbox.prepare_sleep() {
                bell::wait(&[self.inbox.bell()], Duration::from_secs(10));
            }
            self.inbox.wake();
        }
        panic!("never done");
    }

    fn sweep_later(&mut self) {
        self.now = self.now.later(Duration::from_secs(2));
        self.turn(None);
    }

    fn rows(&self, call: CallId) -> (usize, usize) {
        self.store.settle().unwrap();
        let cdrs = self.store.cdrs(call).unwrap().len();
        (cdrs, self.store.usage_of_call(call).unwrap().len())
    }
}

#[test]
fn an_end_is_durable_before_its_cell_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    assert_eq!(shard.heard(), [Got::Drain(false)]);
    let (leg, call) = (LegId::new(0, 1, 4), CallId(44));
    shard.tell(&Event::Ended(summary(leg, call)));
    let mut heard = Vec::new();
    life.until(|_| {
        heard.extend(shard.heard());
        !heard.is_empty()
    });
    assert_eq!(heard, [Got::Release { epoch: EPOCH, leg }]);
    let cursors = shard.ours.cursors();
    let head = shard.theirs.slots().head.load(Ordering::Relaxed);
    life.turn(None);
    assert_eq!(cursors.released.load(Ordering::Relaxed), head);
    assert_eq!(life.rows(call), (1, 1));
    let row = life.store.call(call).unwrap().unwrap();
    assert_eq!((row.status, row.duration), (CallStatus::Completed, Some(7)));
    let sums = life.store.sums(ACCOUNT).unwrap();
    assert_eq!(
        (sums[0].micros, sums[0].day_micros, sums[0].cdr_micros),
        (7_000_000, 7_000_000, 7_000_000)
    );
    assert!(life.gauges.render(life.now, None).contains("tandem_events_received_total 1"));
}

#[test]
fn what_a_predecessor_read_and_did_not_release_comes_again_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let calls: Vec<CallId> = (1..=20).map(CallId).collect();
    for (index, call) in (0..).zip(&calls) {
        shard.tell(&Event::Ended(summary(LegId::new(0, 1, index), *call)));
    }
    life.turn(None);
    let released = shard.ours.cursors().released.load(Ordering::Relaxed);
    drop(life);
    // The cursor stands where the predecessor's last settled turn left it; everything behind it
    // comes again.
    shard.ours.cursors().released.store(released, Ordering::Relaxed);
    let mut life = Life::begin(folder.path());
    life.turn(Some(shard.attachment(true)));
    let mut heard = Vec::new();
    life.until(|_| {
        heard.extend(shard.heard());
        heard.iter().filter(|got| matches!(got, Got::Release { .. })).count() >= calls.len()
    });
    for call in calls {
        assert_eq!(life.rows(call), (1, 1), "{call}");
    }
    assert_eq!(life.store.sums(ACCOUNT).unwrap()[0].day_rows, 20);
}

#[test]
fn an_end_that_nobody_told_is_found_in_its_cell() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let (leg, call) = (LegId::new(0, 3, 9), CallId(99));
    shard.close_leg(leg, call);
    life.sweep_later();
    assert_eq!(life.rows(call), (0, 0), "its event may be on the way");
    life.sweep_later();
    assert_eq!(life.rows(call), (1, 1));
    life.sweep_later();
    let cdr = life.store.cdrs(call).unwrap().remove(0);
    assert_eq!((cdr.cause, cdr.to.as_str(), cdr.leg), (Cause::Normal, "sip:b@example.com", leg));
    let mut heard = Vec::new();
    life.until(|_| {
        heard.extend(shard.heard());
        heard.contains(&Got::Release { epoch: EPOCH, leg })
    });
    // The event comes after all: the same rows.
    shard.tell(&Event::Ended(summary(leg, call)));
    life.turn(None);
    assert_eq!(life.rows(call), (1, 1));
}

#[test]
fn a_damaged_ring_loses_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let (leg, call) = (LegId::new(0, 2, 1), CallId(5));
    shard.close_leg(leg, call);
    shard.tell(&Event::Ended(summary(leg, call)));
    shard.theirs.slots().words[0].store(u64::MAX, Ordering::Relaxed);
    life.turn(None);
    life.sweep_later();
    life.sweep_later();
    assert_eq!(life.rows(call), (1, 1));
    let later = LegId::new(0, 2, 2);
    shard.tell(&Event::Ended(summary(later, CallId(6))));
    life.turn(None);
    assert_eq!(life.rows(CallId(6)), (1, 1), "the ring goes on behind the damage");
}

#[test]
fn a_failed_fsync_acknowledges_nothing_and_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    life.until(|life| {
        life.turn(None);
        life.runtime.is_attached()
    });
    shard.heard();
    life.broken.store(true, Ordering::Relaxed);
    let released = shard.ours.cursors().released.load(Ordering::Relaxed);
    let (leg, call) = (LegId::new(0, 1, 4), CallId(44));
    shard.tell(&Event::Ended(summary(leg, call)));
    let mut next = life.turn(None);
    life.until(|life| {
        next = life.turn(None);
        matches!(next, Next::Exit(_))
    });
    assert_eq!(next, Next::Exit(Exit::Restart("a sync failed")));
    assert_eq!(shard.heard(), [], "no cell is released");
    let cursors = shard.ours.cursors();
    assert_eq!(cursors.released.load(Ordering::Relaxed), released, "the ring keeps its witnesses");
    // Started again on a sound disk, everything is there once.
    drop(life);
    shard.tell(&Event::Ended(summary(LegId::new(0, 1, 5), CallId(45))));
    let mut life = Life::begin(folder.path());
    life.turn(Some(shard.attachment(true)));
    let mut heard = Vec::new();
    life.until(|_| {
        heard.extend(shard.heard());
        heard.iter().filter(|got| matches!(got, Got::Release { .. })).count() == 2
    });
    assert_eq!(heard[0], Got::Drain(false));
    assert_eq!((life.rows(call), life.rows(CallId(45))), ((1, 1), (1, 1)));
}

/// An INVITE that is asked for by the API leaves when its record was written, and not before.
#[test]
fn nothing_leaves_a_full_disk_before_its_record_and_everything_does_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    assert_eq!(shard.heard(), [Got::Drain(false)]);
    life.full.store(true, Ordering::Relaxed);
    let what = || {
        ApiRequest::CreateCall(Box::new(CreateCall {
            to: "sip:b@192.0.2.9:5060".to_owned(),
            from: "alice".to_owned(),
            instructions: Instructions::Twiml("<Response><Pause/></Response>".to_owned()),
            status: None,
            timeout: None,
            time_limit: None,
            caller_id: None,
            login: None,
        }))
    };
    let ask = |id| Input::Api(ApiCall { id: ApiId(id), account: ACCOUNT, what: what() }.into());
    life.turn(Some(ask(1)));
    assert_eq!(shard.heard(), [Got::Drain(true)], "admission stops, and the INVITE waits");
    assert!(life.recorded.lock().unwrap().replies.is_empty());
    let (leg, call) = (LegId::new(0, 1, 4), CallId(44));
    shard.tell(&Event::Ended(summary(leg, call)));
    for _ in 0..3 {
        life.now = life.now.later(Duration::from_millis(300));
        let next = life.turn(None);
        assert!(matches!(next, Next::Sleep(at) if at > life.now.mono), "it does not spin");
    }
    life.turn(Some(ask(2)));
    let refused = life.recorded.lock().unwrap().replies.pop().unwrap();
    assert_eq!((refused.0, refused.1.unwrap_err().status), (ApiId(2), 503));
    assert_eq!(shard.heard(), []);
    assert!(!life.gauges.health.tell().0);
    // Room again: nobody has to start anything.
    life.full.store(false, Ordering::Relaxed);
    let mut heard = Vec::new();
    life.until(|life| {
        life.now = life.now.later(Duration::from_millis(300));
        heard.extend(shard.heard());
        heard.contains(&Got::Release { epoch: EPOCH, leg })
    });
    assert_eq!(heard.iter().filter(|got| **got == Got::Other).count(), 1, "{heard:?}");
    assert!(heard.contains(&Got::Drain(false)));
    assert_eq!(life.rows(call), (1, 1));
    assert!(life.recorded.lock().unwrap().replies.iter().any(|it| it.0 == ApiId(1)));
    assert_eq!(life.gauges.health.tell(), (true, "ok\n".to_owned()));
    // What half a write left behind is no damage.
    drop(life);
    let disk = Folder::open(&folder.path().join("journal")).unwrap();
    let (_, replay) = Journal::open(disk, SEGMENT_BYTES, Box::new(|| ())).unwrap();
    assert_eq!(replay.damage, []);
}

/// Somebody else holds the database (a backup, a disk that hangs): the journal takes what comes,
/// then admission stops, then everything waits in the rings; and all of it is there in the end.
#[test]
fn a_store_that_falls_behind_stops_admission_first_and_then_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.runtime.set_admission(Admission::with_bounds([500, 1_000, 4_000]));
    life.turn(Some(shard.attachment(true)));
    life.store.settle().unwrap();
    life.turn(None);
    shard.heard();
    let other = rusqlite::Connection::open(folder.path().join("tandem.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut told = 0;
    let mut closed_at = None;
    while !life.gauges.health.tell().1.contains("nothing can be written") {
        told += 1;
        assert!(told < 1_000, "it never stops");
        shard.tell(&Event::Ended(summary(LegId::new(0, 1, told), CallId(told.into()))));
        life.turn(None);
        if shard.heard().contains(&Got::Drain(true)) {
            closed_at.get_or_insert(told);
        }
    }
    assert!(closed_at.is_some_and(|at| at < told), "first no new calls: {closed_at:?} of {told}");
    let read = shard.ours.cursors().read.load(Ordering::Relaxed);
    for more in 1..=5 {
        let next = life.turn(None);
        assert!(matches!(next, Next::Sleep(at) if at > life.now.mono), "it does not spin");
        let leg = told + more;
        shard.tell(&Event::Ended(summary(LegId::new(0, 1, leg), CallId(leg.into()))));
        life.turn(None);
    }
    assert_eq!(shard.ours.cursors().read.load(Ordering::Relaxed), read, "they wait in the ring");
    other.execute_batch("ROLLBACK").unwrap();
    let mut heard = Vec::new();
    let all = usize::try_from(told + 5).unwrap();
    life.until(|life| {
        life.now = life.now.later(Duration::from_millis(300));
        while life.turn(None) == Next::Again {}
        heard.extend(shard.heard());
        let released = heard.iter().filter(|got| matches!(got, Got::Release { .. })).count();
        released == all && heard.contains(&Got::Drain(false))
    });
    life.store.settle().unwrap();
    assert_eq!(life.store.sums(ACCOUNT).unwrap()[0].rows, u64::try_from(all).unwrap());
}

#[test]
fn a_call_to_nobody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let call = CallId(8);
    shard.tell(&Event::Incoming(Incoming {
        call,
        leg: LegId::new(0, 1, 1),
        at: Wall(20_000_000),
        listener: 0,
        source: "127.0.0.1:5070".parse().unwrap(),
        uri: "sip:nobody@example.com",
        from: "sip:a@example.com",
        from_name: "",
        to: "sip:nobody@example.com",
        call_id: "x",
        diversion: "",
        headers: "",
        user: "",
        replaces: LegId::NONE,
        forwards: "",
        forward_count: 0,
    }));
    life.turn(None);
    assert!(shard.heard().contains(&Got::Reject { call }));
}

#[test]
fn the_api_is_answered_when_its_write_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    let key = model::ApiKey { account: ACCOUNT, ..model::ApiKey::default() };
    let put = ApiRequest::Put { entity: Box::new(Entity::ApiKey(key)), create: true };
    let ask =
        |id| Input::Api(ApiCall { id: ApiId(id), account: ACCOUNT, what: put.clone() }.into());
    life.turn(Some(ask(1)));
    assert_eq!(life.recorded.lock().unwrap().replies[0].1.as_ref().unwrap_err().status, 503);
    life.turn(Some(shard.attachment(true)));
    life.turn(Some(ask(2)));
    life.until(|life| life.recorded.lock().unwrap().replies.len() == 2);
    assert!(life.recorded.lock().unwrap().replies[1].1.is_ok());
    drop(life);
    assert_eq!(Life::begin(folder.path()).store.book().unwrap().api_keys.len(), 1);
}

#[test]
fn a_dataplane_with_other_memory_closes_the_old_legs_first() {
    let folder = tempfile::tempdir().unwrap();
    let (shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let (leg, call) = (LegId::new(0, 1, 3), CallId(31));
    let cell = CellWriter::new(shard.theirs.cell(leg.index()).unwrap());
    cell.open(EPOCH, leg, call, 1);
    cell.set_usage(&Usage { open: true, ..usage() });
    // The same memory again: nothing happens.
    assert!(!matches!(life.turn(Some(shard.attachment(false))), Next::Exit(_)));
    let next = life.turn(Some(Shard::new().attachment(true)));
    assert!(matches!(next, Next::Exit(Exit::Restart(_))));
    assert_eq!(life.rows(call), (1, 1));
    let cdr = life.store.cdrs(call).unwrap().remove(0);
    assert_eq!((cdr.cause, cdr.ended), (Cause::Restart, Wall(9_000_000)));
}

/// A leg that stands, as its cell shows it at `last` seconds.
fn stand(shard: &Shard, leg: LegId, call: CallId, last: u64) {
    let cell = CellWriter::new(shard.theirs.cell(leg.index()).unwrap());
    cell.open(EPOCH, leg, call, 1);
    cell.set_usage(&Usage { open: true, last: Wall(last * 1_000_000), ..usage() });
}

#[test]
fn a_stop_books_nothing_of_a_dataplane_that_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let (leg, call) = (LegId::new(0, 1, 3), CallId(31));
    stand(&shard, leg, call, 5);
    assert_eq!(life.turn(Some(Input::Stop)), Next::Exit(Exit::Stopped));
    assert_eq!(life.rows(call), (0, 0), "its real end is still to come");
    drop(life);
    let mut life = Life::begin(folder.path());
    life.turn(Some(shard.attachment(true)));
    shard.link = None;
    assert_eq!(life.turn(Some(Input::Stop)), Next::Exit(Exit::Stopped));
    assert_eq!(life.rows(call), (1, 1), "nobody else will tell of it");
}

#[test]
fn a_later_witness_of_a_leg_that_was_booked_too_early_counts_instead_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    let (leg, call) = (LegId::new(0, 1, 3), CallId(31));
    stand(&shard, leg, call, 5);
    shard.link = None;
    life.turn(Some(Input::Stop));
    let row = life.store.call(call).unwrap();
    assert_eq!(life.rows(call), (1, 1));
    let first = life.store.cdrs(call).unwrap().remove(0);
    assert_eq!((first.cause, first.ended), (Cause::Restart, Wall(5_000_000)), "{row:?}");
    drop(life);
    // It lived after all, and its end came 4 s later.
    let mut life = Life::begin(folder.path());
    shard.tell(&Event::Ended(summary(leg, call)));
    shard.tell(&Event::Ended(summary(leg, call)));
    let link = SocketFlags::CLOEXEC;
    let link = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, link, None).unwrap();
    shard.link = Some(link);
    life.turn(Some(shard.attachment(true)));
    life.turn(None);
    assert_eq!(life.rows(call), (1, 1));
    let cdr = life.store.cdrs(call).unwrap().remove(0);
    assert_eq!((cdr.cause, cdr.ended), (Cause::Normal, Wall(9_000_000)));
    let row = life.store.call(call).unwrap().unwrap();
    assert_eq!((row.end_time, row.duration), (Some(Wall(9_000_000)), Some(7)));
    let sum = life.store.sums(ACCOUNT).unwrap()[0];
    assert_eq!((sum.rows, sum.day_rows, sum.cdr_rows), (1, 1, 1));
    assert_eq!((sum.micros, sum.day_micros, sum.cdr_micros), (7_000_000, 7_000_000, 7_000_000));
}

#[test]
fn who_is_succeeded_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (shard, mut life) = (Shard::new(), Life::begin(folder.path()));
    life.turn(Some(shard.attachment(true)));
    assert!(!matches!(life.turn(None), Next::Exit(_)));
    Region::succeed(shard.our_words, Side::Controlplane, 2).unwrap();
    assert_eq!(life.turn(None), Next::Exit(Exit::Succeeded));
}

#[test]
fn a_signal_ends_the_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = Life::begin(folder.path());
    assert_eq!(life.turn(Some(Input::Stop)), Next::Exit(Exit::Stopped));
}

#[test]
fn random_bytes_differ() {
    assert_ne!(tenant::random::<16>().unwrap(), tenant::random::<16>().unwrap());
}
