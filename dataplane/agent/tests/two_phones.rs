//! Two phones without a switch between them: each is the other's far end, so that what one does
//! the other must understand, and neither has anything to complain about.

use std::time::Duration;

use agent::{
    Action, Agent, Datagram, Dial, Manner, PhoneCall, Reinvite, SessionTimer, Speaks, State,
};
use base::{Mono, Now, Wall};
use sdp::{Direction, Supported};
use sip::session::Refresher;

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(20);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Caller and callee, and what is under way between them.
struct Pair {
    now: Now,
    phones: [Agent; 2],
    under_way: Vec<(Mono, Datagram)>,
}

impl Pair {
    fn new(caller: Manner, callee: Manner) -> Self {
        Self::dialled(caller, callee, Dial::default())
    }

    fn dialled(caller: Manner, callee: Manner, dial: Dial) -> Self {
        let at = |host: u8| std::net::SocketAddr::from(([192, 0, 2, host], 5_060));
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_000_000) };
        let phones = [Agent::new(at(1), caller, 1), Agent::new(at(2), callee, 2)];
        let mut pair = Self { now, phones, under_way: Vec::new() };
        let dial = Dial {
            to: "sip:g1@192.0.2.2".to_owned(),
            from: "sip:c1@192.0.2.1".to_owned(),
            group: 1,
            stream: 2,
            ..dial
        };
        let mut out = Vec::new();
        pair.phones[0].dial(now, at(2), &dial, &mut out);
        pair.send(out);
        pair
    }

    /// A call that has stood for three seconds.
    fn standing(caller: Manner, callee: Manner) -> Self {
        let mut pair = Self::new(caller.with_audio(), callee.with_audio());
        pair.run(3 * SECOND);
        assert_eq!((pair.call(0).state, pair.call(1).state), (State::Up, State::Up));
        pair
    }

    fn send(&mut self, out: Vec<Datagram>) {
        let at = self.now.mono + DELAY;
        self.under_way.extend(out.into_iter().map(|datagram| (at, datagram)));
    }

    fn call(&self, phone: usize) -> &PhoneCall {
        &self.phones[phone].calls[0]
    }

    fn act(&mut self, phone: usize, action: Action) {
        let now = self.now;
        self.phones[phone].calls[0].act(now, action);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            let due = self.under_way.iter().map(|(at, _)| *at).min().unwrap_or(Mono::NEVER);
            let next = self.phones.iter().map(Agent::deadline).min().unwrap().min(due);
            if next > end {
                break;
            }
            self.now.mono = next;
            let mut out = Vec::new();
            while let Some(at) = self.under_way.iter().position(|(at, _)| *at <= next) {
                let (_, datagram) = self.under_way.remove(at);
                let phone = self.phones.iter_mut().find(|it| it.sip.ip() == datagram.to.ip());
                let phone = phone.unwrap();
                if datagram.to == phone.sip {
                    phone.handle_sip(self.now, &datagram, &mut out);
                } else {
                    phone.handle_media(self.now, &datagram);
                }
            }
            for phone in &mut self.phones {
                phone.handle_tick(self.now, &mut out);
            }
            self.send(out);
        }
        self.now.mono = end;
    }

    fn heard(&self, phone: usize) -> u64 {
        self.call(phone).media.as_ref().map_or(0, |media| media.heard.voice())
    }

    /// What each hears in the next second.
    fn hears(&mut self) -> [u64; 2] {
        self.run(ms(300));
        let before = [self.heard(0), self.heard(1)];
        self.run(SECOND);
        [self.heard(0) - before[0], self.heard(1) - before[1]]
    }

    /// Nobody complains, and no packet came that may not.
    fn is_clean(&self) {
        for (at, phone) in self.phones.iter().enumerate() {
            assert!(phone.faults.is_empty(), "{at}: {:?}", phone.faults);
            let call = self.call(at);
            assert!(call.seen.complaints.is_empty(), "{at}: {:?}", call.seen.complaints);
            let Some(media) = &call.media else { continue };
            let heard = &media.heard;
            let bad = [heard.damaged, heard.foreign, heard.foreign_payload, heard.unwanted];
            assert_eq!(bad, [0; 4], "{at}: {heard:?}");
            assert_eq!(phone.strays, 0);
        }
    }

    fn over(mut self) {
        self.act(0, Action::HangUp);
        self.run(40 * SECOND);
        assert!(self.call(0).is_over() && self.call(1).is_over());
        assert!(self.call(0).is_quiet() && self.call(1).is_quiet());
        self.is_clean();
    }
}

fn both(hears: [u64; 2], expected: [bool; 2]) {
    for (hears, expected) in hears.into_iter().zip(expected) {
        assert!(if expected { hears >= 48 } else { hears == 0 }, "{hears}, expected {expected}");
    }
}

#[test]
fn a_call_is_heard_both_ways_and_ends() {
    let mut pair = Pair::standing(Manner::default(), Manner::default());
    both(pair.hears(), [true, true]);
    assert_eq!(pair.call(0).seen.provisional, [100, 180]);
    assert_eq!(pair.call(0).seen.direction_told, Some(Direction::SendRecv));
    pair.over();
}

#[test]
fn every_way_of_holding_and_back() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for who in [0, 1] {
        for (action, heard, told, answered) in [
            (Action::Reinvite(SendOnly), [false, true], SendOnly, RecvOnly),
            (Action::Reinvite(Inactive), [false, false], Inactive, Inactive),
            (Action::Reinvite(RecvOnly), [true, false], RecvOnly, SendOnly),
            (Action::UpdateOffer(SendOnly), [false, true], SendOnly, RecvOnly),
            (Action::HoldByAddress, [false, true], SendOnly, RecvOnly),
            (Action::StopStream, [false, false], Inactive, Inactive),
        ] {
            let mut pair = Pair::standing(Manner::default(), Manner::default());
            pair.act(who, action.clone());
            let hears = pair.hears();
            // c=0.0.0.0 says where, a=sendrecv who: the holder still wants nothing.
            both([hears[who], hears[1 - who]], heard);
            assert_eq!(pair.call(1 - who).seen.direction_told, Some(told), "{action:?}");
            assert_eq!(pair.call(who).seen.direction_told, Some(answered), "{action:?}");
            let stopped = action == Action::StopStream;
            assert_eq!(pair.call(who).in_force().is_empty(), stopped);
            pair.act(who, Action::Reinvite(SendRecv));
            both(pair.hears(), [true, true]);
            pair.over();
        }
    }
}

#[test]
fn codecs_change_inside_a_call_and_only_those_in_force_are_spoken() {
    let all = [Supported::PCMU, Supported::PCMA, Supported::OPUS, Supported::TELEPHONE_EVENT];
    let manner = Manner { speaks: Speaks::Last, ..Manner::default().with_codecs(&all) };
    let mut pair = Pair::standing(manner.clone(), manner);
    assert_eq!(pair.call(1).media.as_ref().unwrap().spoken().unwrap().send_pt, 111);
    for codecs in [&all[1..2], &all[2..3], &all[..1], &all[..]] {
        pair.act(0, Action::ReinviteCodecs(codecs.to_vec()));
        both(pair.hears(), [true, true]);
        assert_eq!(pair.call(1).in_force().len(), codecs.len());
        assert_eq!(pair.call(0).in_force(), pair.call(1).in_force());
    }
    pair.act(1, Action::Renumber);
    both(pair.hears(), [true, true]);
    let numbers: Vec<u8> = pair.call(0).in_force().iter().map(|(_, _, send)| *send).collect();
    assert_eq!(numbers, [0, 8, 96, 97]);
    pair.act(0, Action::Digit('7'));
    pair.run(SECOND);
    assert_eq!(pair.call(1).media.as_ref().unwrap().heard.digits, "7");
    pair.over();
}

#[test]
fn a_single_answer_and_a_refused_codec() {
    let single = Manner { single_codec: true, ..Manner::default() };
    let mut pair = Pair::standing(Manner::default(), single);
    assert_eq!(pair.call(0).in_force().len(), 2, "one codec and digits");
    pair.act(1, Action::ReinviteCodecs(vec![Supported::G729]));
    both(pair.hears(), [true, true]);
    assert_eq!(pair.call(1).seen.answers, [("INVITE".to_owned(), 488)]);
    pair.over();
    let opus = Manner::default().with_codecs(&[Supported::OPUS]);
    let mut pair = Pair::new(Manner::default(), opus);
    pair.run(3 * SECOND);
    assert_eq!(pair.call(0).seen.code, 488);
}

#[test]
fn offers_in_every_place() {
    let dial = Dial { late_offer: true, ..Dial::default() };
    let mut pair =
        Pair::dialled(Manner::default().with_audio(), Manner::default().with_audio(), dial);
    pair.run(3 * SECOND);
    both(pair.hears(), [true, true]);
    for who in [0, 1] {
        pair.act(who, Action::ReinviteEmpty);
        both(pair.hears(), [true, true]);
        pair.act(who, Action::MoveMedia);
        both(pair.hears(), [true, true]);
        pair.act(who, Action::ReinviteContact(format!("sip:{}@192.0.2.9", "x".repeat(900))));
        both(pair.hears(), [true, true]);
    }
    assert!(pair.call(1).seen.answers.iter().all(|(_, code)| *code == 200));
    pair.over();
}

#[test]
fn glare_is_refused_and_both_try_again() {
    let mut pair = Pair::standing(Manner::default(), Manner::default());
    pair.act(0, Action::Reinvite(Direction::SendRecv));
    pair.act(1, Action::ReinviteCodecs(vec![Supported::PCMA]));
    pair.run(10 * SECOND);
    for at in [0, 1] {
        let seen = &pair.call(at).seen;
        assert_eq!((seen.glares, seen.glares_refused), (1, 1));
        assert_eq!(seen.answers.iter().map(|(_, code)| *code).collect::<Vec<_>>(), [491, 200]);
    }
    assert_eq!(pair.call(0).in_force().len(), 1);
    both(pair.hears(), [true, true]);
    pair.over();
}

#[test]
fn a_refused_change_leaves_what_was_and_an_ignored_one_ends_the_call() {
    let refuses = Manner { reinvite: Reinvite::Refuse(488), ..Manner::default() };
    let mut pair = Pair::standing(Manner::default(), refuses);
    for action in [
        Action::Reinvite(Direction::Inactive),
        Action::MoveMedia,
        Action::UpdateOffer(Direction::SendOnly),
        Action::ReinviteCodecs(vec![Supported::PCMA]),
    ] {
        pair.act(0, action);
        both(pair.hears(), [true, true]);
    }
    assert!(pair.call(0).seen.answers.iter().all(|(_, code)| *code == 488));
    pair.over();
    let ignores = Manner { reinvite: Reinvite::Ignore, ..Manner::default() };
    let mut pair = Pair::standing(Manner::default(), ignores);
    pair.act(0, Action::Reinvite(Direction::Inactive));
    pair.run(40 * SECOND);
    assert!(pair.call(1).is_over() && pair.call(1).seen.ended_by_peer);
}

#[test]
fn early_media_has_a_direction_and_codecs_of_its_own() {
    let early = Action::Ring183(Direction::SendOnly, vec![Supported::PCMA]);
    let on_ring = vec![(ms(100), early), (3 * SECOND, Action::Answer)];
    let callee = Manner { on_ring, ..Manner::default() }.with_audio();
    let mut pair = Pair::new(Manner::default().with_audio(), callee.clone());
    pair.run(SECOND);
    assert_eq!(pair.call(0).seen.direction_told, Some(Direction::SendOnly));
    both(pair.hears(), [true, false]);
    pair.run(2 * SECOND);
    both(pair.hears(), [true, true]);
    assert_eq!(pair.call(0).in_force().len(), 3);
    assert_eq!(pair.call(0).seen.complaints.len(), 1, "not the same answer");
    // To the letter the first answer of a dialog counts, unless another branch answers.
    for (other, hears) in [(false, [true, false]), (true, [true, true])] {
        let mut callee = callee.clone();
        callee.on_ring[1].1 = Action::AnswerWith(vec![Supported::PCMA], other);
        let strict = Manner { first_answer_counts: true, ..Manner::default() };
        let mut pair = Pair::new(strict.with_audio(), callee);
        pair.run(4 * SECOND);
        both(pair.hears(), hears);
    }
}

#[test]
fn requests_while_ringing_go_both_ways() {
    let on_ring = vec![
        (ms(100), Action::EarlyMedia),
        (ms(300), Action::Options),
        (ms(400), Action::UpdateOffer(Direction::SendOnly)),
        (ms(600), Action::Info('4')),
        (3 * SECOND, Action::Answer),
    ];
    let callee = Manner { on_ring, ..Manner::default() }.with_audio();
    let caller = Manner::default()
        .with_audio()
        .after_dial(ms(800), Action::Options)
        .after_dial(ms(900), Action::Info('5'))
        .after_dial(ms(1_000), Action::Update)
        .after_dial(ms(1_100), Action::UpdateOffer(Direction::SendRecv));
    let mut pair = Pair::new(caller, callee);
    pair.run(2 * SECOND);
    let codes = |pair: &Pair, at: usize| {
        pair.call(at)
            .seen
            .answers
            .iter()
            .map(|(name, code)| format!("{name} {code}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&pair, 1), ["OPTIONS 200", "UPDATE 200", "INFO 200"]);
    assert_eq!(codes(&pair, 0), ["OPTIONS 200", "INFO 200", "UPDATE 200", "UPDATE 200"]);
    assert_eq!(pair.call(0).seen.info_digits, "4");
    assert_eq!(pair.call(1).seen.info_digits, "5");
    pair.run(2 * SECOND);
    // The callee's wish stands.
    both(pair.hears(), [true, false]);
    pair.over();
}

#[test]
fn without_info_and_update_they_are_405_and_allow_says_so() {
    let poor =
        Manner { info: false, allow: vec!["INVITE", "ACK", "CANCEL", "BYE"], ..Manner::default() };
    let mut pair = Pair::standing(Manner::default(), poor);
    assert_eq!(pair.call(0).seen.allow, ["INVITE", "ACK", "CANCEL", "BYE"]);
    for action in [Action::Info('1'), Action::Update, Action::Options] {
        pair.act(0, action);
        pair.run(ms(200));
    }
    assert_eq!(pair.call(0).seen.answers.iter().filter(|(_, code)| *code == 405).count(), 3);
    pair.over();
}

#[test]
fn reasons_and_headers_arrive() {
    let headers = vec!["X-Call: 7".to_owned(), "P-Early: yes".to_owned()];
    let reason = Some("SIP;cause=200;text=\"elsewhere\"".to_owned());
    let manner = Manner { headers, reason: reason.clone(), ..Manner::default() };
    let pair = Pair::standing(manner.clone(), manner);
    assert_eq!(pair.call(1).seen.headers, ["X-Call: 7"]);
    assert!(pair.call(0).seen.text.contains("P-Early: yes\r\n"));
    pair.over();
    let caller = Manner { reason: reason.clone(), ..Manner::default() };
    let caller = caller.after_dial(SECOND, Action::Cancel);
    let mut pair = Pair::new(caller, Manner::ringing());
    pair.run(3 * SECOND);
    assert_eq!((pair.call(1).seen.reason.clone(), pair.call(0).seen.code), (reason, 487));
}

fn timed(refresher: Option<Refresher>) -> Manner {
    let timer = Some(SessionTimer { seconds: 90, refresher, min_se: 90 });
    Manner { timer, ..Manner::default() }
}

#[test]
fn sessions_are_refreshed_in_both_roles() {
    for (refresher, sent) in
        [(Some(Refresher::Uac), [4, 0]), (Some(Refresher::Uas), [0, 4]), (None, [4, 0])]
    {
        for update in [true, false] {
            let mut manner = timed(refresher);
            if !update {
                manner.allow.retain(|method| *method != "UPDATE");
            }
            let mut pair = Pair::new(manner.clone(), manner);
            pair.run(200 * SECOND);
            assert!(!pair.call(0).is_over() && !pair.call(1).is_over());
            let refreshes = [0, 1].map(|at| pair.call(at).seen.refreshes);
            assert_eq!(refreshes, sent, "{refresher:?}");
            // Who is to refresh dies: the other hangs up within the interval.
            let dead = usize::from(sent[0] == 0);
            pair.act(dead, Action::Die);
            pair.run(100 * SECOND);
            assert!(pair.call(1 - dead).seen.expired);
        }
    }
}

#[test]
fn a_session_too_brief_is_asked_for_again() {
    let patient = Manner {
        timer: Some(SessionTimer { seconds: 600, refresher: None, min_se: 300 }),
        ..Manner::default()
    };
    let mut pair = Pair::new(timed(None), patient);
    pair.run(3 * SECOND);
    // The 422 ends the first call at the callee; the second INVITE has the same Call-ID.
    assert_eq!(pair.call(0).seen.too_brief, 1);
    assert_eq!((pair.call(0).seen.code, pair.call(0).seen.session_expires), (200, Some(300)));
}

/// A phone with some codecs, never none of the first two.
fn any_manner(random: &mut base::Prng) -> Manner {
    let all = [
        Supported::PCMU,
        Supported::PCMA,
        Supported::OPUS,
        Supported::G729,
        Supported::TELEPHONE_EVENT,
    ];
    Manner {
        speaks: Speaks::Index(usize::try_from(random.below(4)).unwrap()),
        single_codec: random.chance(1, 4),
        ..Manner::default().with_codecs(&any_codecs(random, &all))
    }
    .with_audio()
}

fn any_codecs(random: &mut base::Prng, all: &[Supported<'static>]) -> Vec<Supported<'static>> {
    let mut some: Vec<_> = all.iter().filter(|_| random.chance(1, 2)).copied().collect();
    some.push(all[usize::from(random.chance(1, 2)).min(all.len() - 1)]);
    some.sort_by_key(|codec| codec.pt);
    some.dedup();
    some.reverse();
    some
}

fn any_change(random: &mut base::Prng, codecs: &[Supported<'static>]) -> Action {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    let direction = [SendRecv, SendOnly, RecvOnly, Inactive];
    let direction = direction[usize::try_from(random.below(4)).unwrap()];
    match random.below(10) {
        0..3 => Action::Reinvite(direction),
        3 => Action::UpdateOffer(direction),
        4 => Action::HoldByAddress,
        5 => Action::StopStream,
        6 => Action::Renumber,
        7 => Action::MoveMedia,
        8 => Action::ReinviteEmpty,
        _ => Action::ReinviteCodecs(any_codecs(random, codecs)),
    }
}

/// Whatever both do, at whatever moment: when it is quiet both have the same formats in force, each
/// hears exactly what the directions say, and no packet came that may not.
#[test]
fn any_changes_leave_both_with_the_same() {
    let mut stood = 0;
    for seed in 0..400 {
        let mut random = base::Prng::new(seed);
        let manners = [any_manner(&mut random), any_manner(&mut random)];
        let codecs = [manners[0].codecs.clone(), manners[1].codecs.clone()];
        let dial = Dial { late_offer: random.chance(1, 4), ..Dial::default() };
        let [caller, callee] = manners;
        let mut pair = Pair::dialled(caller, callee, dial);
        pair.run(3 * SECOND);
        if pair.call(0).state != State::Up {
            // No common format: refused, or ended after a late offer.
            assert!([200, 488].contains(&pair.call(0).seen.code), "{seed}");
            continue;
        }
        let mut done = Vec::new();
        for _ in 0..random.below(6) {
            let who = usize::from(random.chance(1, 2));
            let action = any_change(&mut random, &codecs[who]);
            done.push((who, action.clone()));
            pair.act(who, action);
            pair.run(ms([0, 10, 25, 1_500][usize::try_from(random.below(4)).unwrap()]));
        }
        pair.run(12 * SECOND);
        if pair.call(0).is_over() {
            // A late answer that could not be given ends the call.
            continue;
        }
        let said = format!("{seed}: {done:?}");
        let swapped: Vec<_> =
            pair.call(1).in_force().iter().map(|(codec, a, b)| (*codec, *b, *a)).collect();
        let ours = pair.call(0).in_force();
        assert!(
            ours.len() == swapped.len() && ours.iter().all(|it| swapped.contains(it)),
            "{said}"
        );
        let may = |at: usize| pair.call(at).media.as_ref().is_some_and(agent::Media::may_send);
        let expected = [may(1), may(0)];
        let hears = pair.hears();
        for at in [0, 1] {
            let heard = hears[at] >= 48;
            assert_eq!(heard, expected[at], "{at} hears {hears:?}, {said}");
        }
        let directions = [0, 1].map(|at| pair.call(at).direction().unwrap());
        assert_eq!(directions[0], directions[1].reversed(), "{said}");
        println!("{said}");
        stood += 1;
        pair.is_clean();
    }
    assert!(stood > 250, "{stood}");
}
