//! `tandem app`: a small application server, for the demo and for tests. It gives one TwiML
//! document to whoever asks and takes status callbacks, checks signatures, and counts both.
//!
//! ```text
//!   POST /voice   -> the document        (any path but those below)
//!   POST /status  -> 204, counted
//!   GET  /counts  -> what was counted, JSON
//! ```

mod http;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::clock::parse_duration;
use crate::sign::{form, signature};
use http::{Request, respond};

/// Arguments of `tandem app`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 for any
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Give this file
    #[arg(long, conflicts_with_all = ["twiml", "dial"])]
    pub file: Option<PathBuf>,
    /// Give this document
    #[arg(long, conflicts_with = "dial")]
    pub twiml: Option<String>,
    /// Give a document that dials this `sip:` URI or number
    #[arg(long)]
    pub dial: Option<String>,
    /// Check X-Twilio-Signature with this AuthToken, and refuse what is not signed
    #[arg(long)]
    pub token: Option<String>,
    /// Answer this late
    #[arg(long, default_value = "0", value_parser = parse_duration)]
    pub delay: u64,
    /// Answer every request for the document with this HTTP status
    #[arg(long)]
    pub fail: Option<u16>,
    /// Do not print the requests
    #[arg(long, short)]
    pub quiet: bool,
}

/// What an application has seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    pub documents: u64,
    pub callbacks: u64,
    /// By CallStatus of the status callbacks.
    pub statuses: BTreeMap<String, u64>,
    pub signed: u64,
    /// Refused: signature missing or wrong.
    pub unsigned: u64,
    /// Status callbacks that came after a later one of the same call.
    pub out_of_order: u64,
    #[serde(skip)]
    progress: BTreeMap<String, u8>,
    #[serde(skip)]
    kept: Vec<Kept>,
}

/// An application server that runs in threads of this process until it is dropped (its threads end
/// with the process).
#[derive(Debug)]
pub struct App {
    pub address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

/// What it serves, and how.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub document: String,
    pub token: Option<String>,
    pub delay: Duration,
    pub fail: Option<u16>,
    pub print: bool,
    /// Documents of paths that have their own.
    pub by_path: BTreeMap<String, String>,
    /// What comes to these paths is kept, and answered by 204 where the path has no document.
    pub kept: Vec<String>,
}

/// A request that was kept: its path and its parameters.
#[derive(Clone, Debug)]
pub struct Kept {
    pub path: String,
    fields: Vec<(String, String)>,
}

impl Kept {
    /// The parameter, empty if it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        field(&self.fields, name).unwrap_or_default()
    }
}

/// Requests that are kept at most.
const KEPT_MAX: usize = 10_000;

/// A document that dials.
#[must_use]
pub fn dial(target: &str) -> String {
    let target = target.replace('&', "&amp;").replace('<', "&lt;");
    let noun = if target.starts_with("sip") { "Sip" } else { "Number" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Dial answerOnBridge=\"true\">\
         <{noun}>{target}</{noun}></Dial></Response>\n"
    )
}

/// `tandem app`.
///
/// # Errors
/// The address cannot be bound, or the file cannot be read.
pub fn main(args: &Args) -> Result<bool> {
    let document = match (&args.file, &args.twiml, &args.dial) {
        (Some(file), _, _) => std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?,
        (_, Some(text), _) => text.clone(),
        (_, _, Some(target)) => dial(target),
        _ => bail!("say what to serve: --file, --twiml or --dial"),
    };
    let service = Service {
        document,
        token: args.token.clone(),
        delay: Duration::from_nanos(args.delay),
        fail: args.fail,
        print: !args.quiet,
        ..Service::default()
    };
    let app = App::start(args.listen, service)?;
    println!("http://{}/voice", app.address);
    loop {
        std::thread::park();
    }
}

impl App {
    /// Binds and serves.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(listen: SocketAddr, service: Service) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .with_context(|| format!("{listen} cannot be bound for the application"))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Mutex::new(Counts::default()));
        let service = Arc::new(service);
        let shared = Arc::clone(&counts);
        std::thread::Builder::new().name("app".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let (service, counts) = (Arc::clone(&service), Arc::clone(&shared));
                // A connection more than threads can be had for is closed, and asked again.
                let _ = std::thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || serve(stream, &service, &counts));
            }
        })?;
        Ok(Self { address, counts })
    }

    /// What was kept, in the order in which it came.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        self.counts.lock().map(|counts| counts.kept.clone()).unwrap_or_default()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().map(|counts| counts.clone()).unwrap_or_default()
    }
}

/// Serves one connection.
fn serve(stream: TcpStream, service: &Service, counts: &Mutex<Counts>) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let more = request.keeps_alive();
        let (status, kind, body) = answer(&request, service, counts);
        if respond(&mut writer, status, kind, &body).is_err() || !more {
            return;
        }
    }
}

fn answer(
    request: &Request,
    service: &Service,
    counts: &Mutex<Counts>,
) -> (u16, &'static str, String) {
    if request.path() == "/counts" {
        let counts = counts.lock().map(|counts| counts.clone()).unwrap_or_default();
        return (200, "application/json", serde_json::to_string(&counts).unwrap_or_default());
    }
    let fields = form(&request.body);
    let signed = is_signed(request, &fields, service.token.as_deref());
    if let Ok(mut counts) = counts.lock() {
        let is_kept = service.kept.iter().any(|path| path == request.path());
        if is_kept && counts.kept.len() < KEPT_MAX {
            let path = request.path().to_owned();
            counts.kept.push(Kept { path, fields: fields.clone() });
        }
        counts.count(request.path() == "/status", signed, &fields);
    }
    if service.print {
        let get = |name: &str| field(&fields, name).unwrap_or("-");
        println!(
            "{} {} CallSid={} CallStatus={} From={} To={} signed={}",
            request.method,
            request.target,
            get("CallSid"),
            get("CallStatus"),
            get("From"),
            get("To"),
            signed.map_or("unchecked", |signed| if signed { "yes" } else { "NO" })
        );
    }
    if signed == Some(false) {
        return (403, "text/plain", "signature is wrong\n".to_owned());
    }
    if request.path() == "/status" {
        return (204, "text/plain", String::new());
    }
    std::thread::sleep(service.delay);
    let own = service.by_path.get(request.path());
    if own.is_none() && service.kept.iter().any(|path| path == request.path()) {
        return (204, "text/plain", String::new());
    }
    match service.fail {
        Some(status) => (status, "text/plain", "as asked for\n".to_owned()),
        None => {
            let document = own.unwrap_or(&service.document);
            (200, "text/xml; charset=utf-8", document.clone())
        }
    }
}

/// None where no token is known.
fn is_signed(request: &Request, fields: &[(String, String)], token: Option<&str>) -> Option<bool> {
    let token = token?;
    let url = format!("http://{}{}", request.header("host").unwrap_or_default(), request.target);
    let fields = if request.method == "POST" { fields } else { &[] };
    Some(request.header("x-twilio-signature") == Some(&signature(token, &url, fields)))
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

impl Counts {
    fn count(&mut self, is_status: bool, signed: Option<bool>, fields: &[(String, String)]) {
        match signed {
            Some(true) => self.signed += 1,
            Some(false) => {
                self.unsigned += 1;
                return;
            }
            None => {}
        }
        if !is_status {
            self.documents += 1;
            return;
        }
        self.callbacks += 1;
        let status = field(fields, "CallStatus").unwrap_or("-").to_owned();
        let rank = match status.as_str() {
            "queued" | "initiated" => 1,
            "ringing" => 2,
            "in-progress" | "answered" => 3,
            _ => 4,
        };
        *self.statuses.entry(status).or_default() += 1;
        let call = field(fields, "CallSid").unwrap_or("-").to_owned();
        let last = self.progress.entry(call).or_default();
        self.out_of_order += u64::from(rank < *last);
        *last = rank.max(*last);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(text.as_bytes()).expect("sends");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("answers");
        said
    }

    #[test]
    fn serves_counts_and_refuses_the_unsigned() {
        let service = Service {
            document: dial("sip:a@b"),
            token: Some("12345".to_owned()),
            ..Service::default()
        };
        let app = App::start(SocketAddr::from(([127, 0, 0, 1], 0)), service).expect("starts");
        let host = app.address.to_string();
        let body = "CallSid=CA1&CallStatus=ringing";
        let post = |path: &str, signed: &str| {
            ask(
                app.address,
                &format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
                     X-Twilio-Signature: {signed}\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                ),
            )
        };
        let right = |path: &str| signature("12345", &format!("http://{host}{path}"), &form(body));
        assert!(post("/voice", &right("/voice")).contains("<Sip>sip:a@b</Sip>"));
        assert!(post("/status", &right("/status")).starts_with("HTTP/1.1 204"));
        assert!(post("/voice", &right("/status")).starts_with("HTTP/1.1 403"));
        let counts = app.counts();
        assert_eq!((counts.documents, counts.callbacks, counts.unsigned), (1, 1, 1));
        assert_eq!(counts.statuses.get("ringing"), Some(&1));
    }
}
