//! The system of record: trait Store, SQLite, the journal
#![forbid(unsafe_code)]

pub mod journal;
