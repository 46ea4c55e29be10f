//! Width, length of functions and files.

use crate::judge;
use crate::source::{self, Rust, line_of};

const WIDTH_MAX: usize = 100;
/// What a line with a literal or a diagram may have more: no formatter breaks it.
const SLACK: usize = 25;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

/// Files that may be longer than the rule says: path, reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be longer than the rule says: path, function, reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn no_line_of_code_is_wider_than_100() {
    let mut findings = Vec::new();
    for file in source::files() {
        // Prose, manifests and scripts are wrapped by whoever reads them.
        if !file.path.ends_with(".rs") {
            continue;
        }
        let Ok(text) = core::str::from_utf8(&file.bytes) else { continue };
        for (at, line) in text.lines().enumerate() {
            let width = line.chars().count();
            if width > WIDTH_MAX + if is_unbreakable(line) { SLACK } else { 0 } {
                findings.push(format!("{}:{}: {width} columns; wrap it", file.path, at + 1));
            }
        }
    }
    judge("width 100", &findings);
}

fn is_unbreakable(line: &str) -> bool {
    let code = line.trim_start();
    let text = code.trim_start_matches(['/', '!', '#']).trim();
    let arrows = ["  ", "--", "->", "<-"];
    let is_diagram = code.starts_with("//") && arrows.iter().any(|part| text.contains(part));
    let is_literal = code.contains('"') || text.ends_with('\\') || text.ends_with("Deserialize,");
    is_diagram || is_literal && !code.starts_with("//")
}

#[test]
fn no_file_is_longer_than_800_lines() {
    let mut findings = Vec::new();
    let files = source::rust();
    for file in &files {
        let lines = file.text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        match (lines > FILE_LINES_MAX, excused) {
            (true, false) => {
                findings.push(format!("{}: {lines} lines; split it along its seams", file.path));
            }
            (false, true) => {
                findings.push(format!("{}: {lines} lines; its exception can go", file.path));
            }
            _ => {}
        }
    }
    for (path, reason) in LONG_FILES {
        assert!(!reason.is_empty());
        if !files.iter().any(|file| file.path == *path) {
            findings.push(format!("{path}: is not there; its exception can go"));
        }
    }
    judge("file length", &findings);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut findings = Vec::new();
    for file in source::rust() {
        for (name, line, lines) in functions(&file) {
            let excused = LONG_FUNCTIONS.iter().any(|(p, f, _)| *p == file.path && *f == name);
            match (lines > FUNCTION_LINES_MAX, excused) {
                (true, false) => findings.push(format!(
                    "{}:{line}: fn {name} has {lines} lines; push ifs up and fors down",
                    file.path
                )),
                (false, true) => {
                    findings.push(format!("{}:{line}: fn {name}: its exception can go", file.path))
                }
                _ => {}
            }
        }
    }
    judge("function length", &findings);
}

/// Name, line and lines of each function with a body.
fn functions(file: &Rust) -> Vec<(String, usize, usize)> {
    let code = &file.code;
    let mut found = Vec::new();
    for at in source::words(code, "fn") {
        let rest = &code[at + 2..];
        let name: String =
            rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body(rest).filter(|_| !name.is_empty()) else { continue };
        let Some(close) = matching(rest, open) else { continue };
        let (first, last) = (line_of(code, at), line_of(code, at + 2 + close));
        found.push((name, first, last - first + 1));
    }
    found
}

/// Where the body begins, if there is one.
fn body(rest: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching(rest: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in rest.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn a_function_is_measured_from_its_name_to_its_brace() {
    let text = "trait T { fn no(); }\nfn a<'x>(b: [u8; 2])\nwhere\n{\n  let c = \"}\";\n}\n";
    let file = Rust { path: String::new(), text: text.to_owned(), code: source::blank(text) };
    assert_eq!(functions(&file), [("a".to_owned(), 2, 5)]);
}
