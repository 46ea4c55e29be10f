//! What scanners make of the switch: sipvicious looks for it, for its users and for their
//! passwords, sipsak asks, registers and sends what is no SIP.

mod sipsak;
mod sipvicious;
