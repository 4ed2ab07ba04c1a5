<?php
/**
 * How a run ends in the journal, and what then becomes of its event: nothing, held, dropped, or tried once more.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Seconds until an interrupted event is tried again, by policy `retry`: as many tries as there are numbers. */
const RETRY_AFTER_S = array( 10, 60, 300 );

/** Processes that may die over one occurrence, one after the other, before it is left to a person. */
const DEATHS_UNTIL_HELD = 2;

/** Bad occurrences of a recurring event in a row, from which on the next ones wait longer. */
const BAD_IN_A_ROW = 3;

/** Core's own hooks that do the same when they are run twice, or the rest of it: policy `retry` where the operator has none. */
const SAFE_TO_REPEAT = array(
	'delete_expired_transients',
	'importer_scheduled_cleanup',
	'publish_future_post',
	'recovery_mode_clean_expired_keys',
	'upgrader_scheduled_cleanup',
	'wp_delete_temp_updater_backups',
	'wp_https_detection',
	'wp_privacy_delete_old_export_files',
	'wp_scheduled_auto_draft_delete',
	'wp_scheduled_delete',
	'wp_site_health_scheduled_check',
	'wp_update_plugins',
	'wp_update_themes',
	'wp_update_user_counts',
	'wp_version_check',
);

/**
 * What becomes of the event of a run that was interrupted or ran out of time: `held` for a person to decide, `dropped` (a
 * recurring one's next occurrence is stored already), or `requeued`.
 *
 * @param array $row      hook, schedule, next_at, attempt (1 for the first), deaths (in a row, before this run).
 * @param array $policies [hook glob, hold, drop or retry]; the first that matches counts.
 */
function what_then( array $row, string $outcome, array $policies ): string {
	$policy = policy_of( $row['hook'], $policies );
	if ( null === $policy ) {
		$policy = in_array( $row['hook'], SAFE_TO_REPEAT, true ) ? 'retry' : ( null === $row['schedule'] ? 'hold' : 'drop' );
	}
	if ( 'retry' !== $policy ) {
		return 'drop' === $policy ? 'dropped' : 'held';
	}
	$wait = RETRY_AFTER_S[ (int) $row['attempt'] - 1 ] ?? null;
	if ( null === $wait || deaths_after( $row, $outcome ) >= DEATHS_UNTIL_HELD ) {
		return 'held';
	}
	// The next occurrence comes before the next try: that is the next try.
	return null !== $row['next_at'] && (int) $row['next_at'] <= time() + $wait ? 'dropped' : 'requeued';
}

/**
 * The columns that a run which was cut off ends with: what becomes of its event, and a word about it.
 */
function cut_off( array $row, string $outcome, array $policies, ?string $note ): array {
	$then = what_then( $row, $outcome, $policies );
	if ( 'requeued' === $then ) {
		$note = trim( sprintf( '%s try %d of %d follows in %d s', $note, $row['attempt'] + 1, count( RETRY_AFTER_S ) + 1, RETRY_AFTER_S[ $row['attempt'] - 1 ] ) );
	}
	return array( 'then' => $then, 'note' => $note );
}

/**
 * The operator's policy for a hook, or null.
 */
function policy_of( string $hook, array $policies ): ?string {
	$hook = substr( $hook, 0, 4000 ); // PHP's fnmatch() fails where a name is longer than a path may be.
	foreach ( $policies as $policy ) {
		if ( is_array( $policy ) && isset( $policy[0], $policy[1] ) && fnmatch( (string) $policy[0], $hook ) ) {
			return (string) $policy[1];
		}
	}
	return null;
}

/**
 * The operator's policies as the runner told them last; for page views, when it is silent.
 */
function known_policies( Connection $db ): array {
	return (array) get_state( $db, 'policies' );
}

/**
 * Deaths of the process in a row, this run's included. A time limit is no death: nobody knows that the event is to blame.
 */
function deaths_after( array $row, string $outcome ): int {
	return 'interrupted' === $outcome ? (int) $row['deaths'] + 1 : 0;
}

/**
 * Ends a running row. Where its event is to be tried once more, it is put back in the same transaction.
 *
 * @param array $row As it was claimed: run, hook, event_key, args, schedule, every, next_at, attempt, deaths.
 * @param array $set Columns to change along with the state; `then` among them.
 * @return bool Was it this call that ended it?
 */
function end_run( Connection $db, Locks $locks, array $row, string $outcome, array $set ): bool {
	if ( 'requeued' !== $set['then'] ) {
		return move_row( $db, $row['run'], 'running', $outcome, $set );
	}
	try {
		return change_cron(
			$db,
			$locks,
			static function ( array &$cron ) use ( $db, $row, $outcome, $set ): bool {
				$at = time() + RETRY_AFTER_S[ (int) $row['attempt'] - 1 ];
				while ( isset( $cron[ $at ][ $row['hook'] ][ $row['event_key'] ] ) ) {
					++$at;
				}
				if ( ! move_row( $db, $row['run'], 'running', $outcome, $set + array( 'again_at' => $at, 'again_ms' => now_ms() ) ) ) {
					return false;
				}
				return insert_event( $cron, $at, $row['hook'], $row['event_key'], entry( next_try( $row, $outcome ) ) );
			}
		);
	} catch ( Corrupt_Cron $e ) {
		// There is nowhere to put it back to.
		return move_row( $db, $row['run'], 'running', $outcome, array_merge( $set, array( 'then' => 'held', 'note' => null ) ) );
	}
}

/**
 * A row as entry() wants it, for the next try of its event: once more, not anew, for a schedule goes on by itself.
 */
function next_try( array $row, string $outcome ): array {
	return array( 'schedule' => null, 'every' => null, 'args' => $row['args'], 'attempt' => (int) $row['attempt'] + 1, 'deaths' => deaths_after( $row, $outcome ) );
}

/**
 * After a recurring event's bad end: counts how many there were in a row, and lets the next ones wait longer once there are
 * too many. Nothing of it may keep a run from its end: where the database has no time, the next bad end will do it.
 *
 * @return string What there is to say about it; '' where nothing is.
 */
function count_bad( Connection $db, Locks $locks, array $row, string $outcome ): string {
	if ( null === $row['schedule'] ) {
		return '';
	}
	$is_bad = in_array( $outcome, array( 'failed', 'timed_out', 'interrupted' ), true );
	$event  = bad_name( $row );
	try {
		for ( $try = 0; $try < 5; $try++ ) {
			$all   = get_state( $db, 'bad' );
			$count = $is_bad ? ( $all[ $event ] ?? 0 ) + 1 : 0;
			$now   = array_filter( array_merge( (array) $all, array( $event => $count ) ) );
			if ( null === $all ) {
				set_state( $db, 'bad', $now );
				break;
			}
			if ( replace_state( $db, 'bad', $all, $now ) ) {
				break;
			}
		}
		return $count >= BAD_IN_A_ROW && null !== $row['next_at'] ? postpone( $db, $locks, $row ) : '';
	} catch ( Database_Error $e ) {
		return '';
	} catch ( Corrupt_Cron $e ) {
		return '';
	}
}

/**
 * The next occurrence of a recurring event that keeps failing waits its interval once more, an hour at most.
 */
function postpone( Connection $db, Locks $locks, array $row ): string {
	return change_cron(
		$db,
		$locks,
		static function ( array &$cron ) use ( $db, $row ): string {
			$next  = (int) $row['next_at'];
			$event = $cron[ $next ][ $row['hook'] ][ $row['event_key'] ] ?? null;
			$later = $next + min( (int) $row['every'], HOUR_IN_SECONDS );
			// Another claimed occurrence of the same event has this very next one, and would look unscheduled without it.
			$other = $db->value( 'SELECT 1 FROM ' . journal_table() . " WHERE blog = ? AND state = 'claimed' AND next_at = ? AND hook = ? AND event_key = ? LIMIT 1", array( get_current_blog_id(), $next, $row['hook'], $row['event_key'] ) );
			if ( ! $event || null !== $other || ! insert_event( $cron, $later, $row['hook'], $row['event_key'], $event ) ) {
				return '';
			}
			remove_event( $cron, $next, $row['hook'], $row['event_key'] );
			$said = 'ended badly ' . BAD_IN_A_ROW . ' times in a row or more: the next one waits ' . ( $later - $next ) . ' s longer';
			$note = $db->value( 'SELECT note FROM ' . journal_table() . ' WHERE run = ?', array( $row['run'] ) );
			$db->write( 'UPDATE ' . journal_table() . ' SET note = ?, next_at = ? WHERE run = ?', array( trim( "$note $said" ), $later, $row['run'] ) );
			return $said;
		}
	);
}

/**
 * An event's name in that count.
 */
function bad_name( array $row ): string {
	return md5( $row['hook'] . "\n" . $row['event_key'] );
}
