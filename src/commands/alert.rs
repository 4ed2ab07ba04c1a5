//! `alert`.

use crate::config::Config;

use super::{Stop, exit};

pub async fn test(config: &Config, json: bool) -> Result<u8, Stop> {
    let _ = (config, json);
    Err(Stop::new(exit::FAILED, "not there yet"))
}
