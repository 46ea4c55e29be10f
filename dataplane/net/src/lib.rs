//! The system: io_uring, sockets, clock, CPU pinning, wake-ups
