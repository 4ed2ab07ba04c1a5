//! `doctor`.

use std::path::Path;

use super::{Stop, exit};

pub async fn doctor(config: &Path, site: Option<&str>, json: bool) -> Result<u8, Stop> {
    let _ = (config, site, json);
    Err(Stop::new(exit::FAILED, "not there yet"))
}
