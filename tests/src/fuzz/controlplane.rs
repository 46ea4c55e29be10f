//! What applications answer, what shards tell, what operators write.

use std::time::Duration;

use base::{CallId, LegId, Mono, Now, Wall};
use director::{Director, Settings};
use model::port::{
    ApiCall, ApiId, ApiRequest, CreateCall, HttpAnswer, HttpError, HttpKind, HttpReply,
    Instructions, Output, OwnedCommand, Resolved,
};
use model::{
    Account, AccountSid, AccountStatus, Book, Hook, Method, NumberSid, PhoneNumber, VoiceConfig,
};
use wire::Event;

use super::picture;

const ACCOUNT: AccountSid = AccountSid(9);
/// Outputs answered for one input: a document that redirects in a circle ends here.
const OUTPUTS_MAX: usize = 400;

fn director() -> (Director, Now) {
    let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000_000) };
    let account = Account {
        sid: ACCOUNT,
        number: 1,
        status: AccountStatus::Active,
        parent: ACCOUNT,
        sources: vec!["0.0.0.0/0".parse().expect("a network")],
        ..Account::default()
    };
    let voice = Hook { url: "https://app.example.com/voice".to_owned(), method: Method::default() };
    let number = PhoneNumber {
        sid: NumberSid(3),
        account: ACCOUNT,
        number: "+15550100".to_owned(),
        config: VoiceConfig { voice: Some(voice), ..VoiceConfig::default() },
        ..PhoneNumber::default()
    };
    let book = Book { accounts: vec![account], numbers: vec![number], ..Book::default() };
    (Director::restore(Settings::default(), [1, 2, 3, 4], now, book), now)
}

/// The world around a director: stores, resolves, dials and answers at once.
struct World<'i> {
    director: Director,
    now: Now,
    /// What applications answer.
    document: &'i [u8],
    outputs: usize,
    fetches: u64,
    dialled: u64,
    ended: u64,
}

impl<'i> World<'i> {
    fn new(document: &'i [u8]) -> Self {
        let (director, now) = director();
        Self { director, now, document, outputs: 0, fetches: 0, dialled: 0, ended: 0 }
    }

    fn settle(&mut self) {
        while self.outputs < OUTPUTS_MAX {
            let Some(output) = self.director.poll_output() else { return };
            self.outputs += 1;
            match output {
                Output::Store(write) => {
                    if let Some(id) = write.id {
                        self.director.handle_stored(self.now, id, Ok(()));
                    }
                }
                Output::Command { command, .. } => self.obey(&command),
                Output::Http(request) => {
                    self.fetches += 1;
                    let answer = HttpAnswer {
                        status: 200,
                        content_type: "text/xml".to_owned(),
                        body: self.document.to_vec(),
                        ..HttpAnswer::default()
                    };
                    let wanted = request.kind == HttpKind::Instructions && self.fetches < 8;
                    let result = if wanted { Ok(answer) } else { Err(HttpError::Timeout) };
                    self.director.handle_http(self.now, HttpReply { id: request.id, result });
                }
                Output::Resolve(resolve) => {
                    let targets = vec!["192.0.2.9:5060".parse().expect("an address")];
                    self.director.handle_resolved(self.now, Resolved { id: resolve.id, targets });
                }
                Output::ApiReply { .. } | Output::Notice(_) => {}
            }
        }
    }

    /// What a shard would tell of a command.
    fn obey(&mut self, command: &OwnedCommand) {
        let (at, leg) = (self.now.wall, LegId::new(0, 1, 1));
        match command {
            OwnedCommand::Originate(originate) => {
                self.dialled += 1;
                let call = originate.call;
                self.director.handle_event(self.now, 0, &Event::Dialed { call, leg, at });
                self.director.handle_event(self.now, 0, &Event::Answered { call, leg, at });
            }
            OwnedCommand::Hangup { call, .. } => {
                self.ended += 1;
                self.director.handle_event(self.now, 0, &Event::Unknown { call: *call });
            }
            _ => {}
        }
    }

    /// Lets time pass to the next deadlines.
    fn live(&mut self, deadlines: usize) {
        for _ in 0..deadlines {
            self.settle();
            let wait = self.director.deadline().since(self.now.mono);
            self.now = self.now.later(wait.min(Duration::from_secs(600)));
            self.director.handle_tick(self.now);
        }
        self.settle();
    }
}

/// A document given with a call, which applications then answer with as well.
pub(super) fn twiml(input: &[u8]) -> u64 {
    let mut world = World::new(input);
    let document = String::from_utf8_lossy(input).into_owned();
    let create = CreateCall {
        to: "sip:b@192.0.2.9".to_owned(),
        from: "+15550100".to_owned(),
        instructions: Instructions::Twiml(document),
        status: None,
        timeout: None,
        time_limit: None,
        caller_id: None,
        login: None,
    };
    let what = ApiRequest::CreateCall(Box::new(create));
    let request = ApiCall { id: ApiId(1), account: ACCOUNT, what };
    world.director.handle_api(world.now, request);
    world.live(6);
    picture(&[world.fetches, world.dialled, world.ended, world.outputs as u64])
}

/// Events, each with its length (u16, little-endian) before it; an input that is one event is one.
pub(super) fn events(input: &[u8]) -> u64 {
    let mut world = World::new(b"<Response><Pause length=\"5\"/><Hangup/></Response>");
    let mut taken = 0;
    if let Ok(event) = wire::decode::<Event<'_>>(input) {
        world.director.handle_event(world.now, 0, &event);
        taken += 1;
    }
    let mut rest = input;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(tail.len());
        if let Ok(event) = wire::decode::<Event<'_>>(&tail[..len]) {
            world.director.handle_event(world.now, 0, &event);
            world.settle();
            taken += 1;
        }
        rest = &tail[len..];
    }
    world.live(4);
    let stats = world.director.stats();
    picture(&[taken, stats.calls_incoming, stats.calls_refused, stats.calls_ended, world.fetches])
}

/// A call from its INVITE to its end.
pub(super) fn event_seeds() -> Vec<Vec<u8>> {
    let messages = super::shared::message_seeds();
    let is_event = |bytes: &&Vec<u8>| wire::decode::<Event<'_>>(bytes).is_ok();
    let framed = |bytes: &Vec<u8>| {
        let len = u16::try_from(bytes.len()).expect("short").to_le_bytes();
        [&len[..], bytes].concat()
    };
    let events: Vec<&Vec<u8>> = messages.iter().filter(is_event).collect();
    let incoming = events.iter().position(|bytes| {
        matches!(wire::decode(bytes), Ok(Event::Incoming(incoming)) if incoming.call == CallId(7))
    });
    let incoming = framed(events[incoming.expect("one of them")]);
    let mut seeds: Vec<Vec<u8>> =
        events.iter().map(|event| [incoming.clone(), framed(event)].concat()).collect();
    let whole: Vec<u8> = events.iter().flat_map(|event| framed(event)).collect();
    seeds.push([incoming, whole].concat());
    seeds
}

pub(super) fn config(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    match config::load(&text) {
        Ok(config) => {
            let again = config::load(&text).expect("it reads the same twice");
            assert!(config == again);
            picture(&[1, config.trunk.len() as u64, config.dataplane.listener.len() as u64])
        }
        Err(error) => picture(&[2, error.to_string().len() as u64 / 16]),
    }
}
