//! The two processes in namespaces as the units give them: each with a user namespace of its own
//! (PrivateUsers=) and a /proc that shows no process but its own (ProtectProc=invisible,
//! ProcSubset=pid). Neither can see the other there, dead or alive.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tests::bed::{Setup, pass, program};

use crate::controlplane_killed::expect_close;
use crate::load::{Books, Load, by_webhook, standing};

const CALLS: u32 = 5;
const TALK: u32 = 12;

/// Runs what follows in such namespaces, without another process in between. Members of the group
/// `gid` see everything in that /proc; by default that would be group 0, ours.
const SANDBOX: &str = "unshare --mount --propagation private /bin/sh -c \
                       'mount -t proc -o hidepid=invisible,gid=65533,subset=pid proc /proc && \
                       exec unshare --user --map-root-user -- \"$0\" \"$@\"'";

/// Programs that start ours in a sandbox; false, aloud, where this machine does not allow that.
fn sandboxed(folder: &Path) -> bool {
    let trial = Command::new("/bin/sh").arg("-c").arg(format!("{SANDBOX} true")).output();
    match trial {
        Ok(done) if done.status.success() => {}
        done => {
            println!("SKIPPED: no sandbox of mount and user namespaces here: {done:?}");
            return false;
        }
    }
    for name in ["tandem-dataplane", "tandem-controlplane"] {
        let script = format!("#!/bin/sh\nexec {SANDBOX} '{}' \"$@\"\n", program(name).display());
        let path = folder.join(name);
        std::fs::write(&path, script).expect("it is written");
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode).expect("it can be run");
    }
    true
}

/// Whether `reader`, in its namespaces, has an entry of `pid` in its /proc.
fn sees(reader: u32, pid: u32) -> bool {
    let mut command = Command::new("nsenter");
    command.args(["--target", &reader.to_string(), "--user", "--mount", "--preserve-credentials"]);
    command.args(["test", "-e", &format!("/proc/{pid}/stat")]);
    match command.status().expect("nsenter runs").code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("nsenter: {other:?}"),
    }
}

#[test]
fn a_restart_of_the_controlplane_books_standing_calls_once_and_whole() {
    let programs = tempfile::tempdir().expect("a directory");
    if !sandboxed(programs.path()) {
        return;
    }
    let bin_dir = Some(programs.path().to_owned());
    let mut bed = Setup { bin_dir, ..Setup::default() }.start();
    let (route, web) = by_webhook(&mut bed);
    let load = Load::ended_by("caller", &bed, &route, CALLS, 5, TALK);
    let legs = 2 * usize::try_from(CALLS).expect("few");
    standing(&bed, legs);
    let (dataplane, before) = (bed.pid("dataplane"), bed.pid("controlplane"));
    assert!(sees(before, before), "its own process");
    assert!(!sees(before, dataplane), "else this test says nothing");
    pass(Duration::from_secs(2));
    bed.signal("controlplane", Signal::TERM);
    let _ = bed.wait_for_successor("controlplane", before);
    assert_eq!(bed.calls("in-progress").len(), legs, "they stand: nobody booked them as over");
    assert_eq!(web.statuses("/status").iter().filter(|it| *it == "completed").count(), 0);
    let report = load.finish();
    report.expect_whole(u64::from(CALLS));
    let books = Books::of(&bed, legs);
    for cdr in &books.cdrs {
        assert_ne!(cdr["cause"], "restart", "{cdr}");
    }
    let ledger = books.ledger_us("sip-ingress");
    expect_close("caller's talk time", ledger, report.talk_seconds("caller"), CALLS);
    assert_eq!(ledger, books.cdr_us("inbound"));
    assert_eq!(books.ledger_us("sip-egress"), books.cdr_us("outbound"));
    assert_eq!(bed.pid("dataplane"), dataplane, "the dataplane went on");
}

/// Two lives of the dataplane never have one epoch, though the clock may have been set back between
/// them: here the file says that an earlier life had a number of the year 2100.
#[test]
fn an_epoch_is_above_every_earlier_one_whatever_the_clock_says() {
    const LATER: u64 = 4_102_444_800;
    let mut bed = Setup::default().start();
    let (route, _web) = by_webhook(&mut bed);
    let kept = bed.data().join("dataplane.epoch");
    let number = || {
        let text = std::fs::read_to_string(&kept).expect("the epoch is kept");
        text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).expect("a number")
    };
    let first = number();
    bed.stop();
    std::fs::write(&kept, format!("{LATER} {LATER}\n")).expect("written");
    bed.restart();
    assert_eq!(number(), LATER + 1, "above {LATER}, as it was above {first}");
    Load::start(&bed, &route, 2, 5, 1).finish().expect_whole(2);
    for cdr in &Books::of(&bed, 4).cdrs {
        assert_eq!(cdr["epoch"], LATER + 1, "{cdr}");
    }
    bed.stop();
    bed.restart();
    assert_eq!(number(), LATER + 2);
}
