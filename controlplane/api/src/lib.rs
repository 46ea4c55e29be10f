//! HTTP in and out: the REST API of 2010-04-01 for applications and operators, and the webhooks
//! that ask applications what to do. I/O is allowed here; the state is behind [`Backend`].
#![forbid(unsafe_code)]

mod auth;
pub mod backend;
mod connections;
mod context;
pub mod date;
mod door;
pub mod form;
mod letters;
mod limits;
mod locks;
mod operator;
mod page;
pub mod problem;
mod resource;
mod server;
pub mod webhook;

pub use backend::Backend;
pub use limits::Limits;
pub use problem::Problem;
pub use server::{Options, router, serve};
pub use webhook::WebhookClient;
