//! A SIP domain with users that register, and an application that connects them.

use std::net::UdpSocket;
use std::time::Duration;

use super::{Bed, Web, eventually};

const PASSWORD: &str = "Correct-horse-7";

/// The domain; whoever calls one of its users reaches where that one has registered.
#[derive(Clone, Debug)]
pub struct Office {
    pub domain: &'static str,
    pub password: &'static str,
    pub web: Web,
}

impl Office {
    /// # Panics
    /// If the API refuses something of it.
    #[must_use]
    pub fn open(bed: &Bed, users: &[&str]) -> Self {
        let domain = "phones.example.com";
        let web = Web::start(move |asked| {
            if asked.target != "/voice" {
                return String::new();
            }
            let called = asked.field("To").trim_start_matches("sip:");
            let user = called.split(['@', ';']).next().unwrap_or_default();
            format!(
                "<Response><Dial answerOnBridge=\"true\"><Sip>sip:{user}@{domain}</Sip></Dial>\
                 </Response>"
            )
        });
        let sid = |made: serde_json::Value| made["sid"].as_str().expect("a sid").to_owned();
        let form = [
            ("DomainName", domain),
            ("SipRegistration", "true"),
            ("VoiceUrl", &web.url("/voice")),
            ("VoiceStatusCallbackUrl", &web.url("/status")),
        ];
        let home = sid(bed.rest.make("/SIP/Domains.json", &form));
        let list = sid(bed.rest.make("/SIP/CredentialLists.json", &[("FriendlyName", "phones")]));
        let credentials = format!("/SIP/CredentialLists/{list}/Credentials.json");
        for user in users {
            let form = [("Username", *user), ("Password", PASSWORD)];
            let _ = bed.rest.make(&credentials, &form);
        }
        for what in ["Registrations", "Calls"] {
            let path = format!("/SIP/Domains/{home}/Auth/{what}/CredentialListMappings.json");
            let _ = bed.rest.make(&path, &[("CredentialListSid", &list)]);
        }
        eventually("the domain is published", Duration::from_secs(10), || {
            is_challenged(bed, domain).then_some(())
        });
        Self { domain, password: PASSWORD, web }
    }

    /// How a user is called.
    #[must_use]
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.domain)
    }
}

/// Whether the switch asks whoever registers there for credentials.
fn is_challenged(bed: &Bed, domain: &str) -> bool {
    let socket = UdpSocket::bind((bed.sip.ip(), 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
    let at = socket.local_addr().expect("an address");
    let branch = at.port();
    let request = format!(
        "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{branch};rport\r\n\
         From: <sip:nobody@{domain}>;tag=1\r\nTo: <sip:nobody@{domain}>\r\n\
         Call-ID: {branch}@{at}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n\
         Contact: <sip:nobody@{at}>\r\nContent-Length: 0\r\n\r\n"
    );
    let _ = socket.send_to(request.as_bytes(), bed.sip);
    let mut answer = [0; 2048];
    socket.recv(&mut answer).is_ok_and(|length| answer[..length].starts_with(b"SIP/2.0 401 "))
}
