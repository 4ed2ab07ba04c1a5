<?php
/**
 * The answer to the runner's call `doctor`: facts about this site as an event would find it, judged by the runner.
 *
 * It reads. Nothing is written, no event is started, and no list is longer than a person would read.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

require_once __DIR__ . '/callbacks.php';

/** So many of a kind are named; the others are counted. */
const LONGEST_LIST = 10;
/** Seconds that a post may be late before it counts as stuck. */
const LATE_POST = 120;

/**
 * `doctor`: everything that only the inside of the loaded WordPress can tell.
 */
function answer_doctor( Frames $frames ): void {
	$db    = page_connection();
	$error = null;
	try {
		$cron = events_in( read_cron( $db ) );
	} catch ( Corrupt_Cron $e ) {
		$cron  = array();
		$error = $e->getMessage();
	}
	$frames->send(
		array(
			't'         => 'doctor',
			'php'       => facts_of_php(),
			'plugin'    => facts_of_plugin(),
			'page_load' => facts_of_page_load_cron(),
			'takeovers' => takeovers(),
			'cron'      => facts_of_cron( $db, $cron, $error ),
			'posts'     => stuck_posts( $db, $cron ),
			'cache'     => facts_of_cache( $db ),
			'tables'    => table_engines( $db ),
			'site'      => facts_of_site(),
		)
	);
}

/**
 * PHP as the runs have it.
 */
function facts_of_php(): array {
	$ini = array();
	foreach ( array( 'memory_limit', 'max_execution_time', 'opcache.enable', 'opcache.validate_timestamps', 'opcache.revalidate_freq' ) as $name ) {
		$ini[ $name ] = (string) ini_get( $name );
	}
	// What each of them is for is the runner's to say.
	$wanted = array( 'set_time_limit', 'posix_kill', 'getmypid' );
	$status = function_exists( 'fpm_get_status' ) ? @fpm_get_status() : false; // phpcs:ignore WordPress.PHP.NoSilencedErrors
	return array(
		'version'           => PHP_VERSION,
		'sapi'              => PHP_SAPI,
		'ini'               => $ini,
		'missing_functions' => array_values(
			array_filter(
				$wanted,
				static function ( string $name ): bool {
					return ! function_exists( $name );
				}
			)
		),
		'pool'              => is_array( $status ) && isset( $status['pool'] ) ? (string) $status['pool'] : null,
	);
}

/**
 * Where the plugin is, and who was loaded before it.
 */
function facts_of_plugin(): array {
	$own    = plugin_basename( dirname( __DIR__ ) . '/wp-cron-runner.php' );
	$is_mu  = 0 === strpos( wp_normalize_path( __DIR__ ), wp_normalize_path( WPMU_PLUGIN_DIR ) . '/' );
	$active = array_merge( is_multisite() ? array_keys( (array) get_site_option( 'active_sitewide_plugins', array() ) ) : array(), (array) get_option( 'active_plugins', array() ) );
	$at     = array_search( $own, $active, true );
	$before = $is_mu || false === $at ? array() : array_slice( $active, 0, $at );
	return array(
		'version'   => VERSION,
		'protocol'  => PROTOCOL,
		'mu'        => $is_mu,
		'before'    => some( $before ),
		'lock_kind' => settings()['lock_kind'] ?? null,
		'tables'    => has_tables() && are_tables_readable(),
	);
}

/**
 * Is page-load cron off, and does it stay off?
 */
function facts_of_page_load_cron(): array {
	$back = array();
	// This plugin has unhooked it for this call; whoever hooked it again did so afterwards.
	foreach ( array( 'init' => 'wp_cron', 'wp_loaded' => '_wp_cron', 'shutdown' => '_wp_cron' ) as $action => $function ) {
		if ( false !== has_action( $action, $function ) ) {
			$back[] = "$function at $action";
		}
	}
	return array(
		'alive'        => runner_is_alive(),
		'seen'         => (int) ( settings()['seen'] ?? 0 ),
		'now'          => time(),
		'grace_s'      => grace( settings() ),
		'hooked_again' => $back,
		'disabled'     => defined( 'DISABLE_WP_CRON' ) && DISABLE_WP_CRON,
		'alternate'    => defined( 'ALTERNATE_WP_CRON' ) && ALTERNATE_WP_CRON,
		'lock_timeout' => defined( 'WP_CRON_LOCK_TIMEOUT' ) ? (int) WP_CRON_LOCK_TIMEOUT : 0,
		'stray'        => has_tables() ? get_state( page_connection(), 'stray' ) : null,
	);
}

/**
 * Other plugins that run events or keep them elsewhere: known ones by name, unknown ones by the filters that they use.
 */
function takeovers(): array {
	$known = array(
		'Cavalcade'             => function_exists( 'HM\Cavalcade\Plugin\bootstrap' ) || class_exists( 'HM\Cavalcade\Plugin\Job', false ),
		'Cron Control'          => class_exists( 'Automattic\WP\Cron_Control\Main', false ) || class_exists( 'Automattic\WP\Cron_Control\Events', false ),
		'The Perfect WP Cron'   => class_exists( 'ThePerfectWPCron\Plugin', false ) || is_active( 'the-perfect-wp-cron' ),
		'WP Cron Node'          => is_active( 'wp-cron-node' ),
		'WP-Cron Control (old)' => is_active( 'wp-cron-control' ),
		'Easy Cron'             => is_active( 'easycron' ),
	);
	$found = array();
	foreach ( array( 'pre_option_cron', 'option_cron', 'pre_get_scheduled_event', 'pre_get_ready_cron_jobs', 'pre_schedule_event', 'pre_reschedule_event', 'pre_unschedule_event' ) as $filter ) {
		foreach ( others_at( $filter ) as $name ) {
			$found[] = array( 'filter' => $filter, 'by' => $name );
		}
	}
	return array( 'known' => array_keys( array_filter( $known ) ), 'filters' => some( $found ) );
}

/**
 * Is a plugin of this folder active, for the site or the network, or a must-use one?
 */
function is_active( string $folder ): bool {
	$active = array_merge( (array) get_option( 'active_plugins', array() ), is_multisite() ? array_keys( (array) get_site_option( 'active_sitewide_plugins', array() ) ) : array() );
	foreach ( $active as $plugin ) {
		if ( 0 === strpos( (string) $plugin, $folder . '/' ) ) {
			return true;
		}
	}
	return file_exists( WPMU_PLUGIN_DIR . "/$folder.php" );
}

/**
 * Who hooks into a filter, without ourselves: the name of each callback and the file that it stands in.
 */
function others_at( string $filter ): array {
	$names = array();
	foreach ( callbacks_of( $filter ) as list( $name, $file ) ) {
		if ( 0 !== strpos( $name, __NAMESPACE__ . '\\' ) ) {
			$names[] = '' === $file ? $name : "$name ($file)";
		}
	}
	return array_slice( $names, 0, LONGEST_LIST );
}

/**
 * The `cron` option, from its row. Every event is looked at once: there may be a hundred thousand.
 */
function facts_of_cron( Connection $db, array $cron, ?string $error ): array {
	global $wpdb;
	$row   = $db->row( "SELECT LENGTH(option_value) AS size, autoload FROM {$wpdb->options} WHERE option_name = 'cron'" );
	$facts = array( 'bytes' => $row ? (int) $row['size'] : null, 'autoload' => $row ? (string) $row['autoload'] : null );
	if ( null !== $error ) {
		return $facts + array( 'error' => $error );
	}
	$schedules = wp_get_schedules();
	$seen      = array();
	$doubled   = array();
	$deaf      = array();
	$lost      = array();
	$endless   = array();
	$count     = 0;
	foreach ( each_event( $cron ) as list( , $hook, $key, $event ) ) {
		++$count;
		$name = printable( $hook );
		if ( ! has_action( $hook ) ) {
			$deaf[ $name ] = ( $deaf[ $name ] ?? 0 ) + 1;
		}
		if ( empty( $event['schedule'] ) ) {
			continue;
		}
		// A single event may well stand there many times; a recurring one twice runs twice as often as meant.
		$id          = "$name\n$key";
		$seen[ $id ] = ( $seen[ $id ] ?? 0 ) + 1;
		if ( $seen[ $id ] > 1 ) {
			$doubled[ $name ] = max( $doubled[ $name ] ?? 0, $seen[ $id ] );
		}
		if ( (int) ( $event['interval'] ?? 0 ) <= 0 && ! isset( $schedules[ $event['schedule'] ] ) ) {
			$endless[ $name ] = printable( (string) $event['schedule'] );
		} elseif ( ! isset( $schedules[ $event['schedule'] ] ) ) {
			$lost[ $name ] = printable( (string) $event['schedule'] );
		}
	}
	return $facts + array(
		'events'      => $count,
		'doubled'     => some( pairs( $doubled ) ),
		'no_callback' => some( pairs( $deaf ) ),
		'no_schedule' => some( pairs( $lost ) ),
		'no_interval' => some( pairs( $endless ) ),
	) + timetable( $cron, time(), paused_hooks( $db ) );
}

/**
 * The beginning of a list, and how long it is.
 */
function some( array $list ): array {
	return array( 'count' => count( $list ), 'first' => array_slice( array_values( $list ), 0, LONGEST_LIST ) );
}

/**
 * An array by name as a list of names and values, both as text.
 */
function pairs( array $by_name ): array {
	$list = array();
	foreach ( $by_name as $name => $value ) {
		$list[] = array( substr( (string) $name, 0, 200 ), (string) $value );
	}
	return $list;
}

/**
 * Posts that should be published by now and have no event that would do it. The index of posts begins with the type.
 */
function stuck_posts( Connection $db, array $cron ): array {
	global $wpdb;
	$types = array_slice( array_values( get_post_types() ), 0, 100 );
	$late  = gmdate( 'Y-m-d H:i:s', time() - LATE_POST );
	$sql   = "SELECT ID, post_date_gmt FROM {$wpdb->posts} WHERE post_type IN (" . implode( ', ', array_fill( 0, count( $types ), '?' ) ) . ") AND post_status = 'future' AND post_date_gmt < ? LIMIT 101";
	$rows  = $types ? $db->rows( $sql, array_merge( $types, array( $late ) ) ) : array();
	$known = array();
	foreach ( $rows ? each_event( $cron ) : array() as list( , $hook, , $event ) ) {
		if ( 'publish_future_post' === $hook && is_array( $event['args'] ?? null ) && is_scalar( $event['args'][0] ?? null ) ) {
			$known[ (int) $event['args'][0] ] = true;
		}
	}
	$posts = array();
	foreach ( $rows as $row ) {
		$posts[] = array( 'id' => (int) $row['ID'], 'scheduled' => isset( $known[ (int) $row['ID'] ] ) );
	}
	return some( $posts );
}

/**
 * Does a persistent object cache hold another `cron` option than the row? Then pages schedule into the past.
 */
function facts_of_cache( Connection $db ): array {
	$facts = array(
		'drop_in'    => file_exists( WP_CONTENT_DIR . '/object-cache.php' ),
		'persistent' => (bool) wp_using_ext_object_cache(),
		'differs'    => null,
	);
	if ( ! $facts['persistent'] ) {
		return $facts;
	}
	try {
		// A write in between is no difference: the row has to be the same before and after.
		for ( $try = 0; $try < 3 && null === $facts['differs']; $try++ ) {
			$before = read_cron( $db );
			$cached = cached_cron();
			if ( read_cron( $db ) === $before ) {
				$facts['differs'] = null !== $cached && $cached !== $before;
			}
		}
	} catch ( Corrupt_Cron $e ) {
		return $facts;
	}
	return $facts;
}

/**
 * What the cache has as the option's text, '' where it says that there is none; null where it has nothing to say.
 */
function cached_cron(): ?string {
	$all = wp_cache_get( 'alloptions', 'options', true );
	$one = is_array( $all ) && isset( $all['cron'] ) ? $all['cron'] : wp_cache_get( 'cron', 'options', true );
	if ( false === $one ) {
		$none = wp_cache_get( 'notoptions', 'options', true );
		return is_array( $none ) && isset( $none['cron'] ) ? '' : null;
	}
	return is_string( $one ) ? $one : (string) maybe_serialize( $one );
}

/**
 * The engine of each table that claims need: name and engine. None with SQLite.
 */
function table_engines( Connection $db ): array {
	global $wpdb;
	if ( is_sqlite() ) {
		return array();
	}
	$engines = array();
	// One by one: the server looks a single name up, and opens every table of the schema for a list of names.
	foreach ( array( $wpdb->options, journal_table(), state_table() ) as $table ) {
		$rows = $db->rows( 'SELECT ENGINE AS engine FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?', array( $table ) );
		foreach ( $rows as $row ) {
			$engines[] = array( $table, (string) $row['engine'] );
		}
	}
	return $engines;
}

/**
 * What the site is, and what time it has.
 */
function facts_of_site(): array {
	global $wpdb, $wp_version;
	return array(
		'wordpress'  => (string) $wp_version,
		'database'   => is_sqlite() ? 'SQLite' : (string) $wpdb->db_server_info(),
		'home'       => stored_home(),
		'zone'       => (string) get_option( 'timezone_string' ),
		'gmt_offset' => (float) get_option( 'gmt_offset' ),
		// Core sets UTC; whoever changes it shifts what is scheduled with date().
		'php_zone'   => date_default_timezone_get(),
		'blogs'      => is_multisite() ? (int) get_blog_count() : 1,
		'blog'       => get_current_blog_id(),
	);
}
