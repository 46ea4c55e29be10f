//! Errors by blame: one variant per cause, the documentation is the message.

use core::fmt;

/// Why an SDP was not read, not relayed or not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SdpError {
    /// message longer than 64 KiB
    TooLong,
    /// a line is not `<letter>=<value>`
    BadLine,
    /// a NUL or a bare carriage return inside a line
    BadByte,
    /// the first line is not `v=0`
    BadVersion,
    /// a c= line, or an address in a=rtcp, that is no address
    BadConnection,
    /// an m= line without its fields, or with an impossible port
    BadMediaLine,
    /// a payload type of an audio line in use is not a number up to 127
    BadPayloadType,
    /// more than 16 m= lines
    TooManyMedia,
    /// more than 64 payload types on an m= line
    TooManyPayloadTypes,
    /// more than 256 attributes in a section
    TooManyAttributes,
    /// more than 32 candidates in a media section
    TooManyCandidates,
    /// neither the media section nor the session has a c= line
    NoConnection,
    /// the c= line holds a host name; only addresses are supported
    HostName,
    /// the c= line holds a multicast address
    Multicast,
    /// no audio stream over plain RTP that is not rejected
    NoAudio,
    /// offer and answer share no audio codec
    NoCommonCodec,
    /// the answer's m= lines do not correspond to the offer's
    MediaMismatch,
    /// the output buffer is too small
    NoSpace,
}

/// Whose fault an error is, which is also how SIP tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The peer broke the grammar or a limit: 400 Bad Request.
    Malformed,
    /// The peer asks for what we do not do: 488 Not Acceptable Here.
    Unsupported,
    /// The caller of this crate was wrong: 500.
    Misuse,
}

impl SdpError {
    /// Whose fault it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::TooLong
            | Self::BadLine
            | Self::BadByte
            | Self::BadVersion
            | Self::BadConnection
            | Self::BadMediaLine
            | Self::BadPayloadType
            | Self::TooManyMedia
            | Self::TooManyPayloadTypes
            | Self::TooManyAttributes
            | Self::TooManyCandidates
            | Self::NoConnection => Blame::Malformed,
            Self::HostName
            | Self::Multicast
            | Self::NoAudio
            | Self::NoCommonCodec
            | Self::MediaMismatch => Blame::Unsupported,
            Self::NoSpace => Blame::Misuse,
        }
    }

    /// The message, a lower-case phrase without a full stop.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "SDP longer than 64 KiB",
            Self::BadLine => "SDP line is not <letter>=<value>",
            Self::BadByte => "NUL or bare carriage return in SDP line",
            Self::BadVersion => "SDP does not begin with v=0",
            Self::BadConnection => "bad address in c= or a=rtcp",
            Self::BadMediaLine => "bad m= line",
            Self::BadPayloadType => "bad payload type in m= line",
            Self::TooManyMedia => "more than 16 m= lines",
            Self::TooManyPayloadTypes => "more than 64 payload types",
            Self::TooManyAttributes => "more than 256 attributes in a section",
            Self::TooManyCandidates => "more than 32 candidates",
            Self::NoConnection => "no c= line",
            Self::HostName => "host name in c= line",
            Self::Multicast => "multicast address in c= line",
            Self::NoAudio => "no usable audio stream",
            Self::NoCommonCodec => "no common codec",
            Self::MediaMismatch => "m= lines of the answer do not match the offer",
            Self::NoSpace => "output buffer too small",
        }
    }
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl core::error::Error for SdpError {}
