//! Digits heard from far ends (RFC 4733). Where the listener has telephone-event they cross as
//! packets and are told at their start. Where it has not, the leg carries them by other means,
//! which need to know how long they were: they are told when they have ended.

use base::{Frame, LegId, Mono};
use rtp::Header;
use rtp::telephone_event::{Detected, Detector, digit};
use wire::counter::Counter;

use super::Media;
use super::stream::Stream;
use crate::cx::Cx;

/// Notices that wait to be polled.
pub(crate) const NOTICES: usize = 256;

/// A digit that a leg's far end sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) leg: LegId,
    /// `0-9*#A-D`
    pub(crate) digit: char,
    /// Its length; 0 where it crosses, since it has only begun.
    pub(crate) duration_ms: u16,
    /// The listener hears it as RTP events.
    pub(crate) crosses: bool,
}

impl Media {
    /// The next digit that was heard.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// A packet of a digit.
    pub(super) fn hear_digit(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        frame: Frame,
        header: &Header,
        crosses: bool,
    ) {
        let payload = header.payload(cx.frames.bytes(frame));
        let stream = &mut self.streams[leg.index() as usize];
        let clock = stream.plan.received(header.pt).map(|format| format.codec.clock);
        let detector = &mut stream.tap;
        if let Some(clock) = clock.filter(|clock| *clock != detector.clock_hz()) {
            *detector = Detector::new(clock);
        }
        let told = detector.handle(header.marker, header.timestamp, payload, cx.now.mono);
        let started = told.started.and_then(digit);
        // One packet may end an event and begin the next, or be all there is of one.
        if told.started.is_some() && told.ended.is_some_and(|(code, _)| digit(code) != started) {
            self.tell_end(cx, leg, told);
            self.tell_start(cx, leg, started, crosses);
        } else {
            self.tell_start(cx, leg, started, crosses);
            self.tell_end(cx, leg, told);
        }
        if told.started.is_some() {
            self.arm(leg.index());
        }
    }

    /// The source is another: its timestamps say nothing about the events before.
    pub(super) fn forget_digit(&mut self, cx: &mut Cx<'_, '_>, leg: LegId) {
        let told = self.streams[leg.index() as usize].tap.reset();
        self.tell_end(cx, leg, told);
    }

    /// An event whose end was lost is over by now.
    pub(super) fn digit_timeout(&mut self, cx: &mut Cx<'_, '_>, leg: LegId) {
        let stream = &mut self.streams[leg.index() as usize];
        let told = stream.tap.handle_timeout(cx.now.mono);
        self.tell_end(cx, leg, told);
    }

    fn tell_start(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        started: Option<char>,
        crosses: bool,
    ) {
        let Some(digit) = started else { return };
        self.streams[leg.index() as usize].is_digit_told = crosses;
        if crosses {
            self.notice(cx, Notice { leg, digit, duration_ms: 0, crosses });
        }
    }

    fn tell_end(&mut self, cx: &mut Cx<'_, '_>, leg: LegId, told: Detected) {
        let Some((code, units)) = told.ended else { return };
        let stream = &self.streams[leg.index() as usize];
        if let (Some(digit), false) = (digit(code), stream.is_digit_told) {
            let millis = rtp::ticks_to_micros(units, stream.tap.clock_hz()) / 1_000;
            let duration_ms = u16::try_from(millis).unwrap_or(u16::MAX);
            self.notice(cx, Notice { leg, digit, duration_ms, crosses: false });
        }
    }

    fn notice(&mut self, cx: &mut Cx<'_, '_>, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push_back(notice);
        } else {
            cx.count(Counter::DiscardNoRoom);
        }
    }
}

impl Stream {
    /// When an event whose end was lost is taken for ended.
    pub(super) fn digit_deadline(&self) -> Mono {
        self.tap.deadline().unwrap_or(Mono::NEVER)
    }
}
