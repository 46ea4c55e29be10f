//! `tandem-controlplane`: see the library.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match daemon::boot::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be a file on a full disk.
            let _ = writeln!(std::io::stderr(), "tandem-controlplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
