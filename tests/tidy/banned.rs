//! Names that are not used here, each with what is used instead.

use crate::judge;
use crate::source::{self, line_of};

/// Where a name is banned.
enum Where {
    Everywhere,
    /// Paths that begin with one of these.
    In(&'static [&'static str]),
    /// Everywhere but in paths that contain one of these.
    NotIn(&'static [&'static str]),
}

use Where::{Everywhere, In, NotIn};

/// The crates that are values: no clock, no socket, no thread, no file.
const VALUES: Where = In(&[
    "dataplane/agent/src/",
    "dataplane/base/src/",
    "dataplane/sip/src/",
    "dataplane/sdp/src/",
    "dataplane/rtp/src/",
    "dataplane/shard/src/",
    "controlplane/director/src/",
    "controlplane/model/src/",
    "tests/world/src/",
]);
const DATAPLANE: Where = In(&["dataplane/"]);

/// Pattern in code (comments and literals do not count), where, instead.
const BANNED: &[(&str, Where, &str)] = &[
    ("todo!(", Everywhere, "finish it or leave it out"),
    ("unimplemented!(", Everywhere, "finish it or leave it out"),
    ("dbg!(", Everywhere, "tracing, or a failing assertion that says the value"),
    ("#[allow(", NotIn(&["dataplane/wire/src/mapping.rs"]), "#[expect(.., reason = \"..\")]"),
    ("static mut", Everywhere, "an atomic, or state of the value that owns it"),
    ("transmute", Everywhere, "zerocopy, from_le_bytes"),
    ("std::time::Instant", VALUES, "`now: base::Now`, passed in"),
    ("std::time::SystemTime", VALUES, "`now: base::Now`, passed in"),
    ("std::thread", VALUES, "nothing: a value has no threads"),
    ("std::fs", VALUES, "what is in the file, passed in"),
    ("std::sync::Mutex", DATAPLANE, "an owner (one thread per shard) or a queue"),
    ("std::sync::RwLock", DATAPLANE, "an owner (one thread per shard) or a queue"),
    ("tokio", DATAPLANE, "the breath loop"),
    ("println!(", NotIn(&["tools/", "tests/", "benches/", "/examples/", "/build.rs"]), "tracing"),
    ("eprintln!(", NotIn(&["tools/", "tests/", "benches/", "/examples/", "main.rs"]), "tracing"),
    ("f32", In(&["controlplane/model/src/", "controlplane/store/src/"]), "i64 of 10^-9"),
    ("f64", In(&["controlplane/model/src/", "controlplane/store/src/"]), "i64 of 10^-9"),
    ("mod util", Everywhere, "a module named for what it does"),
    ("mod utils", Everywhere, "a module named for what it does"),
    ("mod helpers", Everywhere, "a module named for what it does"),
    ("mod misc", Everywhere, "a module named for what it does"),
    ("Manager", Everywhere, "the noun of what it manages"),
    ("openssl", Everywhere, "aws-lc-rs, rustls"),
];

/// Where a banned name stands all the same: path, pattern, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("dataplane/engine/src/main.rs", "println!(", "the answer to --version and --help"),
    ("controlplane/daemon/src/main.rs", "println!(", "the answer to --version and --help"),
];

#[test]
fn no_banned_name() {
    let mut findings = Vec::new();
    for file in source::rust() {
        for (pattern, place, instead) in BANNED {
            if !place.holds(&file.path) || is_excused(&file.path, pattern) {
                continue;
            }
            for at in hits(&file.code, pattern) {
                let line = line_of(&file.code, at);
                findings.push(format!("{}:{line}: `{pattern}`: {instead}", file.path));
            }
        }
    }
    judge("banned names", &findings);
}

#[test]
fn no_work_is_left_in_comments() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut findings = Vec::new();
    for file in source::rust() {
        for (at, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                findings.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    judge("work left in comments: do it, or say the limit in SPECIFICATION.md", &findings);
}

/// Whole words where the pattern begins or ends with a letter.
fn hits<'a>(code: &'a str, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    code.match_indices(pattern).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let within_before = part(pattern.as_bytes().first()) && part(before);
        let within_after = part(pattern.as_bytes().last()) && part(bytes.get(at + pattern.len()));
        !within_before && !within_after
    })
}

fn is_excused(path: &str, pattern: &str) -> bool {
    EXCEPTIONS.iter().any(|(p, known, _)| *p == path && *known == pattern)
}

impl Where {
    fn holds(&self, path: &str) -> bool {
        match self {
            Everywhere => true,
            In(starts) => starts.iter().any(|start| path.starts_with(start)),
            NotIn(parts) => !parts.iter().any(|part| path.contains(part)),
        }
    }
}

#[test]
fn words_are_found_whole() {
    assert_eq!(hits("a f64 xf64 f64x f64", "f64").count(), 2);
    assert_eq!(hits("my_dbg!(1); dbg!(2)", "dbg!(").count(), 1);
}
