//! What only the inside can try: operations that the restrictions forbid.

use std::net::{IpAddr, Ipv4Addr};

use base::Mono;
use io_uring::squeue::Entry;
use io_uring::types::Fixed;
use io_uring::{opcode, types};

use super::*;

fn driver() -> Driver {
    let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut plan = DriverPlan::for_ports(8, vec![MediaAddress { bind, device: None, dscp: 46 }]);
    plan.connects = true;
    plan.entries = 8;
    plan.pool.small_receive = 16;
    plan.pool.large_receive = 4;
    let mut driver = Driver::new(&plan).unwrap();
    driver.enable().unwrap();
    driver
}

/// The result of an operation that goes past the driver's own functions.
fn attempt(driver: &mut Driver, entry: Entry) -> i32 {
    driver.push_always(&entry.user_data(Tag::new(0xff, 0, 7).0));
    driver.enter(Wait::Until { now: clock::mono(), deadline: Mono::NEVER });
    let completion = driver.ring.completion().next().expect("a completion");
    assert_eq!(completion.user_data(), Tag::new(0xff, 0, 7).0);
    completion.result()
}

#[test]
fn a_forbidden_operation_completes_with_eacces() {
    let mut driver = driver();
    let path = c"/etc/hostname";
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
    assert_eq!(attempt(&mut driver, open), -libc::EACCES);
    let mut byte = 0_u8;
    let read = opcode::Read::new(types::Fd(0), &raw mut byte, 1).build();
    assert_eq!(attempt(&mut driver, read), -libc::EACCES);
    assert_eq!(attempt(&mut driver, opcode::Nop::new().build()), -libc::EACCES);
    let chained = opcode::AsyncCancel::new(0).build().flags(Flags::IO_LINK);
    assert_eq!(attempt(&mut driver, chained), -libc::EACCES);
    let allowed = opcode::AsyncCancel::new(0).build();
    assert_eq!(attempt(&mut driver, allowed), -libc::ENOENT);
    let no_file = opcode::Send::new(Fixed(3), std::ptr::null(), 0).build();
    assert_eq!(attempt(&mut driver, no_file), -libc::EBADF);
}

#[test]
fn a_forbidden_registration_is_refused() {
    let driver = driver();
    assert!(driver.ring.set_file(0, -1).is_ok());
    let refused = driver.ring.register_eventfd_for_test();
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EACCES));
}

#[test]
fn a_driver_may_be_made_on_one_thread_and_run_on_another() {
    let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut plan = DriverPlan::for_ports(8, vec![MediaAddress { bind, device: None, dscp: 46 }]);
    plan.connects = true;
    let mut driver = Driver::new(&plan).unwrap();
    let bell = Doorbell::new().unwrap();
    driver.watch(&bell, 5).unwrap();
    bell.ring();
    let woken = std::thread::spawn(move || {
        driver.enable().unwrap();
        driver.breathe(Mono::NEVER, true, &mut Vec::with_capacity(1)).woken
    });
    assert_eq!(woken.join().unwrap(), 1 << 5);
}

#[test]
fn tags_keep_their_parts() {
    let tag = Tag::new(3, 0x00ab_cdef, 0x0123_4567);
    assert_eq!((tag.kind(), tag.generation(), tag.index()), (3, 0x00ab_cdef, 0x0123_4567));
}

/// What cannot go on says so: it neither spins nor goes on in silence.
#[test]
fn a_ring_that_cannot_be_entered_is_told_and_not_tried_for_ever() {
    let mut driver = driver();
    assert!(driver.check().is_ok());
    driver.ring.break_for_test();
    let mut received = Vec::with_capacity(4);
    driver.breathe(clock::mono() + core::time::Duration::from_secs(60), true, &mut received);
    let error = driver.check().unwrap_err();
    assert_eq!(error.errno(), Some(libc::EBADF));
    assert!(error.to_string().contains("io_uring_enter"), "{error}");
    // More than the queue holds: no room ever comes, and nobody waits for it.
    for port in 0..64 {
        driver.flow(Flow::Open { port: MediaPort { address: 0, port: 40_000 + port } });
    }
    assert!(driver.counters().enter_errors == 1, "it is not entered again");
}
