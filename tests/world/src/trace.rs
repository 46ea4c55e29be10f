//! What happened, one line each, on standard error: for one seed, when asked for
//! (`TANDEM_TRACE=1`).

use base::Mono;

use crate::network::{Datagram, is_sip};
use crate::world::DAWN;

/// Writes, or does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    pub on: bool,
    /// Media packets too.
    pub media: bool,
}

impl Trace {
    /// `TANDEM_TRACE=1` for signalling and events, `=2` for media too.
    #[must_use]
    pub fn from_env() -> Self {
        let level = std::env::var("TANDEM_TRACE").unwrap_or_default();
        Self { on: matches!(level.as_str(), "1" | "2"), media: level == "2" }
    }

    pub fn line(&self, now: Mono, text: impl FnOnce() -> String) {
        if self.on {
            let at = now.since(DAWN.mono);
            eprintln!("{:>10.4}  {}", at.as_secs_f64(), text());
        }
    }

    pub(crate) fn datagram(&self, now: Mono, datagram: &Datagram) {
        let sip = is_sip(&datagram.bytes);
        if !self.on || !(sip || self.media) {
            return;
        }
        self.line(now, || {
            let Datagram { from, to, bytes } = datagram;
            if !sip {
                let header = rtp::Header::parse(bytes).ok().map(|it| {
                    format!("pt {} seq {} at {} of {:x}", it.pt, it.seq, it.timestamp, it.ssrc.0)
                });
                let header = header.unwrap_or_default();
                return format!("{from} -> {to} media, {} bytes {header}", bytes.len());
            }
            let text = String::from_utf8_lossy(bytes);
            let field = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
                line.to_owned()
            };
            let first = text.lines().next().unwrap_or_default();
            let directions = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
            let direction = directions.into_iter().find(|it| text.contains(it)).unwrap_or_default();
            let media = [field("c="), field("m="), direction.to_owned()].join(" ");
            format!(
                "{from} -> {to} {first} [{} | {} | {}]",
                field("CSeq"),
                field("Call-ID"),
                media.trim()
            )
        });
    }
}
