//! Power cuts on a simulated disk, from seeds.

use std::collections::BTreeMap;
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
    removed: bool,
}

/// The disk with a fault to come.
#[derive(Debug)]
struct Failing {
    disk: Disk,
    syncs_left: usize,
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
            let stays = !file.removed || random.next(2) == 0;
            file.removed = false;
            stays
        });
    }
}

impl Medium for Disk {
    fn load(&mut self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let files = self.files();
        let present = files.iter().filter(|(_, file)| !file.removed);
        Ok(present.map(|(number, file)| (*number, file.bytes.clone())).collect())
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        self.files().insert(number, File::default());
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files().last_entry().unwrap().get_mut().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut files = self.files();
        let mut last = files.last_entry().unwrap();
        let file = last.get_mut();
        file.synced = file.bytes.len();
        Ok(())
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        self.files().get_mut(&number).unwrap().removed = true;
        Ok(())
    }
}

impl Medium for Failing {
    fn load(&mut self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.disk.load()
    }

    fn create(&mut self, number: u64) -> io::Result<()> {
        self.disk.create(number)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs_left = self.syncs_left.checked_sub(1).ok_or_else(|| io::Error::other("EIO"))?;
        self.disk.sync()
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        self.disk.remove(number)
    }
}

fn content(seed: u64, tag: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = format!("{seed}/{tag}/").into_bytes();
    bytes.resize(bytes.len() + random.next(300), u8::try_from(tag % 251).unwrap());
    bytes
}

/// A life of the journal: open, check what is there, commit batches, release some, die while a batch
/// is being written.
fn life(disk: &Disk, seed: u64, random: &mut Random, model: &mut Model) {
    let (mut log, replay) = Log::open(disk.clone(), 2_000).unwrap();
    assert_eq!(replay.lost, 0, "seed {seed}");
    model.check(seed, &replay);
    for _ in 0..random.next(12) {
        let first = log.next();
        let batch: Vec<Vec<u8>> =
            (0..1 + random.next(6)).map(|_| content(seed, model.tag(), random)).collect();
        let durable = log.commit(batch.iter().map(Vec::as_slice)).unwrap();
        for (position, record) in (first..).zip(batch) {
            assert!(position <= durable);
            model.acknowledged.insert(position, record);
        }
        if random.next(4) == 0 && durable > 0 {
            model.released = model.released.max(durable.saturating_sub(random.next(4) as u64));
            log.release(model.released).unwrap();
        }
    }
    // Written but not synced when the power goes: may or may not be there, never half.
    let first = log.next();
    let mut unsynced = Vec::new();
    for position in first..first + random.next(4) as u64 {
        let record = content(seed, model.tag(), random);
        segment::frame(position, &record, &mut unsynced);
        model.unacknowledged.insert(position, record);
    }
    disk.clone().append(&unsynced).unwrap();
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
            let known = self.acknowledged.get(position).or(self.unacknowledged.get(position));
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
        let (_, replay) = Log::open(disk.clone(), 2_000).unwrap();
        model.check(seed, &replay);
    }
    assert_eq!(cuts, 1_000);
}

#[test]
fn a_hole_that_no_power_cut_makes_is_told() {
    let disk = Disk::default();
    let (mut log, _) = Log::open(disk.clone(), 25).unwrap();
    for record in [b"one", b"two"] {
        log.commit([&record[..]].into_iter()).unwrap();
    }
    drop(log);
    let number = *disk.files().keys().next().unwrap();
    disk.files().get_mut(&number).unwrap().bytes[30] ^= 1;
    let (_, replay) = Log::open(disk, 25).unwrap();
    assert_eq!(replay.lost, 1);
    assert_eq!(replay.records, [(2, b"two".to_vec())]);
}

#[test]
fn a_failed_sync_stops_acknowledging_for_good() {
    let disk = Failing { disk: Disk::default(), syncs_left: 2 };
    let (told, heard) = mpsc::channel();
    let listener = Box::new(move || told.send(()).unwrap());
    let (journal, _) = Journal::open(disk, SEGMENT_BYTES, listener).unwrap();
    assert_eq!(journal.append(b"good".to_vec()), Ok(1));
    heard.recv().unwrap();
    assert_eq!(journal.durable(), 1);
    assert_eq!(journal.append(b"lost".to_vec()), Ok(2));
    heard.recv().unwrap();
    assert_eq!(journal.durable(), 1, "never acknowledged");
    assert_eq!(journal.failure().as_deref(), Some("EIO"));
    assert!(matches!(journal.append(b"more".to_vec()), Err(JournalError::Stopped(_))));
}

#[test]
fn files_are_replayed_and_deleted_when_released() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let open = || Journal::open(Folder::open(&path).unwrap(), 64, Box::new(|| ())).unwrap();
    let (journal, replay) = open();
    assert_eq!(replay, Replay::default());
    for number in 1..=20_u64 {
        assert_eq!(journal.append(number.to_be_bytes().to_vec()), Ok(number));
    }
    drop(journal);
    let (journal, replay) = open();
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
    let (journal, _) = Journal::open(Disk::default(), 64, Box::new(|| ())).unwrap();
    assert_eq!(journal.append(Vec::new()), Err(JournalError::Length(0)));
    let long = RECORD_BYTES_MAX + 1;
    assert_eq!(journal.append(vec![0; long]), Err(JournalError::Length(long)));
}
