//! From the configuration as written to the plan as lived: what is relative becomes absolute, what
//! is shared is dealt out, what cannot work is said.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{HashKey, Transport};
use config::Config;
use config::capacity::{Capacity, Machine, memory_bytes};
use crossbeam_queue::ArrayQueue;
use net::driver::MediaAddress;
use net::{DriverPlan, PoolPlan};
use secure::Identity;
use shard::plan::{
    GuardPlan, Keys, Limits, ListenerPlan, Login, MediaPlan, Plan, Registration, Timers,
};
use sip::digest::Algorithm;
use wire::region::{SECRET_WORDS, Sizes};

use crate::Failure;
use crate::tls::Tls;

/// Ports of a block (DESIGN.md section 4).
const BLOCK: u16 = 256;
/// Descriptors of the process beside its shards': logs, the link with the controlplane and what is
/// sent over it, the service manager's socket.
const OTHER_DESCRIPTORS: u64 = 128;

/// What a listener's sockets are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) dscp: u8,
}

/// The whole process's plan.
#[derive(Debug)]
pub(crate) struct EnginePlan {
    pub(crate) shards: u8,
    pub(crate) node: u32,
    pub(crate) limits: Limits,
    pub(crate) sizes: Sizes,
    pub(crate) runtime_dir: PathBuf,
    /// Where the number of the last life is kept.
    pub(crate) epoch_file: PathBuf,
    pub(crate) listeners: Vec<Bound>,
    spin_us: u32,
    frames: (u32, u32),
    pin: bool,
    cpus: Vec<usize>,
    listener_plans: Vec<ListenerPlan>,
    addresses: Vec<MediaAddress>,
    /// Per media address: what SDP says, and the first ports of all its blocks.
    media: Vec<(IpAddr, Vec<u16>)>,
    timers: Timers,
    guard: GuardPlan,
    keys: Keys,
    /// Trunks' credentials: from the configuration into this process's own memory, and no further.
    logins: Vec<Login>,
    registrations: Vec<Registration>,
    seed: u64,
}

impl EnginePlan {
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        let plane = &config.dataplane;
        let cpus = net::cpu::allowed();
        let shards = match plane.shards {
            0 => u8::try_from(net::cpu::shards_default()).unwrap_or(1).clamp(1, 64),
            shards => shards,
        };
        let media = media_blocks(config, shards)?;
        let capacity = Capacity::of(config, &machine(shards));
        let accepted = capacity.connections;
        let limits = Limits {
            connections: (accepted, accepted / 4),
            datagram_bytes: plane.limits.datagram_bytes,
            ..Limits::for_legs(capacity.legs, plane.limits.transactions)
        };
        let runtime_dir = if config.node.runtime_dir.as_os_str().is_empty() {
            config.node.data_dir.join("run")
        } else {
            config.node.runtime_dir.clone()
        };
        Ok(Self {
            shards,
            node: config.node.id,
            limits,
            sizes: Sizes::for_legs(limits.legs),
            runtime_dir,
            epoch_file: crate::epoch::file(&config.node.data_dir),
            listeners: plane
                .listener
                .iter()
                .map(|it| Bound { address: it.bind, transport: it.transport, dscp: it.dscp })
                .collect(),
            spin_us: plane.spin_us,
            frames: (plane.limits.frames, plane.limits.large_frames),
            // With fewer cores than shards, pinning would only make them wait for each other.
            pin: plane.pin && usize::from(shards) < cpus.len(),
            cpus,
            listener_plans: listener_plans(config)?,
            addresses: plane
                .media
                .iter()
                .map(|media| MediaAddress { bind: media.bind, device: None, dscp: media.dscp })
                .collect(),
            media,
            timers: Timers {
                t1: Duration::from_millis(u64::from(plane.timers.t1_ms)),
                hold: Duration::from_millis(u64::from(plane.timers.hold_ms)),
                media_timeout: Duration::from_secs(u64::from(plane.timers.media_timeout_s)),
                session: Duration::from_secs(u64::from(plane.timers.session_s)),
                target: Duration::from_millis(u64::from(plane.timers.target_ms)),
            },
            guard: GuardPlan {
                source_rate: plane.guard.source_rate,
                source_burst: plane.guard.source_burst,
                call_rate: plane.guard.call_rate,
                stranger_rate: plane.guard.stranger_rate,
            },
            keys: keys()?,
            logins: logins(config),
            registrations: registrations(config),
            seed: random_u64()?,
        })
    }

    /// The secrets that the regions keep.
    pub(crate) fn sign_as(&mut self, secrets: [u64; SECRET_WORDS]) {
        let [a, b, c, d] = secrets;
        let key = |high: u64, low: u64| {
            sip::token::Key((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
        };
        (self.keys.token, self.keys.placement) = (key(a, b), key(c, d));
    }

    pub(crate) fn for_shard(&self, shard: u8) -> Plan {
        let mine = |blocks: &Vec<u16>| {
            let every = usize::from(self.shards);
            blocks.iter().skip(usize::from(shard)).step_by(every).copied().collect()
        };
        Plan {
            shard,
            shards: self.shards,
            listeners: self.listener_plans.clone(),
            media: self
                .media
                .iter()
                .zip(&self.addresses)
                .map(|((advertised, blocks), address)| MediaPlan {
                    bound: address.bind,
                    advertised: *advertised,
                    blocks: mine(blocks),
                    ports: whole(blocks),
                })
                .collect(),
            limits: self.limits,
            timers: self.timers,
            guard: self.guard,
            keys: self.keys,
            logins: self.logins.clone(),
            registrations: self.registrations.clone(),
            seed: self.seed,
        }
    }

    /// The TLS sessions of a shard, which begin with what comes by `fresh`.
    pub(crate) fn tls(&self, fresh: Arc<ArrayQueue<Arc<Identity>>>) -> Tls {
        let seals = self.listeners.iter().map(|it| it.transport.is_tls());
        let (accepted, opened) = self.limits.connections;
        Tls::new(seals.collect(), usize::from(accepted) + usize::from(opened), fresh)
    }

    pub(crate) fn driver(&self, shard: u8) -> DriverPlan {
        let (small, large) = self.frames;
        let ports = self.ports_max(self.limits);
        let plan = DriverPlan::for_ports(ports, self.addresses.clone());
        let pool = PoolPlan {
            small_receive: (small / 4 * 3).clamp(256, 32_768),
            small_own: (small / 4).max(256),
            large_receive: (large / 2).clamp(64, 32_768),
            large_own: (large / 2).max(64),
            ..plan.pool
        };
        DriverPlan {
            shard,
            pool,
            connections: self.limits.connections,
            spin_us: self.spin_us,
            ..plan
        }
    }

    /// Media ports of one shard: two per leg and the spares, as far as its blocks go.
    fn ports_max(&self, limits: Limits) -> u32 {
        let blocks: usize = self.media.iter().map(|(_, blocks)| blocks.len()).sum();
        let ports = blocks.div_ceil(usize::from(self.shards)) * usize::from(BLOCK);
        let wanted = limits.port_pairs(self.media.len()) * 2;
        u32::try_from(ports.min(wanted)).unwrap_or(u32::MAX)
    }

    /// Descriptors of the whole process with these limits: those of the drivers, of what is shared
    /// between them (regions, doorbells, SIP sockets) and of the rest.
    fn descriptors(&self, limits: Limits) -> u64 {
        let ports = self.ports_max(limits);
        let plan = DriverPlan::for_ports(ports, Vec::new());
        let driver = DriverPlan { connections: limits.connections, ..plan }.descriptors();
        u64::from(self.shards) * (driver + 2) + OTHER_DESCRIPTORS
    }

    /// Raises the limit of descriptors to what the whole plan needs, before anything is opened; an
    /// error says what would do.
    pub(crate) fn raise_descriptors(&self) -> Result<(), Failure> {
        let needed = self.descriptors(self.limits);
        match net::cpu::raise_nofile(needed) {
            Ok(()) => Ok(()),
            Err(net::NetError::TooFewDescriptors { limit, .. }) => {
                Err(self.too_few_descriptors(needed, limit).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn too_few_descriptors(&self, needed: u64, limit: u64) -> String {
        let Limits { legs, .. } = self.limits;
        let fits = |legs: &u32| self.descriptors(Limits { legs: *legs, ..self.limits }) <= limit;
        let most = (1..=legs / 100).rev().map(|hundreds| hundreds * 100).find(fits);
        let or = match most {
            Some(most) => format!("lower `dataplane.limits.legs` to {most}"),
            None => "lower `dataplane.shards`".to_owned(),
        };
        format!(
            "`dataplane.limits.legs` = {legs} on {} shards needs {needed} file descriptors (two per \
             leg), the hard limit is {limit}: raise it (`LimitNOFILE={needed}` in the unit, or \
             `ulimit -Hn {needed}`), or {or}",
            self.shards
        )
    }

    pub(crate) fn cpu(&self, shard: u8) -> Option<usize> {
        if !self.pin {
            return None;
        }
        // Core 0 is left to the system and the controlplane, where there is more than one.
        let at = (usize::from(shard) + 1) % self.cpus.len();
        self.cpus.get(at).copied()
    }

    /// Bytes taken at boot by all shards, about.
    pub(crate) fn footprint(&self) -> usize {
        let (small, large) = self.frames;
        let frames =
            small as usize * base::frame::SMALL_BYTES + large as usize * base::frame::LARGE_BYTES;
        let region = self.sizes.words(wire::region::Side::Dataplane) * 8;
        usize::from(self.shards) * (self.limits.footprint(self.shards) + frames + region)
    }
}

fn logins(config: &Config) -> Vec<Login> {
    let known = config.trunk.iter().filter(|trunk| !trunk.username.is_empty());
    let login = |trunk: &config::Trunk| Login {
        trunk: trunk.name.clone(),
        user: trunk.username.clone(),
        password: trunk.password.0.clone(),
        realm: trunk.realm.clone(),
        digest: digest(trunk.digest),
    };
    known.map(login).collect()
}

fn digest(digest: config::Digest) -> Option<Algorithm> {
    match digest {
        config::Digest::Any => None,
        config::Digest::Md5 => Some(Algorithm::Md5),
        config::Digest::Sha256 => Some(Algorithm::Sha256),
    }
}

fn registrations(config: &Config) -> Vec<Registration> {
    let registers = config.trunk.iter().filter(|trunk| trunk.register);
    let registration = |trunk: &config::Trunk| Registration {
        trunk: trunk.name.clone(),
        host: trunk.host.clone(),
        user: trunk.username.clone(),
        password: trunk.password.0.clone(),
        realm: trunk.realm.clone(),
        contact: match trunk.register_contact.is_empty() {
            true => trunk.username.clone(),
            false => trunk.register_contact.clone(),
        },
        targets: trunk.targets.clone(),
        tls_name: trunk.tls_name.clone(),
        expires: trunk.register_s,
        leaves: trunk.unregister,
        digest: digest(trunk.digest),
        listener: (0..)
            .zip(&config.dataplane.listener)
            .find(|(_, listener)| listener.name == trunk.listener && !trunk.listener.is_empty())
            .map_or(wire::Originate::ANY_LISTENER, |(at, _)| at),
    };
    registers.map(registration).collect()
}

/// Every media address as it is advertised, with the first ports of its blocks.
fn media_blocks(config: &Config, shards: u8) -> Result<Vec<(IpAddr, Vec<u16>)>, Failure> {
    let plane = &config.dataplane;
    let media: Vec<_> = plane
        .media
        .iter()
        .map(|media| (media.advertised.unwrap_or(media.bind), blocks(media.ports)))
        .collect();
    for (media, (_, blocks)) in plane.media.iter().zip(&media) {
        check_media(media)?;
        if blocks.len() < usize::from(shards) {
            let [first, last] = media.ports;
            return Err(format!(
                "media `{}`: ports {first}-{last} hold {} whole blocks of {BLOCK} (a block starts \
                 at a multiple of {BLOCK}), {shards} shards need one each: widen `ports` or lower \
                 `shards`",
                media.name,
                blocks.len()
            )
            .into());
        }
    }
    Ok(media)
}

/// Media that is bound to every address could be described as being at one of ours that we do not
/// know: it would go round for ever.
fn check_media(media: &config::Media) -> Result<(), Failure> {
    if !media.bind.is_unspecified() {
        return Ok(());
    }
    let name = &media.name;
    Err(format!(
        "media `{name}` is bound to every address: name the address that its ports are at (one \
         [[dataplane.media]] for each)"
    )
    .into())
}

fn listener_plans(config: &Config) -> Result<Vec<ListenerPlan>, Failure> {
    let plane = &config.dataplane;
    let plan = |listener: &config::Listener| {
        let advertised = listener.advertised.unwrap_or(listener.bind);
        if advertised.ip().is_unspecified() {
            return Err(format!(
                "listener `{}` is bound to every address: say in `advertised` which one Via and \
                 Contact shall name",
                listener.name
            )
            .into());
        }
        let fits = |media: &config::Media| {
            if listener.media.is_empty() {
                media.bind.is_ipv4() == advertised.is_ipv4()
            } else {
                media.name == listener.media
            }
        };
        let media = plane.media.iter().position(fits).ok_or_else(|| {
            Failure::from(format!(
                "listener `{}` has no media address of its family",
                listener.name
            ))
        })?;
        Ok(ListenerPlan {
            bound: listener.bind,
            advertised,
            media: u8::try_from(media)?,
            transport: listener.transport,
            origins: listener.origins.clone(),
        })
    };
    plane.listener.iter().map(plan).collect()
}

/// What this machine has.
fn machine(shards: u8) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory_bytes = memory_bytes(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max"));
    Machine { memory_bytes, descriptors: net::cpu::nofile_limit().1, shards }
}

/// First ports of the whole blocks in a range.
fn blocks([first, last]: [u16; 2]) -> Vec<u16> {
    let first = u32::from(first).next_multiple_of(u32::from(BLOCK));
    let end = u32::from(last) + 1;
    (first..end)
        .step_by(usize::from(BLOCK))
        .filter(|block| block + u32::from(BLOCK) <= end)
        .filter_map(|block| u16::try_from(block).ok())
        .collect()
}

/// First and last port of blocks.
fn whole(blocks: &[u16]) -> [u16; 2] {
    let first = blocks.first().copied().unwrap_or(u16::MAX);
    let last = blocks.last().map_or(0, |block| block + (BLOCK - 1));
    [first, last]
}

/// Those of the regions take the place of the first two.
fn keys() -> Result<Keys, Failure> {
    Ok(Keys {
        token: sip::token::Key([0; 16]),
        placement: sip::token::Key([0; 16]),
        table: HashKey([random_u64()?, random_u64()?]),
    })
}

fn random_u64() -> Result<u64, Failure> {
    Ok(getrandom::u64()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_aligned() {
        assert_eq!(blocks([20_000, 20_600]), [20_224]);
        assert_eq!(blocks([20_224, 20_479]), [20_224]);
        assert_eq!(blocks([20_225, 20_479]), Vec::<u16>::new());
        assert_eq!(blocks([65_000, 65_535]), [65_024, 65_280]);
    }

    #[test]
    fn blocks_are_dealt_out_once_each() {
        let mut config = Config::default();
        config.dataplane.shards = 3;
        let plan = EnginePlan::new(&config).unwrap();
        let mut all: Vec<u16> =
            (0..3).flat_map(|shard| plan.for_shard(shard).media[0].blocks.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, blocks(config.dataplane.media[0].ports));
    }

    /// The plan is judged as a whole, and by what it really opens.
    #[test]
    fn descriptors_are_those_of_all_shards_and_a_refusal_says_what_would_do() {
        let mut config = Config::default();
        config.dataplane.shards = 2;
        config.dataplane.limits.legs = 10_000;
        config.dataplane.limits.connections = 64;
        config.dataplane.media[0].ports = [1_024, 65_535];
        let plan = EnginePlan::new(&config).unwrap();
        let needed = plan.descriptors(plan.limits);
        assert!(
            needed >= 2 * u64::from(plan.driver(0).ports_max) && needed < 2 * 21_500,
            "{needed}"
        );
        let said = plan.too_few_descriptors(needed, 20_000);
        for word in ["limits.legs", "20000", "LimitNOFILE=", "ulimit -Hn", "to 4"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        let most: u32 = said.rsplit(' ').next().unwrap().parse().unwrap();
        config.dataplane.limits.legs = most;
        let smaller = EnginePlan::new(&config).unwrap();
        assert!(smaller.descriptors(smaller.limits) <= 20_000);
        config.dataplane.limits.legs = most + 100;
        let larger = EnginePlan::new(&config).unwrap();
        assert!(larger.descriptors(larger.limits) > 20_000);
    }

    /// The legs that a few descriptors allow need no more than these.
    #[test]
    fn what_is_derived_from_descriptors_fits_into_them() {
        let mut config = Config::default();
        config.dataplane.media[0].ports = [1_024, 65_535];
        for (shards, descriptors) in [(1, 4_096), (2, 20_000), (8, 65_536)] {
            config.dataplane.shards = shards;
            let few = Machine { descriptors, ..machine(shards) };
            let plan = EnginePlan::new(&config).unwrap();
            let legs = Capacity::of(&config, &few).legs;
            let needed = plan.descriptors(Limits { legs, ..plan.limits });
            assert!(needed <= descriptors, "{legs} legs: {needed} of {descriptors}");
        }
    }

    /// The arithmetic that `tandem doctor` shows is the one that is lived by.
    #[test]
    fn a_leg_takes_no_more_than_the_capacity_counts_with() {
        let of = |legs| {
            let limits = Limits::for_legs(legs, 1_024);
            let words = Sizes::for_legs(legs).words(wire::region::Side::Dataplane);
            limits.footprint(1) + words * 8
        };
        let leg = (of(2_000) - of(1_000)) / 1_000;
        // Two sockets of 2.7 KiB in the kernel beside it.
        assert!(leg + 2 * 2_765 <= usize::try_from(config::capacity::LEG_BYTES).unwrap(), "{leg}");
    }

    #[test]
    fn media_is_bound_to_an_address_that_is_known_to_be_ours() {
        for bind in ["0.0.0.0", "::"] {
            let mut config = Config::default();
            config.dataplane.media[0].bind = bind.parse().unwrap();
            config.dataplane.media[0].advertised = Some("192.0.2.1".parse().unwrap());
            let error = EnginePlan::new(&config).unwrap_err();
            assert!(error.to_string().contains("every address"), "{error}");
        }
    }

    #[test]
    fn a_wildcard_listener_must_say_what_it_is() {
        let mut config = Config::default();
        config.dataplane.listener[0].bind = "0.0.0.0:5060".parse().unwrap();
        let error = EnginePlan::new(&config).unwrap_err();
        assert!(error.to_string().contains("advertised"), "{error}");
    }
}
