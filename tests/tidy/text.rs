//! Text that does not belong into the tree: machine paths, registries, secrets, binaries; and
//! Markdown with one title, whose links lead somewhere.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

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

#[test]
fn links_between_documents_lead_somewhere() {
    let files = source::files();
    let known: BTreeSet<PathBuf> = files
        .iter()
        .flat_map(|file| Path::new(&file.path).ancestors().map(Path::to_path_buf))
        .collect();
    let text = |path: &Path| {
        let file = files.iter().find(|file| Path::new(&file.path) == path)?;
        Some(String::from_utf8_lossy(&file.bytes).into_owned())
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let path = Path::new(&file.path);
        for link in links(&String::from_utf8_lossy(&file.bytes)) {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            let whole =
                if target.is_empty() { path.to_path_buf() } else { flat(&folder.join(target)) };
            if !known.contains(&whole) {
                findings.push(format!("{}: ({link}) leads nowhere", file.path));
                continue;
            }
            let is_there = |text: String| headings(&text).any(|heading| heading == anchor);
            if !anchor.is_empty() && !text(&whole).is_some_and(is_there) {
                findings.push(format!("{}: ({link}) names no heading there", file.path));
            }
        }
    }
    judge("links", &findings);
}

#[test]
fn documents_that_comments_name_are_there() {
    let files = source::files();
    let named: BTreeSet<&str> =
        files.iter().filter_map(|file| file.path.rsplit('/').next()).collect();
    let mut findings = Vec::new();
    for file in source::rust() {
        for (at, _) in file.text.match_indices(".md") {
            let before = &file.text[..at];
            let start = before
                .rfind(|c: char| !c.is_ascii_uppercase() && c != '-' && c != '_')
                .map_or(0, |at| at + 1);
            let name = &file.text[start..at + 3];
            if name.len() > 4 && !named.contains(name) {
                let line = source::line_of(&file.text, at);
                findings.push(format!("{}:{line}: there is no {name}", file.path));
            }
        }
    }
    judge("documents named in comments", &findings);
}

/// Targets of `[text](target)` within the tree, code aside.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        // What stands between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (at, _) in prose.match_indices("](") {
            let Some(target) = prose[at + 2..].split(')').next() else { continue };
            if !target.contains(':') && !target.is_empty() {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Headings as the anchors that forges make of them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect()
    })
}

/// A path without `.` and `..`.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                flat.pop();
            }
            Component::CurDir => {}
            part => flat.push(part),
        }
    }
    flat
}

#[test]
fn a_link_is_read_as_forges_read_it() {
    let text = "[a](b.md#two-words) `[c](d)` [e](https://f) \n```\n[g](h)\n```\n## Two, words";
    assert_eq!(links(text), ["b.md#two-words"]);
    assert_eq!(headings(text).collect::<Vec<_>>(), ["two-words"]);
}
