//! What a configuration can carry on a machine: how many legs, where it does not say, how many
//! calls stand at once and how many begin in a second, and what binds. The engine takes its limits
//! from here and `tandem doctor` says them: one arithmetic for both.

use crate::Config;

/// Bytes for a leg, its share of shared memory, texts and closing events, and its two sockets in
/// the kernel.
pub const LEG_BYTES: u64 = 16_384;
/// The part of a machine's memory that legs may have where the configuration does not say: a
/// quarter.
const MEMORY_PART: u64 = 4;
/// Descriptors that are no media port: of the process, and of each shard (listeners, doorbells,
/// rings); and those of the ports that a shard keeps open and unused at each media address.
const DESCRIPTORS_ELSEWHERE: u64 = 1_024;
const DESCRIPTORS_SHARD: u64 = 256;
const DESCRIPTORS_SPARE: u64 = 1_024;
/// Legs by default: at most, and at least.
const LEGS_MAX: u64 = 65_536;
const LEGS_MIN: u64 = 64;
/// Of the descriptors of a shard, those for connections; and how many these are in any case.
const CONNECTIONS_PART: u64 = 32;
const CONNECTIONS_MIN: u64 = 32;
const CONNECTIONS_MAX: u64 = 4_096;
/// Ports of a block (DESIGN.md section 4), and pairs of them.
const BLOCK: u32 = 256;
const PAIRS: u64 = 128;
/// A pair rests so long before it is used again, seconds.
const REST_S: u64 = 2;

/// The machine, as far as it bounds the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory that the process may have in all.
    pub memory_bytes: u64,
    /// The hard limit of descriptors.
    pub descriptors: u64,
    pub shards: u8,
}

/// What binds the number of calls that stand at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Legs,
    Ports,
    Descriptors,
    Memory,
}

/// What a configuration carries, all shards together but for `legs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Legs per shard.
    pub legs: u32,
    /// SIP connections per shard that are accepted; a quarter of it is opened.
    pub connections: u16,
    /// Pairs of media ports.
    pub pairs: u64,
    /// Relayed calls that can stand at once.
    pub calls: u64,
    pub bound: Bound,
    /// Calls a second whose transactions are remembered for as long as RFC 3261 says. More are
    /// carried: repetitions are remembered for a shorter time then.
    pub calls_per_second: u64,
}

impl Capacity {
    #[must_use]
    pub fn of(config: &Config, machine: &Machine) -> Self {
        let plane = &config.dataplane;
        let shards = u64::from(machine.shards.max(1));
        let pairs: u64 = plane.media.iter().map(|media| blocks(media.ports) / shards * PAIRS).sum();
        let each = machine.descriptors.saturating_sub(DESCRIPTORS_ELSEWHERE) / shards;
        let connections = match u64::from(plane.limits.connections) {
            0 => (each / CONNECTIONS_PART).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX),
            connections => connections,
        };
        let spare = DESCRIPTORS_SHARD
            + connections
            + connections / 4
            + plane.media.len() as u64 * DESCRIPTORS_SPARE;
        let descriptors = each.saturating_sub(spare) / 2;
        let memory = machine.memory_bytes / MEMORY_PART / shards / LEG_BYTES;
        let legs = match u64::from(plane.limits.legs) {
            // Ended legs wait for their release without a port.
            0 => (pairs + pairs / 4).min(descriptors).min(memory).clamp(LEGS_MIN, LEGS_MAX),
            legs => legs,
        };
        let whole = machine.memory_bytes / shards / LEG_BYTES;
        let (least, bound) = [
            (legs, Bound::Legs),
            (pairs, Bound::Ports),
            (descriptors, Bound::Descriptors),
            (whole, Bound::Memory),
        ]
        .into_iter()
        .min_by_key(|(number, _)| *number)
        .unwrap_or((legs, Bound::Legs));
        // The INVITE and the BYE of the side that calls stand 64 T1 each.
        let stand_ms = 2 * 64 * u64::from(plane.timers.t1_ms.max(1));
        let rate = u64::from(plane.limits.transactions) * 1_000 / stand_ms;
        Self {
            legs: u32::try_from(legs).unwrap_or(u32::MAX),
            connections: u16::try_from(connections).unwrap_or(u16::MAX),
            pairs: pairs * shards,
            calls: least / 2 * shards,
            bound,
            calls_per_second: rate * shards,
        }
    }

    /// Calls of this mean length that can begin in a second, if they stay within what can stand.
    #[must_use]
    pub fn rate_of(&self, seconds: u64) -> u64 {
        self.calls / (seconds + REST_S)
    }
}

impl core::fmt::Display for Bound {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Legs => "dataplane.limits.legs",
            Self::Ports => "media ports",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
        })
    }
}

/// Whole blocks in a range of ports: a block begins at a multiple of 256, and a port outside of one
/// is never used.
#[must_use]
pub fn blocks([first, last]: [u16; 2]) -> u64 {
    let first = u32::from(first).next_multiple_of(BLOCK);
    u64::from((u32::from(last) + 1).saturating_sub(first) / BLOCK)
}

/// Bytes that a process may have: all of the machine's (`/proc/meminfo`), or what its control group
/// says (`memory.max`).
#[must_use]
pub fn memory_bytes(meminfo: &str, memory_max: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let all = kib.map_or(u64::MAX, |kib| kib << 10);
    memory_max.trim().parse::<u64>().map_or(all, |most| most.min(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { memory_bytes: 64 << 30, descriptors: 1 << 20, shards: 1 }
    }

    #[test]
    fn the_default_carries_2000_calls_a_second_and_is_bound_by_its_ports() {
        let capacity = Capacity::of(&Config::default(), &machine());
        assert!(capacity.calls_per_second >= 2_000, "{capacity:?}");
        assert_eq!((capacity.pairs, capacity.bound), (38 * 128, Bound::Ports));
        assert_eq!(capacity.calls, 38 * 64);
        assert_eq!(capacity.rate_of(180), 13);
        assert_eq!(capacity.legs, 38 * 160);
    }

    #[test]
    fn legs_that_are_not_said_follow_from_memory_and_descriptors() {
        let config = Config::default();
        let poor = Machine { memory_bytes: 128 << 20, ..machine() };
        let capacity = Capacity::of(&config, &poor);
        assert_eq!(u64::from(capacity.legs), (128 << 20) / 4 / LEG_BYTES);
        let few = Machine { descriptors: 4_096, ..machine() };
        let capacity = Capacity::of(&config, &few);
        assert_eq!((capacity.legs, capacity.connections), (836, 96));
        let many = Machine { shards: 2, ..few };
        assert_eq!(Capacity::of(&config, &many).legs, 98);
        let none = Machine { descriptors: 256, ..machine() };
        assert_eq!(Capacity::of(&config, &none).legs, 64, "enough to say what is missing");
    }

    #[test]
    fn what_is_said_holds_and_what_binds_is_named() {
        let mut config = Config::default();
        config.dataplane.limits.legs = 20_000;
        let few = Machine { descriptors: 4_096, ..machine() };
        let capacity = Capacity::of(&config, &few);
        assert_eq!((capacity.legs, capacity.bound), (20_000, Bound::Descriptors));
        assert_eq!(capacity.bound.to_string(), "descriptors");
        config.dataplane.limits.legs = 100;
        assert_eq!(Capacity::of(&config, &machine()).calls, 50);
    }

    #[test]
    fn a_control_group_may_have_less_than_its_machine() {
        let meminfo = "MemTotal:       16384 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_bytes(meminfo, ""), 16 << 20);
        assert_eq!(memory_bytes(meminfo, "max\n"), 16 << 20);
        assert_eq!(memory_bytes(meminfo, "1048576\n"), 1 << 20);
        assert_eq!(memory_bytes("", ""), u64::MAX);
    }
}
