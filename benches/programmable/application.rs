//! The application: one document for who asks, 204 for who tells, connections kept.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Failure;

/// Where callees are dialled.
pub(crate) const CALLEE: &str = "127.0.0.1:17071";

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicU64,
    pub(crate) callbacks: AtomicU64,
    /// When the request of a call's number was read, and when its answer left.
    asked: Mutex<HashMap<usize, (u64, u64)>>,
}

#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl Application {
    #[expect(clippy::disallowed_methods, reason = "an application has a socket")]
    pub(crate) fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        std::thread::Builder::new().name("accept".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, address, &shared));
            }
        })?;
        Ok(Self { address, seen })
    }
}

impl Seen {
    pub(crate) fn asked(&self, number: usize) -> Option<(u64, u64)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied()
    }
}

fn serve(stream: TcpStream, address: SocketAddr, seen: &Seen) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut body = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let is_status = line.starts_with("POST /status");
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
        if is_status {
            seen.callbacks.fetch_add(1, Ordering::Relaxed);
            writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
            continue;
        }
        let asked = benches::nanos();
        let number = dialled(&body)?;
        let document = document(number, address);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{document}",
            document.len()
        );
        let answered = benches::nanos();
        let mut known = seen.asked.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(number, (asked, answered));
        drop(known);
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

/// The number in `To=%2B1...`.
fn dialled(body: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(body).ok()?;
    let to = text.split('&').find_map(|pair| pair.strip_prefix("To="))?;
    let digits = &to[to.find("%2B1")? + 4..];
    digits[..10].parse().ok()
}

fn document(number: usize, address: SocketAddr) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Dial answerOnBridge=\"true\">\
         <Sip statusCallback=\"http://{address}/status\" \
         statusCallbackEvent=\"initiated ringing answered completed\">\
         sip:+1{number:010}@{CALLEE}</Sip></Dial></Response>"
    )
}
