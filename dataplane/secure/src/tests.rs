use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::ConnectionId;
use wire::material::{Certificate, Client, Material};

use super::*;

/// What a side has to say and has heard.
#[derive(Default)]
struct Side {
    sessions: Sessions,
    out: Outlets,
}

#[derive(Default)]
struct Outlets {
    sealed: HashMap<ConnectionId, Vec<u8>>,
    plain: Vec<u8>,
    up: Vec<ConnectionId>,
    known: Vec<IpAddr>,
    broken: Vec<(ConnectionId, bool, Broken)>,
    is_full: bool,
}

impl Outlet for Outlets {
    fn sealed(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        self.sealed.entry(id).or_default().extend_from_slice(bytes);
        true
    }

    fn plain(&mut self, _id: ConnectionId, bytes: &[u8]) -> bool {
        if !self.is_full {
            self.plain.extend_from_slice(bytes);
        }
        !self.is_full
    }

    fn up(&mut self, id: ConnectionId, known_as: Option<IpAddr>) {
        self.up.push(id);
        self.known.extend(known_as);
    }

    fn broken(&mut self, id: ConnectionId, greeted: bool, why: Broken) {
        self.broken.push((id, greeted, why));
    }
}

/// An authority, and what it signs.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn sign(&self, name: &str, listeners: &[u8]) -> Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        Certificate {
            chain: signed.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            listeners: listeners.to_vec(),
        }
    }

    fn material(&self, certificates: Vec<Certificate>) -> Material {
        let authorities = vec![self.0.der().to_vec()];
        Material { certificates, authorities, clients: Vec::new() }
    }
}

fn id(slot: u16) -> ConnectionId {
    ConnectionId { shard: 0, generation: 1, slot }
}

fn side(material: &Material, asks: Asks) -> Side {
    let mut side = Side::default();
    side.sessions.identify(Arc::new(Identity::new(material, &[asks, asks]).unwrap()));
    side
}

/// Carries bytes both ways until nothing is said, in pieces of `cut` bytes.
fn carry(ours: &mut Side, theirs: &mut Side, id: ConnectionId, cut: usize) {
    for _ in 0..200 {
        let mut is_silent = true;
        for turn in 0..2 {
            let (from, to) = match turn {
                0 => (&mut *ours, &mut *theirs),
                _ => (&mut *theirs, &mut *ours),
            };
            for piece in from.out.sealed.remove(&id).unwrap_or_default().chunks(cut) {
                is_silent = false;
                to.sessions.receive(id, piece, &mut to.out);
                to.sessions.serve(&mut to.out);
            }
        }
        if is_silent {
            return;
        }
    }
    panic!("they never fall silent");
}

/// A client that wants `name`, and the server, after their handshake on listener 0.
fn greet(client: &Material, server: &Material, asks: Asks, name: &str) -> (Side, Side) {
    let (mut ours, mut theirs) = (side(client, Asks::Nothing), side(server, asks));
    theirs.sessions.accept(id(1), 0, true).unwrap();
    ours.sessions.open(id(1), name).unwrap();
    assert!(ours.sessions.connected(id(1), &mut ours.out));
    carry(&mut ours, &mut theirs, id(1), 700);
    (ours, theirs)
}

#[test]
fn what_is_said_on_one_side_is_heard_on_the_other_however_it_is_cut() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    for cut in [1, 5, 1_000, 100_000] {
        let (mut ours, mut theirs) = greet(&material, &material, Asks::Nothing, "sip.example.com");
        assert_eq!((ours.out.up.len(), theirs.out.up.len()), (1, 1));
        let said: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).take(50_000).collect();
        for piece in said.chunks(16_000) {
            assert!(ours.sessions.send(id(1), piece, &mut ours.out));
        }
        carry(&mut ours, &mut theirs, id(1), cut);
        assert!(theirs.out.plain == said);
        theirs.sessions.send(id(1), b"SIP/2.0 200 OK", &mut theirs.out);
        carry(&mut ours, &mut theirs, id(1), cut);
        assert_eq!(ours.out.plain, b"SIP/2.0 200 OK");
        ours.sessions.close(id(1), &mut ours.out);
        carry(&mut ours, &mut theirs, id(1), cut);
        assert_eq!(theirs.out.broken, [(id(1), true, Broken::Closed)]);
    }
}

#[test]
fn a_far_end_that_does_not_prove_its_name_is_not_spoken_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let forged = stranger.material(vec![stranger.sign("sip.example.com", &[])]);
    for (server, name) in [(&good, "other.example.com"), (&forged, "sip.example.com")] {
        let (mut ours, theirs) = greet(&good, server, Asks::Nothing, name);
        assert!(ours.out.up.is_empty());
        assert!(matches!(ours.out.broken[..], [(_, false, Broken::Tls(_))]), "{name}");
        assert!(matches!(theirs.out.broken[..], [(_, _, Broken::Tls(_))]), "it is told");
        assert!(!ours.sessions.send(id(1), b"INVITE", &mut ours.out));
    }
    // By address, too.
    let at = authority.material(vec![authority.sign("192.0.2.1", &[])]);
    assert_eq!(greet(&good, &at, Asks::Nothing, "192.0.2.1").0.out.up.len(), 1);
    assert_eq!(greet(&good, &at, Asks::Nothing, "192.0.2.2").0.out.up.len(), 0);
    let (no, none) = (Material::default(), "sip.example.com");
    assert_eq!(greet(&no, &good, Asks::Nothing, none).0.out.up.len(), 0, "nobody is believed");
}

#[test]
fn clients_are_asked_as_the_listener_says() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let bare = authority.material(Vec::new());
    let forged =
        Material { certificates: vec![stranger.sign("phone.example.com", &[])], ..bare.clone() };
    let known = authority.material(vec![authority.sign("phone.example.com", &[])]);
    for (client, asks, is_up) in [
        (&bare, Asks::Nothing, true),
        (&bare, Asks::Maybe, true),
        (&bare, Asks::Always, false),
        (&known, Asks::Always, true),
        (&forged, Asks::Maybe, false),
        (&forged, Asks::Always, false),
    ] {
        let (_, theirs) = greet(client, &server, asks, "sip.example.com");
        assert_eq!(theirs.out.up.len(), usize::from(is_up), "{asks:?}");
    }
    assert!(matches!(
        Identity::new(&Material { authorities: Vec::new(), ..server }, &[Asks::Always]),
        Err(BadMaterial::NoAuthority)
    ));
}

/// A name that stands in the list is proven by a certificate that has it, of an authority that is
/// believed, and by nothing else; also where the session is resumed without showing it again.
#[test]
fn who_connects_is_known_by_what_his_certificate_names() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let known_as = |last: u16| IpAddr::from([0x2001, 0x20, 0, 0, 0, 0, 0, last]);
    let listed = |name: &str, last| Client { name: name.to_owned(), known_as: known_as(last) };
    let server = Material {
        clients: vec![listed("one.example.com", 1), listed("two.example.com", 2)],
        ..authority.material(vec![authority.sign("sip.example.com", &[])])
    };
    let shows = |name: &str| authority.material(vec![authority.sign(name, &[])]);
    let forged = Material {
        certificates: vec![stranger.sign("one.example.com", &[])],
        ..authority.material(Vec::new())
    };
    for (client, asks, known) in [
        (shows("two.example.com"), Asks::Maybe, Some(known_as(2))),
        (shows("one.example.com"), Asks::Always, Some(known_as(1))),
        (shows("ONE.example.com"), Asks::Always, Some(known_as(1))),
        (shows("*.example.com"), Asks::Always, None),
        (shows("one.example.org"), Asks::Always, None),
        (shows("one.example.com"), Asks::Nothing, None),
        (authority.material(Vec::new()), Asks::Maybe, None),
        (forged, Asks::Maybe, None),
    ] {
        let (mut ours, mut theirs) = greet(&client, &server, asks, "sip.example.com");
        assert_eq!(theirs.out.known, Vec::from_iter(known));
        assert!(ours.out.known.is_empty(), "a server proves no client's name");
        if ours.out.up.is_empty() {
            continue;
        }
        // Again, by what the first session left.
        theirs.sessions.accept(id(2), 0, true).unwrap();
        ours.sessions.open(id(2), "sip.example.com").unwrap();
        assert!(ours.sessions.connected(id(2), &mut ours.out));
        carry(&mut ours, &mut theirs, id(2), 700);
        assert_eq!(theirs.out.known, Vec::from_iter(known.into_iter().chain(known)));
    }
}

#[test]
fn a_certificate_is_shown_to_whoever_asks_for_its_name_on_its_listener() {
    let authority = Authority::new();
    let sign = |name: &str, listeners: &[u8]| authority.sign(name, listeners);
    let server = authority.material(vec![
        sign("one.example.com", &[]),
        sign("two.example.com", &[]),
        sign("far.example.com", &[1]),
    ]);
    for (name, is_up) in
        [("one.example.com", true), ("two.example.com", true), ("far.example.com", false)]
    {
        let (ours, _) = greet(&server, &server, Asks::Nothing, name);
        assert_eq!(!ours.out.up.is_empty(), is_up, "{name}");
    }
    let only = authority.material(vec![sign("far.example.com", &[1])]);
    let mut theirs = side(&only, Asks::Nothing);
    assert_eq!(theirs.sessions.accept(id(1), 0, true), Err(Broken::NoCertificate));
    assert!(theirs.sessions.accept(id(1), 1, true).is_ok());
}

#[test]
fn one_greets_at_a_time_and_known_ones_come_first() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let mut theirs = side(&material, Asks::Nothing);
    for slot in 0..3 {
        let mut ours = side(&material, Asks::Nothing);
        ours.sessions.open(id(slot), "sip.example.com").unwrap();
        ours.sessions.connected(id(slot), &mut ours.out);
        theirs.sessions.accept(id(slot), 0, slot < 2).unwrap();
        let hello = ours.out.sealed.remove(&id(slot)).unwrap();
        theirs.sessions.receive(id(slot), &hello, &mut theirs.out);
    }
    for answered in [2, 0, 1] {
        assert!(theirs.sessions.is_waiting());
        theirs.sessions.serve(&mut theirs.out);
        assert_eq!(
            theirs.out.sealed.drain().map(|(id, _)| id.slot).collect::<Vec<_>>(),
            [answered]
        );
    }
    assert!(!theirs.sessions.is_waiting());
}

#[test]
fn what_cannot_be_taken_is_offered_again_and_nobody_holds_without_end() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let (mut ours, mut theirs) = greet(&material, &material, Asks::Nothing, "sip.example.com");
    theirs.out.is_full = true;
    ours.sessions.send(id(1), &[b'a'; 20_000], &mut ours.out);
    carry(&mut ours, &mut theirs, id(1), 4_000);
    assert!(theirs.out.plain.is_empty() && theirs.sessions.is_waiting());
    theirs.out.is_full = false;
    theirs.sessions.serve(&mut theirs.out);
    theirs.sessions.serve(&mut theirs.out);
    assert_eq!(theirs.out.plain, [b'a'; 20_000]);
    theirs.out.is_full = true;
    for _ in 0..8 {
        ours.sessions.send(id(1), &[b'b'; 16_000], &mut ours.out);
        carry(&mut ours, &mut theirs, id(1), 16_000);
    }
    assert_eq!(theirs.out.broken, [(id(1), true, Broken::TooMuch)]);
    assert!(!theirs.sessions.has(id(1)));
}

#[test]
fn what_is_no_tls_ends_at_once() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    for bytes in [b"OPTIONS sip:a@b SIP/2.0\r\n".as_slice(), &[22, 3, 1, 255, 255, 0]] {
        let mut theirs = side(&material, Asks::Nothing);
        theirs.sessions.accept(id(1), 0, true).unwrap();
        theirs.sessions.receive(id(1), bytes, &mut theirs.out);
        theirs.sessions.serve(&mut theirs.out);
        assert!(matches!(theirs.out.broken[..], [(_, false, Broken::Tls(_))]));
    }
}

#[test]
fn material_that_is_none_is_refused_with_its_place() {
    let authority = Authority::new();
    let (one, two) = (authority.sign("a.example", &[]), authority.sign("b.example", &[]));
    let crossed = Certificate { key: two.key, ..one.clone() };
    let empty = Certificate { chain: Vec::new(), ..one.clone() };
    let text = Certificate { key: b"secret".to_vec(), ..one.clone() };
    for bad in [crossed, empty, text] {
        let material = authority.material(vec![one.clone(), bad]);
        let error = Identity::new(&material, &[Asks::Nothing]).unwrap_err().to_string();
        assert!(error.starts_with("certificate 1: "), "{error}");
        assert!(!error.contains("secret"));
    }
}

/// What a client's greeting is, in pieces: a hello, then what it says once it is answered.
fn hello(material: &Material, slot: u16) -> Vec<u8> {
    let mut ours = side(material, Asks::Nothing);
    ours.sessions.open(id(slot), "sip.example.com").unwrap();
    ours.sessions.connected(id(slot), &mut ours.out);
    ours.out.sealed.remove(&id(slot)).unwrap()
}

/// Far ends that know no protocol names (ALPN) end the handshake at any.
#[test]
fn a_greeting_of_ours_names_no_protocol() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let bytes = hello(&material, 1);
    let mut acceptor = rustls::server::Acceptor::default();
    acceptor.read_tls(&mut &bytes[..]).unwrap();
    let accepted = acceptor.accept().unwrap().expect("a whole greeting");
    assert!(accepted.client_hello().alpn().is_none());
}

#[test]
fn those_who_greet_hold_little_and_leave_room_for_known_ones() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let mut theirs = side(&material, Asks::Nothing);
    // A hello that says it were 60 KiB long.
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xf0, 0][..], &[0; 16_000]].concat();
    let mut holding = 0;
    for slot in 0..1_000 {
        theirs.sessions.accept(id(slot), 0, true).unwrap();
        theirs.sessions.receive(id(slot), &endless, &mut theirs.out);
        theirs.sessions.serve(&mut theirs.out);
        holding += usize::from(theirs.sessions.has(id(slot)));
    }
    assert!((300..500).contains(&holding), "{holding}");
    theirs.sessions.receive(id(0), &endless, &mut theirs.out);
    assert!(!theirs.sessions.has(id(0)), "one has 24 KiB");
    // A known far end still greets.
    theirs.sessions.accept(id(2_000), 0, false).unwrap();
    theirs.sessions.receive(id(2_000), &hello(&material, 2_000), &mut theirs.out);
    theirs.sessions.serve(&mut theirs.out);
    assert!(theirs.out.sealed.contains_key(&id(2_000)));
    // What they held is free once they are gone.
    for slot in 0..1_000 {
        theirs.sessions.forget(id(slot));
    }
    while theirs.sessions.is_waiting() {
        theirs.sessions.serve(&mut theirs.out);
    }
    theirs.sessions.accept(id(1), 0, true).unwrap();
    theirs.sessions.receive(id(1), &endless, &mut theirs.out);
    assert!(theirs.sessions.has(id(1)));
}

#[test]
fn a_burst_of_somebody_who_stands_is_taken_whole() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let (mut ours, mut theirs) = greet(&material, &material, Asks::Nothing, "sip.example.com");
    for _ in 0..30 {
        ours.sessions.send(id(1), &[b'x'; 10_000], &mut ours.out);
    }
    let burst = ours.out.sealed.remove(&id(1)).unwrap();
    for piece in burst.chunks(16_000) {
        theirs.sessions.receive(id(1), piece, &mut theirs.out);
    }
    theirs.sessions.serve(&mut theirs.out);
    assert_eq!(theirs.out.plain.len(), 300_000);
    // Its last words are heard although they could not be taken at once.
    theirs.out.is_full = true;
    ours.sessions.send(id(1), &[b'y'; 30_000], &mut ours.out);
    ours.sessions.close(id(1), &mut ours.out);
    carry(&mut ours, &mut theirs, id(1), 4_000);
    theirs.out.is_full = false;
    while theirs.sessions.is_waiting() {
        theirs.sessions.serve(&mut theirs.out);
    }
    assert_eq!(theirs.out.plain.len(), 330_000);
    assert_eq!(theirs.out.broken, [(id(1), true, Broken::Closed)]);
}

/// With certificates of one name that sign each other the search for a path is long.
#[test]
fn a_chain_longer_than_chains_are_is_not_looked_at() {
    let authority = Authority::new();
    let material = authority.material(vec![authority.sign("sip.example.com", &[])]);
    let mut long = authority.sign("sip.example.com", &[]);
    for _ in 0..6 {
        long.chain.extend_from_slice(&authority.sign("between.example", &[]).chain);
    }
    let long = authority.material(vec![long]);
    assert_eq!(greet(&material, &long, Asks::Nothing, "sip.example.com").0.out.up.len(), 0);
    assert_eq!(greet(&long, &material, Asks::Always, "sip.example.com").1.out.up.len(), 0);
}
