//! When two legs hear each other. A join is a relation of two negotiated sets: for each direction,
//! what one far end may send, the other must take. Where it does not, one of the two is offered
//! anew, and both sides of the join come to the same conclusion who. Only where no offer helps is
//! one law of G.711 turned into the other.
//!
//! ```text
//!  S(X): formats in force on leg X      cap(X): what its far end described last
//!
//!  S(X) within S(Y)                         -> nothing to do
//!  some of S(X) in S(Y)                     -> X is narrowed to that, once it sends the rest or Y has changed
//!  nothing: cap(X) has something of S(Y)    -> X is offered that (or Y, by the same rule)
//!           cap(X) and cap(Y) share a codec -> first one, then the other is offered it
//!           both speak a law of G.711       -> it is turned into the other
//!           else                            -> they cannot hear each other
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
/// where either could. `strict`: Y has changed, or X's far end was heard in something that Y does
/// not speak: what is only partly in common is not good enough.
pub(crate) fn need(x: &View, y: &View, first: bool, strict: bool) -> Need {
    let spoken = || in_force(x);
    if in_force(y).next().is_none() || spoken().all(|codec| speaks(codec, y)) {
        return Need::Nothing;
    }
    if spoken().any(|codec| speaks(codec, y)) {
        // Most far ends speak the first codec only: no offer before there is a reason. It only
        // takes away: two legs that both add what the other has would change places for ever.
        let narrower = spoken().filter(|codec| speaks(*codec, y));
        return if strict && !x.fixed { Need::Offer(narrower.collect()) } else { Need::Nothing };
    }
    let ours = known(x, |codec| speaks(codec, y));
    let theirs = known(y, |codec| speaks(codec, x));
    let (we_can, they_can) = (!ours.is_empty() && !x.fixed, !theirs.is_empty() && !y.fixed);
    if we_can && (first || !they_can) {
        return Need::Offer(ours);
    }
    if they_can {
        return Need::Wait;
    }
    let both = known(x, |codec| all(y).any(|other| other == codec));
    if !both.is_empty() && !x.fixed && !y.fixed {
        return if first { Need::Offer(both) } else { Need::Wait };
    }
    transcoded(x, y, strict)
}

/// No offer gives both a codec in common.
fn transcoded(x: &View, y: &View, strict: bool) -> Need {
    let carried: Codecs = in_force(x).filter(|codec| is_carried(*codec, y)).collect();
    let whole = in_force(x).all(|codec| is_carried(codec, y));
    match carried.is_empty() {
        false if !whole && strict && !x.fixed => Need::Offer(carried),
        false => Need::Nothing,
        true => match known(x, |codec| is_carried(codec, y)) {
            ours if !ours.is_empty() && !x.fixed => Need::Offer(ours),
            _ if !known(y, |codec| is_carried(codec, x)).is_empty() && !y.fixed => Need::Wait,
            _ => Need::Impossible,
        },
    }
}

/// Whether the far ends hear each other as it is, for each of them something at least.
pub(crate) fn hear_each_other(x: &View, y: &View) -> bool {
    in_force(x).any(|codec| is_carried(codec, y))
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

/// Whether this codec is in force at a far end with this view.
fn speaks(codec: Codec, view: &View) -> bool {
    in_force(view).any(|other| other == codec)
}

fn audio(view: &View) -> impl Iterator<Item = &LegFormat> {
    view.formats.iter().filter(|format| format.codec().id.is_audio())
}

/// The audio codecs in force.
fn in_force(view: &View) -> impl Iterator<Item = Codec> + '_ {
    audio(view).filter(|format| format.in_force).map(LegFormat::codec)
}

/// All that the far end described.
fn all(view: &View) -> impl Iterator<Item = Codec> + '_ {
    audio(view).map(LegFormat::codec)
}

fn known(view: &View, takes: impl Fn(Codec) -> bool) -> Codecs {
    all(view).filter(|codec| takes(*codec)).collect()
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
                    let heard = hear_each_other(x, y) && hear_each_other(y, x);
                    assert!(heard, "silence: {x:?} {y:?}");
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
