//! Between the model's values and what SQLite stores.

use std::fmt::Display;

use base::Wall;
use model::port::EntityKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

const DAY_MICROS: u64 = 86_400_000_000;

/// SQLite's integers end at 2^63 - 1; nothing counted here gets there.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn text(sid: &impl Display) -> String {
    sid.to_string()
}

/// First moment of the UTC day.
pub(super) fn day_of(at: Wall) -> i64 {
    int(at.0 / DAY_MICROS * DAY_MICROS)
}

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Row { table: "(new)", cause: error.to_string() })
}

pub(super) fn from_json<T: DeserializeOwned>(
    table: &'static str,
    body: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Row { table, cause: error.to_string() })
}

/// Kind and name of an entity's row.
pub(super) fn key(key: &EntityKey) -> (u8, String) {
    match key {
        EntityKey::Account(sid) => (1, text(sid)),
        EntityKey::ApiKey(sid) => (2, text(sid)),
        EntityKey::Application(sid) => (3, text(sid)),
        EntityKey::PhoneNumber(sid) => (4, text(sid)),
        EntityKey::SipDomain(sid) => (5, text(sid)),
        EntityKey::Route(sid) => (6, text(sid)),
        EntityKey::Price(account, service) => {
            let account = account.as_ref().map_or_else(|| "*".to_owned(), text);
            (7, format!("{account}/{}", *service as u16))
        }
    }
}
