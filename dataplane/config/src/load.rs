//! Text to [`Config`]: one loader for both processes and the tools. What is wrong is said with line
//! and column; an unknown key with the nearest known one; a value outside its range with the range.

use core::fmt;

use std::net::IpAddr;

use base::{Target, Transport};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::table::Network;

use crate::{Api, CallLimits, ClientCertificates, Config, DOCUMENT_BYTES_MAX, Retention, Trunk};

/// Legs per shard that a region can hold with its cells and records.
const LEGS_MAX: u32 = 1 << 20;
/// Each is looked at when a client names a host that none before it has.
const CERTIFICATES_MAX: usize = 100;
/// Names by whose certificates one trunk's far ends are known.
const TLS_CLIENTS_MAX: usize = 32;
/// The most shards a LegId's eight bits and the parking of descriptors are laid out for.
const SHARDS_MAX: u8 = 64;

/// The text is no configuration. Lines and columns count from 1; both are 0 if the fault has no
/// place in the text (a default that does not fit another value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub line: usize,
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.message);
        }
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl core::error::Error for ConfigError {}

/// One step to a value: a key of a table, or a place in an array.
#[derive(Clone, Copy, Debug)]
enum Step {
    Key(&'static str),
    At(usize),
}

use Step::{At, Key};

/// Reads and checks a configuration; empty text is the default configuration.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load(text: &str) -> Result<Config, ConfigError> {
    let mut config: Config = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = place(text, at);
        ConfigError { line, column, message: with_suggestion(error.message()) }
    })?;
    crate::profile::expand(text, &mut config);
    match check(&config) {
        Ok(()) => Ok(config),
        Err((path, message)) => {
            let (line, column) = locate(text, &path).map_or((0, 0), |at| place(text, at));
            let name = path.iter().fold(String::new(), |name, step| match step {
                Key(key) if name.is_empty() => (*key).to_owned(),
                Key(key) => format!("{name}.{key}"),
                At(index) => format!("{name}[{index}]"),
            });
            Err(ConfigError { line, column, message: format!("`{name}` {message}") })
        }
    }
}

type Fault = (Vec<Step>, String);

fn check(config: &Config) -> Result<(), Fault> {
    let fault = |path: &[Step], message: &str| Err((path.to_vec(), message.to_owned()));
    if config.node.id == 0 {
        return fault(&[Key("node"), Key("id")], "must be at least 1");
    }
    if config.node.data_dir.as_os_str().is_empty() {
        return fault(&[Key("node"), Key("data_dir")], "must name a directory");
    }
    check_dataplane(config)?;
    check_controlplane(config)?;
    for (at, outbound) in config.outbound.iter().enumerate() {
        crate::trunks::check_failover(&outbound.failover)
            .map_err(|message| (vec![Key("outbound"), At(at), Key("failover")], message))?;
        if !(1..=4).contains(&outbound.targets.len()) {
            return fault(
                &[Key("outbound"), At(at), Key("targets")],
                "must name one to four hosts",
            );
        }
        let is_it = |trunk: &Trunk| trunk.name == outbound.trunk;
        if !outbound.trunk.is_empty() && !config.trunk.iter().any(is_it) {
            return fault(&[Key("outbound"), At(at), Key("trunk")], "must name a trunk");
        }
    }
    let listens =
        |transport: Transport| config.dataplane.listener.iter().any(|it| it.transport == transport);
    let unreached = |transport: Transport| (!listens(transport)).then(|| no_listener(transport));
    for (at, outbound) in config.outbound.iter().enumerate() {
        let of = |target: &String| unreached(Transport::split(target).1);
        if let Some(message) = outbound.targets.iter().find_map(of) {
            return fault(&[Key("outbound"), At(at), Key("targets")], &message);
        }
    }
    for (at, trunk) in config.trunk.iter().enumerate() {
        let of = |target: &Target| unreached(target.transport);
        if let Some(message) = trunk.targets.iter().find_map(of) {
            return fault(&[Key("trunk"), At(at), Key("targets")], &message);
        }
        networks(&[Key("trunk"), At(at), Key("sources")], &trunk.sources)?;
        let trusted = trunk.trusted.as_deref().unwrap_or_default();
        networks(&[Key("trunk"), At(at), Key("trusted")], trusted)?;
        networks(&[Key("trunk"), At(at), Key("redirect_allow")], &trunk.redirect_allow)?;
        crate::trunks::check_listener(config, trunk)
            .map_err(|message| (vec![Key("trunk"), At(at), Key("listener")], message))?;
        crate::trunks::check(trunk)
            .map_err(|(key, message)| (vec![Key("trunk"), At(at), Key(key)], message))?;
        if trunk.targets.is_empty() {
            return fault(
                &[Key("trunk"), At(at), Key("targets")],
                "must name at least one address",
            );
        }
        check_login(config, at)
            .map_err(|(key, message)| (vec![Key("trunk"), At(at), Key(key)], message.to_owned()))?;
    }
    if !["auto", "json", "text"].contains(&config.log.format.as_str()) {
        return fault(&[Key("log"), Key("format")], "must be `auto`, `json` or `text`");
    }
    Ok(())
}

fn no_listener(transport: Transport) -> String {
    format!("are reached by {transport}, which needs a listener with `transport = \"{transport}\"`")
}

/// A trunk that is registered.
fn registration(trunk: &Trunk) -> Result<(), (&'static str, &'static str)> {
    let is_user = |c: char| c.is_ascii_alphanumeric() || "+-_.!~*'()".contains(c);
    if !trunk.register_contact.chars().all(is_user) {
        return Err(("register_contact", "is the user part of a URI: a number, or letters"));
    }
    if !(60..=86_400).contains(&trunk.register_s) {
        return Err(("register_s", "is 60 to 86400"));
    }
    let is_named = trunk.register_contact.is_empty() && !trunk.username.chars().all(is_user);
    match trunk.register {
        true if trunk.username.is_empty() => Err(("username", "is missing: it registers")),
        true if is_named => Err(("register_contact", "is missing: `username` is no user of a URI")),
        _ => Ok(()),
    }
}

/// The credentials of a trunk, which the dataplane finds by the trunk's name.
fn check_login(config: &Config, at: usize) -> Result<(), (&'static str, &'static str)> {
    const BYTES_MAX: usize = 255;
    let trunk = &config.trunk[at];
    let (username, password) = (trunk.username.as_str(), trunk.password.0.as_str());
    registration(trunk)?;
    let texts = [("username", username), ("password", password), ("realm", &trunk.realm)];
    for (key, text) in texts {
        if text.len() > BYTES_MAX || text.chars().any(char::is_control) {
            return Err((key, "must be at most 255 bytes without control characters"));
        }
    }
    if username.contains(['"', '\\']) || trunk.realm.contains(['"', '\\']) {
        return Err(("username", "and realm must be without quotes and backslashes"));
    }
    match (username.is_empty(), password.is_empty()) {
        (false, true) => Err(("password", "is missing beside `username`")),
        (true, false) => Err(("username", "is missing beside `password`")),
        (true, true) if !trunk.realm.is_empty() => {
            Err(("realm", "says nothing without `username` and `password`"))
        }
        (false, false)
            if config.trunk.iter().filter(|other| other.name == trunk.name).count() > 1 =>
        {
            Err(("name", "is another trunk's, too: one with credentials needs its own"))
        }
        _ => Ok(()),
    }
}

fn check_dataplane(config: &Config) -> Result<(), Fault> {
    let plane = &config.dataplane;
    let fault = |key: &[Step], message: String| {
        Err((core::iter::once(Key("dataplane")).chain(key.iter().copied()).collect(), message))
    };
    if plane.shards > SHARDS_MAX {
        return fault(&[Key("shards")], format!("must be at most {SHARDS_MAX}"));
    }
    if plane.listener.is_empty() {
        return fault(&[Key("listener")], "must name at least one listener".to_owned());
    }
    if plane.media.is_empty() {
        return fault(&[Key("media")], "must name at least one media address".to_owned());
    }
    for (at, listener) in plane.listener.iter().enumerate() {
        let known = plane.media.iter().any(|media| media.name == listener.media);
        if !listener.media.is_empty() && !known {
            let message = format!("names no media address: `{}`", listener.media);
            return fault(&[Key("listener"), At(at), Key("media")], message);
        }
    }
    check_tls(config)?;
    check_dscp(plane)?;
    for (at, media) in plane.media.iter().enumerate() {
        let [first, last] = media.ports;
        if first < 1024 || last < first || last - first < 1 {
            let message = "must be [first, last] with 1024 <= first < last <= 65535".to_owned();
            return fault(&[Key("media"), At(at), Key("ports")], message);
        }
    }
    let limits = &plane.limits;
    if limits.legs > LEGS_MAX {
        return fault(&[Key("limits"), Key("legs")], format!("must be from 0 to {LEGS_MAX}"));
    }
    for (key, value, most) in [
        ("transactions", limits.transactions, LEGS_MAX * 4),
        ("frames", limits.frames, 1 << 22),
        ("large_frames", limits.large_frames, 1 << 20),
    ] {
        if value == 0 || value > most {
            return fault(&[Key("limits"), Key(key)], format!("must be from 1 to {most}"));
        }
    }
    if limits.connections != 0 && !(4..=40_000).contains(&limits.connections) {
        let message = "must be 0 or from 4 to 40000".to_owned();
        return fault(&[Key("limits"), Key("connections")], message);
    }
    if limits.datagram_bytes != 0 && !(500..=9_000).contains(&limits.datagram_bytes) {
        let message = "must be 0 or from 500 to 9000".to_owned();
        return fault(&[Key("limits"), Key("datagram_bytes")], message);
    }
    let timers = &plane.timers;
    if !(50..=10_000).contains(&timers.t1_ms) {
        return fault(&[Key("timers"), Key("t1_ms")], "must be from 50 to 10000".to_owned());
    }
    if timers.session_s != 0 && timers.session_s < 90 {
        let message = "must be 0 or at least 90 (RFC 4028 section 4)".to_owned();
        return fault(&[Key("timers"), Key("session_s")], message);
    }
    if !(500..=32_000).contains(&timers.target_ms) {
        let message = "must be from 500 to 32000".to_owned();
        return fault(&[Key("timers"), Key("target_ms")], message);
    }
    Ok(())
}

/// RFC 2474: six bits.
fn check_dscp(plane: &crate::Dataplane) -> Result<(), Fault> {
    const DSCP_MAX: u8 = 63;
    let listeners = plane.listener.iter().map(|it| it.dscp).enumerate();
    let media = plane.media.iter().map(|it| it.dscp).enumerate();
    let all = listeners.map(|it| ("listener", it)).chain(media.map(|it| ("media", it)));
    for (key, (at, dscp)) in all {
        if dscp > DSCP_MAX {
            let path = vec![Key("dataplane"), Key(key), At(at), Key("dscp")];
            return Err((path, format!("must be from 0 to {DSCP_MAX}")));
        }
    }
    Ok(())
}

/// A certificate serves listeners that there are, and has both of its files; clients' certificates
/// are asked for over TLS alone, and believed if an authority that is named signed them.
fn check_tls(config: &Config) -> Result<(), Fault> {
    for (at, listener) in config.dataplane.listener.iter().enumerate() {
        let message = match listener.clients {
            ClientCertificates::Ignore => continue,
            _ if !listener.transport.is_tls() => "needs `transport = \"tls\"` or `\"wss\"`",
            // Any public authority's client would do.
            _ if config.tls.authorities.as_os_str().is_empty() => {
                "needs `tls.authorities`: whose clients' certificates are believed"
            }
            _ => continue,
        };
        let path = vec![Key("dataplane"), Key("listener"), At(at), Key("clients")];
        return Err((path, message.to_owned()));
    }
    check_origins(config)?;
    for (at, trunk) in config.trunk.iter().enumerate() {
        let is_written = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if trunk.tls_name.len() > 253 || !trunk.tls_name.bytes().all(is_written) {
            let message = "must be a host name or an address, without a port".to_owned();
            return Err((vec![Key("trunk"), At(at), Key("tls_name")], message));
        }
        check_clients(config, trunk)
            .map_err(|message| (vec![Key("trunk"), At(at), Key("tls_clients")], message))?;
    }
    if config.tls.certificate.len() > CERTIFICATES_MAX {
        let message = format!("must be at most {CERTIFICATES_MAX}");
        return Err((vec![Key("tls"), Key("certificate")], message));
    }
    for (at, certificate) in config.tls.certificate.iter().enumerate() {
        let fault = |key, message: &str| {
            let path = vec![Key("tls"), Key("certificate"), At(at), Key(key)];
            Err((path, message.to_owned()))
        };
        for (key, file) in [("chain", &certificate.chain), ("key", &certificate.key)] {
            if file.as_os_str().is_empty() {
                return fault(key, "must name a PEM file");
            }
        }
        for name in &certificate.listeners {
            let mut listeners = config.dataplane.listener.iter();
            if !listeners.any(|it| it.name == *name && it.transport.is_tls()) {
                return fault("listeners", &format!("names no listener of TLS: `{name}`"));
            }
        }
    }
    Ok(())
}

/// Names that far ends can prove: somebody asks for their certificates.
fn check_clients(config: &Config, trunk: &Trunk) -> Result<(), String> {
    let is_written = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = |name: &String| {
        (1..=253).contains(&name.len())
            && name.bytes().all(is_written)
            && name.parse::<IpAddr>().is_err()
    };
    let mut listeners = config.dataplane.listener.iter();
    match trunk.tls_clients.as_slice() {
        [] => Ok(()),
        names if names.len() > TLS_CLIENTS_MAX => Err(format!("must be at most {TLS_CLIENTS_MAX}")),
        names if !names.iter().all(is_name) => Err("must be host names".to_owned()),
        _ if listeners.all(|listener| listener.clients == ClientCertificates::Ignore) => {
            Err("needs a listener with `clients = \"request\"` or `\"require\"`".to_owned())
        }
        _ => Ok(()),
    }
}

/// Origins as browsers write them (RFC 6454 section 6.2), of listeners that browsers connect to.
fn check_origins(config: &Config) -> Result<(), Fault> {
    for (at, listener) in config.dataplane.listener.iter().enumerate() {
        let is_written = |origin: &String| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
        };
        let message = match listener.origins.as_slice() {
            [] => continue,
            _ if !listener.transport.is_web() => "needs `transport = \"ws\"` or `\"wss\"`",
            origins if origins.iter().all(is_written) => continue,
            _ => {
                "must be a scheme and a host, as `https://app.example.com` (`:8443`), nothing behind"
            }
        };
        let path = vec![Key("dataplane"), Key("listener"), At(at), Key("origins")];
        return Err((path, message.to_owned()));
    }
    Ok(())
}

fn check_api(api: &Api) -> Result<(), Fault> {
    for (key, value, range) in [
        ("read_threads", u32::from(api.read_threads), 1..=64),
        ("read_ms", api.read_ms, 10..=60_000),
        ("login_failures", api.login_failures, 1..=1_000_000),
        ("login_failure_s", api.login_failure_s, 1..=3_600),
        ("connections", api.connections, 1..=1_000_000),
        ("source_connections", api.source_connections, 1..=1_000_000),
        ("first_byte_ms", api.first_byte_ms, 100..=60_000),
        ("write_ms", api.write_ms, 100..=600_000),
        ("answer_bytes", api.answer_bytes, 16 << 20..=1 << 31),
    ] {
        if !range.contains(&value) {
            let message = format!("must be from {} to {}", range.start(), range.end());
            return Err((vec![Key("controlplane"), Key("api"), Key(key)], message));
        }
    }
    Ok(())
}

fn check_limits(limits: &CallLimits) -> Result<(), Fault> {
    let large = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let small = u64::from;
    for (key, value, most) in [
        ("calls", large(limits.calls), 1 << 24),
        ("account_calls", small(limits.account_calls), 1 << 24),
        ("account_calls_per_second", small(limits.account_calls_per_second), 1_000_000),
        ("account_things", large(limits.account_things), 1 << 20),
        ("callbacks", large(limits.callbacks), 1 << 24),
        ("account_callbacks", large(limits.account_callbacks), 1 << 24),
        ("callbacks_per_host", small(limits.callbacks_per_host), 10_000),
        ("account_requests", small(limits.account_requests), 1_000_000),
        ("requests", small(limits.requests), 1_000_000),
        ("callback_attempts", small(limits.callback_attempts), 100),
        ("documents_per_call", small(limits.documents_per_call), 1_000_000),
        ("dial_targets", large(limits.dial_targets), 100),
        ("legs_per_call", small(limits.legs_per_call), 1_000_000),
        ("verbs_per_call", small(limits.verbs_per_call), 10_000_000),
        ("inbound_ms", small(limits.inbound_ms), 86_400_000),
        ("document_bytes", large(limits.document_bytes), large(DOCUMENT_BYTES_MAX)),
        (
            "account_document_bytes_per_second",
            small(limits.account_document_bytes_per_second),
            1 << 30,
        ),
        ("account_document_bytes_at_once", small(limits.account_document_bytes_at_once), 1 << 30),
        ("alerts_per_second", small(limits.alerts_per_second), 10_000),
        ("subaccounts", large(limits.subaccounts), 1 << 20),
        ("user_contacts", large(limits.user_contacts), 1_000),
        ("account_contacts", large(limits.account_contacts), 1 << 24),
        ("register_min_s", small(limits.register_min_s), 3_600),
        ("register_max_s", small(limits.register_max_s), 31_536_000),
    ] {
        if value == 0 || value > most {
            let path = vec![Key("controlplane"), Key("limits"), Key(key)];
            return Err((path, format!("must be from 1 to {most}")));
        }
    }
    if small(limits.account_document_bytes_at_once) < large(limits.document_bytes) {
        let key = Key("account_document_bytes_at_once");
        let message = "must not be less than document_bytes: no long document were ever read";
        return Err((vec![Key("controlplane"), Key("limits"), key], message.to_owned()));
    }
    Ok(())
}

fn check_retention(retention: &Retention) -> Result<(), Fault> {
    let Retention {
        calls_days,
        alerts_days,
        dead_letters_days,
        account_calls,
        account_alerts,
        account_dead_letters,
    } = *retention;
    for (key, value, range) in [
        ("calls_days", u64::from(calls_days), 2..=36_500),
        ("alerts_days", u64::from(alerts_days), 2..=36_500),
        ("dead_letters_days", u64::from(dead_letters_days), 2..=36_500),
        ("account_calls", account_calls, 100..=1 << 40),
        ("account_alerts", account_alerts, 100..=1 << 40),
        ("account_dead_letters", account_dead_letters, 100..=10_000),
    ] {
        if value != 0 && !range.contains(&value) {
            let path = vec![Key("controlplane"), Key("retention"), Key(key)];
            return Err((path, format!("must be 0 or from {} to {}", range.start(), range.end())));
        }
    }
    Ok(())
}

fn check_controlplane(config: &Config) -> Result<(), Fault> {
    let plane = &config.controlplane;
    let at = |key| vec![Key("controlplane"), Key(key)];
    if !(1 << 16..=1 << 28).contains(&plane.journal.segment_bytes) {
        let path = vec![Key("controlplane"), Key("journal"), Key("segment_bytes")];
        return Err((path, "must be from 65536 to 268435456".to_owned()));
    }
    if plane.webhook_connect_ms == 0 || plane.webhook_connect_ms > 15_000 {
        return Err((at("webhook_connect_ms"), "must be from 1 to 15000".to_owned()));
    }
    if plane.webhook_total_ms == 0 || plane.webhook_total_ms > 15_000 {
        return Err((at("webhook_total_ms"), "must be from 1 to 15000".to_owned()));
    }
    check_api(&plane.api)?;
    check_limits(&plane.limits)?;
    check_retention(&plane.retention)?;
    let url = &plane.public_url;
    if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
        return Err((at("public_url"), "must begin with http:// or https://".to_owned()));
    }
    // Single sockets too: the demo's application, and not all of its host.
    let is_socket = |text: &&String| text.parse::<core::net::SocketAddr>().is_ok();
    if let Some((index, _)) = plane
        .webhook_allow
        .iter()
        .enumerate()
        .find(|(_, text)| !is_socket(text) && text.parse::<Network>().is_err())
    {
        let mut path = at("webhook_allow");
        path.push(At(index));
        let message = "must be a network (10.0.0.0/8), an address or address:port".to_owned();
        return Err((path, message));
    }
    networks(&at("target_allow"), &plane.target_allow)?;
    networks(&at("carriers"), &plane.carriers)?;
    bits(&[Key("controlplane")], Some(plane.source_bits_v4), Some(plane.source_bits_v6))?;
    for (index, grant) in config.grant.iter().enumerate() {
        bits(&[Key("grant"), At(index)], grant.source_bits_v4, grant.source_bits_v6)?;
    }
    Ok(())
}

fn bits(path: &[Step], v4: Option<u8>, v6: Option<u8>) -> Result<(), Fault> {
    for (key, bits, most) in [("source_bits_v4", v4, 32), ("source_bits_v6", v6, 128)] {
        if bits.is_some_and(|bits| bits > most) {
            let path = path.iter().copied().chain([Key(key)]).collect();
            return Err((path, format!("must be from 0 to {most}")));
        }
    }
    Ok(())
}

fn networks(path: &[Step], texts: &[String]) -> Result<(), Fault> {
    for (index, text) in texts.iter().enumerate() {
        if let Err(error) = text.parse::<Network>() {
            let mut path = path.to_vec();
            path.push(At(index));
            return Err((path, format!("is wrong: {error}")));
        }
    }
    Ok(())
}

/// Line and column of a byte, from 1; columns count characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Where the value at `path` stands; the nearest table or array above it if it is a default.
fn locate(text: &str, path: &[Step]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let (first, rest) = path.split_first()?;
    let Key(key) = first else { return None };
    let mut value: &Spanned<DeValue<'_>> = root.get_ref().get(*key)?;
    for step in rest {
        let next = match (step, value.get_ref()) {
            (Key(key), DeValue::Table(table)) => table.get(*key),
            (At(index), DeValue::Array(array)) => array.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        value = next;
    }
    Some(value.span().start)
}

/// Serde's sentence about an unknown key names all known ones; the nearest is what was meant.
fn with_suggestion(message: &str) -> String {
    let message = message.trim_end();
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.to_owned();
    };
    let mut names = rest.split('`').step_by(2);
    let Some(found) = names.next() else { return message.to_owned() };
    let known: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let nearest = known
        .iter()
        .map(|name| (distance(found, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    match nearest {
        Some((_, name)) => format!("unknown key `{found}`; did you mean `{name}`?"),
        None => format!("unknown key `{found}`; known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn empty_text_is_the_default_and_the_default_is_valid() {
        assert_eq!(load("").unwrap(), Config::default());
        let written = toml::to_string(&Config::default()).unwrap();
        assert_eq!(load(&written).unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_a_suggestion() {
        assert_eq!(
            error("[node]\nid = 1\ndatadir = \"x\"\n"),
            "line 3, column 1: unknown key `datadir`; did you mean `data_dir`?"
        );
        assert_eq!(
            error("[dataplan]\nshards = 1\n"),
            "line 1, column 2: unknown key `dataplan`; did you mean `dataplane`?"
        );
        assert!(error("[node]\nzebra = 1\n").contains("known are id, data_dir, runtime_dir"));
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        let of = |transport: &str, origin: &str| {
            format!(
                "[[dataplane.listener]]\nname = \"w\"\nbind = \"127.0.0.1:8088\"\n\
                 transport = \"{transport}\"\norigins = [\"{origin}\"]\n"
            )
        };
        for origin in ["https://app.example.com", "http://127.0.0.1:3000", "https://[::1]"] {
            assert!(load(&of("ws", origin)).is_ok(), "{origin}");
        }
        for origin in ["app.example.com", "https://app.example.com/", "https://", "*"] {
            let text = error(&of("ws", origin));
            assert!(
                text.starts_with("line 5, column 11: `dataplane.listener[0].origins`"),
                "{text}"
            );
        }
        assert!(error(&of("tcp", "https://a")).contains("needs `transport = \"ws\"`"));
    }

    #[test]
    fn names_that_certificates_prove_need_a_listener_that_asks() {
        let of = |clients: &str, name: &str| {
            format!(
                "[tls]\nauthorities = \"ca.pem\"\n[[dataplane.listener]]\nname = \"t\"\n\
                 bind = \"127.0.0.1:5061\"\ntransport = \"tls\"\nclients = \"{clients}\"\n\
                 [[dataplane.listener]]\nname = \"u\"\nbind = \"127.0.0.1:5060\"\n[[trunk]]\n\
                 name = \"c\"\nsources = []\ntargets = [\"10.0.0.1:5060\"]\n\
                 tls_clients = [\"{name}\"]\n"
            )
        };
        assert!(load(&of("request", "SBC.carrier.example")).is_ok());
        let text = error(&of("ignore", "sbc.carrier.example"));
        assert!(text.contains("`trunk[0].tls_clients` needs a listener with"), "{text}");
        for name in ["", "192.0.2.1", "*.example.com", "sbc carrier"] {
            assert!(error(&of("require", name)).contains("must be host names"), "{name}");
        }
    }

    #[test]
    fn syntax_and_types_are_told_with_their_place() {
        assert!(error("[node\n").starts_with("line 1, column "));
        let text = error("[controlplane]\nhttp = 7\n");
        assert!(text.starts_with("line 2, column 8: "), "{text}");
    }

    #[test]
    fn values_are_checked_where_they_stand() {
        let text = "[[dataplane.media]]\nname = \"m\"\nbind = \"127.0.0.1\"\nports = [9000, 80]\n";
        let text = error(text);
        assert!(text.starts_with("line 4, column 9: `dataplane.media[0].ports` must be"), "{text}");
        let text = error("[controlplane]\nwebhook_allow = [\"127.0.0.0/8\", \"ten\"]\n");
        assert!(text.starts_with("line 2, column 33: `controlplane.webhook_allow[1]`"), "{text}");
        assert!(load("[controlplane]\nwebhook_allow = [\"127.0.0.1:9000\"]\n").is_ok());
        assert!(error("[dataplane]\nshards = 65\n").contains("must be at most 64"));
        assert!(error("[node]\nid = 0\n").contains("must be at least 1"));
        let text = error("[controlplane.limits]\ndial_targets = 0\n");
        assert!(text.contains("`controlplane.limits.dial_targets` must be from 1 to"), "{text}");
        assert!(load("[controlplane.limits]\ndocument_bytes = 65536\n").is_ok());
        let text = error("[controlplane.limits]\naccount_document_bytes_at_once = 65535\n");
        assert!(text.contains("must not be less than document_bytes"), "{text}");
        let text = error("[controlplane.limits]\ndocument_bytes = 65537\n");
        assert!(text.contains("document_bytes` must be from 1 to 65536"), "{text}");
        assert!(error("[[grant]]\nsource_bits_v4 = 33\n").contains("must be from 0 to 32"));
        assert!(error("[controlplane]\ncarriers = [\"x\"]\n").contains("carriers[0]"));
        assert!(error("[log]\nformat = \"xml\"\n").contains("`auto`, `json` or `text`"));
        let text = error("[controlplane.api]\nread_ms = 1\n");
        assert!(
            text.starts_with("line 2, column 11: `controlplane.api.read_ms` must be"),
            "{text}"
        );
        let text = error("[controlplane.retention]\ncalls_days = 1\n");
        assert!(text.contains("`controlplane.retention.calls_days` must be 0 or from 2"), "{text}");
        assert!(load("[controlplane.retention]\ncalls_days = 0\naccount_calls = 0\n").is_ok());
        assert!(error("[dataplane.timers]\nsession_s = 30\n").contains("RFC 4028"));
    }

    #[test]
    fn credentials_are_whole_and_found_by_one_name() {
        let trunk = |more: &str| {
            format!("[[trunk]]\nname = \"t\"\nsources = []\ntargets = [\"10.0.0.1:5060\"]\n{more}")
        };
        let login = "username = \"u\"\npassword = \"p\"\n";
        let config = load(&trunk(login)).unwrap();
        assert!(!format!("{config:?}").contains("\"p\""), "no log has it");
        assert!(error(&trunk("username = \"u\"\n")).contains("`trunk[0].password` is missing"));
        assert!(error(&trunk("password = \"p\"\n")).contains("`trunk[0].username` is missing"));
        assert!(error(&trunk("realm = \"r\"\n")).contains("`trunk[0].realm` says nothing"));
        assert!(error(&trunk("username = 'a\"b'\npassword = \"p\"\n")).contains("without quotes"));
        let long = format!("username = \"{}\"\npassword = \"p\"\n", "u".repeat(256));
        assert!(error(&trunk(&long)).contains("at most 255 bytes"));
        let two = trunk(login) + &trunk("");
        assert!(error(&two).contains("`trunk[0].name` is another trunk's"), "{}", error(&two));
        let way = |trunk: &str| {
            format!("[[outbound]]\nname = \"o\"\ntargets = [\"h\"]\ntrunk = \"{trunk}\"\n")
        };
        assert!(load(&(trunk(login) + &way("t"))).is_ok());
        assert!(load(&(trunk("") + &way("t"))).is_ok());
        assert!(error(&(trunk("") + &way("u"))).contains("must name a trunk"));
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_way_out_needs_somewhere_to_go() {
        let text = "[[outbound]]\nname = \"carrier\"\ntargets = []\n";
        let error = load(text).unwrap_err();
        assert!(error.message.contains("outbound[0].targets"), "{error}");
        let text = "[[outbound]]\nname = \"carrier\"\ntargets = [\"192.0.2.1:5060\"]\n";
        assert_eq!(load(text).unwrap().outbound[0].prefix, "");
    }
}
