//! What this machine can do: for `tandem doctor`, and for the texts of errors. Reads, never
//! changes.

use std::fs;
use std::ops::RangeInclusive;

use io_uring::{IoUring, Probe};

use crate::ring;

/// What was found. `problems` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// kernel.io_uring_disabled: "0", "1", "2", or "absent".
    pub io_uring_disabled: String,
    pub ring: RingAbility,
    /// RLIMIT_MEMLOCK in bytes (`u64::MAX`: none).
    pub memlock_bytes: u64,
    /// RLIMIT_NOFILE: (soft, hard).
    pub descriptors: (u64, u64),
    /// net.core.rmem_max in bytes: the most that SO_RCVBUF gives.
    pub receive_buffer_bytes_max: Option<u64>,
    /// net.ipv4.ip_local_port_range: ports that other programs get at random.
    pub local_ports: Option<RangeInclusive<u16>>,
    /// net.ipv4.ip_local_reserved_ports: ports taken out of that.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
    /// The kernel's clock source; anything but tsc, kvm-clock and arch_sys_counter makes each look
    /// at the clock a system call.
    pub clock_source: Option<String>,
    /// Cores this process may use.
    pub cores: Vec<usize>,
}

/// What io_uring gives here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingAbility {
    /// A ring with our flags was made, and it knows all operations we use.
    Full,
    /// A ring was made; these operations (by code) are missing.
    Lacks(Vec<u8>),
    /// No ring, with the error's text.
    None(String),
}

impl Machine {
    #[must_use]
    pub fn look() -> Self {
        Self {
            kernel: kernel_release(),
            io_uring_disabled: io_uring_disabled(),
            ring: ring_ability(),
            memlock_bytes: memlock_limit(),
            descriptors: crate::cpu::nofile_limit(),
            receive_buffer_bytes_max: sysctl("net/core/rmem_max").and_then(|v| v.parse().ok()),
            local_ports: sysctl("net/ipv4/ip_local_port_range").and_then(|v| pair(&v)),
            reserved_ports: sysctl("net/ipv4/ip_local_reserved_ports")
                .map(|v| ranges(&v))
                .unwrap_or_default(),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            cores: crate::cpu::allowed(),
        }
    }

    /// What is wrong for `ports` of media and SIP receive buffers of `receive_buffer_bytes`: one
    /// sentence each, cause and cure.
    #[must_use]
    pub fn problems(
        &self,
        ports: &RangeInclusive<u16>,
        descriptors_needed: u64,
        receive_buffer_bytes: u64,
    ) -> Vec<String> {
        let mut found = Vec::new();
        match &self.ring {
            RingAbility::Full => {}
            RingAbility::Lacks(codes) => found.push(format!(
                "io_uring of kernel {} lacks the operations {codes:?}; Linux 6.1 or later has them",
                self.kernel
            )),
            RingAbility::None(why) => found.push(why.clone()),
        }
        if self.descriptors.1 < descriptors_needed {
            found.push(format!(
                "{descriptors_needed} descriptors are needed, the hard limit is {}; set LimitNOFILE=",
                self.descriptors.1
            ));
        }
        if let Some(most) = self.receive_buffer_bytes_max
            && most < receive_buffer_bytes
        {
            found.push(format!(
                "net.core.rmem_max is {most}: SIP bursts get that much buffer instead of \
                 {receive_buffer_bytes} bytes; set net.core.rmem_max={receive_buffer_bytes}"
            ));
        }
        if let Some(text) = self.port_problem(ports) {
            found.push(text);
        }
        if let Some(source) = &self.clock_source
            && !["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"]
                .contains(&source.as_str())
        {
            found.push(format!("the clock source {source} makes each reading a system call"));
        }
        found
    }

    /// Media ports that the kernel may give to other programs.
    fn port_problem(&self, ports: &RangeInclusive<u16>) -> Option<String> {
        let local = self.local_ports.as_ref()?;
        let is_reserved = |port: &u16| self.reserved_ports.iter().any(|range| range.contains(port));
        let start = (*ports.start()).max(*local.start());
        let end = (*ports.end()).min(*local.end());
        let open = (start..=end).filter(|port| !is_reserved(port)).count();
        (open > 0).then(|| {
            format!(
                "{open} of the media ports {}-{} lie in net.ipv4.ip_local_port_range and may be \
                 taken by any program's outgoing traffic; set net.ipv4.ip_local_reserved_ports=\
                 {start}-{end}",
                ports.start(),
                ports.end()
            )
        })
    }
}

/// `uname -r`, or "unknown".
#[must_use]
pub fn kernel_release() -> String {
    sysctl("kernel/osrelease").unwrap_or_else(|| "unknown".into())
}

pub(crate) fn io_uring_disabled() -> String {
    sysctl("kernel/io_uring_disabled").unwrap_or_else(|| "absent".into())
}

pub(crate) fn memlock_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid rlimit to write into.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit.rlim_cur
}

fn ring_ability() -> RingAbility {
    if let Err(error) = ring::Ring::new(8, 16, 8) {
        return RingAbility::None(error.to_string());
    }
    let mut probe = Probe::new();
    let asked = IoUring::new(2).and_then(|ring| ring.submitter().register_probe(&mut probe));
    if let Err(error) = asked {
        return RingAbility::None(format!("asking io_uring for its operations: {error}"));
    }
    let lacking: Vec<u8> = ring::OPERATIONS
        .iter()
        .map(|(code, _)| *code)
        .filter(|code| !probe.is_supported(*code))
        .collect();
    if lacking.is_empty() { RingAbility::Full } else { RingAbility::Lacks(lacking) }
}

fn sysctl(name: &str) -> Option<String> {
    read(&format!("/proc/sys/{name}"))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// "32768\t60999"
fn pair(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// "8080,10000-20000"
fn ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (start, end) = part.split_once('-').unwrap_or((part, part));
        Some(start.parse().ok()?..=end.parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            kernel: "6.1".into(),
            io_uring_disabled: "0".into(),
            ring: RingAbility::Full,
            memlock_bytes: u64::MAX,
            descriptors: (1024, 20_000),
            receive_buffer_bytes_max: Some(212_992),
            local_ports: Some(32_768..=60_999),
            reserved_ports: vec![],
            clock_source: Some("tsc".into()),
            cores: vec![0],
        }
    }

    #[test]
    fn media_ports_inside_the_local_range_are_found_unless_reserved() {
        let mut machine = machine();
        let problems = machine.problems(&(40_000..=40_009), 100, 1000);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("10 of the media ports"), "{}", problems[0]);
        machine.reserved_ports = ranges("8080,40000-40009");
        assert!(machine.problems(&(40_000..=40_009), 100, 1000).is_empty());
        assert!(machine.problems(&(20_000..=30_000), 100, 1000).is_empty());
    }

    #[test]
    fn small_limits_are_named_with_their_cure() {
        let problems = machine().problems(&(10_000..=10_001), 30_000, 4_000_000).join("\n");
        assert!(problems.contains("LimitNOFILE="), "{problems}");
        assert!(problems.contains("net.core.rmem_max=4000000"), "{problems}");
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look();
        assert_ne!(machine.kernel, "unknown");
        assert_eq!(machine.ring, RingAbility::Full);
    }
}
