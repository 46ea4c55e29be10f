//! Power cuts on a simulated disk, from seeds.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc;

use super::log::Log;
use super::*;

/// A disk that keeps what was synced and anything of the rest.
#[derive(Clone, Debug, Default)]
struct Disk {
    files: Arc<Mutex<BTreeMap<u64, File>>>,
    aside: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
    named: bool,
    removed: bool,
}

/// The disk with faults: syncs that are left before one fails, and by chance writes that fail after
/// a part of them, files that cannot be made, and no room for a while.
#[derive(Debug)]
struct Failing {
    disk: Disk,
    syncs_left: AtomicI64,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    random: Option<Random>,
    /// Of 100 writes so many fail.
    writes: usize,
    /// Bytes that there is room for; None for all that come.
    room: Option<usize>,
    reserve: usize,
}

impl Failing {
    fn new(disk: Disk, syncs_left: i64) -> Self {
        Self { disk, syncs_left: AtomicI64::new(syncs_left), faults: Mutex::default() }
    }

    /// How much of a write of `len` bytes is done, and how it ends.
    fn write(&self, len: usize) -> (usize, io::Result<()>) {
        let faults = &mut *self.faults.lock().unwrap();
        if let Some(room) = &mut faults.room {
            let done = len.min(*room);
            *room -= done;
            let full = || Err(io::ErrorKind::StorageFull.into());
            return (done, if done == len { Ok(()) } else { full() });
        }
        let Some(random) = &mut faults.random else { return (len, Ok(())) };
        if random.next(100) < faults.writes {
            return (random.next(len + 1), Err(io::Error::other("EIO")));
        }
        (len, Ok(()))
    }
}

#[derive(Clone, Debug)]
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
        self.files.lock().unwrap()
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
    fn segments(&self) -> io::Result<Vec<u64>> {
        let files = self.files();
        let present = files.iter().filter(|(_, file)| !file.removed);
        Ok(present.map(|(number, _)| *number).collect())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        Ok(self.files()[&number].bytes.clone())
    }

    fn create(&self, number: u64, _bytes: u64) -> io::Result<()> {
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

    fn keep_aside(&self, number: u64) -> io::Result<bool> {
        let bytes = self.files()[&number].bytes.clone();
        Ok(self.aside.lock().unwrap().insert(number, bytes).is_none())
    }

    fn reserve(&self) -> io::Result<()> {
        Ok(())
    }

    fn give_up_reserve(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl Medium for Failing {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.disk.segments()
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.disk.read(number)
    }

    fn create(&self, number: u64, bytes: u64) -> io::Result<()> {
        let there = self.disk.files().get(&number).is_some_and(|file| !file.removed);
        assert!(!there, "segment {number} exists");
        self.write(1).1?;
        self.disk.create(number, bytes)
    }

    fn append(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let (done, result) = self.write(bytes.len());
        self.disk.append(number, &bytes[..done])?;
        result
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        let left = self.syncs_left.fetch_sub(1, Ordering::Relaxed);
        if left <= 0 { Err(io::Error::other("EIO")) } else { self.disk.sync(number) }
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let there = self.disk.files().contains_key(&number);
        if there { self.disk.remove(number) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn keep_aside(&self, number: u64) -> io::Result<bool> {
        self.disk.keep_aside(number)
    }

    fn reserve(&self) -> io::Result<()> {
        let faults = &mut *self.faults.lock().unwrap();
        let room = faults.room.as_mut().filter(|room| **room >= 2 * RESERVE);
        let room = room.ok_or(io::ErrorKind::StorageFull)?;
        *room -= RESERVE;
        faults.reserve = RESERVE;
        Ok(())
    }

    fn give_up_reserve(&self) -> io::Result<()> {
        let faults = &mut *self.faults.lock().unwrap();
        match (core::mem::take(&mut faults.reserve), &mut faults.room) {
            (0, _) | (_, None) => Err(io::ErrorKind::NotFound.into()),
            (reserve, Some(room)) => {
                *room += reserve;
                Ok(())
            }
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.faults.lock().unwrap().room.unwrap_or(usize::MAX) as u64)
    }
}

/// What the failing disk sets aside.
const RESERVE: usize = 300;

fn content(seed: u64, tag: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = format!("{seed}/{tag}/").into_bytes();
    bytes.resize(bytes.len() + random.next(300), u8::try_from(tag % 251).unwrap());
    bytes
}

/// A life of the journal: open, check what is there, write and sync batches, release some, die with
/// a few batches written and not synced.
fn life(disk: &Disk, seed: u64, random: &mut Random, model: &mut Model) {
    let (mut log, replay) = Log::open(Arc::new(disk.clone()), 1_500, 7).unwrap();
    let missing = replay.missing(model.released);
    model.check(seed, &replay);
    // What an earlier power cut took without its having been acknowledged was told then.
    assert!(missing <= model.gone, "seed {seed}: {missing} missing, {} gone", model.gone);
    let mut durable = log.next() - 1;
    let there = replay.records.iter().filter(|(position, _)| *position > model.released);
    model.gone = durable.saturating_sub(model.released).saturating_sub(there.count() as u64);
    let mut synced = log.number();
    for _ in 0..random.next(25) {
        for _ in 0..1 + random.next(6) {
            let record = content(seed, model.tag(), random);
            let position = log.append(&record, durable);
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
    /// Never acknowledged, and not there when it was last looked.
    gone: u64,
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
        let (_, replay) = Log::open(Arc::new(disk.clone()), 1_500, 7).unwrap();
        model.check(seed, &replay);
    }
    assert_eq!(cuts, 1_000);
}

#[test]
fn a_hole_that_no_power_cut_makes_is_told() {
    let disk = Disk::default();
    let open = || Log::open(Arc::new(disk.clone()), 120, 7).unwrap();
    let (mut log, _) = open();
    for (record, durable) in [(b"one", 0), (b"two", 1), (b"six", 2)] {
        log.append(record, durable);
        log.flush(durable).unwrap();
    }
    drop(log);
    // The first record was durable when the second was taken. That one rots.
    let at = segment::HEADS_BYTES + 5;
    disk.files().get_mut(&1).unwrap().bytes[at] ^= 1;
    let (_, replay) = open();
    assert_eq!(replay.records, [(2, b"two".to_vec()), (3, b"six".to_vec())]);
    let (segment, at, bytes) = (1, segment::HEADS_BYTES, segment::FRAME_BYTES + 3);
    let damage = Damage { segment, at, bytes, first: 1, records: 1, kept: true };
    assert_eq!(replay.damage, [damage]);
    assert_eq!((replay.missing(0), replay.missing(1)), (1, 0), "what the store has is not missing");
    assert_eq!(disk.aside.lock().unwrap().len(), 1);
}

/// Position, bytes, segment, and where in it.
type Written = (Position, Vec<u8>, u64, usize);

/// A journal of a few segments, everything in it synced: its records, and where each lies.
fn written(random: &mut Random, seed: u64) -> (Disk, Vec<Written>) {
    let disk = Disk::default();
    let (mut log, _) = Log::open(Arc::new(disk.clone()), 3_000, random.0).unwrap();
    let mut records = Vec::new();
    let mut durable = 0;
    for tag in 0..10 + random.next(50) as u64 {
        let record = content(seed, tag, random);
        let position = log.append(&record, durable);
        let number = log.number();
        let at = disk.files()[&number].bytes.len();
        let (_, last) = log.flush(durable).unwrap();
        records.push((position, record, number, at));
        if random.next(3) == 0 {
            durable = last;
        }
    }
    (disk, records)
}

/// Flips bits, cuts ends off, and says which bytes are as they were.
fn hurt(disk: &Disk, random: &mut Random) -> BTreeMap<u64, Vec<bool>> {
    let mut whole = BTreeMap::new();
    for (number, file) in disk.files().iter_mut() {
        let mut sound = vec![true; file.bytes.len()];
        for _ in 0..random.next(4) {
            let at = random.next(file.bytes.len());
            file.bytes[at] ^= 1 << random.next(8);
            sound[at] = false;
        }
        if random.next(4) == 0 {
            let len = random.next(file.bytes.len());
            file.bytes.truncate(len);
            sound[len..].fill(false);
        }
        whole.insert(*number, sound);
    }
    whole
}

#[test]
fn no_whole_record_behind_damage_is_lost_and_none_is_invented() {
    let (mut damaged, mut lost) = (0, 0);
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let (disk, records) = written(&mut random, seed);
        let whole = hurt(&disk, &mut random);
        // Without a single whole head nobody knows the salt. (A byte flipped twice is as it was;
        // what the reader finds then was written all the same.)
        let has_salt = disk.files().values().any(|file| segment::head_of(&file.bytes).is_some());
        let (log, replay) = Log::open(Arc::new(disk.clone()), 3_000, 7).unwrap();
        let sound = |number: &u64, at: usize, len: usize| {
            has_salt && whole[number][at..at + segment::FRAME_BYTES + len].iter().all(|is| *is)
        };
        let found: BTreeMap<_, _> = replay.records.iter().cloned().collect();
        assert_eq!(found.len(), replay.records.len(), "seed {seed}: twice");
        for (position, record, number, at) in &records {
            match found.get(position) {
                Some(read) => assert_eq!(read, record, "seed {seed}: {position}"),
                None => {
                    lost += 1;
                    assert!(!sound(number, *at, record.len()), "seed {seed}: {position} is lost");
                }
            }
        }
        let written = records.len() as u64;
        assert!(found.keys().all(|position| (1..=written).contains(position)), "seed {seed}");
        // A record that is gone and has a whole one behind it in its segment is damage.
        for (position, _, number, _) in records.iter().filter(|it| !found.contains_key(&it.0)) {
            let mut later = records.iter().filter(|it| it.0 > *position && it.2 == *number);
            if later.any(|it| found.contains_key(&it.0)) {
                let told = replay.damage.iter().any(|damage| {
                    damage.segment == *number
                        && (damage.records == 0
                            || (damage.first..damage.first + damage.records).contains(position))
                });
                assert!(told, "seed {seed}: nobody says that {position} is gone");
            }
        }
        damaged += usize::from(!replay.damage.is_empty());
        assert!(log.next() > replay.durable && log.next() > *found.keys().last().unwrap_or(&0));
    }
    assert!(damaged > 1_000 && lost > 1_000, "{damaged} journals damaged, {lost} records lost");
}

#[test]
fn arbitrary_bytes_are_no_records() {
    for seed in 0..500 {
        let mut random = Random(seed);
        let mut bytes: Vec<u8> = (0..random.next(4_000)).map(|_| 0).collect();
        for byte in &mut bytes {
            *byte =
                u8::try_from(random.next(256)).unwrap() & u8::try_from(random.next(256)).unwrap();
        }
        if random.next(2) == 0 {
            let head = segment::Head { first: 1, durable: 0, salt: 7 };
            bytes.splice(0..0, segment::heads(head));
        }
        assert_eq!(segment::read(&bytes, Some(7)).records, [], "seed {seed}");
        assert_eq!(segment::version_1::read(&bytes), None, "seed {seed}");
    }
}

#[test]
fn a_failed_sync_stops_acknowledging_for_good() {
    let disk = Failing::new(Disk::default(), 2);
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

/// Writes fail by chance, after some of their bytes; whoever flushes again loses nothing, and what
/// was acknowledged survives a power cut.
#[test]
fn a_write_that_fails_is_done_again_in_a_new_segment() {
    let mut failed = 0;
    for seed in 0..300 {
        let mut random = Random(seed);
        let disk = Disk::default();
        let failing = Arc::new(Failing::new(disk.clone(), i64::MAX));
        let mut model = Model::default();
        let (mut log, _) = Log::open(Arc::clone(&failing), 1_500, 7).unwrap();
        *failing.faults.lock().unwrap() =
            Faults { random: Some(Random(!seed)), writes: 30, ..Faults::default() };
        let (mut durable, mut synced) = (0, log.number());
        for _ in 0..30 {
            for _ in 0..1 + random.next(4) {
                let record = content(seed, model.tag(), &mut random);
                let position = log.append(&record, durable);
                model.unacknowledged.insert(position, record);
            }
            let flushed = log.flush(durable);
            failed += usize::from(flushed.is_err());
            if let Ok((segment, position)) = flushed
                && random.next(2) == 0
            {
                (synced..=segment).for_each(|number| failing.sync(number).unwrap());
                (synced, durable) = (segment, position);
                model.acknowledge(durable);
            }
        }
        drop(log);
        disk.cut(&mut random);
        let (_, replay) = Log::open(Arc::new(disk), 1_500, 7).unwrap();
        assert_eq!(replay.missing(0), 0, "seed {seed}");
        model.check(seed, &replay);
    }
    assert!(failed > 1_000, "{failed} writes failed");
}

#[test]
fn a_full_disk_leaves_its_reserve_to_what_stands_and_then_everything_waits() {
    let failing = Failing::new(Disk::default(), i64::MAX);
    failing.faults.lock().unwrap().room = Some(1_000);
    let (mut journal, _) = Journal::open(failing, SEGMENT_BYTES, Box::new(|| ())).unwrap();
    assert!(journal.has_reserve());
    let record = [5; 100];
    let mut positions = Vec::new();
    let write = |journal: &mut Journal<Failing>, positions: &mut Vec<Position>| {
        positions.push(journal.append(&record).unwrap());
        journal.flush()
    };
    while journal.has_reserve() {
        write(&mut journal, &mut positions).expect("the reserve has room for this one");
    }
    let waits = loop {
        if let Err(error) = write(&mut journal, &mut positions) {
            break error;
        }
    };
    assert!(matches!(waits, JournalError::Waits(_)));
    let segments = |journal: &Journal<Failing>| {
        journal.medium.disk.files().values().filter(|file| !file.removed).count()
    };
    let before = segments(&journal);
    for _ in 0..100 {
        assert!(matches!(journal.flush(), Err(JournalError::Waits(_))), "again and again");
    }
    assert!(segments(&journal) <= before, "attempts leave nothing behind");
    assert!(!journal.keep_reserve(), "there is no room for it");
    assert_eq!(journal.failure(), None, "nothing is lost yet");
    // Somebody makes room: what was taken is written by the next attempt, without a restart.
    journal.medium.faults.lock().unwrap().room = Some(10_000);
    journal.flush().unwrap();
    assert!(journal.keep_reserve());
    write(&mut journal, &mut positions).unwrap();
    let disk = journal.medium.disk.clone();
    drop(journal);
    let (_, replay) = Log::open(Arc::new(disk), SEGMENT_BYTES, 7).unwrap();
    let found: Vec<_> = replay.records.iter().map(|(position, _)| *position).collect();
    assert_eq!(found, positions);
    assert_eq!(replay.missing(0), 0);
    assert_eq!(replay.damage, []);
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
    let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
    let segments = names.filter(|name| name.to_string_lossy().ends_with(".journal"));
    assert_eq!(segments.count(), 1, "the released ones are gone");
}

/// Segments of their usual size are written over when they are not needed any more, unless somebody
/// wants to look at them.
#[test]
fn released_files_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let disk = Folder::open(&path).unwrap();
    let heads = [7; 72];
    disk.create(1, SEGMENT_BYTES as u64).unwrap();
    disk.append(1, &heads).unwrap();
    disk.append(1, b"one").unwrap();
    disk.sync(1).unwrap();
    let size = |name: &str| std::fs::metadata(path.join(name)).map(|meta| meta.len()).ok();
    let first = format!("{:020}.journal", 1);
    assert_eq!(size(&first), Some(SEGMENT_BYTES as u64), "its whole size from the begin");
    disk.remove(1).unwrap();
    assert_eq!((size(&first), size("spare")), (None, Some(SEGMENT_BYTES as u64)));
    assert!(disk.segments().unwrap().is_empty());
    disk.create(2, SEGMENT_BYTES as u64).unwrap();
    assert_eq!(size("spare"), None);
    disk.append(2, b"two").unwrap();
    assert_eq!(disk.segments().unwrap(), [2]);
    assert_eq!(&disk.read(2).unwrap()[..4], b"two\x07");
    assert!(disk.keep_aside(2).unwrap());
    disk.remove(2).unwrap();
    assert_eq!(size("spare"), None, "it is kept for people");
}

/// A segment takes from the disk what was configured, not what is usual.
#[test]
fn a_segments_file_is_as_long_as_it_is_configured() {
    const SMALL: usize = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let open =
        |bytes| Journal::open(Folder::open(&path).unwrap(), bytes, Box::new(|| ())).unwrap().0;
    let sizes = || {
        let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_name() != "reserve");
        files.map(|entry| entry.metadata().unwrap().len()).collect::<Vec<_>>()
    };
    let mut journal = open(SMALL);
    for number in 1..=300_u64 {
        assert_eq!(journal.append(&[7; 1_000]), Ok(number));
        journal.flush().unwrap();
    }
    assert_eq!(sizes().len(), 5, "300 kB");
    assert!(sizes().iter().all(|size| (SMALL as u64..SMALL as u64 + 2_000).contains(size)));
    journal.release(300);
    drop(journal);
    // The next one has another size, and writes over no file of the old one.
    let journal = open(1 << 20);
    assert!(sizes().contains(&(1 << 20)), "{:?}", sizes());
    drop(journal);
}

#[test]
fn a_record_has_bounds() {
    let (mut journal, _) = Journal::open(Disk::default(), 64, Box::new(|| ())).unwrap();
    assert_eq!(journal.append(&[]), Err(JournalError::Length(0)));
    let long = RECORD_BYTES_MAX + 1;
    assert_eq!(journal.append(&vec![0; long]), Err(JournalError::Length(long)));
}
