//! `import`.

use std::path::Path;

use super::{Stop, exit};

pub fn import(config: &Path, file: Option<&Path>, system: bool, write: bool, json: bool) -> Result<u8, Stop> {
    let _ = (config, file, system, write, json);
    Err(Stop::new(exit::FAILED, "not there yet"))
}
