//! Media applications: what a leg hears that is not joined to another.

pub(crate) mod tone;

/// What is played to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    Nothing,
    Silence,
    /// Position in the cadence, in packets of 20 ms.
    Ringback(u32),
}
