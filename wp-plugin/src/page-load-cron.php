<?php
/**
 * Page-load cron: off while the runner is alive, back when it is not.
 *
 * Unhooked rather than switched off with DISABLE_WP_CRON: the constant raises false warnings in other plugins, and could not
 * be taken back by itself.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

const PAGE_LOAD_BUDGET_MS = 50000;

/** The trigger, and the runner's name, of what page views run. */
const PAGE_LOAD = 'page-load';

/**
 * Decides, as soon as the plugin is loaded, what this request may do about cron. No query, no request.
 */
function govern_page_load_cron(): void {
	$alive = runner_is_alive();
	if ( is_wp_cron_php() ) {
		if ( $alive ) {
			add_filter( 'pre_get_ready_cron_jobs', '__return_empty_array', PHP_INT_MAX );
			add_action( 'wp_loaded', __NAMESPACE__ . '\action_stray_call' );
		} elseif ( can_stand_in() ) {
			add_action( 'wp_loaded', __NAMESPACE__ . '\action_stand_in', PHP_INT_MAX );
		}
		return;
	}
	if ( $alive ) {
		remove_action( 'init', 'wp_cron' );
	} elseif ( can_stand_in() && defined( 'ALTERNATE_WP_CRON' ) && ALTERNATE_WP_CRON ) {
		// Core runs wp-cron.php inside this very page; it asks for what is ready when all else is loaded.
		add_filter( 'pre_get_ready_cron_jobs', __NAMESPACE__ . '\filter_ready_within_page', PHP_INT_MAX );
	} elseif ( can_stand_in() ) {
		remove_action( 'init', 'wp_cron' );
		add_action( 'shutdown', __NAMESPACE__ . '\action_spawn' );
	}
}

/**
 * Is this a call of wp-cron.php?
 */
function is_wp_cron_php(): bool {
	$script = isset( $_SERVER['SCRIPT_FILENAME'] ) ? (string) $_SERVER['SCRIPT_FILENAME'] : ''; // phpcs:ignore WordPress.Security
	return defined( 'DOING_CRON' ) && 'wp-cron.php' === basename( $script );
}

/**
 * Can the plugin run events itself? It can where it was in use: the tables are there and the lock kind is known.
 */
function can_stand_in(): bool {
	$settings = settings();
	return SCHEMA === ( $settings['schema'] ?? 0 ) && ! empty( $settings['lock_kind'] ) && is_original() && ! wp_installing();
}

/**
 * The runner is silent: this page view starts wp-cron.php, if there is something to do. Core's own way, with core's own lock.
 */
function action_spawn(): void {
	if ( defined( 'DOING_CRON' ) || wp_doing_ajax() ) {
		return;
	}
	$crons  = (array) _get_cron_array();
	$is_due = $crons && (int) min( array_keys( $crons ) ) <= time();
	if ( $is_due ) {
		// One query, and only where the alternative is a request.
		require_once __DIR__ . '/pauses.php';
		try {
			$paused = paused_hooks( page_connection() );
			$is_due = ! $paused || timetable( $crons, time(), $paused )['due'] > 0;
		} catch ( Database_Error $e ) {
			$is_due = true; // The tables are gone: core's loop is what is left.
		}
	}
	if ( ! $is_due && ! empty( settings()['settled'] ) ) {
		return;
	}
	// Claims that the runner left behind are not in the option, so core would find nothing ready.
	$something = static function (): array {
		return array( 1 => array() );
	};
	add_filter( 'pre_get_ready_cron_jobs', $something, PHP_INT_MAX );
	spawn_cron();
	remove_filter( 'pre_get_ready_cron_jobs', $something, PHP_INT_MAX );
}

/**
 * ALTERNATE_WP_CRON: wp-cron.php was included by a page and is about to run what is ready. We do it instead.
 */
function filter_ready_within_page( $ready ) {
	if ( defined( 'DOING_CRON' ) ) {
		remove_filter( 'pre_get_ready_cron_jobs', __NAMESPACE__ . '\filter_ready_within_page', PHP_INT_MAX );
		action_stand_in();
		// It has added this filter where it did the work; one that is added meanwhile is not asked any more.
		return has_filter( 'pre_get_ready_cron_jobs', '__return_empty_array' ) ? array() : $ready;
	}
	return $ready;
}

/**
 * Somebody calls wp-cron.php although the runner is alive: remembered, so that `status` and `doctor` can name him.
 */
function action_stray_call(): void {
	$crons = _get_cron_array();
	if ( $crons && (int) min( array_keys( $crons ) ) <= time() ) {
		notice_earlier( time() );
	}
	try {
		$stray = array_merge( array( 'at_ms' => 0, 'count' => 0 ), (array) get_state( page_connection(), 'stray' ) );
		if ( now_ms() - $stray['at_ms'] < 10000 ) {
			return;
		}
		$from  = isset( $_SERVER['REMOTE_ADDR'] ) ? (string) $_SERVER['REMOTE_ADDR'] : 'the command line'; // phpcs:ignore WordPress.Security
		$agent = isset( $_SERVER['HTTP_USER_AGENT'] ) ? ' ' . substr( (string) $_SERVER['HTTP_USER_AGENT'], 0, 80 ) : ''; // phpcs:ignore WordPress.Security
		set_state( page_connection(), 'stray', array( 'at_ms' => now_ms(), 'count' => $stray['count'] + 1, 'who' => printable( $from . $agent ) ) );
	} catch ( Database_Error $e ) {
		return;
	}
}

/**
 * What runner_is_alive() says, from the row itself.
 */
function seen_lately( Connection $db ): bool {
	$row  = settings_in_row( $db );
	$seen = (int) ( $row['seen'] ?? 0 );
	return $seen && abs( time() - $seen ) < grace( $row );
}

/**
 * The runner is silent, and this is wp-cron.php: settle what it left behind, then run what is due, by our own claim.
 *
 * Core's loop does nothing afterwards. It runs only where this one could not even begin.
 */
function action_stand_in(): void {
	require_once __DIR__ . '/execute.php';
	try {
		$db    = own_connection();
		$owner = owner( $db );
		if ( seen_lately( $db ) ) {
			// Alive after all: what this request knew came from a stale object cache.
			add_filter( 'pre_get_ready_cron_jobs', '__return_empty_array', PHP_INT_MAX );
			delete_transient( 'doing_cron' );
			return;
		}
		$batch = new Batch( bin2hex( random_bytes( 16 ) ), $db, (int) $owner['epoch'], PAGE_LOAD, PAGE_LOAD );
		// The tables can be used: whatever comes now (a lock that is not to be had), core's loop would run beside our locks.
		add_filter( 'pre_get_ready_cron_jobs', '__return_empty_array', PHP_INT_MAX );
		if ( ! empty( settings()['settled'] ) ) {
			save_settings( array( 'settled' => false ) ); // Until this pass has come to its end.
		}
		$batch->policies = known_policies( $db );
		settle_runs( $db, $batch->locks, array( 'policies' => $batch->policies ) );
		( new Execution( $batch, null ) )->work( PAGE_LOAD_BUDGET_MS );
		if ( ! open_rows( $db ) ) {
			save_settings( array( 'settled' => true ) );
		}
		delete_transient( 'doing_cron' );
	} catch ( \Throwable $e ) {
		error_log( 'wp-cron-runner: ' . $e->getMessage() ); // phpcs:ignore WordPress.PHP.DevelopmentFunctions
	}
}
