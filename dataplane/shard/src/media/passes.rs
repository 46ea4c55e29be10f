//! What becomes of a payload type of the far end: the plan of the leg and the plan of whoever hears
//! it in one look, because every packet asks. Relay first, transcode second, drop third.

use sdp::limits::PLAN_FORMATS_MAX;
use sdp::{Plan, PlanFormat};

use super::transcode::{self, Conversion};

/// One payload type's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it is, under the listener's payload type.
    Relay { pt: u8 },
    /// Its payload changed, too.
    Convert { pt: u8, conversion: Conversion },
    /// Nobody hears it, or the listener does not speak it.
    Drop,
}

/// A payload type that is more than sound passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Special {
    pub(crate) way: Way,
    pub(crate) carries: Carries,
}

/// What the packets of a payload type hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Speech or music: its loss is heard.
    Audio,
    /// Digits (RFC 4733).
    Digits,
    Other,
}

impl Special {
    /// Outside the plan.
    pub(crate) const NONE: Self = Self { way: Way::Drop, carries: Carries::Other };

    pub(crate) fn is_audio(self) -> bool {
        self.carries == Carries::Audio
    }
}

/// What to look up in the details instead of sending it: above all payload types.
const SPECIAL: u8 = 0x80;

/// The look: small, because it lies where every packet comes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passes {
    /// Received, and as what it goes on; [`SPECIAL`] and its place where it is more than that.
    pairs: [(u8, u8); PLAN_FORMATS_MAX],
    count: u8,
}

/// A payload type that is passed on as it is, and as what it leaves: of the packet that came last,
/// which the next one is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usual {
    from: u8,
    to: u8,
}

impl Usual {
    /// None came yet.
    pub(crate) const NONE: Self = Self { from: u8::MAX, to: 0 };

    /// That of a packet that was passed on.
    pub(crate) fn new(from: u8, to: u8) -> Self {
        // With the marker these look like RTCP, which must be told first (RFC 5761 section 4).
        if (64..96).contains(&from) { Self::NONE } else { Self { from, to } }
    }

    /// As what this payload type goes on, if it is the usual one.
    #[inline]
    pub(crate) fn of(self, pt: u8) -> Option<u8> {
        (self.from == pt).then_some(self.to)
    }
}

/// The details, in the order of the plan.
pub(crate) type Specials = [Special; PLAN_FORMATS_MAX];

/// What a look says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass(u8);

impl Pass {
    /// The outgoing payload type of sound that is passed on as it is.
    #[inline]
    pub(crate) fn plain(self) -> Option<u8> {
        (self.0 < SPECIAL).then_some(self.0)
    }

    /// The details of anything else.
    pub(crate) fn details(self, specials: &Specials) -> Special {
        match self.plain() {
            Some(pt) => Special { way: Way::Relay { pt }, carries: Carries::Audio },
            None => specials.get(usize::from(self.0 - SPECIAL)).copied().unwrap_or(Special::NONE),
        }
    }
}

impl Passes {
    /// Nothing passes.
    pub(crate) const NONE: Self = Self { pairs: [(u8::MAX, SPECIAL); PLAN_FORMATS_MAX], count: 0 };

    /// The look and its details for what comes in by `plan` and is heard by `listener`, if anybody.
    pub(crate) fn new(plan: &Plan, listener: Option<&Plan>) -> (Self, Specials) {
        let mut passes = Self::NONE;
        let mut specials = [Special::NONE; PLAN_FORMATS_MAX];
        let entries = passes.pairs.iter_mut().zip(&mut specials);
        for ((at, format), (pair, special)) in (SPECIAL..).zip(plan.formats()).zip(entries) {
            let way = listener.map_or(Way::Drop, |listener| way(format, listener));
            let carries = match format.codec {
                codec if codec.is_telephone_event() => Carries::Digits,
                codec if codec.id.is_audio() => Carries::Audio,
                _ => Carries::Other,
            };
            *special = Special { way, carries };
            let plain = match way {
                Way::Relay { pt } if carries != Carries::Digits && pt < SPECIAL => pt,
                _ => at,
            };
            *pair = (format.receive_pt, plain);
            passes.count += 1;
        }
        (passes, specials)
    }

    /// What becomes of `pt`; None outside the answer.
    #[inline]
    pub(crate) fn find(&self, pt: u8) -> Option<Pass> {
        let pairs = self.pairs.get(..usize::from(self.count))?;
        pairs.iter().find(|pair| pair.0 == pt).map(|pair| Pass(pair.1))
    }
}

/// How what is received as `format` goes on to a leg of plan `to`.
pub(crate) fn way(format: PlanFormat, to: &Plan) -> Way {
    if let Some(same) = to.formats().find(|other| other.codec == format.codec) {
        return Way::Relay { pt: same.send_pt };
    }
    let convert = |other: PlanFormat| {
        let conversion = transcode::between(format.codec, other.codec)?;
        Some(Way::Convert { pt: other.send_pt, conversion })
    };
    to.formats().find_map(convert).unwrap_or(Way::Drop)
}

#[cfg(test)]
mod tests {
    use super::super::bed::{ALAW, EVENT, G722, ULAW, plan};
    use super::*;

    #[test]
    fn relay_comes_before_transcoding_and_the_rest_is_dropped() {
        let from = plan(&[(ULAW, 0), (ALAW, 8), (G722, 9), (EVENT, 101)]);
        let (passes, specials) = Passes::new(&from, Some(&plan(&[(ULAW, 70), (EVENT, 96)])));
        let details = |pt| passes.find(pt).map(|pass| pass.details(&specials));
        assert_eq!(passes.find(0).and_then(Pass::plain), Some(70));
        let conversion = Conversion::AlawToUlaw;
        let way = |pt| details(pt).map(|special| special.way);
        assert_eq!(way(8), Some(Way::Convert { pt: 70, conversion }));
        assert_eq!(way(9), Some(Way::Drop));
        let digit = Special { way: Way::Relay { pt: 96 }, carries: Carries::Digits };
        assert_eq!(details(101), Some(digit));
        assert_eq!(passes.find(3), None);
    }

    #[test]
    fn without_a_listener_all_is_dropped() {
        let (passes, specials) = Passes::new(&plan(&[(ULAW, 0)]), None);
        let special = passes.find(0).map(|pass| pass.details(&specials));
        assert_eq!(special, Some(Special { carries: Carries::Audio, ..Special::NONE }));
    }

    #[test]
    fn sixteen_formats_all_find_their_way() {
        let formats: Vec<_> =
            (96..112).map(|pt| (sdp::Codec { clock: 1_000 * u32::from(pt), ..ULAW }, pt)).collect();
        let all = plan(&formats);
        let (passes, _) = Passes::new(&all, Some(&all));
        for pt in 96..112 {
            assert_eq!(passes.find(pt).and_then(Pass::plain), Some(pt));
        }
    }
}
