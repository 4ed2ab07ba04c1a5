<?php
/**
 * The journal: one row for every event that was claimed, from the claim to its outcome. And a small table of state: the
 * owner and his epoch, nonces, the last stray caller of wp-cron.php.
 *
 * Every change of a row is conditional on its former state, and counted: 0 rows changed means that somebody else decided.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

const SCHEMA      = 1;
const FINAL_STATE = "('ok','failed','timed_out','interrupted','skipped')";
const OPEN_STATE  = "('claimed','running')";

/** Columns of a row as it is reported; the arguments stay here. */
const ROW_COLUMNS = 'run, blog, state, `then`, batch, hook, event_key, due_at, schedule, next_at, next_added, runner, run_trigger, host, pid, pid_start, claimed_ms, limit_s, started_ms, ended_ms, took_ms, peak_memory, queries, error, note, reason, attempt';

/** All that is needed to put a row's event back. */
const FULL_COLUMNS = ROW_COLUMNS . ', args, every, deaths, again_at, again_ms';

/**
 * The journal's table. One for a whole network, the blog is in a column.
 */
function journal_table(): string {
	global $wpdb;
	return $wpdb->base_prefix . 'cron_runner_journal';
}

/**
 * The table of state.
 */
function state_table(): string {
	global $wpdb;
	return $wpdb->base_prefix . 'cron_runner_state';
}

/**
 * Makes the tables. Harmless where they exist.
 *
 * @throws Database_Error Its message ends with the SQL to run by hand.
 */
function create_tables(): void {
	global $wpdb;
	$engine  = 'ENGINE=InnoDB ' . $wpdb->get_charset_collate();
	// Hook, schedule and arguments may hold any bytes. The drop-in's tables are STRICT, and there text is no blob.
	$bytes   = is_sqlite() ? 'longtext' : 'longblob';
	$journal = 'CREATE TABLE IF NOT EXISTS ' . journal_table() . " (
		id bigint unsigned NOT NULL AUTO_INCREMENT,
		run varchar(26) NOT NULL,
		blog bigint unsigned NOT NULL,
		state varchar(12) NOT NULL,
		`then` varchar(10) NOT NULL DEFAULT 'none',
		batch varchar(32) NOT NULL,
		hook {$bytes} NOT NULL,
		event_key varchar(191) NOT NULL,
		args {$bytes} NOT NULL,
		due_at bigint NOT NULL,
		schedule {$bytes} DEFAULT NULL,
		every bigint DEFAULT NULL,
		next_at bigint DEFAULT NULL,
		next_added tinyint NOT NULL DEFAULT 0,
		epoch bigint NOT NULL,
		runner varchar(191) NOT NULL,
		run_trigger varchar(20) NOT NULL,
		host varchar(191) NOT NULL,
		pid bigint NOT NULL,
		pid_start varchar(40) NOT NULL,
		claimed_ms bigint NOT NULL,
		limit_s bigint NOT NULL,
		started_ms bigint DEFAULT NULL,
		ended_ms bigint DEFAULT NULL,
		took_ms bigint DEFAULT NULL,
		peak_memory bigint DEFAULT NULL,
		queries bigint DEFAULT NULL,
		error longtext DEFAULT NULL,
		note longtext DEFAULT NULL,
		reason varchar(191) DEFAULT NULL,
		attempt tinyint NOT NULL DEFAULT 1,
		deaths tinyint NOT NULL DEFAULT 0,
		again_at bigint DEFAULT NULL,
		again_ms bigint DEFAULT NULL,
		PRIMARY KEY  (id),
		UNIQUE KEY run (run),
		KEY open_runs (blog, state),
		KEY ended (blog, ended_ms),
		KEY batch (batch)
	) {$engine}";
	$state   = 'CREATE TABLE IF NOT EXISTS ' . state_table() . " (
		blog bigint unsigned NOT NULL,
		name varchar(64) NOT NULL,
		value longtext NOT NULL,
		updated_ms bigint NOT NULL,
		PRIMARY KEY  (blog, name)
	) {$engine}";
	try {
		page_connection()->write( $journal );
		page_connection()->write( $state );
	} catch ( Database_Error $e ) {
		// Without the right to create, the statement fails also where somebody has done it by hand.
		if ( ! are_tables_readable() ) {
			throw new Database_Error( $e->getMessage() . '; run by hand: ' . preg_replace( '/\s+/', ' ', "$journal; $state" ), (int) $e->getCode() ); // phpcs:ignore WordPress.Security.EscapeOutput
		}
	}
}

/**
 * Are the tables there? Known without a query.
 */
function has_tables(): bool {
	return SCHEMA === ( settings()['schema'] ?? 0 );
}

/**
 * Are the tables there in fact? Costs two queries.
 */
function are_tables_readable(): bool {
	try {
		page_connection()->value( 'SELECT 1 FROM ' . journal_table() . ' LIMIT 1' );
		page_connection()->value( 'SELECT 1 FROM ' . state_table() . ' LIMIT 1' );
		return true;
	} catch ( Database_Error $e ) {
		return false;
	}
}

/**
 * Takes the tables away.
 */
function drop_tables(): void {
	page_connection()->write( 'DROP TABLE IF EXISTS ' . journal_table() );
	page_connection()->write( 'DROP TABLE IF EXISTS ' . state_table() );
}

/**
 * One value of the state table, decoded; null where it is missing.
 */
function get_state( Connection $db, string $name, bool $for_update = false ): ?array {
	$sql   = 'SELECT value FROM ' . state_table() . ' WHERE blog = ? AND name = ?' . ( $for_update ? $db->for_update() : '' );
	$value = $db->value( $sql, array( get_current_blog_id(), $name ) );
	$state = null === $value ? null : json_decode( $value, true );
	return is_array( $state ) ? $state : null;
}

/**
 * Writes one value of the state table.
 */
function set_state( Connection $db, string $name, array $value ): void {
	if ( ! make_state( $db, $name, $value ) ) {
		$db->write( 'UPDATE ' . state_table() . ' SET value = ?, updated_ms = ? WHERE blog = ? AND name = ?', array( (string) wp_json_encode( $value ), now_ms(), get_current_blog_id(), $name ) );
	}
}

/**
 * Makes one value of the state table, unless there is one.
 *
 * @return bool Was it this call that made it?
 */
function make_state( Connection $db, string $name, array $value ): bool {
	$blog = get_current_blog_id();
	$have = 'SELECT 1 FROM ' . state_table() . ' WHERE blog = ? AND name = ?';
	if ( null !== $db->value( $have, array( $blog, $name ) ) ) {
		return false;
	}
	try {
		$db->write( 'INSERT INTO ' . state_table() . ' (blog, name, value, updated_ms) VALUES (?, ?, ?, ?)', array( $blog, $name, (string) wp_json_encode( $value ), now_ms() ) );
		return true;
	} catch ( Database_Error $e ) {
		// Somebody has made it meanwhile: 1062 of MySQL, 19 of SQLite, none from the drop-in. Any other error may have ended the transaction.
		if ( ! in_array( (int) $e->getCode(), array( 0, 19, 1062 ), true ) || null === $db->value( $have, array( $blog, $name ) ) ) {
			throw $e;
		}
		return false;
	}
}

/**
 * Writes one value of the state table, if it still is what was read.
 */
function replace_state( Connection $db, string $name, array $from, array $to ): bool {
	$sql = 'UPDATE ' . state_table() . ' SET value = ?, updated_ms = ? WHERE blog = ? AND name = ? AND value = ?';
	return 1 === $db->write( $sql, array( (string) wp_json_encode( $to ), now_ms(), get_current_blog_id(), $name, (string) wp_json_encode( $from ) ) );
}

/**
 * Uses up a nonce. The primary key lets one of many win.
 *
 * @return bool False where it was used before.
 */
function use_nonce( Connection $db, string $nonce ): bool {
	$blog = get_current_blog_id();
	try {
		$db->write( 'INSERT INTO ' . state_table() . " (blog, name, value, updated_ms) VALUES (?, ?, '', ?)", array( $blog, 'nonce:' . $nonce, now_ms() ) );
	} catch ( Database_Error $e ) {
		// 1062: duplicate key in MySQL; 19: constraint in SQLite.
		if ( in_array( (int) $e->getCode(), array( 1062, 19 ), true ) ) {
			return false;
		}
		throw $e;
	}
	return true;
}

/**
 * Forgets what nobody can ask for any more: nonces after three windows, locks (of kind `lease-row`) long after their lease, ended runs after a week (what did not end well,
 * after four: its arguments are kept so that `requeue` works). Held runs stay.
 */
function prune( Connection $db ): void {
	$blog = get_current_blog_id();
	$now  = now_ms();
	$week = WEEK_IN_SECONDS * 1000;
	$db->write( 'DELETE FROM ' . state_table() . " WHERE blog = ? AND name LIKE 'nonce:%' AND updated_ms < ?", array( $blog, $now - 3 * WINDOW_MS ) );
	$db->write( 'DELETE FROM ' . state_table() . " WHERE blog = ? AND name LIKE 'wpcr-%' AND updated_ms < ?", array( $blog, $now - $week ) );
	$db->write( 'DELETE FROM ' . journal_table() . " WHERE blog = ? AND ended_ms < ? AND state IN ('ok','skipped','given_back')", array( $blog, $now - $week ) );
	$db->write( 'DELETE FROM ' . journal_table() . " WHERE blog = ? AND ended_ms < ? AND `then` <> 'held' AND state IN " . FINAL_STATE, array( $blog, $now - 4 * $week ) );
}

/**
 * The same, at most once an hour.
 */
function prune_hourly( Connection $db ): void {
	$last = get_state( $db, 'pruned' );
	if ( abs( now_ms() - (int) ( $last['at_ms'] ?? 0 ) ) > HOUR_IN_SECONDS * 1000 ) {
		set_state( $db, 'pruned', array( 'at_ms' => now_ms() ) );
		prune( $db );
	}
}

/**
 * One row by its run id.
 */
function journal_row( Connection $db, string $run ): ?array {
	return $db->row( 'SELECT ' . ROW_COLUMNS . ' FROM ' . journal_table() . ' WHERE blog = ? AND run = ?', array( get_current_blog_id(), $run ) );
}

/**
 * Rows that have no outcome yet.
 */
function open_rows( Connection $db ): array {
	return $db->rows( 'SELECT ' . ROW_COLUMNS . ' FROM ' . journal_table() . ' WHERE blog = ? AND state IN ' . OPEN_STATE . ' ORDER BY id', array( get_current_blog_id() ) );
}

/**
 * Runs that wait for a person's decision.
 */
function held_runs( Connection $db ): int {
	return (int) $db->value( 'SELECT COUNT(*) FROM ' . journal_table() . " WHERE blog = ? AND state IN ('timed_out','interrupted') AND `then` = 'held'", array( get_current_blog_id() ) );
}

/**
 * Notes for the dashboard how many they are.
 */
function note_held( Connection $db ): void {
	$held = held_runs( $db );
	if ( (int) ( settings_in_row( page_connection() )['held'] ?? 0 ) !== $held ) {
		save_settings( array( 'held' => $held ) );
	}
}

/**
 * Moves a row from one state to another, and tells whether it was this call that did it.
 *
 * @param array $set Columns to change along with it.
 */
function move_row( Connection $db, string $run, string $from, string $to, array $set = array() ): bool {
	$sql    = 'UPDATE ' . journal_table() . ' SET state = ?';
	$values = array( $to );
	foreach ( $set as $column => $value ) {
		$sql     .= ", `$column` = ?";
		$values[] = $value;
	}
	return 1 === $db->write( $sql . ' WHERE run = ? AND state = ?', array_merge( $values, array( $run, $from ) ) );
}

/**
 * A row as the runner reads it.
 */
function report_row( array $row ): array {
	$int = static function ( $value ): ?int {
		return null === $value ? null : (int) $value;
	};
	return array(
		'run'         => $row['run'],
		'hook'        => printable( $row['hook'] ),
		'key'         => $row['event_key'],
		'blog'        => (int) $row['blog'],
		'schedule'    => null === $row['schedule'] ? null : printable( $row['schedule'] ),
		'due_at'      => (int) $row['due_at'],
		'batch'       => $row['batch'],
		'state'       => $row['state'],
		'then'        => $row['then'],
		'started_ms'  => $int( $row['started_ms'] ),
		'ended_ms'    => $int( $row['ended_ms'] ),
		'ms'          => $int( $row['took_ms'] ),
		'error'       => null === $row['error'] ? null : json_decode( $row['error'], true ),
		'note'        => $row['note'],
		'peak_memory' => $int( $row['peak_memory'] ),
		'queries'     => $int( $row['queries'] ),
		'host'        => $row['host'],
		'pid'         => (int) $row['pid'],
		'runner'      => $row['runner'],
		'trigger'     => $row['run_trigger'],
		'reason'      => $row['reason'],
		'attempt'     => (int) $row['attempt'],
	);
}

/**
 * Does this look like a run id?
 */
function is_run_id( string $run ): bool {
	return 1 === preg_match( '/^[0-9A-Za-z]{26}\z/', $run );
}

/**
 * A run id: 48 bits of milliseconds and 80 random ones, in Crockford's base 32 (a ULID: sorts by time).
 */
function run_id(): string {
	$digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
	$id     = '';
	$ms     = now_ms();
	for ( $i = 0; $i < 10; $i++ ) {
		$id = $digits[ $ms % 32 ] . $id;
		$ms = intdiv( $ms, 32 );
	}
	foreach ( str_split( random_bytes( 16 ) ) as $byte ) {
		$id .= $digits[ ord( $byte ) & 31 ];
	}
	return $id;
}
