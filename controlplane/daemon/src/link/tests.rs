//! The handshake with a dataplane played by the test.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use wire::mapping::{create_sealed, map_shared, reopen_readonly};
use wire::region::Side;

use super::*;

const SHARDS: u8 = 2;

struct Dataplane {
    listener: OwnedFd,
    regions: Vec<OwnedFd>,
    sizes: Sizes,
}

impl Dataplane {
    fn new(path: &Path) -> Self {
        let sizes = Sizes::for_legs(16);
        let mut regions = Vec::new();
        for _ in 0..SHARDS {
            let fd = create_sealed("dp-region", sizes.words(Side::Dataplane)).unwrap();
            let words = map_shared(&fd, true).unwrap();
            let region = Region::create(words, Side::Dataplane, sizes, 5);
            region.slots().head.store(1_000, Ordering::Relaxed);
            region.cursors().released.store(77, Ordering::Relaxed);
            regions.push(fd);
        }
        Self { listener: listen(path), regions, sizes }
    }

    /// Plays one handshake; gives the controlplane's regions as they arrived, and the connection.
    fn serve(&self, node: u32) -> (Vec<OwnedFd>, Socket) {
        let flags = SocketFlags::CLOEXEC;
        let socket = Socket::from_fd(rustix::net::accept_with(&self.listener, flags).unwrap());
        let mut buffer = [0; LINK_BYTES_MAX];
        let (len, _) = socket.receive(&mut buffer).unwrap();
        let hello: ToDataplane = wire::decode(&buffer[..len]).unwrap();
        let expected = wire::region::layout_hash();
        assert!(matches!(hello, ToDataplane::Hello { layout, .. } if layout == expected));
        let welcome = ToControlplane::Welcome {
            shards: SHARDS,
            legs: self.sizes.legs,
            event_words: self.sizes.event_words as u64,
            command_words: self.sizes.command_words as u64,
            epoch: 5,
            node,
            pid: 1,
        };
        let mut fds: Vec<OwnedFd> =
            self.regions.iter().map(|fd| reopen_readonly(fd).unwrap()).collect();
        for _ in 0..=SHARDS {
            let bell = Bell::new().unwrap();
            fds.push(bell.as_fd().try_clone_to_owned().unwrap());
        }
        let len = wire::encode(&welcome, &mut buffer).unwrap();
        socket.send(&buffer[..len], &fds).unwrap();
        let Ok((len, theirs)) = socket.receive(&mut buffer) else { return (Vec::new(), socket) };
        let attach: ToDataplane = wire::decode(&buffer[..len]).unwrap();
        assert_eq!(attach, ToDataplane::Attach { epoch: 9 });
        (theirs, socket)
    }
}

fn listen(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let fd = fd.unwrap();
    rustix::net::bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&fd, 4).unwrap();
    fd
}

#[test]
fn regions_are_exchanged_and_the_same_memory_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link.sock");
    let dataplane = Dataplane::new(&path);
    let mut regions = Regions::new(9, Arc::new(Notify::default()));
    std::thread::scope(|scope| {
        let served = scope.spawn(|| dataplane.serve(3));
        let (attachment, _socket) = attach(&path, 3, &mut regions).unwrap();
        let (theirs, _) = served.join().unwrap();
        assert!(attachment.fresh);
        assert_eq!((attachment.shards.len(), theirs.len()), (2, 2));
        let shard = &attachment.shards[0];
        assert_eq!(shard.ours.cursors().released.load(Ordering::Relaxed), 1_000);
        assert_eq!(shard.ours.slots().head.load(Ordering::Relaxed), 77);
        // What the dataplane got can be read and not written.
        let seen = Region::open(map_shared(&theirs[0], false).unwrap(), Side::Controlplane);
        assert_eq!(seen.unwrap().epoch(), shard.epoch);
        assert!(map_shared(&theirs[0], true).is_err());

        let served = scope.spawn(|| dataplane.serve(3));
        let (again, _socket) = attach(&path, 3, &mut regions).unwrap();
        served.join().unwrap();
        assert!(!again.fresh, "the same memory");
        assert_eq!(again.shards[0].epoch, shard.epoch, "we did not succeed ourselves");
    });
}

#[test]
fn a_dataplane_of_another_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link.sock");
    let dataplane = Dataplane::new(&path);
    let mut regions = Regions::new(9, Arc::new(Notify::default()));
    std::thread::scope(|scope| {
        scope.spawn(|| dataplane.serve(4));
        let error = attach(&path, 3, &mut regions).unwrap_err().to_string();
        assert!(error.contains("node 4"), "{error}");
    });
}

#[test]
fn nobody_there_is_an_error_with_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link.sock");
    let mut regions = Regions::new(9, Arc::new(Notify::default()));
    let error = attach(&path, 3, &mut regions).unwrap_err();
    assert!(format!("{error:#}").contains("link.sock"));
}
