//! A network namespace of a test's own, for programs that want an address beside loopback's: the
//! test runs itself in it, with everything that it starts, and nothing outside is reached.

use std::process::Command;

/// Set for the test that runs inside.
const INSIDE: &str = "TANDEM_TEST_NAMESPACE";
/// The address that the namespace's loopback has besides: of the range for documentation.
const PREPARE: &str = "ip link set lo up && ip address add 192.0.2.43/32 dev lo \
    && ip route add default dev lo src 192.0.2.43 && exec \"$0\" \"$@\"";

/// True inside of such a namespace. Else runs the test `name` (its path in this program) in one,
/// and gives false when that has passed; says aloud where none can be made.
///
/// # Panics
/// If the test fails there.
#[must_use]
pub fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // Others than root are root of a user namespace.
    let is_root = rustix::process::getuid().is_root();
    let own: &[&str] = if is_root { &["--net"] } else { &["--map-root-user", "--net"] };
    let probe = Command::new("unshare").args(own).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        // Loud, and a failure where peers are required.
        let _ = super::require("unshare --net (a network namespace)");
        return false;
    }
    let program = std::env::current_exe().expect("a test knows its own path");
    let output = Command::new("unshare")
        .args(own)
        .args(["--", "sh", "-c", PREPARE])
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} in a namespace: {}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{name} has run");
    false
}
