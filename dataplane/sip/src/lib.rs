//! SIP: zero-copy parser and writer, transactions, dialogs, digest (RFC 3261)
