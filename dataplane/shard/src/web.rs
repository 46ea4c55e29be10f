//! SIP over WebSocket (RFC 7118): the request that opens one, then frames to messages.

use base::{ConnectionId, Frames, Mono, Now};
use sip::websocket::{self, Close, Framed, Kind, Opening};
use wire::counter::Counter;

use crate::Shard;
use crate::streams::Read;
use crate::transport::connections::{Dress, MESSAGE_BYTES};

/// Why a WebSocket is read no further.
enum End {
    /// Its far end is told why.
    Closes(Close),
    /// It has said so itself, or was told otherwise.
    Is(Counter),
}

impl Shard<'_> {
    /// Bytes of a connection that is, or is to become, a WebSocket.
    pub(crate) fn read_web(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        whose: (ConnectionId, Mono),
        bytes: &mut [u8],
        dress: &mut Dress,
    ) -> Read {
        let mut read = Read { at: 0, has_read: false, left: Ok(0) };
        if let Dress::Opening = dress {
            let end = self.core.connections.ends(whose.0);
            let listener = end.and_then(|(at, _)| self.core.plan.listeners.get(usize::from(at)));
            let origins = listener.map_or(&[][..], |listener| &listener.origins);
            match websocket::opening(bytes, origins) {
                Opening::Partial => return read,
                Opening::Refused(answer) => {
                    self.cx(now, frames).say(whose.0, answer);
                    read.left = Err(Counter::ConnectionBroken);
                    return read;
                }
                Opening::Wanted { len, accept } => {
                    let mut cx = self.cx(now, &mut *frames);
                    websocket::accepted(&accept).into_iter().for_each(|part| cx.say(whose.0, part));
                    *dress = Dress::Web(None);
                    (read.at, read.has_read) = (len, true);
                }
            }
        }
        let Dress::Web(begun) = dress else { return read };
        read.left = match self.read_frames(now, frames, whose, bytes, (&mut read, begun)) {
            Ok(needed) => Ok(needed),
            Err(End::Is(why)) => Err(why),
            Err(End::Closes(why)) => {
                self.cx(now, frames).say(whose.0, &websocket::close(why));
                Err(Counter::ConnectionBroken)
            }
        };
        read
    }

    /// Frames: how many bytes the next one has at least. `begun`: what came of a message in
    /// several.
    fn read_frames(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        whose: (ConnectionId, Mono),
        bytes: &mut [u8],
        (read, begun): (&mut Read, &mut Option<Vec<u8>>),
    ) -> Result<usize, End> {
        loop {
            let rest = &mut bytes[read.at..];
            let (kind, head, payload, mask) = match websocket::next(rest, MESSAGE_BYTES) {
                Framed::Frame { kind, head, payload, mask } => (kind, head, payload, mask),
                Framed::Partial(_) if rest.is_empty() => return Ok(0),
                Framed::Partial(needed) => return Ok(needed),
                Framed::Broken(why) => return Err(End::Closes(why)),
            };
            let payload = &mut rest[head..head + payload];
            websocket::unmask(payload, mask);
            read.at += head + payload.len();
            let whole = match (kind, begun.take()) {
                (Kind::Data { is_last: true }, None) => {
                    self.web_message(now, frames, whose, payload)
                }
                (Kind::Data { is_last: false }, None) => {
                    *begun = Some(payload.to_vec());
                    continue;
                }
                (Kind::Continuation { is_last }, Some(mut message)) => {
                    if message.len() + payload.len() > MESSAGE_BYTES {
                        return Err(End::Closes(Close::TooLarge));
                    }
                    message.extend_from_slice(payload);
                    if !is_last {
                        *begun = Some(message);
                        continue;
                    }
                    self.web_message(now, frames, whose, &message)
                }
                (Kind::Data { .. } | Kind::Continuation { .. }, _) => {
                    return Err(End::Closes(Close::Protocol));
                }
                (control, unfinished) => {
                    *begun = unfinished;
                    self.control(now, frames, whose.0, (control, payload))?;
                    continue;
                }
            };
            read.has_read = true;
            if !whole {
                return Err(End::Is(Counter::ConnectionBroken));
            }
        }
    }

    /// A whole message. False if its source sends too many.
    fn web_message(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        whose: (ConnectionId, Mono),
        bytes: &[u8],
    ) -> bool {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.core.counters.count(Counter::DiscardSipKeepAlive);
            if bytes == b"\r\n\r\n" {
                self.cx(now, frames).pong(whose.0);
            }
            return true;
        }
        self.stream_message(now, frames, whose, bytes)
    }

    fn control(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        id: ConnectionId,
        (kind, payload): (Kind, &[u8]),
    ) -> Result<(), End> {
        self.core.counters.count(Counter::DiscardSipKeepAlive);
        match kind {
            Kind::Ping => {
                let mut cx = self.cx(now, frames);
                cx.say(id, &websocket::pong(payload));
                if !payload.is_empty() {
                    cx.say(id, payload);
                }
            }
            Kind::Close => {
                self.cx(now, frames).say(id, &websocket::close(Close::Normal));
                return Err(End::Is(Counter::ConnectionLeft));
            }
            _ => {}
        }
        Ok(())
    }
}
