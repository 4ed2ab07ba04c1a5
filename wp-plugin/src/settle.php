<?php
/**
 * What becomes of runs whose process is gone, and of those that did not end well.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * Does the process of this row still live? `alive`, `dead`, or `unknown`.
 *
 * A free lock proves death only where nothing else can have freed it: the database must have been up for longer than the run
 * is old. Else the process itself is looked for, if it ran on this host.
 */
function process_state( Connection $db, Locks $locks, array $row ): string {
	if ( $locks->is_held( batch_lock( $row['batch'] ) ) ) {
		return 'alive';
	}
	if ( ! $locks instanceof Session_Locks || database_up_since( $db ) < (int) $row['claimed_ms'] ) {
		return 'dead';
	}
	if ( is_process_gone( $row['host'], (int) $row['pid'], $row['pid_start'] ) ) {
		return 'dead';
	}
	// No connection is held open for longer than the limit and an hour (own_connection).
	$latest = (int) $row['claimed_ms'] + ( (int) $row['limit_s'] + HOUR_IN_SECONDS ) * 1000;
	return now_ms() > $latest ? 'dead' : 'unknown';
}

/**
 * When the database server was started, in unix milliseconds.
 */
function database_up_since( Connection $db ): int {
	static $since = null;
	if ( null === $since ) {
		$row   = $db->row( "SHOW GLOBAL STATUS LIKE 'Uptime'" );
		$since = $row ? now_ms() - 1000 * (int) ( $row['Value'] ?? 0 ) + 1000 : PHP_INT_MAX;
	}
	return $since;
}

/**
 * Settles every open row whose process is proven dead, and the claimed rest of a batch where that is asked for.
 *
 * @param array $ask rest_of (a batch whose process lives), leave (all such batches), over (a batch whose request has ended: the
 *                   runner saw it), timed_out (run ids), policies.
 * @return array The run ids that this call decided.
 */
function settle_runs( Connection $db, Locks $locks, array $ask ): array {
	$back    = array();
	$decided = array();
	$known   = array();
	$full    = $db->rows( 'SELECT ' . FULL_COLUMNS . ' FROM ' . journal_table() . ' WHERE blog = ? AND state IN ' . OPEN_STATE . ' ORDER BY id', array( get_current_blog_id() ) );
	foreach ( $full as $row ) {
		$rest = 'claimed' === $row['state'] && ( ! empty( $ask['leave'] ) || ( isset( $ask['rest_of'] ) && $row['batch'] === $ask['rest_of'] ) );
		if ( ! $rest && ! isset( $known[ $row['batch'] ] ) ) {
			$is_over                = isset( $ask['over'] ) && $row['batch'] === $ask['over'] && ! $locks->is_held( batch_lock( $row['batch'] ) );
			$known[ $row['batch'] ] = $is_over ? 'dead' : process_state( $db, $locks, $row );
		}
		if ( ! $rest && 'dead' !== $known[ $row['batch'] ] ) {
			continue;
		}
		if ( 'claimed' === $row['state'] ) {
			$back[] = $row;
		} elseif ( end_dead_run( $db, $locks, $row, $ask ) ) {
			$decided[] = $row['run'];
		}
	}
	return array_merge( $decided, array_keys( give_back( $db, $locks, $back ) ) );
}

/**
 * A run whose process died while the event was running.
 */
function end_dead_run( Connection $db, Locks $locks, array $row, array $ask ): bool {
	$late  = in_array( $row['run'], $ask['timed_out'] ?? array(), true );
	$error = array(
		'message' => $late ? 'ended at its time limit' : 'the PHP process died while the event was running',
		'file'    => null,
		'line'    => null,
	);
	$ended = $late ? 'timed_out' : 'interrupted';
	$set   = cut_off( $row, $ended, $ask['policies'] ?? array(), null ) + array(
		'ended_ms' => now_ms(),
		'took_ms'  => null === $row['started_ms'] ? null : max( 0, now_ms() - (int) $row['started_ms'] ),
		'error'    => wp_json_encode( $error ),
	);
	if ( ! end_run( $db, $locks, $row, $ended, $set ) ) {
		return false;
	}
	if ( 'requeued' !== $set['then'] ) {
		count_bad( $db, $locks, $row, $ended );
	}
	return true;
}

/**
 * Puts the event of a run that did not end well back into the option, due at once.
 *
 * @throws Refused Where the run is unknown, ended well, or still runs: it would run twice.
 */
function requeue( Connection $db, Locks $locks, string $run ): array {
	return change_cron(
		$db,
		$locks,
		static function ( array &$cron ) use ( $db, $run ): array {
			$row = decidable( $db, $run, 'requeued' );
			$at  = time();
			// Once more, not anew: the schedule of a recurring event goes on by itself.
			while ( ! insert_event( $cron, $at, $row['hook'], $row['event_key'], array( 'schedule' => false, 'args' => unpack_args( $row['args'] ) ) ) ) {
				++$at;
			}
			$db->write( 'UPDATE ' . journal_table() . ' SET again_at = ?, again_ms = ? WHERE run = ?', array( $at, now_ms(), $run ) );
			$row['then'] = 'requeued';
			return $row;
		}
	);
}

/**
 * Lets a held or failed run go for good.
 *
 * @throws Refused As requeue().
 */
function drop_run( Connection $db, string $run ): array {
	$row         = decidable( $db, $run, 'dropped' );
	$row['then'] = 'dropped';
	return $row;
}

/**
 * Changes what became of a run, once.
 */
function decidable( Connection $db, string $run, string $then ): array {
	$row = $db->row( 'SELECT ' . ROW_COLUMNS . ', args FROM ' . journal_table() . ' WHERE blog = ? AND run = ?', array( get_current_blog_id(), $run ) );
	if ( ! $row ) {
		throw new Refused( 404, 'E_RUN', array( 'message' => "the journal has no run $run" ) );
	}
	$changed = $db->write(
		'UPDATE ' . journal_table() . " SET `then` = ? WHERE run = ? AND state IN ('failed','timed_out','interrupted') AND `then` IN ('none','held')",
		array( $then, $run )
	);
	if ( 1 !== $changed ) {
		throw new Refused( 409, 'E_STATE', array( 'state' => $row['state'], 'outcome' => $row['state'], 'then' => $row['then'], 'message' => "run $run is {$row['state']}, {$row['then']}" ) );
	}
	return $row;
}
