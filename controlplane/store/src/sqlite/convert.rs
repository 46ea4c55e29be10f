//! Between the model's values and what SQLite stores.

use std::fmt::Display;

use base::Wall;
use model::Currency;
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

pub(super) fn currency(code: &str) -> Currency {
    code.as_bytes().first_chunk().map_or(Currency::USD, |code| Currency(*code))
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
    (key.kind().number(), key.to_string())
}
