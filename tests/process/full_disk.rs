//! A disk that is filled and freed under calls. The data directory is a small tmpfs, mounted in a
//! user and mount namespace of this test's own: the test starts itself again in there.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Setup, Web, eventually, pass};

use crate::controlplane_killed::expect_close;
use crate::load::{Books, Load, Route, by_webhook, standing};

/// Set in the test that runs inside the namespaces.
const INSIDE: &str = "TANDEM_TEST_FULL_DISK";
const NAME: &str = "full_disk::a_disk_that_is_filled_and_freed_under_calls_costs_no_second_of_them";
/// So many that their ends are more than the segments that stand ready hold.
const CALLS: u32 = 120;
/// Calls that come together while the disk is full.
const PROBES: u32 = 20;
const TALK: u32 = 12;

/// Runs the rest of the test in namespaces of its own; true if it is in them already.
fn is_inside() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let flags = ["--user", "--map-root-user", "--mount"];
    let trial = Command::new("unshare")
        .args(flags)
        .args(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"])
        .output();
    match trial {
        Ok(done) if done.status.success() => {}
        done => {
            println!("SKIPPED: no tmpfs can be mounted in a namespace here: {done:?}");
            return false;
        }
    }
    let own = std::env::current_exe().expect("a test knows its own path");
    let status = Command::new("unshare")
        .args(flags)
        .arg(own)
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("unshare runs").success(), "see above");
    false
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("it can be made");
    for size in [1 << 16, 1 << 12, 1] {
        let chunk = vec![0x5a; size];
        while file.write_all(&chunk).is_ok() {}
    }
}

/// Status and text of `/healthz`.
fn health(bed: &Bed) -> (u16, String) {
    bed.rest.plain("/healthz").expect("the API answers")
}

#[track_caller]
fn becomes(bed: &Bed, status: u16, words: &str) {
    let what = format!("/healthz is {status} and says {words}");
    eventually(&what, Duration::from_secs(30), || {
        let (is, text) = health(bed);
        (is == status && text.contains(words)).then_some(())
    });
}

#[test]
fn a_disk_that_is_filled_and_freed_under_calls_costs_no_second_of_them() {
    if !is_inside() {
        return;
    }
    let disk = tempfile::tempdir().expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
        .arg(disk.path())
        .status();
    assert!(mounted.expect("mount runs").success());
    let data = Some(disk.path().join("data"));
    // Segments have their size from the start: small ones are full soon.
    let more = "[controlplane.journal]\nsegment_bytes = 65536\n".to_owned();
    let mut bed = Setup { data, more, ..Setup::default() }.start();
    let (route, web) = by_webhook(&mut bed);
    // Calls that come while the disk is full, by a number and a phone of their own.
    let callee = bed.ports.address();
    let beside = Web::dialling(&format!("sip:callee@{callee}"), "answerOnBridge=\"true\"");
    let _ = bed.number("+15550101", &beside.url("/voice"), "");
    let probe = Route { callee, to: format!("sip:+15550101@{}", bed.sip) };
    becomes(&bed, 200, "ok");
    let before = [bed.pid("dataplane"), bed.pid("controlplane")];
    let load = Load::ended_by("caller", &bed, &route, CALLS, 30, TALK);
    let legs = 2 * usize::try_from(CALLS).expect("few");
    standing(&bed, legs);
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    // What is written from now on takes the reserve, and then nothing has room: the ends of the
    // calls come while the disk is full.
    let refused = eventually("a call is refused", Duration::from_secs(60), || {
        fill(&disk.path().join("more"));
        let seen = Load::start(&bed, &probe, PROBES, PROBES, 1).finish();
        (seen.number("caller", "answered") == 0).then_some(seen)
    });
    let told = refused.0["caller"]["failed"]["503"].as_u64();
    assert_eq!(
        told,
        Some(PROBES.into()),
        "refused, with a code that says it is us: {}",
        refused.0["caller"]
    );
    becomes(&bed, 503, "no new calls");
    // Not even the reserve is left for the ends of the calls that stand.
    fill(&disk.path().join("more"));
    let report = load.finish();
    report.expect_whole(u64::from(CALLS));
    becomes(&bed, 503, "nothing can be written");
    pass(Duration::from_secs(1));
    let _ = std::fs::remove_file(&ballast);
    let _ = std::fs::remove_file(disk.path().join("more"));
    becomes(&bed, 200, "ok");
    Load::start(&bed, &route, 2, 5, 1).finish().expect_whole(2);
    let all = bed.ended(legs + 4);
    let completed = all.iter().filter(|call| call["status"] == "completed").count();
    let books = Books::of(&bed, all.len());
    let ledger = books.ledger_us("sip-ingress");
    assert_eq!(ledger, books.cdr_us("inbound"));
    assert_eq!(books.ledger_us("sip-egress"), books.cdr_us("outbound"));
    println!("{completed} legs completed of {}", all.len());
    assert!(completed >= legs + 4, "every call that was answered is booked");
    assert_eq!([bed.pid("dataplane"), bed.pid("controlplane")], before, "nobody was restarted");
    let calls = u32::try_from(completed / 2).expect("few");
    let talked = report.talk_seconds("caller");
    expect_close("talk time of the first", first_us(&books), talked, calls);
    assert!(web.statuses("/status").iter().filter(|it| *it == "completed").count() >= legs / 2);
    bed.stop();
}

/// Of the calls that talked for `TALK` seconds.
fn first_us(books: &Books) -> u64 {
    let rows = books.rows.iter().filter(|row| row["category"] == "sip-ingress");
    let micros = rows.map(|row| crate::load::exact_us(&row["usage_exact"]));
    micros.filter(|us| *us > u64::from(TALK) * 500_000).sum()
}

/// A second controlplane on a data directory says so and ends.
#[test]
fn two_instances_on_one_directory_are_one_and_a_refusal() {
    let bed = Bed::start();
    let config = bed.data().join("run/tandem.toml");
    let mut second = Command::new(tests::bed::program("tandem-controlplane"));
    let output = second.arg("--config").arg(&config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("in use by another tandem-controlplane"), "{said}");
    assert!(health(&bed).0 == 200, "the first one does not care");
}
