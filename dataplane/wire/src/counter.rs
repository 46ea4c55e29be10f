//! Counters: one line here, and it appears in `tandem top` and in `/metrics` by itself. A shard
//! counts in plain memory and publishes in housekeeping, never per packet.
//!
//! Every discard is a counter and its name is the reason (DESIGN.md section 4).

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $help:literal;)*) => {
        /// A counter or gauge of a shard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        impl Counter {
            /// In order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Name in metrics, without prefix.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

counters! {
    RtpRelayed = "rtp_relay_packet", "RTP packets relayed";
    RtpReceived = "rtp_receive_packet", "RTP packets received";
    RtpPlayed = "rtp_play_packet", "RTP packets made here (silence, tones)";
    RtcpReceived = "rtcp_receive_packet", "RTCP packets received";
    RtcpSent = "rtcp_send_packet", "RTCP packets sent";
    SipReceived = "sip_receive_message", "SIP messages received";
    SipSent = "sip_send_message", "SIP messages sent, retransmissions included";
    SipRetransmitted = "sip_retransmit_message", "SIP messages sent again";
    LegCreated = "leg_create_leg", "Legs created";
    LegEnded = "leg_end_leg", "Legs ended";
    LegStanding = "leg_stand_leg", "Legs standing now (gauge)";
    LegUnreleased = "leg_unreleased_leg", "Ended legs whose usage is not durable yet (gauge)";
    JoinStanding = "join_stand_join", "Legs joined with another one now (gauge)";
    PortSpare = "port_spare_port", "Media ports open and unused (gauge)";
    TransactionStanding = "sip_stand_transaction", "SIP transactions standing now (gauge)";
    EventPushed = "event_push_event", "Events handed to the controlplane";
    CommandTaken = "command_take_command", "Commands taken from the controlplane";
    HandoffSent = "handoff_send_message", "Messages handed to other shards";
    HandoffTaken = "handoff_take_message", "Messages taken from other shards";
    BreathTaken = "breath_take_breath", "Turns of the loop";
    SsrcTakenOver = "rtp_ssrc_takeover", "New SSRCs taken over from a locked source";
    DiscardRtpSource = "discard_rtp_source", "RTP from another address than the locked one";
    DiscardRtpUnlatched = "discard_rtp_unlatched", "RTP that came before or outside the latch window";
    DiscardRtpMalformed = "discard_rtp_malformed", "Datagrams on a media port that are no RTP or RTCP";
    DiscardRtpPayload = "discard_rtp_payload", "RTP with a payload type outside the answer";
    DiscardRtpSequence = "discard_rtp_sequence", "RTP outside the sequence window";
    DiscardRtpSsrc = "discard_rtp_ssrc", "RTP of a new SSRC on probation";
    DiscardRtpUnjoined = "discard_rtp_unjoined", "RTP of a leg that nobody listens to";
    DiscardRtpHold = "discard_rtp_hold", "RTP to a leg that does not receive";
    DiscardRtpPort = "discard_rtp_port", "Datagrams on a media port that no stream has";
    DiscardRtpDigit = "discard_rtp_digit", "RTP to a leg that is being sent a digit";
    DiscardRtpForeign = "discard_rtp_foreign", "RTP to a leg that hears another source";
    DiscardRtcpPort = "discard_rtcp_port", "RTCP on a port that the description does not use";
    DiscardStunDtls = "discard_stun_dtls", "STUN and DTLS on a plain RTP port";
    DiscardSipMalformed = "discard_sip_malformed", "Datagrams that are no SIP";
    DiscardSipKeepAlive = "discard_sip_keepalive", "CRLF keep-alives and empty datagrams";
    DiscardSipStray = "discard_sip_stray", "Responses and ACKs that belong to nothing";
    SipRepeatedHeader = "sip_repeated_header", "Single headers that stood twice in a request; the first counted";
    DiscardSipRate = "discard_sip_rate", "SIP messages over a source's rate";
    DiscardSipBudget = "discard_sip_budget", "Answers over an unproven source's byte budget";
    DiscardSipTruncated = "discard_sip_truncated", "Datagrams larger than a buffer";
    DiscardNoFrame = "discard_no_frame", "Nothing to write into: all buffers in use";
    DiscardNoRoom = "discard_no_room", "A table of fixed size was full";
    DiscardHandoffFull = "discard_handoff_full", "Frames and datagrams to another shard whose ring was full";
    DiscardHandoffMalformed = "discard_handoff_malformed", "Handoffs that could not be read";
    DiscardCommandMalformed = "discard_command_malformed", "Commands that could not be read or broke a rule";
    DiscardTransmit = "discard_transmit", "Datagrams the system refused to send";
    RefusedOverload = "refuse_overload", "New calls refused: rate, concurrency or drain";
    RefusedNoPort = "refuse_no_port", "New calls refused: no media port";
    RefusedNoCell = "refuse_no_cell", "New calls refused: no usage cell or credit for its closing events";
    RefusedNoController = "refuse_no_controller", "New calls refused: the controlplane did not take them";
    RefusedProtocol = "refuse_protocol", "Requests refused by SIP rules";
    LegPanicked = "leg_panic_leg", "Legs ended by a fault of ours";
    TableApplied = "table_apply_table", "Published tables applied";
    TableRefused = "table_refuse_table", "Published tables that could not be read";
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
