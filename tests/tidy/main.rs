//! The repository's rules as tests: what a reviewer would have to remember, a machine remembers.
//!
//! Every finding names file, line, rule and cure; all findings of a rule are told at once. An
//! exception is an entry with a reason beside the rule, and an entry that is no longer needed is a
//! finding too.

mod arrows;
mod banned;
mod licence;
mod named;
mod reach;
mod shape;
mod source;
mod text;
mod unsafe_code;
mod used;
mod wire_layout;

/// Fails with all findings of a rule, one a line.
#[track_caller]
fn judge(rule: &str, findings: &[String]) {
    let count = findings.len();
    assert!(findings.is_empty(), "{rule}: {count} findings\n  {}\n", findings.join("\n  "));
}
