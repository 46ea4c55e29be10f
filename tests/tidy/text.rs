//! Text that does not belong into the tree: machine paths, registries, secrets, binaries; and
//! Markdown with one title.

use crate::judge;
use crate::source;

const FILE_BYTES_MAX: usize = 256 * 1024;

/// What must not stand anywhere, put together here so that this file does not hold it.
const FOREIGN: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of the machine it was written on"),
    (concat!("/ro", "ot/"), "a path of the machine it was written on"),
    (concat!("/ho", "me/"), "a path of the machine it was written on"),
    (concat!("/tm", "p/"), "a path of the machine it runs on: mktemp, tempfile"),
    (concat!("index.crates", ".io"), "a registry's host"),
    (concat!("static.crates", ".io"), "a registry's host"),
    (concat!("pypi", ".org"), "a registry's host"),
    (concat!("pythonhosted", ".org"), "a registry's host"),
    (concat!("registry.npmjs", ".org"), "a registry's host"),
    (concat!("proxy.golang", ".org"), "a registry's host"),
    (concat!("index-", "url"), "a registry's address"),
    (concat!("PRIVATE", " KEY-----"), "a private key"),
    (concat!("AKI", "A"), "a cloud credential"),
    (concat!("gh", "p_"), "a token"),
];

/// Where one of them stands for a reason: path, pattern, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn no_machine_path_registry_or_secret() {
    let mut findings = Vec::new();
    for file in source::files() {
        let Ok(text) = core::str::from_utf8(&file.bytes) else { continue };
        for (at, line) in text.lines().enumerate() {
            for (pattern, why) in FOREIGN {
                let excused = EXCEPTIONS
                    .iter()
                    .any(|(path, known, _)| *path == file.path && known == pattern);
                if line.contains(pattern) && !excused {
                    findings.push(format!("{}:{}: `{pattern}` is {why}", file.path, at + 1));
                }
            }
        }
    }
    judge("foreign text", &findings);
}

#[test]
fn no_binaries_and_nothing_large() {
    let mut findings = Vec::new();
    for file in source::files() {
        if core::str::from_utf8(&file.bytes).is_err() || file.bytes.contains(&0) {
            findings.push(format!("{}: is no text", file.path));
        }
        if file.bytes.len() > FILE_BYTES_MAX {
            findings.push(format!("{}: {} bytes", file.path, file.bytes.len()));
        }
    }
    judge("binaries", &findings);
}

#[test]
fn crates_come_from_the_one_registry() {
    let lock = std::fs::read_to_string(source::root().join("Cargo.lock")).expect("Cargo.lock");
    let known = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let findings: Vec<String> = lock
        .lines()
        .filter(|line| line.starts_with("source = ") && *line != known)
        .map(str::to_owned)
        .collect();
    judge("sources of crates", &findings);
}

#[test]
fn every_markdown_file_has_one_title() {
    let mut findings = Vec::new();
    for file in source::files().iter().filter(|file| file.path.ends_with(".md")) {
        let text = String::from_utf8_lossy(&file.bytes);
        let mut fenced = false;
        let mut titles = 0;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            titles += usize::from(!fenced && line.starts_with("# "));
        }
        if titles != 1 {
            findings.push(format!("{}: {titles} titles", file.path));
        }
    }
    judge("one # title", &findings);
}
