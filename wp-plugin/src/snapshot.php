<?php
/**
 * Snapshots of the `cron` option, for the day when something has cut it short or emptied it, and the way back to one.
 *
 * Kept in the state table: the latest, at most a few minutes old, and one of each hour of the last day in which it changed.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

const SNAPSHOT        = 'snapshot:';
const LATEST          = 'snapshot:latest';
const CORRUPT         = 'snapshot:corrupt';
const HOURLY_KEPT     = 24;
const LARGEST_OF_MANY = 1048576;

/**
 * Keeps the option's text, which can be read, if it holds events and is not the one that was kept last. Whoever calls has more
 * important things to do: what fails here is tried again with the next one.
 *
 * @param int $at_ms From before it was read.
 */
function keep_snapshot( Connection $db, ?string $text, int $at_ms ): void {
	// A timestamp with hooks; unpacked, 100,000 events would fill the memory once more.
	if ( null === $text || ! preg_match( '/i:\d+;a:\d+:\{[si]:/', $text ) ) {
		return;
	}
	try {
		$latest = get_state( $db, LATEST );
		$hash   = md5( $text );
		if ( $latest && $hash === $latest['hash'] ) {
			return;
		}
		$snapshot = pack_snapshot( $text, $at_ms );
		set_state( $db, LATEST, $snapshot );
		if ( strlen( $text ) <= LARGEST_OF_MANY ) {
			keep_hourly( $db, $snapshot );
		}
	} catch ( Database_Error $e ) {
		return;
	}
}

/**
 * Reads the option and keeps it.
 *
 * @throws Corrupt_Cron Where it cannot be read.
 */
function take_snapshot( Connection $db ): void {
	$at   = now_ms();
	$text = read_cron( $db );
	events_in( $text );
	keep_snapshot( $db, $text, $at );
}

/**
 * A text as it is kept: any bytes, small.
 */
function pack_snapshot( string $text, int $at_ms ): array {
	return array( 'at_ms' => $at_ms, 'hash' => md5( $text ), 'cron' => base64_encode( (string) gzcompress( $text, 1 ) ) ); // phpcs:ignore WordPress.PHP.DiscouragedPHPFunctions
}

/**
 * The first one of each hour.
 */
function keep_hourly( Connection $db, array $snapshot ): void {
	$hour = SNAPSHOT . gmdate( 'YmdH' );
	if ( null !== get_state( $db, $hour ) ) {
		return;
	}
	set_state( $db, $hour, $snapshot );
	foreach ( array_slice( hourly_snapshots( $db ), HOURLY_KEPT ) as $old ) {
		$db->write( 'DELETE FROM ' . state_table() . ' WHERE blog = ? AND name = ?', array( get_current_blog_id(), $old ) );
	}
}

/**
 * Their names, newest first.
 */
function hourly_snapshots( Connection $db ): array {
	return array_column( $db->rows( 'SELECT name FROM ' . state_table() . " WHERE blog = ? AND name LIKE 'snapshot:2%' ORDER BY name DESC", array( get_current_blog_id() ) ), 'name' );
}

/**
 * Puts the newest snapshot back, in place of an option that cannot be read or holds no event at all; and what was found there
 * is kept. Events that were claimed since the snapshot do not come back: the journal knows them.
 *
 * @return array at_ms, events (how many), claimed (how many of the snapshot's were left out), kept (what was found there).
 * @throws Refused Where the option is in order, or there is no snapshot.
 */
function restore_cron( Connection $db, Locks $locks ): array {
	global $wpdb;
	$restored = in_write_lock(
		$db,
		$locks,
		static function () use ( $db, $wpdb ): array {
			$found = $db->value( "SELECT option_value FROM {$wpdb->options} WHERE option_name = 'cron'" . $db->for_update() );
			refuse_in_order( $found );
			$snapshot = newest_snapshot( $db );
			$cron     = $snapshot['cron'];
			// A claim notes its time before its commit, and waits a second for the lock at most.
			$claimed = replay( $db, $cron, (int) $snapshot['at_ms'] - 2000 );
			sort_cron( $cron );
			$is_kept = null !== $found && strlen( $found ) <= LARGEST_CRON;
			if ( $is_kept ) {
				set_state( $db, CORRUPT, pack_snapshot( $found, now_ms() ) );
			}
			write_cron( $db, null !== $found, pack_args( $cron ) );
			return array( 'at_ms' => (int) $snapshot['at_ms'], 'events' => iterator_count( each_event( $cron ) ), 'claimed' => $claimed, 'kept' => $is_kept );
		}
	);
	forget_cached_cron();
	wp_cache_delete( 'notoptions', 'options' );
	return $restored;
}

/**
 * Refuses to write over what somebody may still need.
 *
 * @throws Refused Where the option can be read and holds events.
 */
function refuse_in_order( ?string $found ): void {
	$cron = null === $found || '' === $found || strlen( $found ) > LARGEST_CRON ? null : unpack_cron( $found );
	$has  = $cron ? iterator_count( each_event( $cron ) ) : 0;
	if ( $has > 0 ) {
		throw new Refused( 409, 'E_STATE', array( 'message' => "the option `cron` can be read and holds $has events; a snapshot is put back only where there is nothing to lose" ) );
	}
}

/**
 * The newest snapshot: at_ms, cron (unpacked).
 *
 * @throws Refused Where none can be read.
 */
function newest_snapshot( Connection $db ): array {
	foreach ( array_merge( array( LATEST ), hourly_snapshots( $db ) ) as $name ) {
		$snapshot = get_state( $db, $name );
		$text     = @gzuncompress( (string) base64_decode( (string) ( $snapshot['cron'] ?? '' ), true ) ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.PHP.DiscouragedPHPFunctions
		$cron     = false === $text ? null : unpack_cron( $text );
		if ( $cron ) {
			return array( 'at_ms' => $snapshot['at_ms'], 'cron' => $cron );
		}
	}
	throw new Refused( 404, 'E_SNAPSHOT', array( 'message' => 'there is no snapshot of the option `cron`; restore it from a backup of the database, or delete it to begin with an empty timetable' ) );
}

/**
 * Does to a snapshot what the journal says was done to the option since: claims, what was given back, and what was put back
 * to run once more.
 *
 * @return int How many of the snapshot's events were claimed since, and do not come back.
 */
function replay( Connection $db, array &$cron, int $at_ms ): int {
	$left_out = 0;
	foreach ( steps_since( $db, $at_ms ) as list( , $step, $row ) ) {
		$hook = $row['hook'];
		$key  = $row['event_key'];
		$next = null === $row['next_at'] ? null : (int) $row['next_at'];
		if ( 'claimed' === $step ) {
			$left_out += (int) remove_event( $cron, (int) $row['due_at'], $hook, $key );
			$next && insert_event( $cron, $next, $hook, $key, entry( $row ) );
		} elseif ( 'given_back' === $step ) {
			$next && (int) $row['next_added'] && remove_event( $cron, $next, $hook, $key );
			$left_out -= (int) insert_event( $cron, (int) $row['due_at'], $hook, $key, entry( $row ) );
		} elseif ( 'skipped' === $step ) {
			$next && remove_event( $cron, $next, $hook, $key );
		} else {
			insert_event( $cron, (int) $row['again_at'], $hook, $key, entry( next_try( $row, $row['state'] ) ) );
		}
	}
	return max( 0, $left_out );
}

/**
 * What the journal knows of since then, in the order in which it happened: [unix milliseconds, what, row].
 */
function steps_since( Connection $db, int $at_ms ): array {
	$steps = array();
	$sql   = 'SELECT ' . FULL_COLUMNS . ' FROM ' . journal_table() . ' WHERE blog = ? AND ( claimed_ms >= ? OR ended_ms >= ? OR again_ms >= ? ) ORDER BY id';
	foreach ( $db->rows( $sql, array( get_current_blog_id(), $at_ms, $at_ms, $at_ms ) ) as $row ) {
		if ( (int) $row['claimed_ms'] >= $at_ms ) {
			$steps[] = array( (int) $row['claimed_ms'], 'claimed', $row );
		}
		if ( in_array( $row['state'], array( 'given_back', 'skipped' ), true ) ) {
			$steps[] = array( (int) $row['ended_ms'], $row['state'], $row );
		}
		if ( (int) $row['again_ms'] >= $at_ms ) {
			$steps[] = array( (int) $row['again_ms'], 'requeued', $row );
		}
	}
	usort(
		$steps,
		static function ( array $a, array $b ): int {
			return $a[0] <=> $b[0];
		}
	);
	return $steps;
}
