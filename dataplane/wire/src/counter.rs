//! Counters: one line here, and it appears in `/metrics` by itself. A shard counts in plain memory
//! and publishes in housekeeping, never per packet.
//!
//! Every discard and every refusal is a counter, and its name is the reason (DESIGN.md section 4).
//!
//! # Names
//! What is counted in the plural, then what happened to it; base units last (`_seconds`, `_bytes`).
//! What only grows ends in `_total`, what does not is a gauge. Discards and refusals are one metric
//! each with a label, so that a sum needs no list of names:
//! `tandem_discards_total{shard="0",reason="rtp_source"}`.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $metric:literal $($reason:literal)?, $help:literal;)*) => {
        /// A counter or gauge of a shard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        impl Counter {
            /// In order of their numbers; those of one metric stand together.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The metric's name, without the prefix `tandem_`.
            #[must_use]
            pub fn metric(self) -> &'static str {
                match self { $(Self::$name => $metric,)* }
            }

            /// The label `reason`, of discards and refusals.
            #[must_use]
            pub fn reason(self) -> Option<&'static str> {
                match self { $(Self::$name => counters!(@reason $($reason)?),)* }
            }

            /// What it counts, as an operator reads it.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
    (@reason) => { None };
    (@reason $reason:literal) => { Some($reason) };
}

counters! {
    RtpRelayed = "rtp_packets_relayed_total", "RTP packets relayed";
    RtpReceived = "rtp_packets_received_total", "RTP packets received";
    RtpPlayed = "rtp_packets_played_total", "RTP packets made here (silence, tones)";
    RtcpReceived = "rtcp_packets_received_total", "RTCP packets received";
    RtcpSent = "rtcp_packets_sent_total", "RTCP packets sent";
    SipReceived = "sip_messages_received_total", "SIP messages received";
    SipSent = "sip_messages_sent_total", "SIP messages sent, retransmissions included";
    SipRetransmitted = "sip_messages_retransmitted_total", "SIP messages sent again";
    SipMovedToStream = "sip_requests_moved_to_tcp_total", "Requests too large for a datagram that went by TCP";
    SipMovedBack = "sip_requests_moved_back_total", "Of those, sent by UDP after all: nobody took the connection";
    SipRepeatedHeader = "sip_headers_repeated_total", "Single headers that stood twice in a request; the first counted";
    MessageTold = "sip_messages_told_total", "SIP messages told to whoever asked for them";
    MessageLeftOut = "sip_messages_left_out_total", "SIP messages that were to be told and were too many";
    ConnectionStanding = "connections_standing", "Connections that carry SIP";
    ConnectionAccepted = "connections_accepted_total", "Connections accepted";
    ConnectionOpened = "connections_opened_total", "Connections opened by us";
    ConnectionFailed = "connections_failed_total", "Connections that could not be opened";
    ConnectionRefused = "connections_refused_total", "Connections closed at once: there were too many";
    ConnectionSlow = "connections_slow_total", "Connections closed: no whole message in time";
    ConnectionBroken = "connections_broken_total", "Connections closed: what came was no SIP, or too much";
    ConnectionLeft = "connections_left_total", "WebSockets that their far ends closed";
    TlsUp = "tls_handshakes_total", "TLS handshakes done";
    TlsFailed = "tls_handshakes_failed_total", "TLS handshakes that failed";
    TlsBroken = "tls_broken_total", "TLS sessions that broke after their handshake";
    ChallengeSent = "sip_challenges_sent_total", "Requests that were asked for credentials";
    NonceReplayed = "sip_nonces_replayed_total", "Requests whose answer to a challenge had been used before";
    RegisterSent = "trunk_registers_sent_total", "Registrations asked for at carriers";
    RegisterGranted = "trunk_registers_granted_total", "Registrations that carriers have granted";
    RegisterRefused = "trunk_registers_refused_total", "Registrations that a target has refused, or said nothing to";
    TrunkRegistered = "trunks_registered", "Trunks that are registered at their carriers";
    TrunkUnregistered = "trunks_unregistered", "Trunks that are to be registered and are not";
    LegCreated = "legs_created_total", "Legs created";
    LegEnded = "legs_ended_total", "Legs ended";
    LegStanding = "legs_standing", "Legs standing now";
    LegUnreleased = "legs_unreleased", "Ended legs whose usage is not durable yet";
    JoinStanding = "legs_joined", "Legs joined with another one now";
    PortSpare = "media_ports_spare", "Media ports open and unused";
    PortRefused = "media_ports_refused", "Media port pairs that the system refused; they are asked for again";
    TransactionStanding = "sip_transactions_standing", "SIP transactions standing now";
    TransactionEvicted = "sip_transactions_evicted_total", "Finished transactions that made room early";
    EventPushed = "events_sent_total", "Events handed to the controlplane";
    CommandTaken = "commands_received_total", "Commands taken from the controlplane";
    HandoffSent = "handoffs_sent_total", "Messages handed to other shards";
    HandoffTaken = "handoffs_received_total", "Messages taken from other shards";
    BreathTaken = "shard_turns_total", "Turns of the loop";
    SsrcTakenOver = "rtp_ssrc_takeovers_total", "New SSRCs taken over from a locked source";
    DiscardRtpSource = "discards_total" "rtp_source", "RTP from another address than the locked one";
    DiscardRtpUnlatched = "discards_total" "rtp_unlatched", "RTP that came before or outside the latch window";
    DiscardRtpLoop = "discards_total" "rtp_loop", "RTP that comes from a media port of our own";
    DiscardRtpRate = "discards_total" "rtp_rate", "RTP over the rate of its packet time";
    DiscardRtpMalformed = "discards_total" "rtp_malformed", "Datagrams on a media port that are no RTP or RTCP";
    DiscardRtpPayload = "discards_total" "rtp_payload", "RTP with a payload type outside the answer";
    DiscardRtpSequence = "discards_total" "rtp_sequence", "RTP outside the sequence window";
    DiscardRtpSsrc = "discards_total" "rtp_ssrc", "RTP of a new SSRC on probation";
    DiscardRtpUnjoined = "discards_total" "rtp_unjoined", "RTP of a leg that nobody listens to";
    DiscardRtpHold = "discards_total" "rtp_hold", "RTP to a leg that does not receive";
    DiscardRtpPort = "discards_total" "rtp_port", "Datagrams on a media port that no stream has";
    DiscardRtpDigit = "discards_total" "rtp_digit", "RTP to a leg that is being sent a digit";
    DiscardRtpForeign = "discards_total" "rtp_foreign", "RTP to a leg that hears another source";
    DiscardRtpOld = "discards_total" "rtp_old", "Media that waited more than 1 s for its turn";
    DiscardRtcpPort = "discards_total" "rtcp_port", "RTCP on a port that the description does not use";
    DiscardStunDtls = "discards_total" "stun_dtls", "STUN and DTLS on a plain RTP port";
    DiscardSipMalformed = "discards_total" "sip_malformed", "Datagrams that are no SIP";
    DiscardSipKeepAlive = "discards_total" "sip_keepalive", "CRLF keep-alives and empty datagrams";
    DiscardSipStray = "discards_total" "sip_stray", "Responses and ACKs that belong to nothing";
    DiscardSipRate = "discards_total" "sip_rate", "SIP messages over a source's rate";
    DiscardSipSource = "discards_total" "sip_source", "SIP inside a dialog from where its far end is not obeyed";
    DiscardSipBudget = "discards_total" "sip_budget", "Answers over an unproven source's byte budget";
    DiscardSipReliable = "discards_total" "sip_reliable", "Reliable provisional responses out of turn, or too many";
    DiscardSipTruncated = "discards_total" "sip_truncated", "Datagrams larger than a buffer";
    DiscardNoFrame = "discards_total" "no_frame", "Nothing to write into: all buffers in use";
    DiscardNoRoom = "discards_total" "no_room", "A table of fixed size was full";
    DiscardHandoffFull = "discards_total" "handoff_full", "Frames and datagrams to another shard whose ring was full";
    DiscardHandoffMalformed = "discards_total" "handoff_malformed", "Handoffs that could not be read";
    DiscardCommandMalformed = "discards_total" "command_malformed", "Commands that could not be read or broke a rule";
    DiscardConnectionFull = "discards_total" "connection_full", "SIP messages for which no connection had room";
    DiscardConnectionGone = "discards_total" "connection_gone", "SIP messages of a connection that is over";
    DiscardTransmit = "discards_total" "transmit", "Datagrams the system refused to send";
    RefusedOverload = "refusals_total" "overload", "New calls refused: rate, concurrency or drain";
    RefusedNoPort = "refusals_total" "no_port", "New calls refused: no media port";
    RefusedNoCell = "refusals_total" "no_cell", "New calls refused: no usage cell or credit for its closing events";
    RefusedNoController = "refusals_total" "no_controller", "New calls refused: the controlplane did not take them";
    RefusedUnknown = "refusals_total" "unknown_destination", "INVITEs to nobody's number or domain";
    RefusedSource = "refusals_total" "source_not_allowed", "INVITEs from where their destination takes none";
    RefusedCredentials = "refusals_total" "credentials", "Requests with credentials that are wrong or nobody's";
    RefusedNoTransaction = "refusals_total" "no_transaction", "Requests refused: no room for another transaction";
    RefusedProtocol = "refusals_total" "protocol", "Requests refused by SIP rules";
    RefusedOwnAddress = "refusals_total" "own_address", "Descriptions refused: they name an address of this switch";
    LegPanicked = "legs_panicked_total", "Legs ended by a fault of ours";
    FaultContained = "faults_total", "Messages, timers and reports given up for a fault of ours";
    RecordTooLong = "leg_records_too_long_total", "Leg records without room for what is said at a death";
    LegTold = "leftover_legs_told_total", "Legs of an earlier run whose far end was told that they are over";
    LegUntold = "leftover_legs_untold_total", "Legs of an earlier run whose far end could not be told";
    TargetOut = "sip_targets_out", "Targets that are asked last now";
    TargetWentOut = "sip_targets_went_out_total", "Targets that said nothing, or that they are not there for some time";
    TargetCameBack = "sip_targets_came_back_total", "Targets that were out and are asked as before";
    HealthAsked = "sip_health_asked_total", "OPTIONS sent to targets to see whether they live";
    HealthSilent = "sip_health_silent_total", "OPTIONS to targets that nobody answered in time";
    RouteAdvanced = "routes_advanced_total", "Calls that went on to another route, the one before being full or failing";
    RedirectFollowed = "sip_redirects_followed_total", "Contacts of redirections that were called";
    RedirectRefused = "sip_redirects_refused_total", "Redirections, or contacts of some, that were not followed";
    TableApplied = "tables_applied_total", "Published tables applied";
    TableRefused = "tables_refused_total", "Published tables that could not be read";
}

impl Counter {
    /// Whether it may fall: what is there now, not what has happened so far.
    #[must_use]
    pub fn is_gauge(self) -> bool {
        !self.metric().ends_with("_total")
    }

    /// What the whole metric is about, of which this counter may be one reason.
    #[must_use]
    pub fn metric_help(self) -> &'static str {
        match self.metric() {
            "discards_total" => "Packets and messages that were not taken, by reason",
            "refusals_total" => "Requests that were refused, by reason",
            _ => self.help(),
        }
    }
}

/// Words the counters take.
pub const COUNTERS: usize = Counter::ALL.len();

/// A shard's own counters in plain memory.
#[derive(Clone, Debug)]
pub struct Counters([u64; COUNTERS]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; COUNTERS])
    }
}

impl Counters {
    pub fn add(&mut self, counter: Counter, amount: u64) {
        self.0[counter as usize] = self.0[counter as usize].wrapping_add(amount);
    }

    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    pub fn set(&mut self, gauge: Counter, value: u64) {
        self.0[gauge as usize] = value;
    }

    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Shows them to the other process.
    pub fn publish(&self, words: &[AtomicU64]) {
        for (word, value) in words.iter().zip(self.0) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// What a shard has published.
    #[must_use]
    pub fn read(words: &[AtomicU64]) -> Self {
        let mut counters = Self::default();
        for (value, word) in counters.0.iter_mut().zip(words) {
            *value = word.load(Ordering::Relaxed);
        }
        counters
    }
}
