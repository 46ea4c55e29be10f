//! The system of record in memory: every write that left the controlplane, applied by the store's
//! rules (insert once by key, last one wins), and what a successor reads back. It notices when the
//! two witnesses of one fact (event and cell) disagree.

use std::collections::BTreeMap;

use base::{CallId, LegId};
use model::port::{Entity, EntityKey, Record, ScriptLog};
use model::{Binding, BindingSid, Book, CallRow, Cdr, DeadLetter, LedgerEntry, UsageRow};
use wire::{Service, UsageKey};

/// Everything written.
#[derive(Debug, Default)]
pub struct Ledger {
    pub calls: BTreeMap<CallId, CallRow>,
    /// By (epoch, leg).
    pub cdrs: BTreeMap<(u32, LegId), Cdr>,
    pub usage: BTreeMap<UsageKey, UsageRow>,
    pub entries: BTreeMap<UsageKey, LedgerEntry>,
    pub scripts: BTreeMap<CallId, Vec<u8>>,
    pub dead_letters: Vec<DeadLetter>,
    pub alerts: u64,
    /// Their numbers.
    pub alert_codes: Vec<u32>,
    pub entities: Vec<Entity>,
    pub bindings: BTreeMap<BindingSid, Binding>,
    /// Writes that came for a key that was there.
    pub repeats: u64,
}

impl Ledger {
    pub fn apply(&mut self, records: &[Record], faults: &mut Vec<String>) {
        for record in records {
            match record {
                Record::Call(row) => {
                    self.calls.insert(row.sid, CallRow::clone(row));
                }
                Record::CallIfAbsent(row) => {
                    self.calls.entry(row.sid).or_insert_with(|| CallRow::clone(row));
                }
                Record::Cdr(cdr) => self.cdr(cdr, faults),
                Record::Usage(row) => self.usage(row, faults),
                Record::Ledger(entry) => self.entry(entry, faults),
                Record::Alert(alert) => {
                    self.alerts += 1;
                    self.alert_codes.push(alert.code);
                }
                Record::DeadLetter(letter) => self.dead_letters.push(DeadLetter::clone(letter)),
                Record::DeadLetterGone { token, .. } => {
                    self.dead_letters.retain(|letter| letter.idempotency_token != *token);
                }
                Record::Script(ScriptLog { call, state: Some(state) }) => {
                    self.scripts.insert(*call, state.clone());
                }
                Record::Script(ScriptLog { call, state: None }) => {
                    self.scripts.remove(call);
                }
                Record::ScriptChange(log) => {
                    self.scripts.entry(log.call).or_default().extend_from_slice(&log.change);
                }
                Record::Binding(binding) => {
                    self.bindings.insert(binding.sid, Binding::clone(binding));
                }
                Record::Registered(binding) => {
                    self.bindings.insert(binding.sid(), binding.binding());
                }
                Record::BindingGone(sid) => drop(self.bindings.remove(sid)),
                Record::Put(entity) => self.put(Entity::clone(entity)),
                Record::HideCall { call, .. } => drop(self.calls.remove(call)),
                Record::Delete(key) => self.entities.retain(|entity| entity.key() != *key),
            }
        }
    }

    fn cdr(&mut self, cdr: &Cdr, faults: &mut Vec<String>) {
        let key = (cdr.epoch, cdr.leg);
        let Some(before) = self.cdrs.get(&key) else {
            self.cdrs.insert(key, cdr.clone());
            return;
        };
        self.repeats += 1;
        let fact = |cdr: &Cdr| (cdr.call, cdr.answered, cdr.ended, cdr.cause);
        if fact(before) != fact(cdr) {
            faults.push(format!("two stories of one leg:\n  {before:?}\n  {cdr:?}"));
        }
    }

    fn usage(&mut self, row: &UsageRow, faults: &mut Vec<String>) {
        let Some(before) = self.usage.get(&row.key) else {
            self.usage.insert(row.key, row.clone());
            return;
        };
        // A contact's row grows while it is registered.
        if row.key.service == Service::SipRegistration {
            let longest = if row.micros > before.micros { row } else { before }.clone();
            self.usage.insert(row.key, longest);
            return;
        }
        self.repeats += 1;
        let fact = |row: &UsageRow| (row.call, row.start, row.last, row.count, row.bytes);
        if fact(before) != fact(row) {
            faults.push(format!("two witnesses disagree:\n  {before:?}\n  {row:?}"));
        }
    }

    fn entry(&mut self, entry: &LedgerEntry, faults: &mut Vec<String>) {
        let Some(before) = self.entries.get(&entry.key) else {
            self.entries.insert(entry.key, entry.clone());
            return;
        };
        if entry.key.service == Service::SipRegistration {
            let dearest = if entry.quantity > before.quantity { entry } else { before }.clone();
            self.entries.insert(entry.key, dearest);
            return;
        }
        if (before.amount, before.quantity) != (entry.amount, entry.quantity) {
            faults.push(format!("charged twice and differently:\n  {before:?}\n  {entry:?}"));
        }
    }

    pub fn put(&mut self, entity: Entity) {
        let key: EntityKey = entity.key();
        self.entities.retain(|other| other.key() != key);
        self.entities.push(entity);
    }

    /// What a successor starts from; standing legs are not the store's.
    #[must_use]
    pub fn book(&self) -> Book {
        let mut book = Book::default();
        for entity in self.entities.iter().cloned() {
            book.put(entity);
        }
        let scripts = self.scripts.iter();
        let log = |(call, state): (&CallId, &Vec<u8>)| ScriptLog {
            call: *call,
            state: Some(state.clone()),
        };
        book.scripts = scripts.map(log).collect();
        book.bindings = self.bindings.values().cloned().collect();
        book
    }
}
