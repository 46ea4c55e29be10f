//! Power cuts on a simulated disk, from seeds.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc;

use super::log::Log;
use super::*;

/// A disk that keeps what was synced and anything of the rest.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<BTreeMap<u64, File>>>);

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
    named: bool,
    removed: bool,
}

/// The disk with a fault to come.
#[derive(Debug)]
struct Failing {
    disk: Disk,
    syncs_left: AtomicI64,
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below.max(1) as u64).unwrap()
    }
}

impl Disk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<u64, File>> {
        self.0.lock().unwrap()
    }

    /// The power goes: of what was not synced any prefix stays, garbled or not, and any removal may
    /// not have happened.
    fn cut(&self, random: &mut Random) {
        self.files().retain(|_, file| {
            let tail = file.bytes.len() - file.synced;
            file.bytes.truncate(file.synced + random.next(tail + 1));
            for _ in 0..random.next(4) {
                let tail = file.bytes.len() - file.synced;
                if tail > 0 {
                    let at = file.synced + random.next(tail);
                    file.bytes[at] = u8::try_from(random.next(256)).unwrap();
                }
            }
            if random.next(3) == 0 {
                file.bytes.resize(file.bytes.len() + random.next(40), 0);
            }
            file.synced = file.bytes.len();
            let stays =
                (file.named || random.next(2) == 0) && (!file.removed || random.next(2) == 0);
            file.removed = false;
            file.named = true;
            stays
        });
    }
}

impl Medium for Disk {
    fn load(&self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let files = self.files();
        let present = files.iter().filter(|(_, file)| !file.removed);
        Ok(present.map(|(number, file)| (*number, file.bytes.clone())).collect())
    }

    fn create(&self, number: u64) -> io::Result<()> {
        self.files().insert(number, File::default());
        Ok(())
    }

    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        self.files().get_mut(&number).unwrap().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        let mut files = self.files();
        let file = files.get_mut(&number).unwrap();
        file.synced = file.bytes.len();
        file.named = true;
        Ok(())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.files().get_mut(&number).unwrap().removed = true;
        Ok(())
    }
}

impl Medium for Failing {
    fn load(&self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.disk.load()
    }

    fn create(&self, number: u64) -> io::Result<()> {
        self.disk.create(number)
    }

    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(number, bytes)
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        let left = self.syncs_left.fetch_sub(1, Ordering::Relaxed);
        if left <= 0 { Err(io::Error::other("EIO")) } else { self.disk.sync(number) }
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.disk.remove(number)
    }
}

fn content(seed: u64, tag: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = format!("{seed}/{tag}/").into_bytes();
    bytes.resize(bytes.len() + random.next(300), u8::try_from(tag % 251).unwrap());
    bytes
}

/// A life of the journal: open, check what is there, write and sync batches, release some, die with
/// a few batches written and not synced.
fn life(disk: &Disk, seed: u64, random: &mut Random, model: &mut Model) {
    let (mut log, replay) = Log::open(Arc::new(disk.clone()), 1_500).unwrap();
    assert_eq!(replay.lost, 0, "seed {seed}");
    model.check(seed, &replay);
    let mut durable = log.next() - 1;
    let mut synced = log.number();
    for _ in 0..random.next(25) {
        for _ in 0..1 + random.next(6) {
            let record = content(seed, model.tag(), random);
            let position = log.append(&record);
            model.unacknowledged.insert(position, record);
        }
        let (segment, position) = log.flush(durable).unwrap();
        if random.next(3) > 0 {
            (synced..=segment).for_each(|number| disk.sync(number).unwrap());
            (synced, durable) = (segment, position);
            model.acknowledge(durable);
        }
        if random.next(4) == 0 {
            model.released = model.released.max(durable.saturating_sub(random.next(4) as u64));
            for number in log.release(model.released) {
                disk.remove(number).unwrap();
            }
        }
    }
}

#[derive(Default)]
struct Model {
    tags: u64,
    acknowledged: BTreeMap<Position, Vec<u8>>,
    unacknowledged: BTreeMap<Position, Vec<u8>>,
    released: Position,
}

impl Model {
    fn tag(&mut self) -> u64 {
        self.tags += 1;
        self.tags
    }

    fn acknowledge(&mut self, durable: Position) {
        let later = self.unacknowledged.split_off(&(durable + 1));
        self.acknowledged.extend(core::mem::replace(&mut self.unacknowledged, later));
    }

    /// Every acknowledged record that was not released is there once, whole; what else is there was
    /// written with exactly these bytes.
    fn check(&mut self, seed: u64, replay: &Replay) {
        let mut seen = BTreeMap::new();
        for (position, record) in &replay.records {
            assert!(seen.insert(*position, record.clone()).is_none(), "seed {seed}: twice");
        }
        for (position, record) in self.acknowledged.range(self.released + 1..) {
            assert_eq!(seen.get(position), Some(record), "seed {seed}: position {position}");
        }
        for (position, record) in &seen {
            let known =
                self.acknowledged.get(position).or_else(|| self.unacknowledged.get(position));
            assert_eq!(known, Some(record), "seed {seed}: position {position} was never written");
        }
        // What survived unacknowledged is durable now like any other.
        self.acknowledged.extend(seen);
        self.unacknowledged.clear();
    }
}

#[test]
fn an_acknowledged_record_survives_any_power_cut_once_and_whole() {
    let mut cuts = 0;
    for seed in 0..200 {
        let mut random = Random(seed);
        let disk = Disk::default();
        let mut model = Model::default();
        for _ in 0..5 {
            life(&disk, seed, &mut random, &mut model);
            disk.cut(&mut random);
            cuts += 1;
        }
        let (_, replay) = Log::open(Arc::new(disk.clone()), 1_500).unwrap();
        model.check(seed, &replay);
    }
    assert_eq!(cuts, 1_000);
}

#[test]
fn a_hole_that_no_power_cut_makes_is_told() {
    let disk = Disk::default();
    let (mut log, _) = Log::open(Arc::new(disk.clone()), 45).unwrap();
    for (record, durable) in [(b"one", 0), (b"two", 1), (b"six", 2)] {
        log.append(record);
        log.flush(durable).unwrap();
    }
    drop(log);
    // The second segment began when the first record was durable. That one rots.
    disk.files().get_mut(&1).unwrap().bytes[37] ^= 1;
    let (_, replay) = Log::open(Arc::new(disk), 45).unwrap();
    assert_eq!(replay.lost, 1);
    assert_eq!(replay.records, [(3, b"six".to_vec())]);
}

#[test]
fn a_failed_sync_stops_acknowledging_for_good() {
    let disk = Failing { disk: Disk::default(), syncs_left: AtomicI64::new(2) };
    let (told, heard) = mpsc::channel();
    let listener = Box::new(move || told.send(()).unwrap());
    let (mut journal, _) = Journal::open(disk, SEGMENT_BYTES, listener).unwrap();
    assert_eq!(journal.append(b"good"), Ok(1));
    journal.flush().unwrap();
    heard.recv().unwrap();
    assert_eq!(journal.durable(), 1);
    assert_eq!(journal.append(b"lost"), Ok(2));
    journal.flush().unwrap();
    heard.recv().unwrap();
    assert_eq!(journal.durable(), 1, "never acknowledged");
    assert_eq!(journal.failure().as_deref(), Some("EIO"));
    assert!(matches!(journal.append(b"more"), Err(JournalError::Stopped(_))));
}

#[test]
fn files_are_replayed_and_deleted_when_released() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let open = || Journal::open(Folder::open(&path).unwrap(), 64, Box::new(|| ())).unwrap();
    let (mut journal, replay) = open();
    assert_eq!(replay, Replay::default());
    for number in 1..=20_u64 {
        assert_eq!(journal.append(&number.to_be_bytes()), Ok(number));
        journal.flush().unwrap();
    }
    drop(journal);
    let (mut journal, replay) = open();
    let positions: Vec<Position> = replay.records.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, (1..=20).collect::<Vec<_>>());
    assert_eq!(journal.durable(), 20);
    journal.release(20);
    drop(journal);
    let (_journal, replay) = open();
    assert_eq!(replay.records, []);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "the released ones are gone");
}

#[test]
fn a_record_has_bounds() {
    let (mut journal, _) = Journal::open(Disk::default(), 64, Box::new(|| ())).unwrap();
    assert_eq!(journal.append(&[]), Err(JournalError::Length(0)));
    let long = RECORD_BYTES_MAX + 1;
    assert_eq!(journal.append(&vec![0; long]), Err(JournalError::Length(long)));
}
