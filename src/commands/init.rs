//! `init`.

use std::path::Path;
use std::path::PathBuf;

use super::{Stop, exit};

pub async fn init(config: &Path, path: Option<PathBuf>, dry_run: bool, json: bool) -> Result<u8, Stop> {
    let _ = (config, path, dry_run, json);
    Err(Stop::new(exit::FAILED, "not there yet"))
}
