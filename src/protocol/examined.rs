//! What a site says of itself when `doctor` asks: facts, which the runner judges. `wp-plugin/src/doctor.php` gathers them.

use std::collections::HashMap;

use serde::Deserialize;

use super::answers::{Stray, maybe_whole};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Examined {
    pub php: Php,
    pub plugin: Plugin,
    pub page_load: PageLoad,
    pub takeovers: Takeovers,
    pub cron: Cron,
    pub posts: Listed<Post>,
    pub cache: Cache,
    /// Name and engine.
    pub tables: Vec<(String, String)>,
    pub site: About,
}

/// The beginning of a list, and how long it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Listed<T> {
    pub count: u64,
    pub first: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Php {
    pub version: String,
    pub sapi: String,
    pub ini: HashMap<String, String>,
    pub missing_functions: Vec<String>,
    /// The pool's name, where php-fpm tells it.
    pub pool: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Plugin {
    pub version: String,
    pub protocol: u32,
    /// It is a must-use plugin, loaded before all others.
    pub mu: bool,
    /// Plugins that are loaded before it.
    pub before: Listed<String>,
    pub lock_kind: Option<String>,
    pub tables: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PageLoad {
    /// A runner has been heard of within the grace.
    pub alive: bool,
    /// Unix seconds on PHP's clock; 0: never.
    pub seen: i64,
    pub now: i64,
    pub grace_s: i64,
    /// What somebody hooked again after the plugin had unhooked it.
    pub hooked_again: Vec<String>,
    /// `DISABLE_WP_CRON`
    pub disabled: bool,
    /// `ALTERNATE_WP_CRON`
    pub alternate: bool,
    pub lock_timeout: i64,
    pub stray: Option<Stray>,
}

/// Who else decides about events inside this WordPress.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Takeovers {
    pub known: Vec<String>,
    pub filters: Listed<Filter>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub filter: String,
    pub by: String,
}

/// The `cron` option. Lists are of hooks and a number or a schedule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Cron {
    #[serde(deserialize_with = "maybe_whole")]
    pub bytes: Option<i64>,
    pub autoload: Option<String>,
    /// It cannot be read.
    pub error: Option<String>,
    pub events: u64,
    pub due: u64,
    #[serde(deserialize_with = "maybe_whole")]
    pub oldest: Option<i64>,
    /// Recurring events that stand there more than once with the same arguments.
    pub doubled: Listed<(String, String)>,
    pub no_callback: Listed<(String, String)>,
    pub no_schedule: Listed<(String, String)>,
    pub no_interval: Listed<(String, String)>,
}

/// A post that should be published by now.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Post {
    pub id: u64,
    pub scheduled: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// `object-cache.php` is there.
    pub drop_in: bool,
    pub persistent: bool,
    /// It holds another `cron` option than the row; null where that is not known.
    pub differs: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct About {
    pub wordpress: String,
    pub database: String,
    pub home: String,
    pub zone: String,
    pub gmt_offset: f64,
    pub php_zone: String,
    pub blogs: u64,
    pub blog: u64,
}
