//! The configuration as written: one TOML file, read by both processes and by `tandem check`. Every
//! key has a default; unknown keys are errors. Raw text here, derived plans where they are used.

#![forbid(unsafe_code)]

pub mod capacity;
mod load;
mod profile;
mod tls;
mod trunks;
mod values;

use core::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use base::{Target, Transport};
use serde::{Deserialize, Serialize};

pub use load::{ConfigError, load};
pub use profile::{Digest, Profile, Srtp};
pub use tls::{ClientCertificates, Tls, TlsCertificate};
pub use values::Secret;
use values::{media_dscp, signalling_dscp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub node: Node,
    pub dataplane: Dataplane,
    pub tls: Tls,
    pub controlplane: Controlplane,
    /// Routes that the dataplane follows alone.
    pub trunk: Vec<Trunk>,
    /// Which of several of them comes first.
    pub routing: Routing,
    /// Where numbers go that applications dial (`<Number>`), by prefix.
    pub outbound: Vec<Outbound>,
    /// What accounts may take and show. Without any, nobody may take a number or a domain.
    pub grant: Vec<Grant>,
    pub log: Log,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// This node's number in usage keys, 1-4,294,967,295; unique among nodes that share a store.
    pub id: u32,
    /// Store, journal, `endpoints.json`, secrets. Created with mode 0700.
    pub data_dir: PathBuf,
    /// Sockets between the processes. Empty: `run` inside `data_dir`.
    pub runtime_dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dataplane {
    /// Shards, one thread each; 0 for one per core but one, at least 1. At most 64.
    pub shards: u8,
    /// Pin each shard to a core.
    pub pin: bool,
    /// Microseconds a shard looks for work before it sleeps.
    pub spin_us: u32,
    pub listener: Vec<Listener>,
    pub media: Vec<Media>,
    pub limits: Limits,
    pub guard: Guard,
    pub timers: Timers,
}

/// A SIP listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Named by trunks and domains.
    pub name: String,
    /// `127.0.0.1:5060`.
    pub bind: SocketAddr,
    /// `udp` (default), `tcp`, `tls`, `ws` or `wss` (WebSocket, RFC 7118: clients connect).
    #[serde(default)]
    pub transport: Transport,
    /// Whether whoever connects by TLS is asked for a certificate.
    #[serde(default)]
    pub clients: ClientCertificates,
    /// Of `ws` and `wss`: the sites whose pages may connect, as `https://app.example.com`; empty
    /// for all. Programs that are no browsers name none, and may.
    #[serde(default)]
    pub origins: Vec<String>,
    /// What Via and Contact say, where a 1:1 NAT stands between.
    #[serde(default)]
    pub advertised: Option<SocketAddr>,
    /// Name of the media address its calls use; empty for the first of the same family.
    #[serde(default)]
    pub media: String,
    /// Differentiated services code point (RFC 4594) of what is sent from it, 0-63; 24 is CS3.
    #[serde(default = "signalling_dscp")]
    pub dscp: u8,
    /// By whom phones that register at it send their requests (Service-Route, RFC 3608), nearest
    /// first, each as `<sip:edge.example.com;lr>`; empty for nobody between.
    #[serde(default)]
    pub service_route: Vec<String>,
}

/// A media address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    pub name: String,
    pub bind: IpAddr,
    /// What SDP says, where a 1:1 NAT stands between.
    #[serde(default)]
    pub advertised: Option<IpAddr>,
    /// First and last UDP port; blocks of 256 are dealt out to the shards.
    pub ports: [u16; 2],
    /// Differentiated services code point (RFC 4594) of what is sent from it, 0-63; 46 is EF.
    #[serde(default = "media_dscp")]
    pub dscp: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Legs per shard, unreleased ones included; a relayed call has two. 0: as many as the media
    /// ports, the descriptors and a quarter of the memory allow.
    pub legs: u32,
    /// SIP transactions per shard: so many are remembered for their 32 s, two a call. Beyond that
    /// the oldest finished ones make room.
    pub transactions: u32,
    /// Small packet buffers per shard (2 KiB each).
    pub frames: u32,
    /// Large packet buffers per shard (16 KiB each).
    pub large_frames: u32,
    /// SIP connections (TCP) per shard that are accepted; a quarter of it is opened beside them.
    /// What is more is closed at once. 4-40,000; 0: as many as the descriptors allow, at most
    /// 4,096.
    pub connections: u16,
    /// The first INVITE of a call that is larger goes by TCP where a TCP listener has the address
    /// of the UDP one (RFC 3261 section 18.1.1), by UDP after all where nobody answers; 0 for
    /// never.
    pub datagram_bytes: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// SIP messages per second from one known address (IPv4) or /64 (IPv6) outside dialogs, new
    /// calls and others apart; 0 for no limit.
    pub source_rate: u32,
    /// Messages a source may send at once.
    pub source_burst: u32,
    /// New calls per second and shard; 0 for no limit.
    pub call_rate: u32,
    /// SIP messages per second and shard of all sources together that are in no list of a trunk, an
    /// account or a domain and have answered nothing of ours; one of them gets an eighth of it. 0
    /// for no limit.
    pub stranger_rate: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timers {
    /// RFC 3261 T1, milliseconds.
    pub t1_ms: u32,
    /// How long a new call waits for the controlplane before 503, milliseconds.
    pub hold_ms: u32,
    /// Seconds without a sign of life (RTP, RTCP, a request or an answer inside the dialog) after
    /// which an answered leg is ended; one that is held is asked by OPTIONS first; 0 for never.
    pub media_timeout_s: u32,
    /// Session-Expires that we ask for, seconds (RFC 4028), from those who support timers; 0 for
    /// none.
    pub session_s: u32,
    /// How long a target may say nothing at all before the next one is tried, milliseconds.
    pub target_ms: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnsupported {
    #[default]
    Skip,
    Fail,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Controlplane {
    /// REST API, metrics.
    pub http: SocketAddr,
    /// The URL that clients reach the API by; empty for `http://<http>`.
    pub public_url: String,
    /// Networks that webhooks may go to although they are private, loopback or link-local: default
    /// none.
    pub webhook_allow: Vec<String>,
    /// Milliseconds for connecting to an application, and for its whole answer (at most 15,000).
    pub webhook_connect_ms: u32,
    pub webhook_total_ms: u32,
    /// A verb or noun that is not there yet: `skip` (default) leaves it aside, `fail` ends the
    /// document before anything of it is run. Both are told.
    pub on_unsupported: OnUnsupported,
    /// Networks that SIP targets of tenants may be in although they are private, loopback or
    /// link-local: default none. The targets of `trunk` and `outbound` are the operator's own.
    pub target_allow: Vec<String>,
    /// Host names under which this switch is called, beside its listeners' addresses: calls to them
    /// go by number, and no tenant may have one as a domain.
    pub hosts: Vec<String>,
    /// Networks of carriers. What they send to a number of somebody's goes there, whatever domain
    /// it names, and the callers they bring may be shown to dialled numbers; where none is named,
    /// the callers of any call to a number may.
    pub carriers: Vec<String>,
    /// Bits that a source network of a tenant has at least (IPv4, IPv6), where a grant names no
    /// others.
    pub source_bits_v4: u8,
    pub source_bits_v6: u8,
    /// File with the operator's API credential, 32-256 printable characters, mode 0600; empty for
    /// `tandem-operator` in the data directory, made at first start. The credential
    /// `tandem-operator` of the service manager goes before it.
    pub operator_file: PathBuf,
    pub api: Api,
    pub journal: Journal,
    pub retention: Retention,
    pub limits: CallLimits,
    /// Tenants made on first start, if the store has none: the first account's name; empty for
    /// none.
    pub first_account: String,
}

/// The journal of the controlplane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Size of a segment, bytes: taken from the disk as a whole, and a spare one beside it, so that
    /// so much can still be written when the disk is full.
    pub segment_bytes: u32,
}

impl Default for Journal {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20 }
    }
}

/// How long what is written is kept, and how much of it. Daily sums of usage and charges are kept
/// for ever; nothing of the last two days goes for an account's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days that a call is kept, with its CDRs, usage rows and charges; 0 for ever, else at least
    /// 2.
    pub calls_days: u32,
    pub alerts_days: u32,
    pub dead_letters_days: u32,
    /// Calls kept of one account, the newest ones; 0 for no bound, else at least 100. A
    /// sub-account has its own.
    pub account_calls: u64,
    pub account_alerts: u64,
    /// At most 10,000 in any case.
    pub account_dead_letters: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            calls_days: 90,
            alerts_days: 30,
            dead_letters_days: 30,
            account_calls: 5_000_000,
            account_alerts: 100_000,
            account_dead_letters: 10_000,
        }
    }
}

/// What the operator gives to an account and its sub-accounts. The store has more of them, given by
/// `/v1/Operator`; those here are changed here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// AccountSid; `*` for every account, empty for the first account.
    pub account: String,
    /// How its numbers begin (`+1555`, `40`); `*` for any. Emergency numbers are nobody's, and
    /// short codes need a beginning without `+`.
    pub numbers: Vec<String>,
    /// What its domains end in; `*` for any.
    pub domains: Vec<String>,
    /// Numbers that it may show as its caller beside those that it has.
    pub callers: Vec<String>,
    /// It may show any caller.
    pub any_caller: bool,
    /// Bits that its source networks have at least.
    pub source_bits_v4: Option<u8>,
    pub source_bits_v6: Option<u8>,
}

/// What tenants may ask of the REST API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Threads that read the store; one account has at most half of them. 1-64.
    pub read_threads: u8,
    /// Milliseconds for one read; then it is interrupted, and answered 503. 10-60,000.
    pub read_ms: u32,
    /// Requests a second of one address (IPv6: /64), and at once; 0 for no limit.
    pub source_rate: u32,
    pub source_burst: u32,
    /// Requests a second of one account with its sub-accounts, at once, and under way at one time;
    /// 0 for no limit.
    pub account_rate: u32,
    pub account_burst: u32,
    pub account_requests: u32,
    /// Failed logins of one address at one name before it has to wait, and seconds for each one
    /// more. An address and a name have ten times as many.
    pub login_failures: u32,
    pub login_failure_s: u32,
    /// Connections at one time, and of one address; the oldest silent one makes room.
    pub connections: u32,
    pub source_connections: u32,
    /// Milliseconds until a connection's first byte, and for a client to take an answer.
    pub first_byte_ms: u32,
    pub write_ms: u32,
    /// Bytes of answers that clients have not taken yet; one address has a quarter.
    pub answer_bytes: u32,
}

/// The longest document, and with it the longest answer of an application that is taken at all.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Bounds of everything that grows with calls; each at least 1. An account's own numbers go before
/// those that are one account's here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallLimits {
    /// Live calls (legs) of the node.
    pub calls: usize,
    /// Legs of one account with its sub-accounts at one time, where the account names no number.
    pub account_calls: u32,
    /// New calls per second of one account with its sub-accounts, where the account names no
    /// number; the burst is as much again.
    pub account_calls_per_second: u32,
    /// Things of one kind that one account may have configured: applications, keys, domains ...
    pub account_things: usize,
    /// Callbacks waiting on the node; beyond, new ones become dead letters at once.
    pub callbacks: usize,
    /// Callbacks waiting of one account with its sub-accounts; beyond, its new ones become dead
    /// letters at once.
    pub account_callbacks: usize,
    /// Callback requests under way to one host for one account with its sub-accounts.
    pub callbacks_per_host: u32,
    /// Requests to applications under way, of one account with its sub-accounts and of all; what
    /// asks for a document waits beyond, callbacks beyond three quarters of it.
    pub account_requests: u32,
    pub requests: u32,
    /// Attempts per callback before it becomes a dead letter.
    pub callback_attempts: u32,
    /// Documents one call may fetch, so that applications that redirect in a circle end.
    pub documents_per_call: u32,
    /// Targets of one `Dial`.
    pub dial_targets: usize,
    /// Targets that one call may have dialled in all, reached or not.
    pub legs_per_call: u32,
    /// Verbs that one call may have begun in all.
    pub verbs_per_call: u32,
    /// How long a call that came in may last from its answer, milliseconds.
    pub inbound_ms: u32,
    /// Bytes of a document, at most [`DOCUMENT_BYTES_MAX`].
    pub document_bytes: usize,
    /// Bytes of documents that one account with its sub-accounts has read a second, and at once
    /// (not fewer than one document has). What is over waits, as long as for an answer.
    pub account_document_bytes_per_second: u32,
    pub account_document_bytes_at_once: u32,
    /// Errors per second and account that it is told of, and warnings likewise; the rest are left
    /// out, and how many they were is told.
    pub alerts_per_second: u32,
    /// Sub-accounts of one account that are not closed; with closed ones they are at most
    /// `account_things`.
    pub subaccounts: usize,
    /// Contacts that one user of a domain, and all users of an account, may have registered.
    pub user_contacts: usize,
    pub account_contacts: usize,
    /// Seconds for which a contact is registered at least (423 for less) and at most.
    pub register_min_s: u32,
    pub register_max_s: u32,
}

/// A static route (see [`wire::table::StaticRoute`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    pub name: String,
    /// AccountSid billed for its calls; empty for the first account.
    #[serde(default)]
    pub account: String,
    #[serde(default)]
    pub domain: String,
    #[serde(default)]
    pub prefix: String,
    pub sources: Vec<String>,
    /// Names by whose certificates a far end is known that connects by TLS, as one of the sources,
    /// wherever it connects from.
    #[serde(default)]
    pub tls_clients: Vec<String>,
    /// Networks whose identity headers go on (P-Asserted-Identity, Privacy, Diversion,
    /// History-Info, Identity, Reason): the sources where the key is missing, `[]` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Vec<String>>,
    pub targets: Vec<Target>,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub strip: u8,
    #[serde(default)]
    pub prepend: String,
    #[serde(default)]
    pub rate_max: u32,
    #[serde(default)]
    pub calls_max: u32,
    #[serde(default = "ring_default")]
    pub ring_s: u16,
    /// Which hosts may send media besides the address that a description names: `described` (other
    /// ports of its host), `signalling` (also the host that signals), `network` (also that one's
    /// /24 or /64).
    #[serde(default)]
    pub media: wire::table::MediaSources,
    /// From where the far ends of its calls, callers and targets, are obeyed inside a dialog:
    /// `network` (the /24 or /64 of the hosts that the dialog is with, and the `sources` of all
    /// trunks), `host` (those hosts alone), `anywhere` (whoever has the tags, as RFC 3261 has it).
    #[serde(default)]
    pub signalling: wire::table::SignallingSources,
    /// What the certificates of its targets must name that are reached by TLS; empty for their
    /// addresses.
    #[serde(default)]
    pub tls_name: String,
    /// What answers a challenge (401, 407) of the targets, of nobody else; empty for nothing.
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub password: Secret,
    /// The only realm that is answered; empty for the first that asks in a call.
    #[serde(default)]
    pub realm: String,
    /// Its sources may refer calls that static routes carry (REFER): the call goes on to where they
    /// could call. Else 603.
    #[serde(default)]
    pub transfer: bool,
    /// How digits reach its targets: `rfc4733`, `info`, or what they take of the two (`auto`).
    #[serde(default)]
    pub dtmf: wire::table::Digits,
    /// Provisional responses that are acknowledged (100rel, RFC 3262), with both far ends of its
    /// calls: where both sides support it (`offer`), never (`off`), or required of its targets
    /// (`require`).
    #[serde(default)]
    pub reliable: wire::table::ReliableRinging,
    /// Session timers (RFC 4028) with both far ends of its calls. Without, they are never sent a
    /// re-INVITE or an UPDATE of our own, whatever changes at the other side.
    #[serde(default = "yes")]
    pub session_timer: bool,
    /// What its callers hear before the answer: the early media of its targets (`pass`), that it
    /// rings (`ring`), or what their P-Early-Media says of the two (`gated`, RFC 5009).
    #[serde(default)]
    pub early_media: wire::table::EarlyMedia,
    /// Refusals after which the next target is asked, and after the last one the next trunk that
    /// fits; silence and a target that is not there always are among them, and what says something
    /// of whoever is called (404, 486, 6xx ..) never may be.
    #[serde(default = "failover_default")]
    pub failover: Vec<u16>,
    /// What a redirection (3xx) of a target is worth: `refuse` (502 to the caller), `follow` (its
    /// contacts are called, five in all, at the hosts of `targets` and in `redirect_allow`) or
    /// `relay` (the caller gets it, and learns the addresses behind this switch).
    #[serde(default)]
    pub redirect: wire::policy::Redirect,
    #[serde(default)]
    pub redirect_allow: Vec<String>,
    /// Seconds between two OPTIONS to each target, 5-3,600; 0 for none. One that is silent twice,
    /// or says 503, is asked last until it answers again.
    #[serde(default)]
    pub health_s: u16,
    /// Of several trunks that fit (the longest prefix first) the lowest comes first; among equal
    /// ones `weight` says how the calls are shared (those with 0 come last, as written).
    #[serde(default)]
    pub priority: u16,
    #[serde(default)]
    pub weight: u16,
    /// Of a call, in millionths: the cheapest comes first where `routing.order` is `cost`.
    #[serde(default)]
    pub cost: u32,
    /// When it is open (`mon-fri 08:00-18:00`, `sat`, `22:00-06:00`); always where none is named.
    #[serde(default)]
    pub hours: Vec<String>,
    /// Minutes that its hours are before UTC: 60 for Berlin in winter.
    #[serde(default)]
    pub utc_offset_min: i16,
    /// Country code, such as `49`: numbers dialled there (`0..`, `00..`), called and calling, are
    /// taken as E.164 (`+49..`, `+..`) before anything else; `prefix` is compared with that.
    #[serde(default)]
    pub country: String,
    /// Of the calling number: characters that are removed, then `caller_prepend` is put in front.
    #[serde(default)]
    pub caller_strip: u8,
    #[serde(default)]
    pub caller_prepend: String,
    /// Callers who do not show themselves: `pass`, or `refuse` (433).
    #[serde(default)]
    pub anonymous: Anonymous,
    /// It is registered at its targets, one after the other, as `username` with `password`.
    #[serde(default)]
    pub register: bool,
    /// User part of the contact, which the carrier calls: a number of the account's; empty for
    /// `username`.
    #[serde(default)]
    pub register_contact: String,
    /// Seconds that are asked for, 60-86,400; the carrier may grant less, or want more.
    #[serde(default = "register_default")]
    pub register_s: u32,
    /// The contact is taken back when the switch stops.
    #[serde(default)]
    pub unregister: bool,
    /// What kind of far end its targets are: sets those of the keys that are not written beside it.
    #[serde(default)]
    pub profile: Profile,
    /// Audio codecs that its targets are offered, the preferred one first, and no others; whatever
    /// the caller has where none is named. `PCMU`, `PCMA`, `G722`, `G729`, `opus`, `AMR`, `AMR-WB`,
    /// `iLBC`, `G7221`, `GSM`.
    #[serde(default)]
    pub codecs: Vec<String>,
    /// The only hash by which a challenge is answered: `md5` or `sha-256`; `any` for the strongest
    /// that is asked for.
    #[serde(default)]
    pub digest: Digest,
    /// Whether its media is encrypted: `off`. `require` is refused as long as there is no SRTP.
    #[serde(default)]
    pub srtp: Srtp,
    /// Name of the listener that its targets are reached from: with it go what Via and Contact say,
    /// the media address, and both DSCPs. Empty for the one that a call came by, or one of the
    /// target's transport and family.
    #[serde(default)]
    pub listener: String,
    /// Parts of a body beside the session description (ISUP, locations, lists) go on between its
    /// far ends; without, they are left out, and a call of which one is required is refused (415).
    /// Emergency calls keep theirs anyway.
    #[serde(default)]
    pub body_parts: bool,
}

fn register_default() -> u32 {
    600
}

/// What becomes of callers who do not show themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    #[default]
    Pass,
    Refuse,
}

/// How trunks for one number are ordered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// `priority`, or `cost`, then priority. The longest prefix goes before both.
    pub order: Order,
}

/// See [`Routing::order`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    #[default]
    Priority,
    Cost,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a tracing filter.
    pub level: String,
    /// `auto` (JSON when not on a terminal), `json`, `text`.
    pub format: String,
}

/// A way out for dialled numbers: the longest prefix wins, for every account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    pub name: String,
    /// Leading characters of the number with its `+`; empty for any.
    #[serde(default)]
    pub prefix: String,
    /// Leading characters removed, then `prepend` is put in front.
    #[serde(default)]
    pub strip: u8,
    #[serde(default)]
    pub prepend: String,
    /// `host:port` or `host`, with `;transport=tcp` or `;transport=tls` behind it or not, in order
    /// of trial; at most 4. By TLS the host is what the certificate must name.
    pub targets: Vec<String>,
    /// Host of the Request-URI; empty for the target as written.
    #[serde(default)]
    pub host: String,
    /// Name of the `[[trunk]]` whose credentials its targets are shown, and whose policy (profile,
    /// codecs, digits, timers) they get; empty for none.
    #[serde(default)]
    pub trunk: String,
    /// As a trunk's: refusals after which the next target is asked.
    #[serde(default = "failover_default")]
    pub failover: Vec<u16>,
}

const fn yes() -> bool {
    true
}

fn ring_default() -> u16 {
    60
}

fn failover_default() -> Vec<u16> {
    vec![408, 500, 501, 502, 503, 504]
}

impl Default for Node {
    fn default() -> Self {
        Self { id: 1, data_dir: PathBuf::from("data"), runtime_dir: PathBuf::new() }
    }
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            shards: 0,
            pin: true,
            spin_us: 0,
            listener: [Transport::Udp, Transport::Tcp, Transport::Tls]
                .map(|transport| Listener {
                    name: transport.name().to_owned(),
                    bind: SocketAddr::from(([127, 0, 0, 1], transport.port())),
                    transport,
                    clients: ClientCertificates::Ignore,
                    origins: Vec::new(),
                    advertised: None,
                    media: String::new(),
                    dscp: signalling_dscp(),
                    service_route: Vec::new(),
                })
                .to_vec(),
            media: vec![Media {
                name: "media".to_owned(),
                bind: IpAddr::from([127, 0, 0, 1]),
                advertised: None,
                ports: [20_000, 29_999],
                dscp: media_dscp(),
            }],
            limits: Limits::default(),
            guard: Guard::default(),
            timers: Timers::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // 2,000 calls/s, two transactions each that stand 32 s.
        Self {
            legs: 0,
            transactions: 1 << 17,
            frames: 16_384,
            large_frames: 1_024,
            connections: 0,
            datagram_bytes: 1_300,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { source_rate: 2_000, source_burst: 4_000, call_rate: 0, stranger_rate: 4_000 }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1_ms: 500, hold_ms: 2_000, media_timeout_s: 60, session_s: 1_800, target_ms: 4_000 }
    }
}

impl Default for Controlplane {
    fn default() -> Self {
        Self {
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            webhook_allow: Vec::new(),
            webhook_connect_ms: 3_000,
            webhook_total_ms: 15_000,
            on_unsupported: OnUnsupported::Skip,
            target_allow: Vec::new(),
            hosts: Vec::new(),
            carriers: Vec::new(),
            source_bits_v4: 24,
            source_bits_v6: 48,
            operator_file: PathBuf::new(),
            api: Api::default(),
            journal: Journal::default(),
            retention: Retention::default(),
            limits: CallLimits::default(),
            first_account: "First account".to_owned(),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            read_threads: 4,
            read_ms: 2_000,
            source_rate: 500,
            source_burst: 1_000,
            account_rate: 200,
            account_burst: 400,
            account_requests: 64,
            login_failures: 10,
            login_failure_s: 6,
            connections: 4_096,
            source_connections: 512,
            first_byte_ms: 2_000,
            write_ms: 30_000,
            answer_bytes: 64 << 20,
        }
    }
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            calls: 100_000,
            account_calls: 10_000,
            account_calls_per_second: 500,
            account_things: 20_000,
            callbacks: 200_000,
            account_callbacks: 50_000,
            callbacks_per_host: 64,
            account_requests: 2_000,
            requests: 20_000,
            callback_attempts: 14,
            documents_per_call: 1_000,
            dial_targets: 10,
            legs_per_call: 1_000,
            verbs_per_call: 10_000,
            inbound_ms: 14_400_000,
            document_bytes: DOCUMENT_BYTES_MAX,
            account_document_bytes_per_second: 1 << 20,
            account_document_bytes_at_once: 4 << 20,
            alerts_per_second: 10,
            subaccounts: 1_000,
            user_contacts: 100,
            account_contacts: 100_000,
            register_min_s: 60,
            register_max_s: 7_200,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: "auto".to_owned() }
    }
}
