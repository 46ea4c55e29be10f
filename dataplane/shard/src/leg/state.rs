//! The figure of `leg` as an event table.

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its INVITE came; at most 100 was said.
    Arrived,
    /// A provisional response above 100 was sent.
    Ringing,
    /// A 2xx was sent; its ACK is due.
    Answering,
    /// It was told to dial and waits for its offer.
    Wanting,
    /// Its INVITE is out.
    Calling,
    /// Answered on both hops.
    Standing,
    /// Over.
    Closing,
}

/// What moves a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// A provisional response above 100 is sent.
    Ring,
    /// A 2xx is sent.
    Accept,
    /// The ACK came.
    Acknowledge,
    /// The INVITE is sent, to the first target or to another.
    Dial,
    /// A 2xx came.
    Answer,
    /// The leg is over.
    End,
}

/// Where a move leads; None where the figure has no arrow.
pub(crate) const fn next(state: State, step: Move) -> Option<State> {
    Some(match (state, step) {
        (State::Arrived | State::Ringing, Move::Ring) => State::Ringing,
        (State::Arrived | State::Ringing, Move::Accept) => State::Answering,
        (State::Answering, Move::Acknowledge) => State::Standing,
        (State::Wanting | State::Calling, Move::Dial) => State::Calling,
        (State::Calling, Move::Answer) => State::Standing,
        (State::Closing, Move::End) => return None,
        (_, Move::End) => State::Closing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as it stands in the figure: a change here is a change there.
    #[test]
    fn the_table_is_the_figure() {
        use State as S;
        let states =
            [S::Arrived, S::Ringing, S::Answering, S::Wanting, S::Calling, S::Standing, S::Closing];
        let moves =
            [Move::Ring, Move::Accept, Move::Acknowledge, Move::Dial, Move::Answer, Move::End];
        let mut dump = String::new();
        for state in states {
            for step in moves {
                if let Some(to) = next(state, step) {
                    dump += &format!("{state:?} {step:?} {to:?}\n");
                }
            }
        }
        let expected = "\
Arrived Ring Ringing
Arrived Accept Answering
Arrived End Closing
Ringing Ring Ringing
Ringing Accept Answering
Ringing End Closing
Answering Acknowledge Standing
Answering End Closing
Wanting Dial Calling
Wanting End Closing
Calling Dial Calling
Calling Answer Standing
Calling End Closing
Standing End Closing
";
        assert_eq!(dump, expected);
    }
}
