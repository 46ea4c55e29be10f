//! Two real processes and their supervisor, started as a user starts them, killed as nobody likes
//! it. What must hold is in DESIGN.md section 8 and SPECIFICATION.md; loss is judged against a
//! control run without the event, because the machine itself loses packets.
#![expect(clippy::disallowed_methods, reason = "these tests stand outside: real clocks")]

mod controlplane_killed;
mod dataplane_killed;
mod dead_application;
mod full_disk;
mod ledger;
mod load;
mod namespaces;
mod owner;
mod retention;
mod sip_messages;
mod stopped;
mod strangers;
mod supervisor;
mod ways_out;
