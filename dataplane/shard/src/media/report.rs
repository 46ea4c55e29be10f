//! RTCP: what far ends report and what we report to them (RFC 3550 section 6). Out of and into the
//! RTP port where both sides agreed to that (RFC 5761), else the port above.

use base::{Flow, LegId, Local, MediaPort, Now, Received, Transmit};
use core::net::SocketAddr;
use rtp::rtcp::{Report, interval};
use sdp::MediaTarget;
use wire::counter::Counter;

use super::Media;
use super::latch::SILENCE;
use super::stream::Stream;
use crate::cx::Cx;

/// What RTCP a far end may send, in nanoseconds a packet over time: ten a second, where RFC 3550
/// has one in five seconds and RTCP feedback a few a second.
const RTCP_INTERVAL_NS: u32 = 100_000_000;
/// The largest report we write: SR, one block, SDES.
const REPORT_BYTES: usize = 512;

impl Media {
    /// A datagram that is RTCP, on a port of this leg.
    pub(super) fn handle_rtcp(
        &mut self,
        cx: &mut Cx<'_, '_>,
        leg: LegId,
        received: &Received,
        port: MediaPort,
    ) {
        crate::faults::touch(crate::faults::Site::Report);
        cx.count(Counter::RtcpReceived);
        let stream = &mut self.streams[leg.index() as usize];
        let on_rtp_port = port.port & 1 == 0;
        if on_rtp_port != stream.plan.rtcp_mux {
            return cx.count(Counter::DiscardRtcpPort);
        }
        if !stream.rtcp_police.takes(RTCP_INTERVAL_NS, cx.now.mono) {
            let reason = super::admit::refuse(stream, received.source, Counter::DiscardRtpRate);
            return cx.count(reason);
        }
        if !stream.may_report(received.source) {
            let reason = super::admit::refuse(stream, received.source, Counter::DiscardRtpSource);
            return cx.count(reason);
        }
        let Ok(packets) = rtp::rtcp::parse(cx.frames.bytes(received.frame)) else {
            return cx.count(Counter::DiscardRtpMalformed);
        };
        let (us, them) = (stream.sender.ssrc(), stream.receiver.ssrc());
        let is_alive = stream.is_surely_from(received.source)
            || them.is_some_and(|them| packets.clone().any(|packet| packet.is_from(them)));
        stream.rtcp.handle(packets, us, them, (cx.now.mono, cx.now.wall));
        if is_alive {
            stream.heard_at = cx.now.mono;
        }
        if stream.is_elsewhere() {
            // Behind a NAT the description's port is nobody's: reports go where they come from.
            stream.target_rtcp = MediaTarget::new(received.source);
        }
    }

    /// Writes the leg's report if it is due.
    pub(crate) fn report(&mut self, cx: &mut Cx<'_, '_>, slot: u32) {
        let now = cx.now;
        let stream = self.streams.get_mut(slot as usize).filter(|stream| stream.on);
        let Some(stream) = stream else { return };
        let speaks = now.mono.since(stream.receiver.last_arrival()) < SILENCE;
        if stream.is_lock_told && !speaks {
            // Whoever may follow a silent source must be let in.
            stream.is_lock_told = false;
            cx.core.flows.push_back(Flow::Unlock { port: stream.port });
        } else if !stream.is_lock_told
            && speaks
            && let Some(remote) = stream.latch.locked_as_described()
        {
            // The packet that locked was not taken for other reasons, or the source speaks again.
            stream.is_lock_told = true;
            cx.core.flows.push_back(Flow::Lock { port: stream.port, remote });
        }
        if now.mono < stream.rtcp_at {
            return;
        }
        stream.rtcp_at = now.mono + interval(cx.core.random.u64());
        let is_wanted = stream.plan.remote_rtp != MediaTarget::NOWHERE && !stream.is_unheard();
        let Some(to) = stream.target_rtcp.address().filter(|_| is_wanted) else { return };
        let Some(frame) = cx.frames.alloc(REPORT_BYTES) else {
            return cx.count(Counter::DiscardNoFrame);
        };
        let frame = frame.resized(REPORT_BYTES);
        cx.core.in_hand = Some(frame);
        let Some(len) = write_report(stream, now, cx.frames.bytes_mut(frame)) else {
            return cx.free(frame);
        };
        let port = stream.rtcp_port();
        let from = Local::Media(port);
        cx.core.in_hand = None;
        cx.core.transmits.push_back(Transmit { frame: frame.resized(len), from, to });
        cx.count(Counter::RtcpSent);
    }
}

impl Stream {
    /// The port of ours that reports leave by and come to.
    fn rtcp_port(&self) -> MediaPort {
        let port = self.port;
        if self.plan.rtcp_mux { port } else { MediaPort { port: port.port | 1, ..port } }
    }

    /// May RTCP come from here? From the locked host, or where the SDP says.
    fn may_report(&self, source: SocketAddr) -> bool {
        let host = self.latch.locked().or_else(|| self.known.described.address());
        self.plan.remote_rtcp.address() == Some(source)
            || host.is_some_and(|host| host.ip() == source.ip())
    }

    /// It comes from the very address that was described, or from beside the source that speaks.
    fn is_surely_from(&self, source: SocketAddr) -> bool {
        let beside = |rtp: SocketAddr| rtp == source || next_port(rtp) == source;
        self.plan.remote_rtcp.address() == Some(source) || self.latch.locked().is_some_and(beside)
    }

    /// The far end is sent to at another host than its description says.
    fn is_elsewhere(&self) -> bool {
        self.known.described.address().is_none_or(|described| described.ip() != self.target.ip())
    }
}

fn next_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().saturating_add(1))
}

fn write_report(stream: &mut Stream, now: Now, out: &mut [u8]) -> Option<usize> {
    let sent = stream.sender.packets();
    let [a, b, c, d, ..] = sent.to_le_bytes();
    let sent = u32::from_le_bytes([a, b, c, d]);
    let sender = stream.sender.sender_info(now).filter(|_| sent != stream.reported);
    stream.reported = sent;
    let (last_sr, delay) = stream.rtcp.last_sr(now.mono);
    let block = stream.receiver.report(last_sr, delay);
    let report =
        Report { ssrc: stream.sender.ssrc(), sender, blocks: block.as_slice(), cname: b"tandem" };
    rtp::rtcp::write_report(&report, out)
}
