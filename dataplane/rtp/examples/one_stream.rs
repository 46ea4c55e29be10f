//! Two sources, one outgoing stream: the listener never notices the change.
//!
//! `cargo run -p rtp --example one_stream`

use std::time::Duration;

use base::Mono;
use rtp::{Header, HeaderFields, Sender, Ssrc, rewrite, write_header};

fn main() {
    let mut sender = Sender::new(Ssrc(0x7a11), 100, 5_000, 8_000);
    let mut now = Mono(1_000_000_000);
    for (source, seq, timestamp) in
        [(1, 7_u16, 160_u32), (1, 8, 320), (2, 60_000, 99), (2, 60_001, 259)]
    {
        if (source, seq) == (2, 60_000) {
            sender.switch_source();
        }
        let mut packet = [0_u8; 172];
        let fields = HeaderFields { marker: false, pt: 0, seq, timestamp, ssrc: Ssrc(source) };
        write_header(&mut packet, &fields).expect("a header fits");
        let header = Header::parse(&packet).expect("we wrote it");
        let numbers = sender
            .stamp(header.seq, header.timestamp, header.payload_bytes(), now)
            .expect("none of these is older than its source");
        // The frame is rewritten where it lies.
        rewrite(&mut packet, &numbers.rewrite(header.marker, header.pt));
        let out = Header::parse(&packet).expect("we wrote it");
        println!(
            "source {source} {seq:>5} {timestamp:>4} -> {:x} {} {} {}",
            out.ssrc.0,
            out.seq,
            out.timestamp,
            if out.marker { "marked" } else { "" }
        );
        now = now + Duration::from_millis(20);
    }
}
