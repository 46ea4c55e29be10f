//! Every Rust file is compiled: reachable from a target's root by `mod`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::arrows::workspace;
use crate::judge;
use crate::source;

#[test]
fn every_rust_file_is_reachable_from_a_target() {
    let root = source::root();
    let mut reached = BTreeSet::new();
    for package in workspace() {
        for target in package.roots {
            follow(&target, true, &mut reached);
        }
    }
    let findings: Vec<String> = source::rust()
        .iter()
        .filter(|file| !reached.contains(&root.join(&file.path)))
        .map(|file| format!("{}: no `mod` leads to it; name it or remove it", file.path))
        .collect();
    judge("reachable files", &findings);
}

fn follow(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    if !reached.insert(file.to_path_buf()) {
        return;
    }
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let stem = file.file_stem().unwrap_or_default();
    // `a.rs` has its modules in `a/`; roots and `mod.rs` have them beside.
    let base = if is_root || stem == "mod" { folder.to_path_buf() } else { folder.join(stem) };
    let code = source::blank(&text);
    for at in source::words(&code, "mod") {
        let rest = code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() || !rest[name.len()..].trim_start().starts_with(';') {
            continue;
        }
        let inline = enclosing(&code[..at]);
        let inside = inline.iter().fold(base.clone(), |path, part| path.join(part));
        if let Some(path) = path_attribute(&text[..at]) {
            follow(&folder.join(path), false, reached);
            continue;
        }
        for candidate in [inside.join(format!("{name}.rs")), inside.join(&name).join("mod.rs")] {
            if candidate.exists() {
                follow(&candidate, false, reached);
            }
        }
    }
}

/// The inline modules that are open at the end of `code`.
fn enclosing(code: &str) -> Vec<String> {
    let mut open: Vec<Option<String>> = Vec::new();
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => {
                let before: Vec<&str> = code[..at].split_whitespace().rev().take(2).collect();
                let name = before.first().filter(|_| before.get(1) == Some(&"mod"));
                open.push(name.map(|name| (*name).to_owned()));
            }
            b'}' => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

/// `#[path = "…"]` directly before a `mod`.
fn path_attribute(before: &str) -> Option<&str> {
    let before = before.trim_end().trim_end_matches("pub").trim_end();
    let line = before.lines().next_back()?.trim();
    line.strip_prefix("#[path = \"")?.strip_suffix("\"]")
}
