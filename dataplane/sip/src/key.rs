//! Keys of transactions: keyed hashes, so that a table holds 16 bytes and no peer can choose
//! collisions.
//!
//! A server transaction is found by branch, sent-by and method, an ACK by those of its INVITE (RFC
//! 3261 section 17.2.3); a request without the magic cookie by the RFC 2543 rules. A client
//! transaction is found by branch and CSeq method (17.1.3). The merged-request key (8.2.2.2) names
//! the request however it came.

use core::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::message::{Bad, Message};
use crate::method::Method;
use crate::token::Key;
use crate::via::Via;

/// The key of a transaction. Server, client and merge keys never meet in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionKey(pub u128);

const SERVER: u8 = 1;
const SERVER_2543: u8 = 2;
const CLIENT: u8 = 3;
const MERGE: u8 = 4;

impl TransactionKey {
    /// Key of the server transaction that this request begins, repeats or (ACK) ends.
    ///
    /// # Errors
    /// [`Bad`] for a header that the key needs.
    pub fn server(request: &Message<'_>, key: &Key) -> Result<Self, Bad> {
        let method = request.method().unwrap_or(Method::Other(b""));
        let method = if method == Method::Ack { Method::Invite } else { method };
        Self::server_as(request, method, key)
    }

    /// Key of the INVITE server transaction that this CANCEL is for (section 9.2).
    ///
    /// # Errors
    /// [`Bad`] for a header that the key needs.
    pub fn cancelled(cancel: &Message<'_>, key: &Key) -> Result<Self, Bad> {
        Self::server_as(cancel, Method::Invite, key)
    }

    fn server_as(request: &Message<'_>, method: Method<'_>, key: &Key) -> Result<Self, Bad> {
        let via = request.via()?;
        let mut hash = Fields::new(key);
        if let Some(branch) = via.magic_branch() {
            hash.kind(SERVER);
            // A branch is a token: it compares without case (section 7.3.1).
            hash.folded(branch);
            hash.folded(via.sent_by);
            hash.exact(method.bytes());
            return Ok(hash.finish());
        }
        Self::server_2543(request, &via, method, hash)
    }

    /// Section 17.2.3, second half. To's tag is left out: a UAS without state cannot know which one
    /// its answer carried, and Call-ID, CSeq, From tag and Via already tell transactions apart.
    fn server_2543(
        request: &Message<'_>,
        via: &Via<'_>,
        method: Method<'_>,
        mut hash: Fields,
    ) -> Result<Self, Bad> {
        hash.kind(SERVER_2543);
        hash.exact(request.uri_raw());
        hash.exact(request.from()?.tag.unwrap_or_default());
        hash.exact(request.call_id()?);
        hash.exact(&request.cseq()?.number.to_le_bytes());
        hash.folded(via.sent_by);
        hash.exact(via.branch.unwrap_or_default());
        hash.exact(method.bytes());
        Ok(hash.finish())
    }

    /// Key of the client transaction that this response answers.
    ///
    /// # Errors
    /// [`Bad`] for a header that the key needs.
    pub fn client(response: &Message<'_>, key: &Key) -> Result<Self, Bad> {
        let via = response.via()?;
        Ok(Self::of_branch(via.branch.unwrap_or_default(), response.cseq()?.method, key))
    }

    /// Key of a client transaction of ours, from the branch it is sent with.
    #[must_use]
    pub fn of_branch(branch: &[u8], method: Method<'_>, key: &Key) -> Self {
        let mut hash = Fields::new(key);
        hash.kind(CLIENT);
        hash.folded(branch);
        hash.exact(method.bytes());
        hash.finish()
    }

    /// Key under which the same request is known when it came by several ways: From tag, Call-ID,
    /// CSeq.
    ///
    /// # Errors
    /// [`Bad`] for a header that the key needs.
    pub fn merge(request: &Message<'_>, key: &Key) -> Result<Self, Bad> {
        let cseq = request.cseq()?;
        let mut hash = Fields::new(key);
        hash.kind(MERGE);
        hash.exact(request.from()?.tag.unwrap_or_default());
        hash.exact(request.call_id()?);
        hash.exact(&cseq.number.to_le_bytes());
        hash.exact(cseq.method.bytes());
        Ok(hash.finish())
    }

    /// The low half, for tables keyed by 64 bits.
    #[must_use]
    pub fn short(self) -> u64 {
        u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or(0)
    }
}

/// Keyed hash of a Call-ID: places a call that carries no tag of ours on a shard.
#[must_use]
pub fn call_hash(call_id: &[u8], key: &Key) -> u64 {
    let mut hash = Fields::new(key);
    hash.exact(call_id);
    hash.finish().short()
}

/// A hash over fields, each with its length, so that moving a byte from one to the next changes it.
struct Fields(SipHasher13);

impl Fields {
    fn new(key: &Key) -> Self {
        Self(SipHasher13::new_with_key(&key.0))
    }

    fn kind(&mut self, kind: u8) {
        self.0.write_u8(kind);
    }

    fn exact(&mut self, field: &[u8]) {
        self.0.write_usize(field.len());
        self.0.write(field);
    }

    fn folded(&mut self, field: &[u8]) {
        self.0.write_usize(field.len());
        let mut block = [0u8; 32];
        for chunk in field.chunks(32) {
            let block = &mut block[..chunk.len()];
            block.copy_from_slice(chunk);
            block.make_ascii_lowercase();
            self.0.write(block);
        }
    }

    fn finish(self) -> TransactionKey {
        TransactionKey(self.0.finish128().as_u128())
    }
}
