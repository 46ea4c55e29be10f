//! What is declared is used: counters are written, limits and configuration keys are read, `pub`
//! has somebody outside, and what a message carries is read by whom it is sent to.
//!
//! The rules go by names, so they are mild: a name that something else uses too passes. What they
//! find is unused for certain.

use std::collections::{BTreeMap, BTreeSet};

use wire::counter::Counter;

use crate::judge;
use crate::source::{self, Rust, words};

/// Counters that nothing writes: name, reason.
const UNWRITTEN: &[(&str, &str)] = &[];

/// Limits that nothing reads: path, name, reason.
const UNREAD_LIMITS: &[(&str, &str, &str)] = &[
    ("dataplane/rtp/src/rtcp.rs", "CNAME_BYTES_MAX", "says what an SDES length byte can say"),
    (
        "dataplane/sip/src/limits.rs",
        "LIST_ENTRIES_MAX",
        "lists are walked lazily, uncounted so far",
    ),
    ("dataplane/sip/src/limits.rs", "TOKEN_BYTES_MAX", "the shard's arena refuses by its own room"),
];

/// Configuration keys that nothing reads: key, reason.
const UNREAD_KEYS: &[(&str, &str)] = &[
    ("profile", "made plain settings where the configuration is read"),
    ("srtp", "refused where the configuration is read, until there is SRTP (step 5b)"),
];

const START: &str = "waits for its user: start and footprint are the next step's";
const BOUND: &str = "a bound that callers may ask for";
const TABLE: &str = "one of a table from a standard, given whole";
const DIGITS: &str = "waits for its user: digits, resumption";
const INSIDE: &str = "inside the crate only: pub(crate) when its room is next open";
const STEP_4: &str = "waits for its user: registrar, REFER and streams (step 4)";

/// `pub` without a user outside: path, names, reason.
const UNUSED_PUB: &[(&str, &str, &str)] = &[
    ("dataplane/net/src/driver/errors.rs", "QUOTE_BYTES_MAX", BOUND),
    ("dataplane/net/src/driver/plan.rs", "BELLS_MAX LISTENERS_MAX", BOUND),
    ("dataplane/net/src/notify.rs", "take_descriptors", START),
    ("dataplane/net/src/pool.rs", "footprint_bytes is_locked", START),
    ("dataplane/net/src/probe.rs", "kernel_release", START),
    ("dataplane/rtp/src/quality.rs", "G723 WIDEBAND", TABLE),
    ("dataplane/rtp/src/rtcp.rs", "BLOCKS_MAX CNAME_BYTES_MAX", BOUND),
    (
        "dataplane/rtp/src/rtcp.rs",
        "TYPE_APP TYPE_BYE TYPE_PSFB TYPE_RR TYPE_RTPFB TYPE_SDES TYPE_SR TYPE_XR",
        TABLE,
    ),
    ("dataplane/rtp/src/sender.rs", "is_before_source last_sent", DIGITS),
    ("dataplane/rtp/src/telephone_event.rs", "EventPacket", DIGITS),
    ("dataplane/sdp/src/codec.rs", "AMR_WB G7221 ILBC", TABLE),
    ("dataplane/sdp/src/media.rs", "is_plain_audio is_usable_audio", INSIDE),
    ("dataplane/sip/src/addr.rs", "unquoted", INSIDE),
    ("dataplane/sip/src/body.rs", "is_multipart is_session", INSIDE),
    ("dataplane/sip/src/dialog.rs", "of_request", STEP_4),
    ("dataplane/sip/src/lex.rs", "is_token_text", INSIDE),
    ("dataplane/sip/src/limits.rs", "LIST_ENTRIES_MAX TOKEN_BYTES_MAX", BOUND),
    ("dataplane/sip/src/message.rs", "record_routes", STEP_4),
    ("dataplane/sip/src/name.rs", "is_list is_single is_vital", INSIDE),
    ("dataplane/sip/src/session.rs", "supports_timer", INSIDE),
    ("dataplane/sip/src/uri.rs", "has_scheme parse_lenient", INSIDE),
    ("dataplane/wire/src/counter.rs", "COUNTERS", BOUND),
    ("dataplane/wire/src/record.rs", "RECORD_VERSION", BOUND),
    ("dataplane/wire/src/ring.rs", "free_words record_words", INSIDE),
];

/// Fields that their receiver does not read: `Type.field` or `Type::Variant.field`, reason.
const UNREAD_FIELDS: &[(&str, &str)] = &[
    ("Event::Digit.at", "Gather is not there yet"),
    ("Event::Digit.digit", "Gather is not there yet"),
    ("Event::Parted.at", "the director makes nothing of a part that it did not ask for yet"),
    ("Event::Progress.code", "one callback `ringing` for every 18x so far"),
    ("Event::Progress.media", "one callback `ringing` for every 18x so far"),
    ("PeerMessage::Joined.call", "the leg that answers knows its partner's call already"),
];

/// Crates of the dataplane that others may build on.
const LIBRARIES: [&str; 9] =
    ["agent", "base", "config", "net", "rtp", "sdp", "shard", "sip", "wire"];

/// A Rust file, its code split in two: what ships, and what only tests see.
struct Split {
    path: String,
    product: String,
    tests: String,
}

fn split(files: &[Rust]) -> Vec<Split> {
    let read = |file: &Rust| {
        let path = file.path.clone();
        let whole = ["tests/", "benches/"].iter().any(|start| path.starts_with(start))
            || ["/tests/", "/examples/", "/benches/", "/tests.rs", "_tests.rs"]
                .iter()
                .any(|part| path.contains(part));
        let (mut product, mut tests) = (String::new(), String::new());
        if whole {
            tests.clone_from(&file.code);
        } else {
            let mut rest = file.code.as_str();
            while let Some(at) = rest.find("#[cfg(test)]") {
                product.push_str(&rest[..at]);
                let end = at + item_end(&rest[at..]);
                tests.push_str(&rest[at..end]);
                rest = &rest[end..];
            }
            product.push_str(rest);
        }
        Split { path, product, tests }
    };
    files.iter().map(read).collect()
}

/// Where the item that begins here is over: at its `;` or its closing brace.
fn item_end(code: &str) -> usize {
    let stop = code.find(['{', ';']).unwrap_or(code.len());
    if code[stop..].starts_with('{') { stop + block(&code[stop..]).len() } else { stop }
}

/// The block that begins with the first character, braces included.
fn block(code: &str) -> &str {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return &code[..=at],
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code
}

fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    &code[..end]
}

/// Whether `something.field` stands there.
fn is_field_read(code: &str, field: &str) -> bool {
    words(code, field).any(|at| code[..at].trim_end().ends_with('.'))
}

/// Every identifier of a text.
fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Findings and entries of an exception list that nothing needs any more.
fn except(findings: &mut Vec<String>, found: &BTreeSet<String>, excused: &[(String, &str)]) {
    for name in found {
        if !excused.iter().any(|(known, _)| known == name) {
            findings.push(name.clone());
        }
    }
    for (known, reason) in excused {
        assert!(!reason.is_empty(), "{known}: an exception has a reason");
        if !found.contains(known) {
            findings.push(format!("{known}: its exception can go"));
        }
    }
}

#[test]
fn every_counter_is_written() {
    let files = split(&source::rust());
    let product: Vec<&Split> = files
        .iter()
        .filter(|file| file.path != "dataplane/wire/src/counter.rs" && !file.product.is_empty())
        .collect();
    let is_written = |counter: &Counter| {
        let name = format!("Counter::{counter:?}");
        product.iter().any(|file| {
            words(&file.product, &name).any(|at| !file.product[..at].ends_with(".get("))
        })
    };
    let unwritten: BTreeSet<String> = Counter::ALL
        .iter()
        .filter(|counter| !is_written(counter))
        .map(|counter| format!("{counter:?}"))
        .collect();
    let excused: Vec<_> =
        UNWRITTEN.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
    let mut findings = Vec::new();
    except(&mut findings, &unwritten, &excused);
    judge("exported counters that no product code writes", &findings);
}

#[test]
fn every_declared_limit_is_read() {
    let files = split(&source::rust());
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for word in files.iter().flat_map(|file| identifiers(&file.product)) {
        *uses.entry(word).or_default() += 1;
    }
    let mut unread = BTreeSet::new();
    for file in &files {
        for at in words(&file.product, "const") {
            let name = identifier(file.product[at + 5..].trim_start());
            let is_limit = name.ends_with("_MAX") || name.ends_with("_MIN");
            let declared = files.iter().map(|file| declarations(&file.product, name)).sum();
            if is_limit && uses.get(name).copied().unwrap_or(0) <= declared {
                unread.insert(format!("{} {name}", file.path));
            }
        }
    }
    let excused: Vec<_> = UNREAD_LIMITS
        .iter()
        .map(|(path, name, reason)| (format!("{path} {name}"), *reason))
        .collect();
    let mut findings = Vec::new();
    except(&mut findings, &unread, &excused);
    judge("limits that nothing reads: hold them or remove them", &findings);
}

fn declarations(code: &str, name: &str) -> usize {
    words(code, name).filter(|at| code[..*at].trim_end().ends_with("const")).count()
}

#[test]
fn every_configuration_key_is_read() {
    let files = split(&source::rust());
    let path = "dataplane/config/src/lib.rs";
    let config = files.iter().find(|file| file.path == path).expect("the configuration");
    let elsewhere = || {
        files.iter().filter(|file| {
            !file.path.starts_with("dataplane/config/src/") && !file.product.is_empty()
        })
    };
    let mut unread = BTreeSet::new();
    for (_, field) in fields(&config.product, |_| true) {
        if !elsewhere().any(|file| is_field_read(&file.product, field)) {
            unread.insert(field.to_owned());
        }
    }
    let excused: Vec<_> =
        UNREAD_KEYS.iter().map(|(key, reason)| ((*key).to_owned(), *reason)).collect();
    let mut findings = Vec::new();
    except(&mut findings, &unread, &excused);
    judge("keys of the configuration that nothing reads", &findings);
}

/// `(Type, field)` of every struct whose attributes please.
fn fields(code: &str, pleases: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for at in words(code, "struct") {
        let rest = code[at + 6..].trim_start();
        let name = identifier(rest);
        let stop = rest.find(['{', ';', '(']).unwrap_or(rest.len());
        if pleases(attributes(&code[..at])) && rest[stop..].starts_with('{') {
            found.extend(names(block(&rest[stop..])).into_iter().map(|field| (name, field)));
        }
    }
    found
}

/// What stands before an item since the last one was over.
fn attributes(before: &str) -> &str {
    &before[before.rfind(['{', '}', ';']).map_or(0, |at| at + 1)..]
}

/// The fields of a block `{ a: A, pub b: B }`.
fn names(block: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut depth = 0_i32;
    for (at, byte) in block.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' | b'<' => depth += 1,
            b'}' | b')' | b']' | b'>' => depth -= 1,
            b':' if depth == 1 => {
                let is_path = block[at + 1..].starts_with(':') || block[..at].ends_with(':');
                let name = block[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
                found.extend(name.filter(|name| !name.is_empty() && !is_path));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn what_a_library_of_the_dataplane_shows_is_used() {
    let files = split(&source::rust());
    let mut unused = BTreeSet::new();
    for library in LIBRARIES {
        let home = format!("dataplane/{library}/");
        let source = format!("{home}src/");
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for file in &files {
            let is_ours = file.path.starts_with(&home);
            used.extend(identifiers(&file.tests));
            if is_ours {
                used.extend(signatures(&file.product));
            } else {
                used.extend(identifiers(&file.product));
            }
        }
        for file in files.iter().filter(|file| file.path.starts_with(&source)) {
            for name in shown(&file.product) {
                if !used.contains(name) {
                    unused.insert(format!("{} {name}", file.path));
                }
            }
        }
    }
    let excused: Vec<_> = UNUSED_PUB
        .iter()
        .flat_map(|(path, names, reason)| {
            names.split(' ').map(move |name| (format!("{path} {name}"), *reason))
        })
        .collect();
    let mut findings = Vec::new();
    except(&mut findings, &unused, &excused);
    judge("`pub` that no other crate, test or example uses: pub(crate), or remove it", &findings);
}

/// Positions after each `pub ` (not `pub(crate)`).
fn publics(code: &str) -> impl Iterator<Item = &str> {
    words(code, "pub").map(|at| &code[at + 3..]).filter(|rest| rest.starts_with(' '))
}

/// Names of what stands behind `pub`, fields and re-exports aside.
fn shown(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in publics(code) {
        let mut rest = rest.trim_start();
        loop {
            let word = identifier(rest);
            let after = rest[word.len()..].trim_start();
            match word {
                "const" if identifier(after) == "fn" => rest = after,
                "unsafe" | "async" => rest = after,
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" => {
                    found.push(identifier(after));
                    break;
                }
                _ => break,
            }
        }
    }
    found
}

/// Every identifier in public signatures, fields and variants: a type that stands there has to be
/// public too. The name that the item itself introduces does not count.
fn signatures(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in publics(code) {
        let rest = rest.trim_start();
        let is_enum = identifier(rest) == "enum";
        let stop = rest.find(['{', ';']).unwrap_or(rest.len());
        let mut head = &rest[..stop];
        if !["fn", "const", "unsafe", "struct", "enum", "trait", "type", "static", "use", "mod"]
            .contains(&identifier(rest))
        {
            // A field.
            head = &rest[..rest.find('\n').unwrap_or(stop).min(rest.len())];
        }
        let own = shown_one(rest);
        found.extend(identifiers(head).filter(|word| Some(*word) != own));
        if is_enum {
            found.extend(identifiers(block(&rest[stop..])));
        }
    }
    found
}

fn shown_one(rest: &str) -> Option<&str> {
    let mut words =
        identifiers(rest).take(4).skip_while(|word| ["const", "unsafe", "async"].contains(word));
    match words.next() {
        Some("fn" | "struct" | "enum" | "trait" | "type" | "static") => words.next(),
        // `pub const NAME`: the keyword was skipped.
        other => other,
    }
}

/// Which files define messages, and who receives them.
const MESSAGES: [(&str, &[&str]); 3] = [
    ("dataplane/wire/src/event.rs", &["controlplane/"]),
    ("dataplane/wire/src/command.rs", &["dataplane/shard/src/"]),
    ("dataplane/shard/src/", &["dataplane/shard/src/"]),
];

#[test]
fn what_a_message_carries_is_read_by_its_receiver() {
    let files = split(&source::rust());
    let is_message = |attributes: &str| attributes.contains("Deserialize");
    let mut unread = BTreeSet::new();
    for (folder, receivers) in MESSAGES {
        let code: Vec<&Split> = files
            .iter()
            .filter(|file| receivers.iter().any(|start| file.path.starts_with(start)))
            .collect();
        for file in files.iter().filter(|file| file.path.starts_with(folder)) {
            for (name, field) in fields(&file.product, is_message) {
                let is_read = code.iter().any(|file| is_field_read(&file.product, field));
                if !is_read && !code.iter().any(|file| takes_apart(&file.product, name, field)) {
                    unread.insert(format!("{name}.{field}"));
                }
            }
            for (name, variant, field) in variants(&file.product, is_message) {
                if !code.iter().any(|file| takes_apart(&file.product, variant, field)) {
                    unread.insert(format!("{name}::{variant}.{field}"));
                }
            }
        }
    }
    let excused: Vec<_> =
        UNREAD_FIELDS.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
    let mut findings = Vec::new();
    except(&mut findings, &unread, &excused);
    judge("fields of messages that their receiver does not read", &findings);
}

/// `(Enum, Variant, field)` of every enum whose attributes please.
fn variants(code: &str, pleases: impl Fn(&str) -> bool) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    for at in words(code, "enum") {
        let rest = code[at + 4..].trim_start();
        let Some(stop) = rest.find('{') else { continue };
        if !pleases(attributes(&code[..at])) {
            continue;
        }
        let body = block(&rest[stop..]);
        let mut from = 1;
        while let Some(open) = body[from..].find('{').map(|at| from + at) {
            let variant = body[..open].trim_end();
            let variant = variant.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
            let inner = block(&body[open..]);
            found.extend(names(inner).into_iter().map(|field| (identifier(rest), variant, field)));
            from = open + inner.len();
        }
    }
    found
}

/// Whether a pattern `Name { .. }` binds the field.
fn takes_apart(code: &str, name: &str, field: &str) -> bool {
    words(code, name).any(|at| {
        let rest = code[at + name.len()..].trim_start();
        if !rest.starts_with('{') {
            return false;
        }
        let inner = block(rest);
        let after = rest[inner.len()..].trim_start_matches([')', ' ', '\n']);
        let is_pattern = ["=>", "= ", "|", "if "].iter().any(|next| after.starts_with(next));
        let is_bound = words(inner, field).any(|at| {
            let after = inner[at + field.len()..].trim_start();
            !after.strip_prefix(':').is_some_and(|after| after.trim_start().starts_with("_,"))
        });
        is_pattern && is_bound
    })
}

#[test]
fn declarations_are_found() {
    let code = "#[derive(Deserialize)]\npub struct A<'a> { pub b: u8, c: Vec<(u8, D)> }\n\
                #[derive(Deserialize)]\npub enum E { F, G { h: u8, i: j::K }, L(u8), }\n\
                pub const fn m(n: O) -> P { q() }\npub const R: u8 = 1;\npub(crate) fn s() {}\n";
    let pleases = |attributes: &str| attributes.contains("Deserialize");
    assert_eq!(fields(code, pleases), [("A", "b"), ("A", "c")]);
    assert_eq!(variants(code, pleases), [("E", "G", "h"), ("E", "G", "i")]);
    assert_eq!(shown(code), ["A", "E", "m", "R"]);
    let signatures = signatures(code);
    assert!(["O", "P", "K"].iter().all(|name| signatures.contains(name)), "{signatures:?}");
    assert!(!signatures.contains(&"m") && !signatures.contains(&"R"));
    assert!(takes_apart("match e { E::G { h, i: _, } => h }", "G", "h"));
    assert!(!takes_apart("match e { E::G { h, i: _, } => h }", "G", "i"));
    assert!(!takes_apart("send(E::G { h, i })", "G", "h"));
}
