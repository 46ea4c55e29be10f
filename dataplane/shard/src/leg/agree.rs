//! When two legs hear each other. A join is a relation of two negotiated sets: for each direction,
//! what one far end may send, the other must take, as it is or turned from one law of G.711 into
//! the other. Where it does not, one of the two is offered anew, and both sides of the join come to
//! the same conclusion who.
//!
//! ```text
//!  S(X): formats in force on leg X      cap(X): what its far end described last
//!
//!  all of S(X) carried by S(Y)                     -> nothing to do
//!  some of it                                      -> X is narrowed once it sends the rest
//!  nothing: cap(X) has something that S(Y) carries -> X is offered that (or Y, by the same rule)
//!           cap(X) and cap(Y) share something      -> first one, then the other is offered it
//!           else                                   -> they cannot hear each other
//! ```

use arrayvec::ArrayVec;
use sdp::Codec;

use crate::handoff::{LegFormat, View};
use crate::media::transcode;

/// Codecs that a leg is to be offered.
pub(crate) type Codecs = ArrayVec<Codec, 16>;

/// What a leg has to do so that its far end and the other one hear each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// The other leg is offered anew; we hear of it.
    Wait,
    /// Our far end must be offered these audio codecs.
    Offer(Codecs),
    /// No offer helps.
    Impossible,
}

/// What leg X, seen as `x`, has to do beside a partner seen as `y`. `first`: of the two, X moves
/// where either could. `lost`: audio of X's far end was seen that Y cannot take.
pub(crate) fn need(x: &View, y: &View, first: bool, lost: bool) -> Need {
    let spoken = || audio(x).filter(|format| format.in_force);
    let nobody = spoken().next().is_none() || !audio(y).any(|format| format.in_force);
    if nobody || spoken().all(|format| is_carried(format.codec(), y)) {
        return Need::Nothing;
    }
    let ours: Codecs = codecs(x, |codec| is_carried(codec, y));
    if spoken().any(|format| is_carried(format.codec(), y)) {
        // Most far ends speak the first codec only: no offer before the rest is heard. It only
        // takes away: two legs that both add what the other has would change places for ever.
        let narrower = spoken().map(LegFormat::codec).filter(|codec| is_carried(*codec, y));
        return if lost && !x.fixed { Need::Offer(narrower.collect()) } else { Need::Nothing };
    }
    let theirs = codecs(y, |codec| is_carried(codec, x));
    let (we_can, they_can) = (!ours.is_empty() && !x.fixed, !theirs.is_empty() && !y.fixed);
    if we_can && (first || !they_can) {
        return Need::Offer(ours);
    }
    if they_can {
        return Need::Wait;
    }
    let both = codecs(x, |codec| is_known(codec, y));
    match both.is_empty() || x.fixed || y.fixed {
        true => Need::Impossible,
        false if first => Need::Offer(both),
        false => Need::Wait,
    }
}

/// Whether audio of this codec reaches a far end with this view.
pub(crate) fn is_carried(codec: Codec, view: &View) -> bool {
    audio(view).any(|format| format.in_force && fits(codec, format.codec()))
}

/// Whether it would, if everything were in force that the far end described.
pub(crate) fn is_known(codec: Codec, view: &View) -> bool {
    audio(view).any(|format| fits(codec, format.codec()))
}

fn fits(codec: Codec, other: Codec) -> bool {
    codec == other || transcode::between(codec, other).is_some()
}

fn audio(view: &View) -> impl Iterator<Item = &LegFormat> {
    view.formats.iter().filter(|format| format.codec().id.is_audio())
}

fn codecs(view: &View, takes: impl Fn(Codec) -> bool) -> Codecs {
    audio(view).map(LegFormat::codec).filter(|codec| takes(*codec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdp::{CodecId, PlanFormat};

    const OPUS: Codec = Codec { id: CodecId::of(b"opus"), clock: 48_000, channels: 2, variant: 0 };
    const G722: Codec = Codec { id: CodecId::of(b"G722"), clock: 8_000, channels: 1, variant: 0 };
    const PCMU: Codec = Codec { id: CodecId::PCMU, clock: 8_000, channels: 1, variant: 0 };
    const PCMA: Codec = Codec { id: CodecId::PCMA, clock: 8_000, channels: 1, variant: 0 };
    const ALL: [Codec; 4] = [OPUS, G722, PCMU, PCMA];

    fn view(cap: u8, force: u8) -> View {
        let mut view = View { sends: true, receives: true, ..View::default() };
        for (at, codec) in ALL.into_iter().enumerate() {
            let pt = u8::try_from(at).unwrap();
            let format = PlanFormat { codec, receive_pt: pt, send_pt: pt };
            if cap >> at & 1 == 1 {
                view.formats.push(LegFormat::new(&format, force >> at & 1 == 1));
            }
        }
        view
    }

    /// The far end takes an offer of what it described.
    fn take(view: &mut View, codecs: &Codecs) {
        for format in &mut view.formats {
            format.in_force = codecs.contains(&format.codec());
        }
    }

    /// All pairs of what two far ends can and do speak, whatever they refuse: both legs come to one
    /// conclusion in a few steps, and if it is not "impossible", nothing is lost.
    #[test]
    fn every_pair_of_codec_sets_comes_to_hear_each_other_or_to_say_that_it_cannot() {
        let (mut tried, mut heard) = (0, 0);
        for (cap_x, cap_y) in (1..16_u8).flat_map(|x| (1..16_u8).map(move |y| (x, y))) {
            for (force_x, force_y) in
                subsets(cap_x).flat_map(|x| subsets(cap_y).map(move |y| (x, y)))
            {
                for refusals in 0..4_u8 {
                    tried += 1;
                    let (mut x, mut y) = (view(cap_x, force_x), view(cap_y, force_y));
                    heard += u32::from(settle(&mut x, &mut y, refusals));
                }
            }
        }
        assert!(tried > 10_000 && heard > tried / 2, "{heard} of {tried}");
    }

    fn subsets(cap: u8) -> impl Iterator<Item = u8> {
        (1..16_u8).filter(move |force| force & !cap == 0)
    }

    /// True if they hear each other in the end; panics where the two legs disagree.
    fn settle(x: &mut View, y: &mut View, refusals: u8) -> bool {
        for _ in 0..8 {
            let (of_x, of_y) = (need(x, y, true, true), need(y, x, false, true));
            match (&of_x, &of_y) {
                (Need::Nothing, Need::Nothing) => {
                    let carries = |a: &View, b: &View| {
                        let mut spoken = audio(a).filter(|format| format.in_force);
                        spoken.any(|format| is_carried(format.codec(), b))
                    };
                    assert!(carries(x, y) && carries(y, x), "silence: {x:?} {y:?}");
                    return true;
                }
                (Need::Impossible, Need::Impossible) => return false,
                (Need::Wait, Need::Wait) => panic!("both wait: {x:?} {y:?}"),
                (Need::Impossible, _) | (_, Need::Impossible) => {
                    panic!("one gives up, one does not: {of_x:?} {of_y:?} {x:?} {y:?}")
                }
                _ => {}
            }
            for (view, need, bit) in [(&mut *x, of_x, 1), (&mut *y, of_y, 2)] {
                let Need::Offer(codecs) = need else { continue };
                if refusals & bit != 0 {
                    view.fixed = true;
                } else {
                    take(view, &codecs);
                }
            }
        }
        panic!("no end: {x:?} {y:?}");
    }
}
