//! What a completion is about: the 64 bits of user data.

/// kind (8 bits), generation (24 bits), index (32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u64);

/// The kinds of operation.
pub(super) mod kind {
    pub(in crate::driver) const MEDIA_RECEIVE: u8 = 1;
    pub(in crate::driver) const LISTENER_RECEIVE: u8 = 2;
    pub(in crate::driver) const BELL: u8 = 3;
    pub(in crate::driver) const SEND: u8 = 4;
    pub(in crate::driver) const CANCEL: u8 = 5;
    /// A media port whose every queued datagram is known to be of its remote.
    pub(in crate::driver) const PLAIN_RECEIVE: u8 = 6;
    /// Of a listener: the index is its place among those kept.
    pub(in crate::driver) const LISTENER_SEND: u8 = 7;
    pub(in crate::driver) const ACCEPT: u8 = 8;
    /// Of a connection, as those that follow: the index is its place.
    pub(in crate::driver) const CONNECT: u8 = 9;
    pub(in crate::driver) const STREAM_RECEIVE: u8 = 10;
    pub(in crate::driver) const STREAM_SEND: u8 = 11;
}

impl Tag {
    pub(super) fn new(kind: u8, generation: u32, index: u32) -> Self {
        let generation = u64::from(generation & 0x00ff_ffff);
        Self(u64::from(kind) << 56 | generation << 32 | u64::from(index))
    }

    pub(super) fn kind(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    pub(super) fn generation(self) -> u32 {
        let bytes = self.0.to_be_bytes();
        u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]])
    }

    pub(super) fn index(self) -> u32 {
        let bytes = self.0.to_be_bytes();
        u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}
