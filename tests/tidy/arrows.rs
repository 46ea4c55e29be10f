//! Who may see whom: the arrows of ARCHITECTURE.md are those of the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::judge;
use crate::source;

const PACKAGES_MAX: usize = 20;

/// Packages of targets only: they may see everything, nobody sees them.
const LEAVES: [&str; 2] = ["benches", "tests"];
/// Never seen by another package's library or program.
const UNSEEN: [&str; 4] = ["benches", "tests", "tools", "world"];

/// One package of ours.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// Root file of each target.
    pub(crate) roots: Vec<PathBuf>,
    /// Packages of ours that its library or program sees.
    pub(crate) sees: BTreeSet<String>,
}

/// `cargo metadata`, as JSON.
pub(crate) fn metadata(arguments: &[&str]) -> Value {
    let run = |extra: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1"])
            .args(arguments)
            .args(extra)
            .current_dir(source::root())
            .output()
            .expect("cargo runs")
    };
    let mut output = run(&["--offline"]);
    if !output.status.success() {
        output = run(&[]);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Our packages.
pub(crate) fn workspace() -> Vec<Package> {
    let metadata = metadata(&["--no-deps"]);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    let read = |package: &Value| {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let ours = |dependency: &&Value| dependency["path"].is_string();
        let is_normal = |dependency: &&Value| dependency["kind"] != "dev";
        let targets = list(&package["targets"]);
        let dependencies = list(&package["dependencies"]);
        Package {
            name: text(&package["name"]),
            folder: manifest.parent().expect("a folder").to_path_buf(),
            roots: targets.iter().map(|target| text(&target["src_path"]).into()).collect(),
            sees: dependencies
                .iter()
                .filter(ours)
                .filter(is_normal)
                .map(|dependency| text(&dependency["name"]))
                .collect(),
        }
    };
    list(&metadata["packages"]).iter().map(read).collect()
}

/// The fenced block `arrows` of ARCHITECTURE.md.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let path = source::root().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).expect("ARCHITECTURE.md is there");
    let block = text.split("```arrows").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("ARCHITECTURE.md has a fenced block `arrows`");
    let row = |line: &str| {
        let (who, whom) = line.split_once("->").expect("rows are `crate -> crate crate`");
        let whom = whom.split_whitespace().map(str::to_owned).collect();
        (who.trim().to_owned(), whom)
    };
    block.lines().filter(|line| line.contains("->")).map(row).collect()
}

#[test]
fn arrows_are_those_of_architecture_md() {
    let table = table();
    let mut findings = Vec::new();
    let packages = workspace();
    for package in &packages {
        let name = package.name.as_str();
        if LEAVES.contains(&name) {
            continue;
        }
        let none = BTreeSet::new();
        let drawn = table.get(name).unwrap_or(&none);
        for extra in package.sees.difference(drawn) {
            findings.push(format!("{name} sees {extra}, but ARCHITECTURE.md draws no such arrow"));
        }
        for missing in drawn.difference(&package.sees) {
            findings.push(format!("ARCHITECTURE.md draws {name} -> {missing}, which is not so"));
        }
    }
    for name in table.keys().filter(|name| !packages.iter().any(|p| &p.name == *name)) {
        findings.push(format!("ARCHITECTURE.md draws arrows of {name}, which is no package"));
    }
    judge("arrows", &findings);
}

#[test]
fn planes_meet_in_wire_alone_and_nobody_sees_the_leaves() {
    let packages = workspace();
    let folder = |name: &str| {
        let package = packages.iter().find(|package| package.name == name);
        package.map(|package| package.folder.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| !LEAVES.contains(&package.name.as_str())) {
        let above = package.folder.to_string_lossy().contains("/controlplane/");
        for seen in &package.sees {
            if UNSEEN.contains(&seen.as_str()) {
                findings.push(format!("{} sees {seen}, which nobody may", package.name));
            }
            let shared = ["base", "config", "sip", "wire"].contains(&seen.as_str());
            if above && folder(seen).contains("/dataplane/") && !shared {
                findings.push(format!("{} (controlplane) sees {seen}", package.name));
            }
            let below = package.folder.to_string_lossy().contains("/dataplane/");
            if below && folder(seen).contains("/controlplane/") {
                findings.push(format!("{} (dataplane) sees {seen}", package.name));
            }
        }
    }
    judge("planes", &findings);
}

#[test]
fn at_most_20_packages_and_none_is_empty() {
    let packages = workspace();
    let mut findings = Vec::new();
    if packages.len() > PACKAGES_MAX {
        findings.push(format!("{} packages; the ceiling is {PACKAGES_MAX}", packages.len()));
    }
    for package in &packages {
        let folder = package.folder.to_string_lossy().into_owned();
        let lines: usize = source::rust()
            .iter()
            .filter(|file| source::root().join(&file.path).starts_with(&folder))
            .map(|file| file.text.lines().count())
            .sum();
        if lines < 30 {
            findings.push(format!("{}: {lines} lines; create a crate with content", package.name));
        }
    }
    judge("packages", &findings);
}
