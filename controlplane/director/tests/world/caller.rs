//! Who calls in a test.

use base::LegId;

/// How a caller names himself.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) from: &'static str,
    pub(crate) from_name: &'static str,
    pub(crate) diversion: &'static str,
    pub(crate) headers: &'static str,
    /// Whose he has proven to be.
    pub(crate) user: &'static str,
    /// The leg whose place he wants.
    pub(crate) replaces: LegId,
    /// Who has forwarded the call, and how many have.
    pub(crate) forwards: (&'static str, u16),
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            from: "sip:alice@caller.test",
            from_name: "Alice",
            diversion: "",
            headers: "X-Campaign: spring\r\nX-Id: 5\r\n",
            user: "",
            replaces: LegId::NONE,
            forwards: ("", 0),
        }
    }
}
