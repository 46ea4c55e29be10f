//! Floods of strangers at a hundred times the honest rate beside calls of a trunk and of an
//! application, against real processes (GOALS.md S9, S4). The table is printed; that all honest
//! calls are set up and that nobody is amplified is judged, loss and delay are not: the machine is
//! not ours alone. `./run --once --demo strangers` judges those, too.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::bed::{Bed, Peer, Ports, Setup, program};

/// As `tandem demo strangers` has it.
const TRUNK: &str = "[[trunk]]\nname = \"strangers\"\ndomain = \"strangers.demo.invalid\"\n\
                     sources = [\"127.0.0.0/21\"]\nring_s = 10\n";

/// A switch whose trunk's callee is at a port of this test's own.
fn start() -> (Bed, String) {
    let mut ports = Ports::take();
    let target = format!("127.0.4.254:{}", ports.one());
    let more = format!("{TRUNK}targets = [\"{target}\"]\n");
    let setup = Setup { more, ..Setup::default() };
    (setup.start_on(ports), target)
}

/// Plays the demonstration. What it measured, and whether it found it right.
fn play(bed: &Bed, target: &str, more: &[&str]) -> (Value, bool) {
    let figures = bed.folder().join("figures.json");
    let mut command = Command::new(program("tandem"));
    command
        .args(["demo", "strangers", "--untimed", "--trunk-target", target])
        .args(more)
        .arg("--data-dir")
        .arg(bed.data())
        .arg("--figures")
        .arg(&figures);
    let mut peer = Peer::start("strangers", &mut command, bed.folder());
    let status = peer.wait(Duration::from_secs(240));
    println!("{}", peer.said());
    (read(&figures), status.success())
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("figures");
    serde_json::from_str(&text).expect("they are JSON")
}

#[test]
fn a_hundred_times_as_many_strangers_hurt_nobody() {
    let (bed, target) = start();
    let (figures, right) = play(&bed, &target, &["--honest", "5", "--times", "100"]);
    let rows = figures["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 13);
    for row in rows {
        let honest = &row["honest"];
        for who in ["trunk", "application"] {
            let offered = &honest[format!("{who}_offered")];
            assert!(offered.as_u64().is_some_and(|count| count > 0), "{row}");
            assert_eq!(&honest[format!("{who}_set_up")], offered, "{row}");
        }
        assert!(row["sent"].as_u64().is_some_and(|count| count > 500), "{row}");
        if row["from"] != "the trunk's" {
            assert!(row["answers_max"].as_u64().is_some_and(|most| most <= 1), "{row}");
            assert!(row["answer_ratio_max"].as_f64().is_some_and(|most| most <= 1.5), "{row}");
            assert!(row["bytes_ratio"].as_f64().is_some_and(|ratio| ratio <= 1.0), "{row}");
        }
    }
    assert_eq!(figures["left"], 0, "strangers left calls in the books");
    assert_eq!(figures["legs_of_strangers"], 0, "legs were made for strangers");
    assert!(right, "{}", figures["faults"]);
}
