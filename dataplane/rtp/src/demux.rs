//! What a datagram on a media port is, by its first bytes (RFC 7983 section 7, RFC 5761 section 4).

/// The protocols that share a media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    Stun,
    Zrtp,
    Dtls,
    /// ChannelData of TURN.
    TurnChannel,
    Rtp,
    Rtcp,
    /// None of them, or too short to tell.
    Unknown,
}

/// Tells the protocol of a datagram; the packet may still be broken.
///
/// RTCP packet types 192..=223 are RTP payload types 64..=95 with the marker bit, which nobody may
/// use on a shared port (RFC 5761 section 4).
#[must_use]
#[inline]
pub fn classify(datagram: &[u8]) -> PacketKind {
    let [first, second, ..] = *datagram else { return PacketKind::Unknown };
    match first {
        0..=3 => PacketKind::Stun,
        16..=19 => PacketKind::Zrtp,
        20..=63 => PacketKind::Dtls,
        64..=79 => PacketKind::TurnChannel,
        128..=191 if (192..=223).contains(&second) => PacketKind::Rtcp,
        128..=191 => PacketKind::Rtp,
        _ => PacketKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let table = [
            (&[0, 1][..], PacketKind::Stun),
            (&[3, 0], PacketKind::Stun),
            (&[4, 0], PacketKind::Unknown),
            (&[16, 0], PacketKind::Zrtp),
            (&[22, 254], PacketKind::Dtls),
            (&[64, 0], PacketKind::TurnChannel),
            (&[0x80, 0], PacketKind::Rtp),
            (&[0x80, 0x80], PacketKind::Rtp),
            (&[0x80, 191], PacketKind::Rtp),
            (&[0x80, 192], PacketKind::Rtcp),
            (&[0x80, 200], PacketKind::Rtcp),
            (&[0xbf, 223], PacketKind::Rtcp),
            (&[0x80, 224], PacketKind::Rtp),
            (&[192, 0], PacketKind::Unknown),
            (&[0x80], PacketKind::Unknown),
            (&[], PacketKind::Unknown),
        ];
        for (bytes, kind) in table {
            assert_eq!(classify(bytes), kind, "{bytes:?}");
        }
    }
}
