//! The tree as text: which files there are, and Rust files with comments and literals blanked, so
//! that a rule about code is not broken by words.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Rust {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The same length and lines as `text`: comments and the insides of literals are blanks.
    pub(crate) code: String,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(Path::to_path_buf).expect("tests lies in the root")
}

/// What git would commit, or everything outside `target` where there is no git.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output();
    let mut paths: Vec<String> = match listed {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
        _ => walk(&root),
    };
    paths.sort();
    paths.dedup();
    let read = |path: String| {
        let bytes = std::fs::read(root.join(&path)).ok()?;
        Some(File { path, bytes })
    };
    paths.into_iter().filter_map(read).collect()
}

fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if let Ok(path) = path.strip_prefix(root) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// Every Rust file.
pub(crate) fn rust() -> Vec<Rust> {
    let is_rust =
        |file: &File| Path::new(&file.path).extension().is_some_and(|extension| extension == "rs");
    let read = |file: File| {
        let text = String::from_utf8(file.bytes).expect("Rust files are UTF-8");
        let code = blank(&text);
        Rust { path: file.path, text, code }
    };
    files().into_iter().filter(is_rust).map(read).collect()
}

/// Line number (from 1) of a byte position.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Positions at which `word` stands as a whole identifier.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !part(before) && !part(bytes.get(at + word.len()))
    })
}

/// Blanks comments and the insides of string and character literals; keeps every line end.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_comment(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment(bytes, at),
            b'"' => string(bytes, at),
            b'r' | b'b' | b'c' if !inside_word(bytes, at) => raw_string(bytes, at),
            b'\'' => character(bytes, at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("blanks are ASCII, whole literals are blanked")
}

fn inside_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_comment(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |len| at + len)
}

fn block_comment(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`; a plain `b"…"` goes by its quote.
fn raw_string(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let prefix = if rest.starts_with(b"br") || rest.starts_with(b"cr") {
        2
    } else if rest.starts_with(b"r") {
        1
    } else {
        return at;
    };
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return at;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = prefix + hashes + 1;
    let len = rest[body..].windows(close.len()).position(|window| window == close);
    len.map_or(bytes.len(), |len| at + body + len + close.len())
}

/// A character literal, or the start of a lifetime.
fn character(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at + 1) {
        Some(b'\\') => {
            let close = bytes[at + 3..].iter().position(|byte| *byte == b'\'');
            close.map_or(at, |len| at + 3 + len + 1)
        }
        Some(_) => {
            // One character of up to four bytes, then the quote; anything else is a lifetime.
            let close = (at + 2..at + 6).find(|end| bytes.get(*end) == Some(&b'\''));
            let whole = close.filter(|end| core::str::from_utf8(&bytes[at + 1..*end]).is_ok());
            let one = whole.filter(|end| {
                core::str::from_utf8(&bytes[at + 1..*end]).is_ok_and(|c| c.chars().count() == 1)
            });
            one.map_or(at, |end| end + 1)
        }
        None => at,
    }
}

#[test]
fn literals_and_comments_are_blanked_lines_stay() {
    let text =
        "a \"x{\\\"\" b // {\nc '{' 'd /* { /* } */ } */ e r#\"{\"}\"# f b'\\'' g '\u{e9}' h";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(code.matches('\n').count(), 1);
    let left: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(left, ["a", "b", "c", "'d", "e", "f", "b", "g", "h"]);
}
