//! Transactions that only wait for repetitions, oldest first: lists through nodes made at birth,
//! one for those whose place another has first (what strangers began, what nobody answered) and one
//! for the others. When a table is full its oldest finished entry makes room for a new one; what is
//! not finished never does.

/// Ends of a list, and "in no list".
const NONE: u32 = u32::MAX;
const IDLE: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    previous: u32,
    first: bool,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
}

/// Which entries of a table are finished, and since when.
#[derive(Debug)]
pub(super) struct Finished {
    nodes: Vec<Node>,
    /// Of the others, and of those that go first.
    lists: [List; 2],
    len: usize,
}

impl Finished {
    /// For indices below `limit`.
    pub(super) fn new(limit: u32) -> Self {
        let idle = Node { next: NONE, previous: IDLE, first: false };
        let list = List { oldest: NONE, newest: NONE };
        Self { nodes: vec![idle; limit as usize], lists: [list; 2], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.nodes.get(index as usize).is_some_and(|node| node.previous != IDLE)
    }

    /// The entry is finished from now on; nothing if it was already.
    pub(super) fn push(&mut self, index: u32, first: bool) {
        if self.has(index) || self.nodes.len() <= index as usize {
            return;
        }
        let list = &mut self.lists[usize::from(first)];
        self.nodes[index as usize] = Node { next: NONE, previous: list.newest, first };
        match list.newest {
            NONE => list.oldest = index,
            newest => self.nodes[newest as usize].next = index,
        }
        list.newest = index;
        self.len += 1;
    }

    /// The entry is gone.
    pub(super) fn remove(&mut self, index: u32) {
        if !self.has(index) {
            return;
        }
        let Node { next, previous, first } = self.nodes[index as usize];
        let list = &mut self.lists[usize::from(first)];
        match next {
            NONE => list.newest = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        match previous {
            NONE => list.oldest = next,
            previous => self.nodes[previous as usize].next = next,
        }
        self.nodes[index as usize].previous = IDLE;
        self.len -= 1;
    }

    /// Whose place a new one may have: the oldest of those that go first, else the oldest.
    pub(super) fn oldest(&self) -> Option<u32> {
        let [others, first] = self.lists.map(|list| list.oldest);
        let oldest = if first == NONE { others } else { first };
        (oldest != NONE).then_some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_those_that_go_first_goes_before_all() {
        let mut finished = Finished::new(8);
        for index in [3, 1, 4] {
            finished.push(index, false);
        }
        finished.push(3, false);
        assert_eq!((finished.len(), finished.oldest()), (3, Some(3)));
        finished.push(6, true);
        finished.push(5, true);
        let mut order = Vec::new();
        finished.remove(1);
        finished.remove(1);
        while let Some(oldest) = finished.oldest() {
            order.push(oldest);
            finished.remove(oldest);
        }
        assert_eq!(order, [6, 5, 3, 4]);
        assert_eq!(finished.len(), 0);
        finished.push(9, false);
        assert!(!finished.has(9), "no such entry");
    }
}
