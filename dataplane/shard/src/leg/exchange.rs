//! The model of an offer and its answer in one dialog (RFC 3264, RFC 6337), without any text.
//!
//! ```text
//!   Idle --we offer--> Offered --answer--> Agreed --we offer--> Reoffered --answer, refusal--> Agreed
//!     \--they offer--> Received --we answer--/  \--they offer, we answer at once--> Agreed
//!
//! Offered stays open until the final response; a callee whose early answer was acknowledged may
//! offer anew meanwhile.
//! ```

/// How far an exchange is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Our first offer is out.
    Offered,
    /// Their first offer waits for our answer.
    Received,
    Agreed,
    /// A later offer of ours is out.
    Reoffered,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    WeOffer,
    TheyOffer,
    WeAnswer,
    TheyAnswer,
    /// Our offer was refused: what was agreed before holds.
    TheyRefuse,
}

/// Where an exchange leads; None where the model of RFC 3264 has no arrow.
pub(crate) const fn next(phase: Phase, event: Exchange) -> Option<Phase> {
    Some(match (phase, event) {
        // A second target of one call gets the same offer.
        (Phase::Idle | Phase::Offered, Exchange::WeOffer) => Phase::Offered,
        (Phase::Idle, Exchange::TheyOffer) => Phase::Received,
        (Phase::Received, Exchange::WeAnswer) => Phase::Agreed,
        (Phase::Offered | Phase::Reoffered, Exchange::TheyAnswer) => Phase::Agreed,
        (Phase::Agreed, Exchange::WeOffer) => Phase::Reoffered,
        (Phase::Offered, Exchange::TheyOffer) => Phase::Offered,
        (Phase::Agreed, Exchange::TheyOffer | Exchange::WeAnswer) => Phase::Agreed,
        (Phase::Reoffered, Exchange::TheyRefuse) => Phase::Agreed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_figure() {
        use Phase as P;
        let phases = [P::Idle, P::Offered, P::Received, P::Agreed, P::Reoffered];
        let events = [
            Exchange::WeOffer,
            Exchange::TheyOffer,
            Exchange::WeAnswer,
            Exchange::TheyAnswer,
            Exchange::TheyRefuse,
        ];
        let mut dump = String::new();
        for phase in phases {
            for event in events {
                if let Some(to) = next(phase, event) {
                    dump += &format!("{phase:?} {event:?} {to:?}\n");
                }
            }
        }
        let expected = "\
Idle WeOffer Offered
Idle TheyOffer Received
Offered WeOffer Offered
Offered TheyOffer Offered
Offered TheyAnswer Agreed
Received WeAnswer Agreed
Agreed WeOffer Reoffered
Agreed TheyOffer Agreed
Agreed WeAnswer Agreed
Reoffered TheyAnswer Agreed
";
        assert_eq!(dump, expected.to_owned() + "Reoffered TheyRefuse Agreed\n");
    }
}
