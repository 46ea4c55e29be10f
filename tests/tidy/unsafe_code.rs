//! `unsafe` stands only where it may, and every other crate root forbids it.

use crate::arrows::workspace;
use crate::judge;
use crate::source::{self, line_of};

/// Where it may stand: start of the path, reason.
const ALLOWED: &[(&str, &str)] = &[
    ("dataplane/net/", "system calls, io_uring, memory that the kernel writes"),
    ("dataplane/wire/src/mapping.rs", "maps a region"),
    ("dataplane/base/src/fetch.rs", "one instruction that changes nothing: memory fetched ahead"),
    ("tests/alloc/", "a counting allocator is an `unsafe impl` by its nature"),
];

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut findings = Vec::new();
    for file in source::rust() {
        if ALLOWED.iter().any(|(start, _)| file.path.starts_with(start)) {
            continue;
        }
        for at in source::words(&file.code, "unsafe") {
            findings.push(format!("{}:{}", file.path, line_of(&file.code, at)));
        }
    }
    judge("`unsafe` belongs in net, wire/mapping and base/fetch", &findings);
}

#[test]
fn crate_roots_forbid_it() {
    let root = source::root();
    let mut findings = Vec::new();
    for package in workspace() {
        for target in package.roots {
            let path = target.strip_prefix(&root).unwrap_or(&target).to_string_lossy().into_owned();
            let is_product = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
            let crate_may = ["net", "wire", "base"].contains(&package.name.as_str());
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            if is_product && !crate_may && !text.contains("#![forbid(unsafe_code)]") {
                findings.push(format!("{path}: #![forbid(unsafe_code)] is missing"));
            }
        }
    }
    judge("forbid unsafe", &findings);
}
