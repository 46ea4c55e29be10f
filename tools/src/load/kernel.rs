//! What the kernel of this machine dropped meanwhile. On loopback nothing else loses datagrams, so
//! what looks like a fault of the tested switch may be a full queue here.

use std::fs;

/// Counts since boot, of the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    /// At the per-processor backlog (net.core.netdev_max_backlog).
    backlog: u64,
    /// At full UDP receive buffers (net.core.rmem_max).
    receive: u64,
    /// At full UDP send buffers.
    send: u64,
}

impl Drops {
    pub(crate) fn now() -> Self {
        let softnet = fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
        let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
        Self {
            backlog: backlog(&softnet),
            receive: udp(&snmp, "RcvbufErrors"),
            send: udp(&snmp, "SndbufErrors"),
        }
    }

    /// What was dropped since, in words; nothing if nothing was.
    pub(crate) fn since(self) -> Vec<String> {
        self.between(Self::now())
    }

    fn between(self, later: Self) -> Vec<String> {
        let all = [
            (later.backlog - self.backlog.min(later.backlog), "its backlog", "netdev_max_backlog"),
            (
                later.receive - self.receive.min(later.receive),
                "full UDP receive buffers",
                "rmem_max",
            ),
            (later.send - self.send.min(later.send), "full UDP send buffers", "wmem_max"),
        ];
        all.into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, place, key)| {
                format!("this machine's kernel dropped {count} packets at {place} (net.core.{key})")
            })
            .collect()
    }
}

/// The second column of each processor's line, hexadecimal.
fn backlog(softnet: &str) -> u64 {
    let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    softnet.lines().filter_map(dropped).sum()
}

/// One UDP counter: a line of names, then a line of values.
fn udp(snmp: &str, name: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|known| known == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_and_named() {
        assert_eq!(backlog("0001 0000000a 3\n0002 00000001 0\n"), 11);
        let snmp = "Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 5 6 7\nUdpLite: a\n";
        assert_eq!((udp(snmp, "RcvbufErrors"), udp(snmp, "SndbufErrors")), (7, 0));
        let before = Drops { backlog: 1, receive: 2, send: 3 };
        let said = before.between(Drops { backlog: 4, ..before });
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("3 packets") && said[0].contains("netdev_max_backlog"));
    }
}
