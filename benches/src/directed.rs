//! The director beside the shard, in one thread: events go over, commands come back, both encoded
//! as in the rings; the application's web server answers at once and is not measured.

use director::{Director, Settings};
use model::port::{HttpAnswer, HttpKind, HttpReply, HttpRequest, Output};
use model::{Account, AccountSid, Book, DomainSid, Hook, Secret, SipDomain, VoiceConfig};

use crate::bed::Bed;
use crate::cpu_nanos;

/// The domain that callers dial.
pub const DOMAIN: &str = "bench.example";

/// A director with one tenant.
#[derive(Debug)]
pub struct Directed {
    director: Director,
    /// Nanoseconds spent inside the director.
    pub spent: u64,
    pub webhooks: u64,
    pub callbacks: u64,
}

impl Directed {
    /// Takes charge of the bed's calls: each dials its callee with four status callbacks.
    pub fn attach(bed: &mut Bed) {
        let account = Account {
            sid: AccountSid(0xacc0),
            number: 1,
            auth_token: Secret("token".to_owned()),
            friendly_name: "bench".to_owned(),
            parent: AccountSid(0xacc0),
            ..Account::default()
        };
        let domain = SipDomain {
            sid: DomainSid(0xd0),
            account: account.sid,
            domain_name: DOMAIN.to_owned(),
            config: VoiceConfig {
                voice: Some(Hook::post(format!("http://{DOMAIN}/voice"))),
                ..VoiceConfig::default()
            },
            sources: vec!["192.0.2.0/24".parse().expect("a network")],
            ..SipDomain::default()
        };
        let mut settings = Settings {
            sip_host: "192.0.2.1".to_owned(),
            target_allow: vec!["192.0.2.0/24".parse().expect("a network")],
            ..Settings::default()
        };
        settings.limits.account_calls = u32::MAX;
        settings.limits.account_calls_per_second = 1_000_000;
        settings.limits.calls = 100_000;
        let book = Book { accounts: vec![account], domains: vec![domain], ..Book::default() };
        let director = Director::restore(settings, [1, 2, 3, 4], bed.now, book);
        bed.phones.host = DOMAIN.to_owned();
        bed.phones.rings = true;
        bed.director = Some(Self { director, spent: 0, webhooks: 0, callbacks: 0 });
    }

    /// Events to the director, what it wants done to the shard, until both are silent.
    pub fn converse(&mut self, bed: &mut Bed) {
        loop {
            let mut outputs = Vec::with_capacity(64);
            let start = cpu_nanos();
            let mut quiet = true;
            while let Some(bytes) = bed.shard.poll_event() {
                quiet = false;
                if let Ok(event) = wire::decode(bytes) {
                    self.director.handle_event(bed.now, 0, &event);
                }
                bed.shard.event_taken();
            }
            if self.director.deadline() <= bed.now.mono {
                self.director.handle_tick(bed.now);
            }
            while let Some(output) = self.director.poll_output() {
                outputs.push(output);
            }
            self.spent += cpu_nanos() - start;
            quiet &= outputs.is_empty();
            outputs.into_iter().for_each(|output| self.carry_out(bed, output));
            if quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, bed: &mut Bed, output: Output) {
        match output {
            Output::Command { command, .. } => {
                let mut bytes = [0; 8_192];
                let len = wire::encode(&command.view(), &mut bytes).expect("a command fits");
                let start = cpu_nanos();
                bed.shard.handle_command(bed.now, &bytes[..len], &mut bed.memory);
                bed.spent += cpu_nanos() - start;
            }
            Output::Http(request) => {
                let reply = self.answer(&request);
                let start = cpu_nanos();
                self.director.handle_http(bed.now, reply);
                self.spent += cpu_nanos() - start;
            }
            Output::Store(write) => {
                if let Some(id) = write.id {
                    let start = cpu_nanos();
                    self.director.handle_stored(bed.now, id, Ok(()));
                    self.spent += cpu_nanos() - start;
                }
            }
            Output::Notice(notice) => panic!("the director notices: {}", notice.message),
            Output::Resolve(_) | Output::ApiReply { .. } => {}
        }
    }

    fn answer(&mut self, request: &HttpRequest) -> HttpReply {
        let (status, body) = match request.kind {
            HttpKind::Instructions => {
                self.webhooks += 1;
                (200, document(request))
            }
            HttpKind::Callback => {
                self.callbacks += 1;
                (204, String::new())
            }
        };
        let content_type = "text/xml".to_owned();
        let answer =
            HttpAnswer { status, content_type, body: body.into_bytes(), ..HttpAnswer::default() };
        HttpReply { id: request.id, result: Ok(answer) }
    }
}

/// Dials the callee by the number that was dialled.
fn document(request: &HttpRequest) -> String {
    let to = request.params.iter().find(|(name, _)| name == "To").map_or("", |(_, to)| to);
    let user = to.trim_start_matches("sip:").split('@').next().unwrap_or("");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Dial>\
         <Sip statusCallback=\"http://{DOMAIN}/status\" \
         statusCallbackEvent=\"initiated ringing answered completed\">\
         sip:{user}@192.0.2.3:5060</Sip></Dial></Response>"
    )
}
