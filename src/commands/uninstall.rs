//! `uninstall`.

use std::path::Path;

use super::{Stop, exit};

pub async fn uninstall(config: &Path, yes: bool, dry_run: bool, json: bool) -> Result<u8, Stop> {
    let _ = (config, yes, dry_run, json);
    Err(Stop::new(exit::FAILED, "not there yet"))
}
