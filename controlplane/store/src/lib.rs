//! The system of record: trait Store, SQLite, the journal
