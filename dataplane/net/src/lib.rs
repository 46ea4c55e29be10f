//! The system: the only crate of the dataplane that makes system calls.
//!
//! ```text
//!            Received            Transmit, Flow
//!   kernel ----------> shard ------------------> kernel
//!      ^   Driver::breathe        Driver::transmit, Driver::flow
//!      |
//!   one io_uring per shard, created disabled, restricted to the operations in
//!   `ring::OPERATIONS`, enabled on the shard's thread
//! ```
//!
//! The shard is a value that knows none of this; the engine glues the two. Packets lie in the
//! [`pool::Pool`] and are named by [`base::Frame`]; the kernel receives into the pool's buffers
//! and sends from them, so that a relayed packet is never copied by us.
//!
//! Everything else here is what a process needs once, at boot: SIP listeners ([`listen`]), pinning
//! ([`cpu`]), what the machine can do ([`probe`]), the service manager ([`notify`]), the link to
//! the other process ([`link`]) and sealed shared memory ([`memfd`]).

pub mod clock;
pub mod cpu;
pub mod doorbell;
pub mod driver;
pub mod error;
pub mod link;
pub mod listen;
pub mod memfd;
pub mod notify;
pub mod pool;
pub mod probe;

mod bufring;
mod ring;
mod sockaddr;

pub use clock::sample;
pub use doorbell::{Doorbell, Sleeper};
pub use driver::{Breath, Counters, Driver, DriverPlan};
pub use error::NetError;
pub use pool::{Pool, PoolPlan};
