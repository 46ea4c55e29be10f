//! Requests that cross the end of their dialog.

use base::{Frames, LegId, Now};
use sip::Method;

use crate::Shard;
use crate::cx::Cx;
use crate::leg::Request;
use crate::transaction::Begin;
use crate::transport::reply::response_hop;

impl Shard<'_> {
    /// A BYE that crosses the one with which this leg has ended: it is answered as if it had come
    /// first (RFC 5407 section 3.3.1), in a transaction, so that its repetition hears the same
    /// after ours was answered. Everything else finds no dialog (section 3.3.2). False for what
    /// crosses nothing.
    pub(crate) fn bye_crossed(
        &mut self,
        now: Now,
        frames: &mut dyn Frames,
        leg: LegId,
        request: &Request<'_>,
    ) -> bool {
        let Request { datagram, message, key, .. } = *request;
        if message.method() != Some(Method::Bye)
            || !self.transactions.clients.crosses_bye(&self.core, leg, message)
        {
            return false;
        }
        let hop = response_hop(message, datagram.hop);
        let standing = datagram.standing;
        let begin = Begin { invite: false, key, merge: None, hop, leg: LegId::NONE, standing };
        let mut cx = Cx { now, frames, core: &mut self.core };
        let servers = &mut self.transactions.servers;
        let Some(server) = servers.begin(cx.core, &begin) else {
            cx.answer(datagram, message, 200);
            return true;
        };
        match cx.compose_short(datagram, message, 200) {
            Some(frame) => {
                servers.send_short(&mut cx, server, 200, frame);
            }
            None => servers.end(cx.core, server),
        }
        true
    }
}
