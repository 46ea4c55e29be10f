//! A tenant's application server: answers what the test says, remembers everything it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::eventually;
use super::http::form;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Path and query.
    pub target: String,
    pub signature: String,
    pub token: String,
    pub cookie: String,
    /// Of the body, in order.
    pub fields: Vec<(String, String)>,
}

impl Asked {
    /// A field's value, "" if it is not there.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Gives a document (or "" for 204, "HTTP 404 Not Found" for that) to a request.
type Respond = dyn Fn(&Asked) -> String + Send + Sync;

/// The server. Its threads end with the process.
#[derive(Clone)]
pub struct Web {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    /// # Panics
    /// If no port is to be had.
    #[must_use]
    pub fn start(respond: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), "", respond)
    }

    /// At this address; `cookie` is set by every document.
    ///
    /// # Panics
    /// If somebody else has the address.
    #[must_use]
    pub fn start_at(
        address: SocketAddr,
        cookie: &'static str,
        respond: impl Fn(&Asked) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("its address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let respond: Arc<Respond> = Arc::new(respond);
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (respond, asked) = (Arc::clone(&respond), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, cookie, &*respond, &asked));
            }
        });
        Self { address, asked }
    }

    /// A server that dials `target` and takes callbacks at `/status`.
    #[must_use]
    pub fn dialling(target: &str, attributes: &str) -> Self {
        let document =
            format!("<Response><Dial {attributes}><Sip>{target}</Sip></Dial></Response>");
        Self::start(move |asked| {
            if asked.target.starts_with("/status") { String::new() } else { document.clone() }
        })
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `CallStatus` of the requests to `path`, in order.
    #[must_use]
    pub fn statuses(&self, path: &str) -> Vec<String> {
        let asked = self.asked();
        let of_path = asked.iter().filter(|asked| asked.target.starts_with(path));
        of_path.map(|asked| asked.field("CallStatus").to_owned()).collect()
    }

    /// The request to `path` whose `name` is `value`.
    ///
    /// # Panics
    /// If it does not come within 15 s.
    #[track_caller]
    #[must_use]
    pub fn expect(&self, path: &str, name: &str, value: &str) -> Asked {
        let found = |asked: &Asked| asked.target.starts_with(path) && asked.field(name) == value;
        let what = format!("a request to {path} with {name}={value}");
        eventually(&what, Duration::from_secs(15), || self.asked().into_iter().find(found))
    }
}

impl core::fmt::Debug for Web {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Web").field("address", &self.address).finish_non_exhaustive()
    }
}

fn serve(stream: TcpStream, cookie: &str, respond: &Respond, log: &Mutex<Vec<Asked>>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let document = respond(&asked);
        let answer = if document.is_empty() {
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
        } else if let Some(status) = document.strip_prefix("HTTP ") {
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
        } else {
            let length = document.len();
            let set =
                if cookie.is_empty() { String::new() } else { format!("Set-Cookie: {cookie}\r\n") };
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n{set}\
                 Content-Length: {length}\r\n\r\n{document}"
            )
        };
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let target = first.split_whitespace().nth(1)?.to_owned();
    let (mut length, mut signature) = (0, String::new());
    let (mut token, mut cookie) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-twilio-signature" => signature = value.trim().to_owned(),
            "i-twilio-idempotency-token" => token = value.trim().to_owned(),
            "cookie" => cookie = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let fields = form(&String::from_utf8_lossy(&body));
    Some(Asked { target, signature, token, cookie, fields })
}
