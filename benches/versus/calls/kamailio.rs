//! Kamailio as a stateful proxy that stays in the path (Record-Route): no accounting, no media, no
//! database, one worker on its one core.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use super::phones::Line;
use super::{Carrier, command, end, family};
use crate::Failure;
use crate::bed::{Names, PEER, PHONES, prefer};

const CALLER_PORT: u16 = 5_081;
const CALLEE_PORT: u16 = 5_082;

pub(super) struct Kamailio {
    process: Child,
    line: Line,
}

impl Kamailio {
    pub(super) fn start(names: &Names, scratch: &Path) -> Result<Self, Failure> {
        let config = scratch.join("kamailio.cfg");
        fs::write(&config, configuration())?;
        let log = fs::File::create(scratch.join("kamailio.log"))?;
        let process = command(names, "kamailio")
            .args(["-DD", "-E", "-m", "1024", "-M", "32", "-w"])
            .arg(scratch)
            .arg("-Y")
            .arg(scratch)
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("kamailio (Debian: kamailio): {error}"))?;
        let at = |address, port| SocketAddr::from((address, port));
        let line = Line::new(at(PEER, 5_060), at(PHONES, CALLER_PORT), at(PHONES, CALLEE_PORT))?;
        let started = Self { process, line };
        std::thread::park_timeout(core::time::Duration::from_secs(2));
        started.pids().into_iter().for_each(prefer);
        if started.pids().len() < 2 {
            let said = fs::read_to_string(scratch.join("kamailio.log")).unwrap_or_default();
            return Err(format!("kamailio does not start; it said:\n{said}").into());
        }
        Ok(started)
    }
}

impl Carrier for Kamailio {
    fn name(&self) -> &'static str {
        "kamailio"
    }

    fn pids(&self) -> Vec<u32> {
        family(self.process.id())
    }

    fn carrying(&self) -> Vec<u32> {
        self.pids()
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn configuration() -> String {
    format!(
        r#"#!KAMAILIO
debug=-1
log_stderror=yes
children=1
disable_tcp=yes
dns=no
rev_dns=no
use_dns_cache=no
auto_aliases=no
listen=udp:{PEER}:5060
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (has_totag()) {{
        loose_route();
        t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    t_check_trans();
    if (is_method("INVITE")) record_route();
    $du = "sip:{PHONES}:{CALLEE_PORT}";
    if (!t_relay()) sl_reply_error();
}}
"#
    )
}
