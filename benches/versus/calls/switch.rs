//! This switch as it is deployed: both processes under their supervisor, on the one core. Calls
//! follow a static route; what they used is metered, journalled and booked meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::phones::Line;
use super::{Carrier, command, end};
use crate::Failure;
use crate::bed::{Names, PHONES, TANDEM, prefer};

/// Of the REST API.
pub(super) const API: u16 = 8_080;
const CALLER_PORT: u16 = 5_071;
const CALLEE_PORT: u16 = 5_072;
const STEP: Duration = Duration::from_millis(100);
const STEPS_MAX: usize = 300;

pub(super) struct Switch {
    supervisor: Child,
    pids: Vec<u32>,
    line: Line,
}

impl Switch {
    pub(super) fn start(names: &Names, scratch: &Path) -> Result<Self, Failure> {
        let programs = std::env::var("VERSUS_BIN")?;
        let data = scratch.join("tandem");
        fs::create_dir_all(&data)?;
        let config = scratch.join("tandem.toml");
        fs::write(&config, configuration())?;
        let log = fs::File::create(scratch.join("tandem.log"))?;
        let supervisor = command(names, &format!("{programs}/tandem"))
            .arg("up")
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let at = |address, port| SocketAddr::from((address, port));
        let line = Line::new(at(TANDEM, 5_060), at(PHONES, CALLER_PORT), at(PHONES, CALLEE_PORT))?;
        let mut started = Self { supervisor, pids: Vec::new(), line };
        for _ in 0..STEPS_MAX {
            std::thread::park_timeout(STEP);
            let text = fs::read_to_string(data.join("endpoints.json")).unwrap_or_default();
            let known: Value = serde_json::from_str(&text).unwrap_or_default();
            let pid = |name: &str| known["pids"][name].as_u64();
            let pids = ["supervisor", "dataplane", "controlplane"].map(pid);
            let pids: Vec<u32> =
                pids.into_iter().flatten().filter_map(|pid| u32::try_from(pid).ok()).collect();
            if pids.len() == 3 && pids.iter().all(|pid| *pid > 0) {
                // The table is published, and ports are open.
                std::thread::park_timeout(STEP * 20);
                pids.iter().copied().for_each(prefer);
                started.pids = pids;
                return Ok(started);
            }
        }
        let said = fs::read_to_string(scratch.join("tandem.log")).unwrap_or_default();
        Err(format!("the switch does not start; it said:\n{said}").into())
    }
}

impl Carrier for Switch {
    fn name(&self) -> &'static str {
        "tandem"
    }

    fn pids(&self) -> Vec<u32> {
        self.pids.clone()
    }

    fn carrying(&self) -> Vec<u32> {
        vec![self.pids[1]]
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        end(&mut self.supervisor);
    }
}

fn configuration() -> String {
    format!(
        "[dataplane]\nshards = 1\npin = false\n\
         [[dataplane.listener]]\nname = \"udp\"\nbind = \"{TANDEM}:5060\"\n\
         [[dataplane.media]]\nname = \"media\"\nbind = \"{TANDEM}\"\nports = [10240, 60000]\n\
         [dataplane.guard]\nsource_rate = 0\n\
         [controlplane]\nhttp = \"{TANDEM}:{API}\"\nfirst_account = \"Bench\"\n\
         [controlplane.api]\naccount_rate = 0\nsource_rate = 0\n\
         [[grant]]\naccount = \"\"\ndomains = [\"bench\"]\n\
         [[trunk]]\nname = \"bench\"\nsources = [\"{PHONES}/32\"]\n\
         targets = [\"{PHONES}:{CALLEE_PORT}\"]\nring_s = 60\n"
    )
}
