//! Kamailio as a proxy that stays in the path: upstream of the callees, where it forks, and as a
//! trunk by TLS with datagrams behind it.

mod fork;
mod trunk;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Peer, eventually};

/// Where Debian has its modules.
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules/";

/// A running one, ended with its workers when dropped.
struct Kamailio {
    peer: Peer,
}

/// What it proves by TLS, and whom it believes.
struct Certificates<'a> {
    own: &'a Path,
    believed: &'a Path,
}

impl Kamailio {
    /// `route` says what becomes of a request that begins something. By TLS it listens at the port
    /// behind `at`.
    fn start(bed: &Bed, at: SocketAddr, tls: Option<&Certificates<'_>>, route: &str) -> Self {
        let folder = bed.folder().join("kamailio");
        std::fs::create_dir_all(&folder).expect("a directory");
        let secure = tls.map_or_else(String::new, |tls| {
            let file = folder.join("tls.cfg");
            let text = format!(
                "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\n\
                 private_key = {own}\ncertificate = {own}\n\n\
                 [client:default]\nmethod = TLSv1.2+\nverify_certificate = yes\n\
                 require_certificate = yes\nca_list = {}\n",
                tls.believed.display(),
                own = tls.own.display(),
            );
            std::fs::write(&file, text).expect("it is written");
            format!(
                "enable_tls=yes\nlisten=tls:{}:{}\nloadmodule \"tls.so\"\n\
                 modparam(\"tls\", \"config\", \"{}\")\n",
                at.ip(),
                at.port() + 1,
                file.display()
            )
        });
        let config = folder.join("kamailio.cfg");
        std::fs::write(&config, configuration(at, &secure, route)).expect("it is written");
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-E", "-m", "64", "-M", "8", "-L", MODULES, "-w"]).arg(&folder);
        command.arg("-Y").arg(&folder).arg("-f").arg(&config);
        let mut peer = Peer::start("kamailio", &mut command, &folder);
        // Its workers are there when it answers.
        eventually("kamailio answers", Duration::from_secs(20), || {
            assert!(peer.is_running(), "kamailio ended: {}", peer.said());
            crate::torture::is_answered(at).then_some(())
        });
        Self { peer }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.peer.end();
    }
}

/// With one worker, which keeps messages in order.
fn configuration(at: SocketAddr, secure: &str, route: &str) -> String {
    format!(
        r#"#!KAMAILIO
debug=1
log_stderror=yes
children=1
tcp_children=1
dns=no
rev_dns=no
use_dns_cache=no
auto_aliases=no
listen=udp:{at}
listen=tcp:{at}
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "corex.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
{secure}
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
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    record_route();
    {route}
    if (!t_relay()) sl_reply_error();
}}
"#
    )
}
