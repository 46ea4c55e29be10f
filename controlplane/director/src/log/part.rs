//! A call in parts, each as postcard writes it: what changes together stands together, so that a
//! step changes few bytes of few parts.

use std::sync::Arc;

use base::CallId;
use model::cookie::Jar;
use postcard::{Error, Result, take_from_bytes, to_extend};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Reader;
use super::words::Words;
use crate::live::{
    Callback, Contact, Facts, Live, Once, Outgoing, Signaling, Telling, Then, Volatile,
};
use crate::script::Script;

pub(super) const PARTS: usize = 11;
/// Where a part's number would stand: the document of the script.
pub(super) const DOCUMENT: usize = 15;

/// The parts, one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    bytes: Vec<u8>,
    ends: [usize; PARTS],
}

const ROW: usize = 0;
const STATE: usize = 1;
const FACTS: usize = 2;
const OUTGOING: usize = 3;
const HOOKS: usize = 4;
const SCRIPT: usize = 5;
const CALLBACKS: usize = 6;
const TELLINGS: usize = 7;
const COOKIES: usize = 8;
const LOGIN: usize = 9;
const SIGNALING: usize = 10;

impl Parts {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn get(&self, part: usize) -> &[u8] {
        let begin = part.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[part]]
    }

    pub(super) fn set(&mut self, parts: &[&[u8]; PARTS]) {
        self.bytes.clear();
        for (part, end) in parts.iter().zip(&mut self.ends) {
            self.bytes.extend_from_slice(part);
            *end = self.bytes.len();
        }
    }

    pub(super) fn replace(&mut self, part: usize, bytes: &[u8]) {
        let old = std::mem::take(self);
        let mut parts: [&[u8]; PARTS] = std::array::from_fn(|part| old.get(part));
        parts[part] = bytes;
        self.set(&parts);
    }

    /// Writes the parts of `live` over what was here.
    pub(super) fn write(&mut self, live: &Live) {
        self.bytes.clear();
        // Writing values of our own types into memory does not fail; a part that did would not be
        // read back, and its call would end with that reason.
        for part in 0..PARTS {
            let bytes = std::mem::take(&mut self.bytes);
            self.bytes = write(live, part, bytes).unwrap_or_default();
            self.ends[part] = self.bytes.len();
        }
    }

    pub(super) fn read(&self, document: &[u8]) -> Result<Live> {
        let row: model::CallRow = self.whole(ROW)?;
        let (state, rest) = take_from_bytes(self.get(STATE))?;
        let (number, shard, leg, limit_ms, sequence, reason, ending) = state;
        let once = if rest.is_empty() { Once::default() } else { whole(rest)? };
        let facts = self.facts()?;
        let (status, event_application, fallback, start) = self.whole(HOOKS)?;
        let mut live = Live {
            row,
            number,
            shard,
            leg,
            facts,
            outgoing: self.outgoing()?,
            login: self.some(LOGIN)?,
            status,
            event_application,
            fallback,
            start,
            script: self.script(document)?,
            ending,
            reason,
            limit_ms,
            sequence,
            callbacks: std::collections::VecDeque::new(),
            tellings: Vec::new(),
            signaling: Signaling::default(),
            cookies: self.cookies()?,
            once,
            volatile: Volatile::default(),
        };
        let words = Words::of(&live);
        let callbacks = each(self.get(CALLBACKS), |reader| {
            let (url, params) = (words.take(reader)?, words.take_pairs(reader)?);
            let (method, token, attempts, due) = value(reader)?;
            Some(Callback { url, method, params, token, attempts, due, then: None })
        })?;
        let tellings = each(self.get(TELLINGS), |reader| {
            let params = words.take_pairs(reader)?;
            let (hook, token) = value(reader)?;
            Some(Telling { hook, params, token })
        })?;
        drop(words);
        live.callbacks = callbacks.into();
        self.signaling(&mut live)?;
        live.tellings = tellings;
        Ok(live)
    }

    fn script(&self, document: &[u8]) -> Result<Option<Script>> {
        let Some((base, at, wait, documents, legs, verbs, dialled)) = self.whole(SCRIPT)? else {
            return Ok(None);
        };
        let document = String::from_utf8(document.to_vec());
        let document = document.map_err(|_| Error::DeserializeBadUtf8)?;
        let program = crate::script::Program::default();
        Ok(Some(Script { document, base, at, wait, documents, legs, verbs, dialled, program }))
    }

    /// With who has forwarded the call behind it, where somebody has.
    fn facts(&self) -> Result<Facts> {
        let (mut facts, rest): (Facts, _) = take_from_bytes(self.get(FACTS))?;
        if !rest.is_empty() {
            facts.forwards = whole(rest)?;
        }
        Ok(facts)
    }

    /// With the contact behind it, where one is called, who referred to it, where somebody did, and
    /// who has forwarded the call to it, where somebody has.
    fn outgoing(&self) -> Result<Option<Outgoing>> {
        let (mut outgoing, rest): (Option<Outgoing>, _) = take_from_bytes(self.get(OUTGOING))?;
        match &mut outgoing {
            Some(outgoing) if !rest.is_empty() => {
                let (contact, rest): (Contact, _) = take_from_bytes(rest)?;
                outgoing.contact = (contact != Contact::default()).then_some(contact);
                if !rest.is_empty() {
                    let (referrer, rest): (CallId, _) = take_from_bytes(rest)?;
                    outgoing.referrer = Some(referrer).filter(|it| *it != CallId::NONE);
                    if !rest.is_empty() {
                        outgoing.forwards = whole(rest)?;
                    }
                }
            }
            _ if !rest.is_empty() => return Err(Error::DeserializeBadEncoding),
            _ => {}
        }
        Ok(outgoing)
    }

    /// Nothing where no application set any.
    fn cookies(&self) -> Result<Arc<Jar>> {
        self.some(COOKIES).map(|jar| jar.map(Arc::new).unwrap_or_default())
    }

    /// A part that most calls have nothing of.
    fn some<T: DeserializeOwned>(&self, part: usize) -> Result<Option<T>> {
        if self.get(part).is_empty() { Ok(None) } else { self.whole(part).map(Some) }
    }

    /// Nothing where no message was told; with it, what becomes of which callbacks.
    fn signaling(&self, live: &mut Live) -> Result<()> {
        if self.get(SIGNALING).is_empty() {
            return Ok(());
        }
        let (signaling, thens): (Signaling, Vec<(usize, Then)>) = self.whole(SIGNALING)?;
        live.signaling = signaling;
        for (at, then) in thens {
            if let Some(callback) = live.callbacks.get_mut(at) {
                callback.then = Some(then);
            }
        }
        Ok(())
    }

    fn whole<T: DeserializeOwned>(&self, part: usize) -> Result<T> {
        whole(self.get(part))
    }
}

/// The document that the script is in; empty while it waits for its first one.
pub(super) fn document(live: &Live) -> &[u8] {
    live.script.as_ref().map_or(&[], |script| script.document.as_bytes())
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(Error::DeserializeBadEncoding),
    }
}

fn put(value: &impl Serialize, bytes: Vec<u8>) -> Result<Vec<u8>> {
    to_extend(value, bytes)
}

/// What it has beside itself stands behind it, where there is some.
fn write_outgoing(live: &Live, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let bytes = put(&live.outgoing, bytes)?;
    let Some(outgoing) = &live.outgoing else { return Ok(bytes) };
    let Outgoing { contact, referrer, forwards, .. } = outgoing;
    // Without a contact an empty one stands in its place, without a referrer none.
    let own = || contact.clone().unwrap_or_default();
    match (contact, referrer) {
        (_, referrer) if !forwards.is_none() => {
            put(&(own(), referrer.unwrap_or(CallId::NONE), forwards), bytes)
        }
        (Some(contact), None) => put(contact, bytes),
        (_, Some(referrer)) => put(&(own(), referrer), bytes),
        (None, None) => Ok(bytes),
    }
}

fn write(live: &Live, part: usize, bytes: Vec<u8>) -> Result<Vec<u8>> {
    match part {
        ROW => put(&live.row, bytes),
        STATE => {
            let (number, shard, leg) = (live.number, live.shard, live.leg);
            let (limit_ms, sequence) = (live.limit_ms, live.sequence);
            let state = (number, shard, leg, limit_ms, sequence, &live.reason, &live.ending);
            let bytes = put(&state, bytes)?;
            if live.once == Once::default() { Ok(bytes) } else { put(&live.once, bytes) }
        }
        FACTS => {
            let bytes = put(&live.facts, bytes)?;
            match live.facts.forwards.is_none() {
                true => Ok(bytes),
                false => put(&live.facts.forwards, bytes),
            }
        }
        OUTGOING => write_outgoing(live, bytes),
        HOOKS => put(&(&live.status, &live.event_application, &live.fallback, &live.start), bytes),
        SCRIPT => {
            let script = live.script.as_ref();
            let script = script.map(|script| {
                let Script { base, at, wait, documents, legs, verbs, dialled, .. } = script;
                (base, at, wait, documents, legs, verbs, dialled)
            });
            put(&script, bytes)
        }
        CALLBACKS if live.callbacks.is_empty() => Ok(bytes),
        CALLBACKS => {
            let words = Words::of(live);
            live.callbacks.iter().try_fold(bytes, |mut bytes, callback| {
                let Callback { url, method, params, token, attempts, due, .. } = callback;
                words.put(&mut bytes, url, 0);
                words.put_pairs(&mut bytes, params);
                put(&(method, token, attempts, due), bytes)
            })
        }
        COOKIES if live.cookies.is_empty() => Ok(bytes),
        COOKIES => put(&*live.cookies, bytes),
        LOGIN => match &live.login {
            Some(login) => put(login, bytes),
            None => Ok(bytes),
        },
        SIGNALING if live.signaling == Signaling::default() => Ok(bytes),
        SIGNALING => {
            let then = |(at, it): (usize, &Callback)| Some((at, it.then.clone()?));
            let thens: Vec<_> = live.callbacks.iter().enumerate().filter_map(then).collect();
            put(&(&live.signaling, thens), bytes)
        }
        _ if live.tellings.is_empty() => Ok(bytes),
        _ => {
            let words = Words::of(live);
            live.tellings.iter().try_fold(bytes, |mut bytes, telling| {
                words.put_pairs(&mut bytes, &telling.params);
                put(&(&telling.hook, &telling.token), bytes)
            })
        }
    }
}

/// Values that stand one behind the other until the end.
fn each<T>(bytes: &[u8], mut take: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Result<Vec<T>> {
    let mut reader = Reader(bytes);
    let mut found = Vec::new();
    while !reader.0.is_empty() {
        found.push(take(&mut reader).ok_or(Error::SerdeDeCustom)?);
    }
    Ok(found)
}

fn value<T: DeserializeOwned>(reader: &mut Reader<'_>) -> Option<T> {
    let (value, rest) = take_from_bytes(reader.0).ok()?;
    reader.0 = rest;
    Some(value)
}
