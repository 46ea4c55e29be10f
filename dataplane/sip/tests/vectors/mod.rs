//! Where the shared test vectors are: `TANDEM_VECTORS`, or beside the repository.

use std::path::PathBuf;

/// The named folder of vectors; `None`, said aloud, when it is not there.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TANDEM_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let dir = root.join(name);
    if !dir.is_dir() {
        eprintln!("NOT TESTED: no vectors at {}", dir.display());
        return None;
    }
    Some(dir)
}
