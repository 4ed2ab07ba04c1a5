//! What only WordPress knows of itself: its address, its folders, its blogs. It is asked through PHP on the command line, as
//! the site's own user, without a plugin and without the theme: wp-config.php and the database drop-in alone are run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::super::is_root;
use crate::config::User;
use crate::config::wp_content::text_constant;
use crate::protocol::signature::random_hex;
use crate::text;
use crate::trigger::rights::Rights;

const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST_ANSWER: u64 = 256 * 1024;
/// A network may end the request where it finds no blog for it: what is asked is answered at the end in any case.
const QUESTION: &str = r#"
define( 'SHORTINIT', true );
$_SERVER['HTTP_HOST'] = $argv[3];
if ( '' === $argv[3] ) { unset( $_SERVER['HTTP_HOST'] ); }
ob_start();
register_shutdown_function( function () use ( $argv ) {
	global $wpdb;
	while ( ob_get_level() > 0 && ob_end_clean() ) { continue; }
	$told = array( 'home' => null, 'blogs' => array() );
	if ( defined( 'WP_CONTENT_DIR' ) ) { $told['content'] = WP_CONTENT_DIR; }
	if ( defined( 'WPMU_PLUGIN_DIR' ) ) { $told['must_use'] = WPMU_PLUGIN_DIR; }
	if ( isset( $wpdb ) && is_object( $wpdb ) ) {
		$wpdb->suppress_errors();
		$p = $wpdb->base_prefix;
		$told['home'] = defined( 'WP_HOME' ) ? WP_HOME : $wpdb->get_var( "SELECT option_value FROM {$p}options WHERE option_name = 'home'" );
		$told['network'] = defined( 'MULTISITE' ) ? (bool) MULTISITE : defined( 'SUBDOMAIN_INSTALL' ) || defined( 'VHOST' ) || defined( 'SUNRISE' );
		if ( $told['network'] ) {
			$main = defined( 'BLOG_ID_CURRENT_SITE' ) ? (int) BLOG_ID_CURRENT_SITE : 1;
			$told['blogs'] = $wpdb->get_results( "SELECT blog_id, domain, path FROM {$p}blogs WHERE archived = '0' AND spam = 0 AND deleted = 0 AND blog_id <> $main ORDER BY blog_id LIMIT 1001", ARRAY_A );
		}
	}
	echo "\n", $argv[2], json_encode( $told ), "\n";
} );
require $argv[1] . '/wp-load.php';
"#;

#[derive(Debug, Deserialize)]
pub struct Told {
    pub home: Option<String>,
    pub content: Option<PathBuf>,
    pub must_use: Option<PathBuf>,
    #[serde(default)]
    pub network: bool,
    #[serde(default)]
    pub blogs: Vec<Blog>,
}

/// Another blog of the network than its main one.
#[derive(Debug, Clone, Deserialize)]
pub struct Blog {
    pub domain: String,
    pub path: String,
}

/// As this user, who is never root.
pub async fn ask(php: &Path, root: &Path, user: &User) -> Result<Told, String> {
    let mark = random_hex::<8>().map_err(|error| error.to_string())?;
    let host = text_constant(root, "DOMAIN_CURRENT_SITE").unwrap_or_default();
    // Whoever is not root stays who he is.
    let rights = Rights::of_user(Some(user).filter(|_| is_root()));
    // Root types at a terminal, and whoever shares its session could type there as well.
    let mut words = if is_root() { vec!["setsid".to_string()] } else { Vec::new() };
    words.extend(rights.words());
    words.push(php.display().to_string());
    let quiet = ["display_errors=0", "log_errors=0", "memory_limit=512M"];
    words.extend(quiet.iter().flat_map(|setting| ["-d".to_string(), (*setting).to_string()]));
    words.extend(["-r", QUESTION, "--"].map(str::to_string));
    words.extend([root.display().to_string(), mark.clone(), host]);
    let answer = tokio::time::timeout(PATIENCE, said(&words, &rights)).await;
    let answer = answer.map_err(|_| format!("PHP did not answer within {} s", PATIENCE.as_secs()))??;
    let line = answer.lines().find_map(|line| line.strip_prefix(mark.as_str()));
    let line = line.ok_or_else(|| {
        let last = answer.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        format!("WordPress could not be loaded by {}: it said {}", php.display(), text::safe_cut(last.trim(), 200))
    })?;
    serde_json::from_str(line).map_err(|error| format!("PHP's answer cannot be read: {error}"))
}

/// Both its outputs, and its end.
async fn said(words: &[String], rights: &Rights<'_>) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("nothing to start")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env_clear().envs(rights.environment()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        let (mut stdout, mut stderr) = (stdout.take(LONGEST_ANSWER), stderr.take(LONGEST_ANSWER));
        let read = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
        read.0.and(read.1).map_err(|error| error.to_string())?;
    }
    let _ = child.wait().await;
    Ok(text::lossy(&[err, out].concat()))
}
