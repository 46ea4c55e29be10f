//! sipvicious 0.3.8 (PyPI), by the interpreter of `TANDEM_PYTHON`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::bed::{Bed, Office, Peer, require};

const LIMIT: Duration = Duration::from_secs(60);

/// One of its programs, beside the interpreter or in `PATH`.
fn tool(name: &str) -> Option<PathBuf> {
    let program = format!("sipvicious_{name}");
    let python = std::env::var("TANDEM_PYTHON").unwrap_or_default();
    let beside = PathBuf::from(python).with_file_name(&program);
    if beside.is_file() {
        return Some(beside);
    }
    require(&program).then(|| program.into())
}

/// What a tool says to the end of its run.
fn run(bed: &Bed, name: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tool(name)?);
    // It keeps its sessions in the home directory.
    command.env("HOME", bed.folder()).current_dir(bed.folder()).args(arguments);
    let mut peer = Peer::start(name, &mut command, bed.folder());
    let _ = peer.wait(LIMIT);
    println!("{name} {arguments:?}\n{}", peer.said());
    Some(peer.said())
}

/// Users 100 to 103 exist, 102 is registered by nobody; whatever is asked for and however, no
/// answer tells one from a number that nobody has.
#[test]
fn svwar_finds_no_user() {
    let bed = Bed::start();
    let office = Office::open(&bed, &["100", "101", "102", "103"]);
    let target = format!("udp://{}", bed.sip);
    let domain = format!("--domain={}", office.domain);
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        for more in [&[][..], &["--force"], &[&domain], &[&domain, "--force"]] {
            let mut arguments = vec!["-e90-110", "-m", method, "--maximumtime=5"];
            arguments.extend(more);
            arguments.push(&target);
            let Some(said) = run(&bed, "svwar", &arguments) else { return };
            assert!(said.contains("found nothing"), "{method} {more:?}: {said}");
        }
    }
}

/// The switch answers OPTIONS, so that it is seen; it does not say what it is.
#[test]
fn svmap_sees_a_switch_without_a_name() {
    let bed = Bed::start();
    let port = bed.sip.port().to_string();
    let ip = bed.sip.ip().to_string();
    let Some(said) = run(&bed, "svmap", &["-p", &port, &ip]) else { return };
    assert!(said.contains(&bed.sip.to_string()), "{said}");
    assert!(said.contains("unknown") && !said.to_lowercase().contains("tandem"), "{said}");
}

/// Passwords are tried for a user that is there; the right one is among none of them. The user
/// himself registers meanwhile as ever (from elsewhere: see `tests/scenario/strangers.rs`).
#[test]
fn svcrack_finds_no_password() {
    let bed = Bed::start();
    let office = Office::open(&bed, &["100"]);
    let target = format!("udp://{}", bed.sip);
    let domain = format!("--domain={}", office.domain);
    for reuse in [&[][..], &["-n"]] {
        let mut arguments = vec!["-u", "100", "-r", "1000-1200", "--maximumtime=5"];
        arguments.extend(reuse);
        arguments.extend([domain.as_str(), &target]);
        let Some(said) = run(&bed, "svcrack", &arguments) else { return };
        assert!(said.contains("found nothing"), "{said}");
    }
    let (_, metrics) = bed.rest.shown("/metrics").expect("metrics");
    assert!(!metrics.contains("tandem_registrar_bindings 1"), "{metrics}");
}
