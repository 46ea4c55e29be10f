//! The switch as processes, and what /proc says of one of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::application::Application;

pub(crate) const SIP: &str = "127.0.0.1:17060";
const HTTP: &str = "127.0.0.1:17080";
/// The domain that is dialled.
pub(crate) const DOMAIN: &str = "bench.example";
const STEP: Duration = Duration::from_millis(50);
const STEPS_MAX: usize = 600;

/// `tandem up` with its two children; ended when dropped.
pub(crate) struct Switch {
    supervisor: Child,
    data: PathBuf,
    endpoints: Value,
}

/// What a process has used so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// CPU nanoseconds by the threads' names.
    pub(crate) threads: BTreeMap<String, u64>,
    /// Bytes that will be or were written to the disk, by the threads' names.
    pub(crate) written: BTreeMap<String, u64>,
    /// Bytes that the journal says it wrote; None where it says nothing.
    pub(crate) journal: Option<u64>,
    /// Positions of the journal so far.
    pub(crate) records: u64,
}

impl Switch {
    pub(crate) fn start(binaries: &Path, data: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(data)?;
        let log = fs::File::create(data.join("up.log"))?;
        let supervisor = Command::new(binaries.join("tandem"))
            .args(["up", "--demo", "--shards", "1", "--sip", SIP, "--http", HTTP])
            .args(["--media-ports", "20000-39999"])
            .arg("--bin-dir")
            .arg(binaries)
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut switch = Self { supervisor, data: data.to_owned(), endpoints: Value::Null };
        for _ in 0..STEPS_MAX {
            std::thread::park_timeout(STEP);
            let text = fs::read_to_string(data.join("endpoints.json")).unwrap_or_default();
            switch.endpoints = serde_json::from_str(&text).unwrap_or_default();
            let stands = switch.endpoints["account_sid"].as_str().is_some_and(|it| !it.is_empty());
            if stands && switch.ask("GET", "/healthz", "").is_ok_and(|it| it.starts_with("200")) {
                return Ok(switch);
            }
        }
        Err(format!("the switch does not start: see {}", data.join("up.log").display()).into())
    }

    /// The domain, with the application behind it.
    pub(crate) fn configure(&self, application: &Application) -> Result<(), Failure> {
        let account = self.text("account_sid");
        let path = format!("/2010-04-01/Accounts/{account}/SIP/Domains.json");
        let voice = format!("http%3A%2F%2F{}%2Fvoice", application.address);
        let form = format!("DomainName={DOMAIN}&VoiceUrl={voice}&SourceNetwork=127.0.0.0%2F8");
        let answer = self.ask("POST", &path, &form)?;
        if answer.starts_with("201") { Ok(()) } else { Err(answer.into()) }
    }

    fn text(&self, field: &str) -> &str {
        self.endpoints[field].as_str().unwrap_or_default()
    }

    /// Status and body of an answer of the API.
    #[expect(clippy::disallowed_methods, reason = "a client has a socket")]
    fn ask(&self, method: &str, path: &str, form: &str) -> Result<String, Failure> {
        let login = format!("{}:{}", self.text("account_sid"), self.text("auth_token"));
        let mut stream = TcpStream::connect(HTTP)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {HTTP}\r\nConnection: close\r\n\
             Authorization: Basic {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            benches::base64(login.as_bytes()),
            form.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.strip_prefix("HTTP/1.1 ").unwrap_or_default().to_owned())
    }

    /// What the controlplane has used so far.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        let pid = self.endpoints["pids"]["controlplane"].as_u64().ok_or("no controlplane")?;
        let mut usage = Usage::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
            let name = read("comm").trim().to_owned();
            let nanos =
                read("schedstat").split(' ').next().unwrap_or_default().parse().unwrap_or(0);
            *usage.threads.entry(name.clone()).or_default() += nanos;
            let io = read("io");
            let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
            let bytes: u64 = bytes.and_then(|text| text.parse().ok()).unwrap_or(0);
            *usage.written.entry(name).or_default() += bytes;
        }
        let metrics = self.ask("GET", "/metrics", "")?;
        let metric = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
        let whole = |value: f64| value as u64;
        usage.journal = metric("tandem_journal_bytes_total ").map(whole);
        usage.records = metric("tandem_journal_records_appended_total ").map_or(0, whole);
        Ok(usage)
    }

    /// Bytes of the journal's files by their names.
    pub(crate) fn journal_files(&self) -> BTreeMap<String, u64> {
        let Ok(entries) = fs::read_dir(self.data.join("journal")) else { return BTreeMap::new() };
        let file = |entry: fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.ends_with(".journal").then_some((name, entry.metadata().ok()?.len()))
        };
        entries.flatten().filter_map(file).collect()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let pid = self.supervisor.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.supervisor.wait();
    }
}
