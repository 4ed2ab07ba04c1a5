<?php
/**
 * Pauses of single hooks: their events stay in the option and are not claimed, by no runner and by no page load, until somebody
 * lets them go on. (A pause of the whole site is the runner's.)
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The hooks that are paused now, as they are printed: hook => array( 'until_ms' => int or null ).
 */
function paused_hooks( Connection $db ): array {
	return has_tables() ? unexpired( (array) get_state( $db, 'paused' ) ) : array();
}

/**
 * Pauses whose end is not over yet.
 */
function unexpired( array $paused ): array {
	return array_filter(
		$paused,
		static function ( $pause ): bool {
			return is_array( $pause ) && ( ! isset( $pause['until_ms'] ) || $pause['until_ms'] > now_ms() );
		}
	);
}

/**
 * Nothing of this hook is started any more; what runs may end.
 *
 * @param int|null $until_ms Unix milliseconds; it goes on by itself then. Null: when somebody says so.
 * @return true|\WP_Error
 */
function pause_hook( string $hook, ?int $until_ms = null ) {
	if ( '' === $hook ) {
		return new \WP_Error( 'hook', __( 'No hook was named; nothing was changed.', 'wp-cron-runner' ) );
	}
	if ( null !== $until_ms && $until_ms <= now_ms() ) {
		return new \WP_Error( 'until', __( 'The end of the pause is not ahead; nothing was changed.', 'wp-cron-runner' ) );
	}
	$done = change_pauses(
		static function ( array $paused ) use ( $hook, $until_ms ): array {
			$paused[ printable( $hook ) ] = array( 'until_ms' => $until_ms );
			return $paused;
		}
	);
	return is_wp_error( $done ) ? $done : give_claimed_back( $hook );
}

/**
 * What was claimed before the pause and waits for its turn goes back: a long batch would start it all the same.
 *
 * @return true|\WP_Error
 */
function give_claimed_back( string $hook ) {
	require_once __DIR__ . '/runner.php';
	return with_option(
		static function ( Connection $db, Locks $locks ) use ( $hook ): void {
			$rows = $db->rows( 'SELECT ' . FULL_COLUMNS . ' FROM ' . journal_table() . " WHERE blog = ? AND state = 'claimed' AND hook = ?", array( get_current_blog_id(), $hook ) );
			give_back( $db, $locks, $rows );
		}
	);
}

/**
 * Its events run again, those that became due meanwhile at once.
 *
 * @return true|\WP_Error
 */
function resume_hook( string $hook ) {
	$was  = false;
	$done = change_pauses(
		static function ( array $paused ) use ( $hook, &$was ): array {
			$was = isset( $paused[ printable( $hook ) ] );
			unset( $paused[ printable( $hook ) ] );
			return $paused;
		}
	);
	/* translators: %s: a hook. */
	return $was || is_wp_error( $done ) ? $done : new \WP_Error( 'hook', sprintf( __( '%s is not paused; nothing was changed.', 'wp-cron-runner' ), visible( $hook ) ) );
}

/**
 * Changes the list. Somebody else may do so at the same time, so only over what was read.
 *
 * @return true|\WP_Error
 */
function change_pauses( callable $change ) {
	if ( ! has_tables() ) {
		return new \WP_Error( 'tables', __( 'No runner has taken over this site yet, so there is nothing to pause.', 'wp-cron-runner' ) );
	}
	try {
		$db = page_connection();
		for ( $try = 0; $try < 5; $try++ ) {
			$before = get_state( $db, 'paused' );
			if ( null === $before ) {
				make_state( $db, 'paused', array() );
				continue;
			}
			$after = unexpired( $change( $before ) );
			if ( $after === $before || replace_state( $db, 'paused', $before, $after ) ) {
				notice_earlier( time() ); // The runner looks again, whatever it has in mind.
				return true;
			}
		}
	} catch ( Database_Error $e ) {
		return new \WP_Error( 'database', $e->getMessage() );
	}
	return new \WP_Error( 'busy', __( 'Others are changing the pauses as well; try again.', 'wp-cron-runner' ) );
}
