//! stub
use std::sync::Arc;

use crate::config::Site;
use crate::outcome::{Failure, Outcome};

pub struct End {
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub note: Option<String>,
    pub failure: Option<Failure>,
    pub output: String,
    pub output_dropped: u64,
    pub ms: i64,
    pub pid: Option<i64>,
}

pub async fn run(_site: &Arc<Site>) -> End {
    End {
        outcome: Outcome::Failed,
        reason: None,
        note: None,
        failure: None,
        output: String::new(),
        output_dropped: 0,
        ms: 0,
        pid: None,
    }
}

pub fn unknown(_site: &Site) -> &'static str {
    ""
}
