//! INVITEs that wait for a first response, by where they went: what the network says of an address
//! concerns these alone, however many others stand. Lists through nodes made at birth.

use core::net::{IpAddr, SocketAddr};

use base::HashKey;

const BUCKETS: usize = 4_096;
/// End of a list, and "in no list".
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    previous: u32,
    /// [`NONE`]: in no list.
    bucket: u32,
}

#[derive(Debug)]
pub(super) struct Waiting {
    nodes: Vec<Node>,
    newest: Vec<u32>,
}

fn bucket(to: SocketAddr, key: HashKey) -> usize {
    let port = to.port().to_le_bytes();
    let hash = match to.ip().to_canonical() {
        IpAddr::V4(address) => key.hash(&[&address.octets(), &port]),
        IpAddr::V6(address) => key.hash(&[&address.octets(), &port]),
    };
    usize::try_from(hash).unwrap_or(0) % BUCKETS
}

impl Waiting {
    /// For indices below `limit`.
    pub(super) fn new(limit: u32) -> Self {
        let idle = Node { next: NONE, previous: NONE, bucket: NONE };
        Self { nodes: vec![idle; limit as usize], newest: vec![NONE; BUCKETS] }
    }

    pub(super) fn push(&mut self, index: u32, to: SocketAddr, key: HashKey) {
        self.remove(index);
        let bucket = bucket(to, key);
        let next = self.newest[bucket];
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        *node = Node { next, previous: NONE, bucket: u32::try_from(bucket).unwrap_or(NONE) };
        if next != NONE {
            self.nodes[next as usize].previous = index;
        }
        self.newest[bucket] = index;
    }

    /// Nothing if it is in no list.
    pub(super) fn remove(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        let Node { next, previous, bucket } = *node;
        if bucket == NONE {
            return;
        }
        node.bucket = NONE;
        match previous {
            NONE => self.newest[bucket as usize] = next,
            previous => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
    }

    /// Those that may wait for this address, newest first; others share their list.
    pub(super) fn of(&self, to: SocketAddr, key: HashKey) -> impl Iterator<Item = u32> {
        let mut at = self.newest[bucket(to, key)];
        core::iter::from_fn(move || {
            let index = (at != NONE).then_some(at)?;
            at = self.nodes[index as usize].next;
            Some(index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_list() {
        let key = HashKey([1, 2]);
        let [a, b]: [SocketAddr; 2] =
            ["192.0.2.1:5060", "192.0.2.2:5060"].map(|text| text.parse().unwrap());
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5060".parse().unwrap();
        let mut waiting = Waiting::new(8);
        let list = |waiting: &Waiting, to| waiting.of(to, key).collect::<Vec<u32>>();
        for (index, to) in [(0, a), (1, b), (2, a), (3, mapped), (3, mapped), (9, a)] {
            waiting.push(index, to, key);
        }
        assert_eq!((list(&waiting, a), list(&waiting, b)), (vec![3, 2, 0], vec![1]));
        waiting.remove(2);
        waiting.remove(2);
        assert_eq!(list(&waiting, mapped), [3, 0]);
        waiting.remove(3);
        waiting.remove(0);
        waiting.remove(1);
        waiting.push(0, b, key);
        assert_eq!((list(&waiting, a), list(&waiting, b)), (vec![], vec![0]));
    }
}
