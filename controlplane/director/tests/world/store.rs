//! What was written in the world, as a store would keep it.

use std::collections::BTreeMap;

use base::{CallId, LegId};
use model::port::{Record, ScriptLog};
use model::{Alert, Binding, BindingSid, CallRow, Cdr, DeadLetter, LedgerEntry, UsageRow};
use wire::Service;

/// What the tenants are told to expect.
const ALERTS: &str = include_str!("../../../../docs/ALERTS.md");

/// What was written, as a store would keep it.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) calls: BTreeMap<CallId, CallRow>,
    pub(crate) cdrs: BTreeMap<(u32, LegId), Cdr>,
    pub(crate) usage: BTreeMap<(LegId, Service, u16), UsageRow>,
    pub(crate) ledger: BTreeMap<(LegId, Service, u16), LedgerEntry>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) scripts: BTreeMap<CallId, ScriptLog>,
    pub(crate) bindings: BTreeMap<BindingSid, Binding>,
    /// Every log as it was after each write, in order.
    pub(crate) states: Vec<(CallId, Vec<u8>)>,
    pub(crate) deleted: Vec<model::port::EntityKey>,
    pub(crate) writes: usize,
    /// Bytes of the largest write.
    pub(crate) largest: usize,
}

impl Store {
    pub(super) fn keep(&mut self, record: Record) {
        match record {
            Record::Call(row) => {
                self.calls.insert(row.sid, *row);
            }
            Record::CallIfAbsent(row) => {
                self.calls.entry(row.sid).or_insert(*row);
            }
            Record::Binding(binding) => {
                self.bindings.insert(binding.sid, *binding);
            }
            Record::Registered(binding) => {
                self.bindings.insert(binding.sid(), binding.binding());
            }
            Record::BindingGone(sid) => drop(self.bindings.remove(&sid)),
            Record::Cdr(cdr) => {
                self.cdrs.entry((cdr.epoch, cdr.leg)).or_insert(*cdr);
            }
            Record::Usage(row) => {
                let key = (row.key.leg, row.key.service, row.key.segment);
                let known = self.usage.entry(key).or_insert_with(|| row.clone());
                if row.micros > known.micros && row.key.service == Service::SipRegistration {
                    *known = row;
                }
            }
            Record::Ledger(entry) => {
                let key = (entry.key.leg, entry.key.service, entry.key.segment);
                let known = self.ledger.entry(key).or_insert_with(|| entry.clone());
                if entry.quantity > known.quantity {
                    *known = entry;
                }
            }
            Record::Alert(alert) => {
                let listed = format!("`{}`", alert.reason);
                assert!(ALERTS.contains(&listed), "{listed} is not in docs/ALERTS.md: {alert:?}");
                self.alerts.push(*alert);
            }
            Record::DeadLetter(letter) => {
                let token = &letter.idempotency_token;
                let known = self.dead.iter_mut().find(|it| it.idempotency_token == *token);
                match known {
                    Some(known) => *known = *letter,
                    None => self.dead.push(*letter),
                }
            }
            Record::DeadLetterGone { token, .. } => {
                self.dead.retain(|it| it.idempotency_token != token);
            }
            Record::Script(log) => {
                self.states.extend(log.state.clone().map(|state| (log.call, state)));
                self.scripts.insert(log.call, log);
            }
            Record::ScriptChange(log) => {
                let fresh = ScriptLog { call: log.call, state: None };
                let known = self.scripts.entry(log.call).or_insert(fresh);
                let state = known.state.get_or_insert_default();
                state.extend_from_slice(&log.change);
                self.states.push((log.call, state.clone()));
            }
            Record::Put(_) => {}
            Record::HideCall { call, .. } => drop(self.calls.remove(&call)),
            Record::Delete(key) => self.deleted.push(key),
        }
    }
}

pub(super) fn bytes(record: &Record) -> usize {
    // Text is more than the journal's encoding ever takes.
    match record {
        Record::Script(log) => log.state.as_ref().map_or(0, Vec::len) + 32,
        Record::ScriptChange(log) => log.change.len() + 32,
        other => format!("{other:?}").len(),
    }
}
