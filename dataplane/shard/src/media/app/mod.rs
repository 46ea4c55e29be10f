//! Media applications: what a leg hears that is not joined to another.

pub(crate) mod tone;

/// What is played to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    Silence,
    Ringback,
}
