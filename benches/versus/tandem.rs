//! This switch: `tandem-dataplane` as it is deployed. Calls follow a static route and are set up by
//! SIP; this program plays the controlplane's small part (it publishes the route).

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use benches::peer::{Call, Phones, Side};
use net::link::Link;
use wire::link::{LINK_BYTES_MAX, ToControlplane, ToDataplane};
use wire::region::{Region, Sizes, layout_hash};
use wire::table::{MediaSources, SignallingSources, StaticRoute, Table};
use wire::{mapping, table};

use crate::Failure;
use crate::bed::{Bed, PHONES, TANDEM, phone, prefer};
use crate::contender::{Contender, Process};

const SIP_PORT: u16 = 5_060;
const CALLEE_PORT: u16 = 5_070;
/// INVITEs sent at once.
const TOGETHER: usize = 10;
const PATIENCE: Duration = Duration::from_millis(200);

pub(crate) struct Tandem {
    process: Process,
    callers: UdpSocket,
    callees: UdpSocket,
    phones: Phones,
    before: u64,
    after: u64,
    /// The link stays open: its end says that the controlplane died.
    _link: Link,
}

impl Tandem {
    pub(crate) fn start(bed: &Bed) -> Result<Self, Failure> {
        let data = bed.scratch.join("tandem");
        fs::create_dir_all(&data)?;
        let config = data.join("tandem.toml");
        fs::write(&config, configuration(&data))?;
        let log = fs::File::create(data.join("log"))?;
        let program = bed.programs.join("tandem-dataplane");
        let child = bed
            .relay_command(&program.to_string_lossy())
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let process = Process(child);
        let link = meet(&data.join("run/link.sock")).map_err(|error| {
            let said = fs::read_to_string(data.join("log")).unwrap_or_default();
            format!("tandem-dataplane: {error}; it said:\n{said}")
        })?;
        let (switch, caller) = (at(TANDEM, SIP_PORT), at(PHONES, SIP_PORT));
        let callee = at(PHONES, CALLEE_PORT);
        let (callers, callees) = (socket(caller)?, socket(callee)?);
        prefer(process.0.id());
        let before = process.resident();
        let phones = Phones::new(switch, caller, callee);
        Ok(Self { process, callers, callees, phones, before, after: before, _link: link })
    }

    /// Lets everybody speak until nothing has come for [`PATIENCE`] or `done` says enough.
    fn converse(&mut self, done: impl Fn(&Phones) -> bool) -> Result<(), Failure> {
        let mut bytes = [0; 8_192];
        let mut silent = 0;
        while silent < 200 && !done(&self.phones) {
            let mut heard = false;
            for (side, socket) in [(Side::Caller, &self.callers), (Side::Callee, &self.callees)] {
                while let Ok((len, _)) = socket.recv_from(&mut bytes) {
                    heard = true;
                    for answer in self.phones.handle(side, &bytes[..len]) {
                        socket.send_to(&answer, self.phones.switch)?;
                    }
                }
            }
            silent = if heard { 0 } else { silent + 1 };
        }
        Ok(())
    }
}

impl Contender for Tandem {
    fn name(&self) -> &'static str {
        "tandem"
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn set_up(&mut self, calls: usize, first: usize) -> Result<Vec<SocketAddr>, Failure> {
        for call in 0..calls {
            let leg = first + call * 2;
            self.phones.calls.push(Call::new(phone(leg), phone(leg + 1)));
        }
        let numbers: Vec<usize> = (0..calls).collect();
        for chunk in numbers.chunks(TOGETHER) {
            for number in chunk {
                self.callers.send_to(&self.phones.invite(*number), self.phones.switch)?;
            }
            let last = *chunk.last().unwrap_or(&0);
            self.converse(|phones| {
                phones.calls[..=last].iter().all(|call| call.established || call.refused.is_some())
            })?;
            // Ports are opened in housekeeping, ten times a second: no faster than it gets them.
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let mut targets = Vec::with_capacity(calls * 2);
        for (number, call) in self.phones.calls.iter().enumerate() {
            match (call.caller_target, call.callee_target) {
                (Some(caller), Some(callee)) if call.established => {
                    targets.extend([caller, callee]);
                }
                _ => {
                    return Err(format!("tandem: call {number} failed: {:?}", call.refused).into());
                }
            }
        }
        self.after = self.process.resident();
        Ok(targets)
    }

    fn memory(&self) -> (u64, u64) {
        (self.after, self.after.saturating_sub(self.before))
    }
}

fn at(address: std::net::Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

#[expect(clippy::disallowed_methods, reason = "phones have sockets")]
fn socket(address: SocketAddr) -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(5)))?;
    Ok(socket)
}

fn configuration(data: &Path) -> String {
    format!(
        "[node]\ndata_dir = \"{}\"\n\
         [dataplane]\nshards = 1\npin = false\n\
         [[dataplane.listener]]\nname = \"udp\"\nbind = \"{TANDEM}:{SIP_PORT}\"\n\
         [[dataplane.media]]\nname = \"media\"\nbind = \"{TANDEM}\"\nports = [20000, 40000]\n\
         [dataplane.guard]\nsource_rate = 0\n\
         [dataplane.timers]\nmedia_timeout_s = 3600\n",
        data.display()
    )
}

/// The controlplane's part: hello, a region with the route, attach.
fn meet(path: &Path) -> Result<Link, Failure> {
    let mut tries = 0;
    let link = loop {
        match Link::connect(path) {
            Ok(link) => break link,
            Err(error) if tries == 100 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        std::thread::park_timeout(PATIENCE / 4);
    };
    let mut buffer = [0; LINK_BYTES_MAX];
    let hello = ToDataplane::Hello { layout: layout_hash(), pid: std::process::id() };
    let len = wire::encode(&hello, &mut buffer)?;
    link.send(&buffer[..len], &[])?;
    let answer = link.receive(&mut buffer)?;
    let sizes = match wire::decode(&buffer[..answer.len])? {
        ToControlplane::Welcome { legs, event_words, command_words, .. } => Sizes {
            legs,
            event_words: usize::try_from(event_words)?,
            command_words: usize::try_from(command_words)?,
        },
        ToControlplane::Refuse { .. } => return Err("it refuses our layout".into()),
    };
    let side = wire::region::Side::Controlplane;
    let fd = mapping::create_sealed("versus", sizes.words(side))?;
    let words = mapping::map_shared(&fd, true)?;
    let region = Region::create(words, side, sizes, 1);
    let area = region.table().ok_or("no table in the region")?;
    table::publish(area, &Table { routes: vec![route()], admission: None, ..Table::default() })?;
    let readonly = mapping::reopen_readonly(&fd)?;
    let len = wire::encode(&ToDataplane::Attach { epoch: 1 }, &mut buffer)?;
    link.send(&buffer[..len], &[readonly.as_fd()])?;
    // The table is read within a housekeeping turn.
    std::thread::park_timeout(Duration::from_millis(500));
    Ok(link)
}

fn route() -> StaticRoute {
    StaticRoute {
        account: 1,
        domain: String::new(),
        prefix: String::new(),
        sources: vec![table::Network { address: PHONES.into(), bits: 32 }],
        trusted: Vec::new(),
        targets: vec![base::Target::udp(at(PHONES, CALLEE_PORT))],
        host: String::new(),
        strip: 0,
        prepend: String::new(),
        rate_max: 0,
        calls_max: 0,
        ring_s: 60,
        media: MediaSources::default(),
        signalling: SignallingSources::default(),
        tls_name: String::new(),
        login: String::new(),
        transfer: false,
        dtmf: Default::default(),
        register: false,
        register_contact: String::new(),
        register_s: 600,
        unregister: false,
    }
}
