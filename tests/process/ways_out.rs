//! Whichever way a process ends, why stands where the operator looks: on the supervisor's terminal,
//! and in the process's log.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tests::bed::{Bed, Ports, eventually, program};

/// `tandem up` with this configuration, in a shell after `before`; what it said, once it gave up.
fn refused(before: &str, config: &str) -> String {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("tandem.toml");
    std::fs::write(&file, config).expect("it is written");
    let script = format!(
        "{before}; exec \"$0\" up --data-dir \"{}\" --config \"{}\"",
        folder.path().join("data").display(),
        file.display()
    );
    // Without the right to raise hard limits, as a service has it.
    let shell = ["--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "/bin/sh", "-c"];
    let mut command = Command::new("setpriv");
    command.args(shell).arg(script).arg(program("tandem"));
    let output = command.output().expect("setpriv and a shell");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    let log = folder.path().join("data/log/dataplane.log");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert!(said.contains("its last words") != log.is_empty(), "{said}\n{log}");
    said
}

fn config(ports: &mut Ports, more: &str) -> String {
    let [first, last] = ports.media();
    format!(
        "[dataplane]\nshards = 1\npin = false\n\n[[dataplane.listener]]\nname = \"udp\"\n\
         bind = \"{}\"\n\n[[dataplane.media]]\nname = \"media\"\nbind = \"127.0.0.1\"\n\
         ports = [{first}, {last}]\n\n{more}\n[controlplane]\nhttp = \"{}\"\n",
        ports.address(),
        ports.address()
    )
}

#[test]
fn limits_that_the_descriptors_do_not_carry_are_refused_with_the_cure() {
    let mut ports = Ports::take();
    let limits = "[dataplane.limits]\nlegs = 1024\ntransactions = 2048\n";
    let said = refused("ulimit -n 1000", &config(&mut ports, limits));
    for word in ["exit status: 1", "limits.legs", "file descriptors", "LimitNOFILE="] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_child_that_is_killed_is_said_to_be_by_the_signals_name() {
    let bed = Bed::start();
    for (name, signal, called) in [
        ("dataplane", Signal::ABORT, "SIGABRT"),
        ("dataplane", Signal::KILL, "SIGKILL"),
        ("controlplane", Signal::ABORT, "SIGABRT"),
        ("controlplane", Signal::TRAP, "SIGTRAP"),
    ] {
        let before = bed.pid(name);
        bed.signal(name, signal);
        let _ = bed.wait_for_successor(name, before);
        let line = bed.said();
        let ended = line.lines().filter(|line| line.starts_with(&format!("{name} ended: ")));
        assert!(ended.clone().any(|line| line.contains(called)), "{called}: {line}");
    }
}

/// A fault that takes the whole shard: another process has taken over its region.
#[test]
fn a_shard_that_cannot_go_on_says_why() {
    let bed = Bed::start();
    let before = bed.pid("dataplane");
    let region = std::fs::read_dir(format!("/proc/{before}/fd"))
        .expect("its descriptors")
        .flatten()
        .find(|entry| {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            target.to_string_lossy().contains("dp-region-0")
        })
        .expect("a region");
    let map = std::fs::OpenOptions::new().read(true).write(true).open(region.path());
    let map = map.expect("it can be opened again");
    let words = wire::mapping::map_shared(&map, true).expect("it can be mapped");
    let epoch =
        wire::region::Region::open(words, wire::region::Side::Dataplane).expect("a region").epoch();
    let _ = wire::region::Region::succeed(words, wire::region::Side::Dataplane, epoch + 1)
        .expect("taken over");
    let said = eventually("its last words", Duration::from_secs(20), || {
        Some(bed.said()).filter(|said| said.contains("dataplane ended"))
    });
    for word in ["exit status: 1", "shard 0 ended", "has taken over this region"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let _ = bed.wait_for_successor("dataplane", before);
}
