<?php
/**
 * What this site knows about itself and its runner, without a query: constants of wp-config.php and one autoloaded option.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** The same as in the header of wp-cron-runner.php and in Cargo.toml; a test compares them. */
const VERSION = '0.1.0';

/** The autoloaded option: install, seen, grace, held, listen, lock_kind, lock_version, schema, settled. */
const OPTION = 'wp_cron_runner';

/** Milliseconds of silence, after it was expected, until an owner's place may be taken. */
const SILENCE_MS = 45000;
/** Seconds in which a runner that is to follow another is waited for, before page loads start events again. */
const FOLLOWER_WAITS = 60;

/**
 * The name the runner's configuration has for this site.
 */
function site_name(): string {
	return defined( 'WP_CRON_RUNNER_SITE' ) ? (string) WP_CRON_RUNNER_SITE : '';
}

/**
 * The live keys, newest first: key id => 32 raw bytes. Two during a rotation.
 *
 * A key that is not 64 hexadecimal digits, or one byte repeated, is no key: it never signs and never opens.
 */
function keys(): array {
	$keys = array();
	$text = defined( 'WP_CRON_RUNNER_KEYS' ) ? (string) WP_CRON_RUNNER_KEYS : '';
	foreach ( preg_split( '/\s+/', $text, -1, PREG_SPLIT_NO_EMPTY ) as $hex ) {
		if ( ! preg_match( '/^[0-9a-f]{64}\z/i', $hex ) || preg_match( '/^(..)\1+$/', $hex ) ) {
			continue;
		}
		$raw                     = hex2bin( $hex );
		$keys[ key_id( $raw ) ] = $raw;
	}
	return $keys;
}

/**
 * The name of a key: it may be shown, it says nothing about the key.
 */
function key_id( string $raw ): string {
	return substr( hash( 'sha256', $raw ), 0, 8 );
}

/**
 * What the runner left for page views. Read from the autoloaded options, so that it never costs a query, even
 * before it was written for the first time.
 *
 * @param array|null $newer What the row is known to hold by now, for the rest of this request.
 */
function settings( ?array $newer = null ): array {
	static $known = array();
	$blog         = get_current_blog_id();
	if ( null !== $newer ) {
		$known[ $blog ] = $newer;
	}
	if ( isset( $known[ $blog ] ) ) {
		return $known[ $blog ];
	}
	$all   = wp_load_alloptions();
	$value = isset( $all[ OPTION ] ) ? maybe_unserialize( $all[ OPTION ] ) : array();
	return is_array( $value ) ? $value : array();
}

/**
 * What the row itself holds.
 */
function settings_in_row( Connection $db ): array {
	global $wpdb;
	$value = maybe_unserialize( (string) $db->value( "SELECT option_value FROM {$wpdb->options} WHERE option_name = ?", array( OPTION ) ) );
	return is_array( $value ) ? $value : array();
}

/**
 * Changes some of the settings. On top of what the row has now: a long run knows those of its beginning.
 */
function save_settings( array $changes ): void {
	$new = array_merge( settings_in_row( page_connection() ), $changes );
	update_option( OPTION, $new, true );
	settings( $new );
}

/**
 * The address of the site as it is stored; filters of other plugins (translations, previews) do not count.
 */
function stored_home(): string {
	if ( defined( 'WP_HOME' ) ) {
		return untrailingslashit( (string) WP_HOME );
	}
	$all = wp_load_alloptions();
	return isset( $all['home'] ) ? untrailingslashit( (string) $all['home'] ) : '';
}

/**
 * Which WordPress this is. A copy of the site (staging, a restored backup elsewhere) has another one.
 *
 * @param string|null $home The stored home address, where it has been read already.
 */
function install_id( ?string $home = null ): string {
	static $known = array();
	global $wpdb;
	$blog = get_current_blog_id();
	if ( ! isset( $known[ $blog ] ) ) {
		$home           = null === $home ? stored_home() : untrailingslashit( $home );
		$db             = is_sqlite() ? array( 'sqlite', (string) realpath( FQDB ) ) : array( DB_HOST, DB_NAME );
		$known[ $blog ] = substr( hash( 'sha256', implode( "\n", array( $db[0], $db[1], $wpdb->base_prefix, $home ) ) ), 0, 32 );
	}
	return $known[ $blog ];
}

/**
 * Is the database behind $wpdb SQLite (the SQLite Database Integration drop-in)?
 */
function is_sqlite(): bool {
	return defined( 'FQDB' ) && defined( 'DB_ENGINE' ) && 'sqlite' === DB_ENGINE;
}

/**
 * Is this the site that the runner looks after, and not a copy of it?
 */
function is_original(): bool {
	$settings = settings();
	return isset( $settings['install'] ) && install_id() === $settings['install'];
}

/**
 * Has the runner been heard of lately? Then page-load cron stays off.
 */
function runner_is_alive(): bool {
	$settings = settings();
	if ( empty( $settings['seen'] ) || ! is_original() ) {
		return false;
	}
	return abs( time() - (int) $settings['seen'] ) < grace( $settings );
}

/**
 * Seconds of silence after which page loads start events again.
 */
function grace( array $settings ): int {
	return isset( $settings['grace'] ) ? max( 1, (int) $settings['grace'] ) : 600;
}

/**
 * Seconds after which "last seen" is written anew: seldom, for it changes the autoloaded options.
 */
function seen_every( array $settings ): int {
	return min( 150, intdiv( grace( $settings ), 4 ) );
}

/**
 * Unix milliseconds on PHP's clock, the clock that decides what is due.
 */
function now_ms(): int {
	return (int) round( microtime( true ) * 1000 );
}
