//! Writes that something waits for: offered to the store until it has taken them, and what may
//! happen then.

use std::collections::BTreeMap;

use base::{LegId, ShardId};
use model::port::{ApiId, ApiResult, OwnedCommand, Record, StoreId, StoreWrite};

/// Bytes of one write, more or less: a quarter of what a journal's record may have.
const WRITE_BYTES: usize = 256 * 1024;

/// The writes that are not known to be durable yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Durability {
    writes: BTreeMap<StoreId, Waiting>,
    /// Writes that belong together, by the id of their last one.
    groups: BTreeMap<StoreId, Group>,
    /// The store refused a write: no new calls until it takes one again.
    is_sick: bool,
}

#[derive(Clone, Debug)]
struct Waiting {
    records: Vec<Record>,
    group: StoreId,
}

/// What waits for writes to be durable, all of them.
#[derive(Clone, Debug)]
struct Group {
    left: usize,
    afters: Vec<After>,
}

/// What is done once it is durable.
#[derive(Clone, Debug)]
pub(super) enum After {
    Release { shard: ShardId, epoch: u32, leg: LegId },
    Reply { id: ApiId, result: ApiResult },
    Command { shard: ShardId, command: OwnedCommand },
}

impl Durability {
    /// The store takes nothing at present.
    pub(super) fn is_sick(&self) -> bool {
        self.is_sick
    }

    /// The records as writes. More than a journal's record has room for leaves as several; each
    /// record is good by itself, and what waits for durability waits for all of them.
    pub(super) fn write(
        &mut self,
        records: Vec<Record>,
        afters: Vec<After>,
        mut fresh_id: impl FnMut() -> u64,
    ) -> Vec<StoreWrite> {
        let parts = parts(records);
        if afters.is_empty() {
            return parts.into_iter().map(|records| StoreWrite { id: None, records }).collect();
        }
        let left = parts.len();
        let ids: Vec<StoreId> = parts.iter().map(|_| StoreId(fresh_id())).collect();
        let group = ids.last().copied().unwrap_or(StoreId(0));
        let mut writes = Vec::with_capacity(left);
        for (id, records) in ids.into_iter().zip(parts) {
            self.writes.insert(id, Waiting { records: records.clone(), group });
            writes.push(StoreWrite { id: Some(id), records });
        }
        self.groups.insert(group, Group { left, afters });
        writes
    }

    /// A write is durable; what may happen now that it is.
    pub(super) fn taken(&mut self, id: StoreId) -> Vec<After> {
        self.is_sick = false;
        let Some(key) = self.writes.remove(&id).map(|waiting| waiting.group) else {
            return Vec::new();
        };
        let left = self.groups.get_mut(&key).map_or(0, |group| {
            group.left = group.left.saturating_sub(1);
            group.left
        });
        if left > 0 {
            return Vec::new();
        }
        self.groups.remove(&key).map_or_else(Vec::new, |group| group.afters)
    }

    /// A write was refused. True if it is to be offered again.
    pub(super) fn refused(&mut self, id: StoreId) -> bool {
        self.is_sick = true;
        self.writes.contains_key(&id)
    }

    /// The records of a write that is not durable yet.
    pub(super) fn records(&self, id: StoreId) -> Option<&[Record]> {
        self.writes.get(&id).map(|waiting| waiting.records.as_slice())
    }
}

/// Records in their order, as many together as surely fit into one write; at least one part.
fn parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        let more = record.weight();
        if bytes > 0 && bytes + more > WRITE_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(record);
        }
    }
    parts
}
