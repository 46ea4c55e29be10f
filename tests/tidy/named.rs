//! Each reason for a discard or a refusal and each verb is named by some test, and the tests that
//! SPECIFICATION.md names are there.

use std::path::Path;

use wire::counter::Counter;

use crate::judge;
use crate::source;

/// Reasons that no test of the ordinary run can bring about: reason, why.
const EXCEPTIONS: &[(&str, &str)] =
    &[("transmit", "counted by the driver, whose own tests make sends fail")];

/// The text of all tests but these.
fn tests() -> String {
    let mut text = String::new();
    for file in source::files() {
        let path = Path::new(&file.path);
        let is_code =
            path.extension().is_some_and(|extension| extension == "rs" || extension == "py");
        if !is_code || file.path.starts_with("tests/tidy/") {
            continue;
        }
        let Ok(content) = core::str::from_utf8(&file.bytes) else { continue };
        let is_test = file.path.starts_with("tests/")
            || file.path.contains("/tests/")
            || file.path.ends_with("/tests.rs")
            || file.path.ends_with("_tests.rs");
        let inner = content.find("#[cfg(test)]").map(|at| &content[at..]);
        if let Some(part) = if is_test { Some(content) } else { inner } {
            text.push_str(part);
        }
    }
    text
}

fn is_excused(name: &str) -> bool {
    EXCEPTIONS.iter().any(|(known, _)| *known == name)
}

#[test]
fn every_discard_and_refusal_is_named_by_a_test() {
    let tests = tests();
    let mut findings = Vec::new();
    for counter in Counter::ALL {
        let Some(reason) = counter.reason() else { continue };
        let variant = format!("{counter:?}");
        let named = source::words(&tests, &variant).next().is_some();
        match (named, is_excused(reason)) {
            (false, false) => {
                findings.push(format!("Counter::{variant} ({reason}): no test makes it happen"));
            }
            (true, true) => findings.push(format!("{reason}: its exception can go")),
            _ => {}
        }
    }
    judge("reasons", &findings);
}

const VERBS: &str = "controlplane/director/src/verb";

/// The files of the verbs, `dial` for `<Dial>`.
fn verbs() -> Vec<String> {
    let entries = std::fs::read_dir(source::root().join(VERBS)).expect("the verbs").flatten();
    let stem = |path: std::path::PathBuf| {
        path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    };
    entries.map(|entry| stem(entry.path())).filter(|stem| stem != "mod").collect()
}

fn capital(stem: &str) -> String {
    let (first, rest) = stem.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

#[test]
fn every_verb_is_named_by_a_test() {
    let tests = tests();
    let mut findings = Vec::new();
    for verb in verbs() {
        let verb = format!("<{}", capital(&verb));
        if !tests.contains(&verb) {
            findings.push(format!("{verb}>: no test runs a document with it"));
        }
    }
    judge("verbs", &findings);
}

/// A verb is a file and a line: whoever steps, restores or leaves a script does it by
/// `Wait::Verb(state)`.
#[test]
fn no_verb_is_named_outside_its_folder() {
    let mut findings = Vec::new();
    for file in source::rust() {
        let is_ours = file.path.starts_with("controlplane/director/src/");
        if !is_ours || file.path.starts_with(VERBS) {
            continue;
        }
        for stem in verbs() {
            let name = capital(&stem);
            for word in [format!("verb::{stem}"), format!("Verb::{name}"), format!("{name}State")] {
                if source::words(&file.code, &word).next().is_some() {
                    findings.push(format!("{}: {word}", file.path));
                }
            }
        }
    }
    judge("verbs that are named outside controlplane/director/src/verb", &findings);
}

/// `package: test` in backticks, where `package` is a folder of tests or a crate.
#[test]
fn tests_that_the_specification_names_are_there() {
    let text = std::fs::read_to_string(source::root().join("SPECIFICATION.md"));
    let text = text.expect("SPECIFICATION.md is there");
    let files = source::rust();
    let mut findings = Vec::new();
    for named in text.split('`').skip(1).step_by(2) {
        let Some((package, rest)) = named.split_once(": ") else { continue };
        let folders =
            ["tests/", "dataplane/", "controlplane/", ""].map(|top| format!("{top}{package}/"));
        for test in rest.split(", ") {
            // `txn tables` is in `txn`, `join::stream` in `stream`.
            let test = test.split(' ').next().unwrap_or(test);
            let test = test.rsplit("::").next().unwrap_or(test);
            let is_ours =
                |file: &&source::Rust| folders.iter().any(|folder| file.path.starts_with(folder));
            if !files.iter().filter(is_ours).any(|file| holds(file, test)) {
                findings.push(format!("`{named}`: no such test in {}", folders.join(", ")));
            }
        }
    }
    judge("tests that SPECIFICATION.md names", &findings);
}

/// Whether a file, its folder or something inside it has this name.
fn holds(file: &source::Rust, name: &str) -> bool {
    Path::new(&file.path).file_stem().unwrap_or_default() == name
        || file.path.contains(&format!("/{name}/"))
        || file.code.contains(&format!("fn {name}"))
        || file.code.contains(&format!("mod {name}"))
}
