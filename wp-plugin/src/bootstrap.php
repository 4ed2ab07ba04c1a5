<?php
/**
 * What the plugin hooks into: its table of contents.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * Required functionality. Everything here must cost a page view nothing.
 */
function init_hooks(): void {
	// A call of the runner's is recognised before anything else: the signature first, then DOING_CRON.
	if ( isset( $_SERVER['HTTP_X_WP_CRON_RUNNER'], $_GET['wp-cron-runner'] ) ) { // phpcs:ignore WordPress.Security
		if ( ! function_exists( __NAMESPACE__ . '\accept_call' ) ) { // There already where php-fpm was given that very file.
			require __DIR__ . '/endpoint.php';
		}
		accept_call();
	}

	// The same through WP-CLI. Some define the constant without it.
	if ( defined( 'WP_CLI' ) && WP_CLI && class_exists( '\WP_CLI', false ) ) {
		require __DIR__ . '/wp-cli.php';
		init_wp_cli();
	}

	// Page-load cron.
	govern_page_load_cron();

	// Concurrent scheduling.
	add_filter( 'pre_update_option', array( Merge::class, 'filter_pre_update_option' ), PHP_INT_MAX, 3 );
	add_action( 'update_option_cron', array( Merge::class, 'action_written' ), PHP_INT_MAX, 0 );
	add_action( 'add_option_cron', array( Merge::class, 'action_written' ), PHP_INT_MAX, 0 );

	// An event that is claimed, and not in the option any more, can be unscheduled all the same.
	add_filter( 'pre_unschedule_event', __NAMESPACE__ . '\filter_pre_unschedule_event', 10, 4 );
	add_filter( 'pre_clear_scheduled_hook', __NAMESPACE__ . '\filter_pre_clear_scheduled_hook', 10, 3 );
	add_filter( 'pre_unschedule_hook', __NAMESPACE__ . '\filter_pre_unschedule_hook', 10, 2 );

	// Nice to have, and loaded where it is looked at: the panel under Tools, Site Health, the dashboard.
	if ( is_admin() && ! wp_doing_ajax() ) {
		require __DIR__ . '/status-page.php';
		init_status_page();
	}
	add_filter( 'site_status_tests', __NAMESPACE__ . '\filter_site_status_tests' );
	add_filter( 'debug_information', __NAMESPACE__ . '\filter_debug_information' );
	add_action( 'load-index.php', __NAMESPACE__ . '\action_dashboard' );

	// Installed as a normal plugin: before the others, so that they find DOING_CRON defined in the runner's calls.
	add_filter( 'pre_update_option_active_plugins', __NAMESPACE__ . '\filter_active_plugins' );
	register_deactivation_hook( dirname( __DIR__ ) . '/wp-cron-runner.php', __NAMESPACE__ . '\deactivate' );
}

/**
 * Keeps this plugin the first to be loaded.
 */
function filter_active_plugins( $plugins ) {
	$own = plugin_basename( dirname( __DIR__ ) . '/wp-cron-runner.php' );
	if ( is_array( $plugins ) && in_array( $own, $plugins, true ) ) {
		$plugins = array_merge( array( $own ), array_values( array_diff( $plugins, array( $own ) ) ) );
	}
	return $plugins;
}

/**
 * Site Health's tests.
 */
function filter_site_status_tests( $tests ) {
	require_once __DIR__ . '/site-health.php';
	return own_tests( (array) $tests );
}

/**
 * Site Health's information.
 */
function filter_debug_information( $info ) {
	require_once __DIR__ . '/site-health.php';
	return debug_section( (array) $info );
}

/**
 * The dashboard.
 */
function action_dashboard(): void {
	require_once __DIR__ . '/site-health.php';
	add_action( 'admin_notices', __NAMESPACE__ . '\dashboard_notice' );
}

/**
 * Unscheduling one occurrence: true where it was claimed, for core would find nothing and report an error.
 */
function filter_pre_unschedule_event( $pre, $timestamp, $hook, $args ) {
	$claimed = unschedule_claimed( (string) $hook, md5( pack_args( (array) $args ) ), (int) $timestamp );
	return null === $pre && $claimed ? true : $pre;
}

/**
 * Unscheduling all occurrences with these arguments; core goes on with those in the option.
 */
function filter_pre_clear_scheduled_hook( $pre, $hook, $args ) {
	unschedule_claimed( (string) $hook, md5( pack_args( (array) $args ) ), null );
	return $pre;
}

/**
 * Unscheduling a hook altogether.
 */
function filter_pre_unschedule_hook( $pre, $hook ) {
	unschedule_claimed( (string) $hook, null, null );
	return $pre;
}

/**
 * Claimed rows that match become `skipped`: they will not be started.
 */
function unschedule_claimed( string $hook, ?string $key, ?int $timestamp ): bool {
	if ( ! can_stand_in() ) {
		return false;
	}
	$where  = " WHERE blog = ? AND state = 'claimed' AND hook = ?";
	$wanted = array( get_current_blog_id(), $hook );
	if ( null !== $key ) {
		$where   .= ' AND event_key = ?';
		$wanted[] = $key;
	}
	if ( null !== $timestamp ) {
		$where   .= ' AND due_at = ?';
		$wanted[] = $timestamp;
	}
	try {
		// Most requests that unschedule something have nothing claimed to do with it, and then nothing is written.
		if ( null === page_connection()->value( 'SELECT 1 FROM ' . journal_table() . $where . ' LIMIT 1', $wanted ) ) {
			return false;
		}
		$sql = 'UPDATE ' . journal_table() . " SET state = 'skipped', reason = 'unscheduled', ended_ms = ?" . $where;
		return 0 < page_connection()->write( $sql, array_merge( array( now_ms() ), $wanted ) );
	} catch ( Database_Error $e ) {
		return false;
	}
}

/**
 * The plugin is switched off: what is claimed and not started goes back, and page-load cron is core's again.
 */
function deactivate(): void {
	if ( ! can_stand_in() ) {
		return;
	}
	try {
		$db    = own_connection();
		$locks = required_locks( $db );
		settle_runs( $db, $locks, array( 'leave' => true, 'policies' => known_policies( $db ) ) );
		save_settings( array( 'seen' => 0 ) );
		delete_transient( 'doing_cron' );
	} catch ( \Throwable $e ) {
		error_log( 'wp-cron-runner: ' . $e->getMessage() ); // phpcs:ignore WordPress.PHP.DevelopmentFunctions
	}
}
