<?php
/**
 * The answers to the runner's calls: due, inspect, end, settle, run.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

require_once __DIR__ . '/object-cache.php';
require_once __DIR__ . '/pauses.php';
require_once __DIR__ . '/snapshot.php';

/** What the fields of a call hold. Every one may be missing or null; others are for later versions. */
const FIELDS = array(
	'install'   => 'text',
	'blog'      => 'a whole number',
	'owner'     => 'text',
	'runner'    => 'text',
	'epoch'     => 'a whole number',
	'expect_ms' => 'a whole number',
	'list'      => 'true or false',
	'lanes'     => 'a whole number',
	'budget_ms' => 'a whole number',
	'longest_s' => 'a whole number',
	'policies'  => 'pairs of texts',
	'trigger'   => 'text',
	'hook'      => 'text',
	'key'       => 'text',
	'due_at'    => 'a whole number',
	'run'       => 'a run id',
	'take'      => 'true or false',
	'grace_s'   => 'a whole number',
	'url'       => 'text',
	'since_ms'  => 'a whole number',
	'batch'     => 'text',
	'rest'      => 'true or false',
	'over'      => 'true or false',
	'timed_out' => 'texts',
	'runs'      => 'texts',
	'requeue'   => 'a run id',
	'drop'      => 'a run id',
	'restore'   => 'true or false',
	'realm'     => 'text',
	'until_ms'  => 'a whole number',
	'leave'     => 'true or false',
	'follows'   => 'true or false',
	'uninstall' => 'true or false',
);

/**
 * The first field that does not hold what it must, or null.
 */
function wrong_field( array $ask ): ?string {
	foreach ( array_intersect_key( $ask, FIELDS ) as $name => $value ) {
		if ( null !== $value && ! holds( FIELDS[ $name ], $value ) ) {
			return $name;
		}
	}
	return null;
}

/**
 * Is this a value of this kind?
 */
function holds( string $kind, $value ): bool {
	switch ( $kind ) {
		case 'text':
			return is_string( $value );
		case 'a whole number':
			return is_int( $value ) && abs( $value ) <= 2 ** 53;
		case 'true or false':
			return is_bool( $value );
		case 'a run id':
			return is_string( $value ) && is_run_id( $value );
		case 'texts':
			return is_array( $value ) && count( $value ) === count( array_filter( $value, 'is_string' ) );
		default:
			$is_pair = static function ( $one ): bool {
				return is_array( $one ) && array( 0, 1 ) === array_keys( $one ) && holds( 'texts', $one );
			};
			return is_array( $value ) && count( $value ) === count( array_filter( $value, $is_pair ) );
	}
}

/**
 * `due`: the timetable, and who looks after it.
 */
function answer_due( Frames $frames, array $ask ): void {
	global $wp_version;
	$db   = page_connection();
	$at   = now_ms();
	$text = read_cron( $db );
	$cron = events_in( $text );
	if ( ! empty( $ask['list'] ) ) {
		list_events( $frames, $cron );
	}
	$paused = paused_hooks( $db );
	$times  = timetable( $cron, time(), $paused ) + array( 'hooks' => next_of_hooks( $cron, $paused ) );
	unset( $cron ); // 100,000 events fill 150 MB.
	$tables = has_tables();
	$owner  = null;
	if ( $tables ) {
		if ( owner_was_here( $db, (string) ( $ask['owner'] ?? '' ), (int) ( $ask['expect_ms'] ?? 0 ) ) ) {
			keep_snapshot( $db, $text, $at );
		}
		$owner = owner( $db );
	}
	$about = array(
		't'               => 'due',
		'v'               => PROTOCOL,
		'install'         => install_id(),
		'plugin'          => VERSION,
		'php'             => PHP_VERSION,
		'wp'              => (string) $wp_version,
		'now_ms'          => now_ms(),
		'open'            => $tables ? array_map( __NAMESPACE__ . '\report_open', open_rows( $db ) ) : array(),
		'epoch'           => $owner ? $owner['epoch'] : 0,
		'owner'           => $owner && '' !== $owner['id'] ? array( 'id' => $owner['id'], 'name' => $owner['name'], 'expected_ms' => $owner['expected_ms'], 'left' => $owner['left'] ) : null,
		'lock_kind'       => settings()['lock_kind'] ?? null,
		'disable_wp_cron' => defined( 'DISABLE_WP_CRON' ) && DISABLE_WP_CRON,
		'stray'           => $tables ? get_state( $db, 'stray' ) : null,
		'paused_hooks'    => array_map( 'strval', array_keys( $paused ) ),
		'held'            => $tables ? held_runs( $db ) : 0,
		'tables'          => $tables,
		'object_cache'    => object_cache(),
	);
	$frames->send( array_merge( $about, $times ) );
}

/**
 * Every event, one frame each.
 */
function list_events( Frames $frames, array $cron ): void {
	foreach ( each_event( $cron ) as list( $timestamp, $hook, $key, $event ) ) {
		$frames->send(
			array(
				't'        => 'event',
				'hook'     => printable( $hook ),
				'key'      => $key,
				'due_at'   => $timestamp,
				'schedule' => empty( $event['schedule'] ) ? null : (string) $event['schedule'],
				'interval' => isset( $event['interval'] ) ? (int) $event['interval'] : null,
				'args'     => args_text( $event ),
			)
		);
	}
}

/**
 * An open row as `due` and `settle` tell it.
 */
function report_open( array $row ): array {
	return array_intersect_key( report_row( $row ), array_flip( array( 'run', 'hook', 'state', 'batch', 'due_at', 'schedule', 'started_ms', 'pid', 'host', 'runner', 'trigger' ) ) );
}

/**
 * `inspect`: one run, and whether its process lives.
 */
function answer_inspect( Frames $frames, array $ask ): void {
	$db    = page_connection();
	$row   = has_tables() ? journal_row( $db, (string) ( $ask['run'] ?? '' ) ) : null;
	$locks = site_locks( $db );
	$state = $row && $locks ? process_state( $db, $locks, $row ) : 'unknown';
	if ( 'dead' === $state && 'running' === $row['state'] && in_array( process_seen( $row['host'], (int) $row['pid'], $row['pid_start'] ), array( 'here', 'hidden' ), true ) ) {
		// Its connection alone may have been dropped, by something that has no patience with silence.
		$state = 'unknown';
	}
	$frames->send( array( 't' => 'inspect', 'row' => $row ? report_row( $row ) : null, 'process' => $state ) );
}

/**
 * `end`: ends the process of a run that is past its limit. Same user, so no privilege is needed.
 */
function answer_end( Frames $frames, array $ask, string $nonce ): void {
	$db  = page_connection();
	$run = (string) ( $ask['run'] ?? '' );
	if ( ! has_tables() || ! use_nonce( $db, $nonce ) ) {
		throw new Refused( 409, 'E_REPLAY' );
	}
	$row = journal_row( $db, $run );
	if ( ! $row || 'running' !== $row['state'] ) {
		throw new Refused( 409, 'E_STATE', array( 'state' => $row ? $row['state'] : null, 'message' => "run $run does not run" ) );
	}
	$pid     = (int) $row['pid'];
	$signal  = 'none';
	$reason  = null;
	$locks   = site_locks( $db );
	// Hidden or not: while a lock is held that lives as long as its process, the number is nobody else's.
	$enough  = $locks instanceof Session_Locks || $locks instanceof File_Locks ? array( 'here', 'hidden' ) : array( 'here' );
	$is_here = static function () use ( $row, $pid, $enough ): bool {
		return in_array( process_seen( $row['host'], $pid, $row['pid_start'] ), $enough, true );
	};
	// The worker may have gone on to another request meanwhile: the lock says whether it still is this one.
	$is_held = static function () use ( $locks, $row ): bool {
		return $locks && $locks->is_held( batch_lock( $row['batch'] ) );
	};
	if ( ! $is_here() ) {
		$reason = "process $pid of {$row['host']} is not to be seen from here";
	} elseif ( ! function_exists( 'posix_kill' ) ) {
		$reason = 'PHP has no posix_kill()';
	} else {
		// A process that was started for this run alone goes with all that its event has started.
		$alone  = 'wp-cli' === $row['run_trigger'] && function_exists( 'posix_getpgid' ) && posix_getpgid( $pid ) === $pid;
		$target = $alone ? -$pid : $pid;
		foreach ( array( 'TERM' => 15, 'KILL' => 9 ) as $name => $number ) {
			if ( ! $is_held() ) {
				break;
			}
			if ( posix_kill( $target, $number ) ) {
				$signal = $name;
				wait_for_end( $row['host'], $pid, $row['pid_start'], 15 === $number ? 2000 : 1000 );
			} else {
				$reason = 'PHP may not signal process ' . $pid . ': ' . posix_strerror( posix_get_last_error() );
			}
		}
	}
	$alive = $is_here();
	// Without a start the runner signals nobody: a lease may outlive its holder, and a number is soon another's.
	$start = $alive || in_array( 'hidden', $enough, true ) ? $row['pid_start'] : '';
	$frame = array( 't' => 'ended', 'run' => $run, 'alive' => $alive, 'signal' => $signal, 'reason' => $reason );
	// Where PHP could not, the runner may be able to.
	$frames->send( $frame + array( 'host' => $row['host'], 'pid' => $pid, 'start' => $start, 'held' => $is_held() ) );
}

/**
 * `settle`: take over, settle what died, give back, requeue, drop, leave.
 */
function answer_settle( Frames $frames, array $ask, string $nonce ): void {
	$id = (string) ( $ask['owner'] ?? '' );
	if ( ! empty( $ask['take'] ) ) {
		prepare_site();
	} elseif ( ! has_tables() ) {
		throw new Refused( 409, 'unknown_epoch', array( 'epoch' => 0, 'message' => 'no runner has taken over this site yet' ) );
	}
	$db    = own_connection();
	$locks = required_locks( $db );
	if ( ! use_nonce( $db, $nonce ) ) {
		throw new Refused( 409, 'E_REPLAY' );
	}
	$is_older = ! empty( $ask['take'] ) && (int) ( $ask['epoch'] ?? 0 ) > owner( $db )['epoch'];
	$extra    = decide( $db, $locks, $ask, $id ) + array( 'was_older' => $is_older );
	if ( $is_older ) {
		// The database was put back from a backup: what it shows as running has most likely ended since, with an unknown outcome.
		$ask['policies'] = array( array( '*', 'hold' ) );
	}
	if ( ! empty( $ask['leave'] ) ) {
		// Before the rest is given back, or it would be claimed again.
		$ask['leave'] = owner_leaves( $db, $id, ! empty( $ask['follows'] ), (int) ( $ask['epoch'] ?? 0 ) );
		// Another's claims are not his to give back.
		if ( $ask['leave'] && empty( $ask['follows'] ) ) {
			delete_transient( 'doing_cron' );
		}
	}
	$frames->send( array_merge( settled( $db, $locks, $ask ), $extra ) );
	if ( ! empty( $ask['uninstall'] ) ) {
		drop_tables();
		delete_option( OPTION );
		delete_transient( 'doing_cron' );
		delete_lock_dir();
	} else {
		prune_hourly( $db );
	}
}

/**
 * Makes the site ready for a runner, whoever that will be: tables and lock kind.
 */
function prepare_site(): void {
	$now = settings();
	if ( ! has_tables() || ! are_tables_readable() ) {
		create_tables();
	}
	$kind = (string) ( $now['lock_kind'] ?? '' );
	// The weakest kind is proven anew each time, for the reason may have passed; not under runs that hold locks of it.
	if ( '' === $kind || VERSION !== ( $now['lock_version'] ?? '' ) || ( 'lease-row' === $kind && ! open_rows( page_connection() ) ) ) {
		$kind = prove_lock_kind();
	}
	$want = array(
		'install'      => install_id(),
		'schema'       => SCHEMA,
		'lock_kind'    => $kind,
		'lock_version' => VERSION,
	);
	if ( array_intersect_key( $now, $want ) != $want ) { // phpcs:ignore Universal.Operators.StrictComparisons -- order does not matter.
		save_settings( $want );
	}
}

/**
 * The part of `settle` that needs the right to do it: the owner's epoch, or becoming the owner.
 */
function decide( Connection $db, Locks $locks, array $ask, string $id ): array {
	if ( isset( $ask['requeue'] ) ) {
		$row = requeue( $db, $locks, (string) $ask['requeue'] );
		note_held( $db );
		notice_earlier( time() ); // Who asked is not always who looks after the site.
		return array( 'requeued' => report_row( $row ) );
	}
	if ( isset( $ask['drop'] ) ) {
		$row = drop_run( $db, (string) $ask['drop'] );
		note_held( $db );
		return array( 'dropped' => report_row( $row ) );
	}
	if ( ! empty( $ask['restore'] ) ) {
		$restored = restore_cron( $db, $locks );
		notice_earlier( time() );
		return array( 'restored' => $restored );
	}
	if ( ! empty( $ask['take'] ) ) {
		// A call that was held up on its way must not take the site from the one who has the lease by now.
		$has_lease = now_ms() < (int) ( $ask['until_ms'] ?? 0 );
		take_over( $db, $id, (string) ( $ask['runner'] ?? '' ), (int) ( $ask['expect_ms'] ?? 0 ), (int) ( $ask['epoch'] ?? 0 ), (string) ( $ask['realm'] ?? '' ), $has_lease );
		// Not before: who is refused must not have the notices of the owner sent to him.
		$url = preg_match( '/^[\w.:\[\]-]{1,80}$/', (string) ( $ask['url'] ?? '' ) ) ? (string) $ask['url'] : '';
		save_settings( array( 'listen' => $url, 'grace' => (int) ( $ask['grace_s'] ?? 600 ), 'seen' => time(), 'settled' => false ) );
		// A wp-cron.php that is running now has a list of what was due. It looks at this before each event, and ends where it
		// finds another's mark.
		set_transient( 'doing_cron', sprintf( '%.22F', microtime( true ) ) );
		set_state( $db, 'policies', array_values( (array) ( $ask['policies'] ?? array() ) ) );
		take_snapshot( $db );
	} elseif ( empty( $ask['leave'] ) && empty( $ask['uninstall'] ) ) {
		check_epoch( $db, (int) ( $ask['epoch'] ?? 0 ) );
	}
	return array();
}

/**
 * Settles, and tells all that the runner may not know yet.
 */
function settled( Connection $db, Locks $locks, array $ask ): array {
	$blog    = get_current_blog_id();
	$batch   = isset( $ask['batch'] ) ? (string) $ask['batch'] : null;
	$decided = settle_runs(
		$db,
		$locks,
		array(
			'rest_of'   => empty( $ask['rest'] ) ? null : $batch,
			'leave'     => ! empty( $ask['leave'] ) || ! empty( $ask['take'] ),
			'over'      => empty( $ask['over'] ) ? null : $batch,
			'timed_out' => (array) ( $ask['timed_out'] ?? array() ),
			'policies'  => (array) ( $ask['policies'] ?? array() ),
		)
	);
	// Read before the rows that have ended: what ends in between is then in both, and not in neither.
	$open  = array_map( __NAMESPACE__ . '\report_open', open_rows( $db ) );
	$rows  = array();
	$where = array();
	$asked = array_filter( (array) ( $ask['runs'] ?? array() ), 'is_string' );
	foreach ( array_chunk( array_merge( $decided, $asked ), 200 ) as $some ) {
		$where[] = array( "state NOT IN ('claimed','running') AND run IN (" . implode( ', ', array_fill( 0, count( $some ), '?' ) ) . ')', $some );
	}
	if ( null !== $batch ) {
		$where[] = array( "batch = ? AND state NOT IN ('claimed','running')", array( $batch ) );
	}
	if ( isset( $ask['since_ms'] ) ) {
		$where[] = array( 'ended_ms >= ? AND state IN ' . FINAL_STATE, array( (int) $ask['since_ms'] ) );
	}
	foreach ( $where as list( $condition, $values ) ) {
		foreach ( $db->rows( 'SELECT ' . ROW_COLUMNS . ' FROM ' . journal_table() . " WHERE blog = ? AND $condition ORDER BY ended_ms LIMIT 501", array_merge( array( $blog ), $values ) ) as $row ) {
			$rows[ $row['run'] ] = report_row( $row );
		}
	}
	$rows = array_values( $rows ); // What was decided just now and what was asked for by name comes first.
	if ( ! empty( $ask['take'] ) ) {
		// Where they are more than one answer holds, the runner asks again since the last of them: a run that was decided just now
		// must not come before those that ended earlier.
		usort(
			$rows,
			static function ( array $a, array $b ): int {
				return $a['ended_ms'] <=> $b['ended_ms'];
			}
		);
	}
	$cron = events_in( read_cron( $db ) );
	return array_merge(
		array(
			't'         => 'settled',
			'epoch'     => owner( $db )['epoch'],
			'lock_kind' => settings()['lock_kind'] ?? null,
			'install'   => install_id(),
			'settled'   => array_slice( $rows, 0, 500 ),
			'more'      => count( $rows ) > 500,
			'open'      => $open,
			'now_ms'    => now_ms(),
		),
		timetable( $cron, time(), paused_hooks( $db ) )
	);
}

/**
 * `run`: claim and execute.
 */
function answer_run( Frames $frames, array $ask, string $nonce ): void {
	require_once __DIR__ . '/execute.php';
	if ( ! has_tables() ) {
		throw new Refused( 409, 'unknown_epoch', array( 'epoch' => 0, 'message' => 'no runner has taken over this site yet' ) );
	}
	$db              = own_connection( (int) ( $ask['longest_s'] ?? 600 ) );
	$batch           = new Batch( $nonce, $db, (int) ( $ask['epoch'] ?? 0 ), (string) ( $ask['runner'] ?? '' ), substr( (string) ( $ask['trigger'] ?? '' ), 0, 20 ) );
	$batch->lanes    = max( 1, (int) ( $ask['lanes'] ?? 1 ) );
	$batch->policies = (array) ( $ask['policies'] ?? array() );
	$batch->hook     = isset( $ask['hook'] ) ? (string) $ask['hook'] : null;
	$batch->key      = isset( $ask['key'] ) ? (string) $ask['key'] : null;
	$batch->due_at   = isset( $ask['due_at'] ) ? (int) $ask['due_at'] : null;
	$batch->longest  = max( 1, (int) ( $ask['longest_s'] ?? 600 ) );
	( new Execution( $batch, $frames ) )->work( (int) ( $ask['budget_ms'] ?? 60000 ) );
	prune_hourly( $db );
	if ( owner_was_here( $db, (string) ( $ask['owner'] ?? '' ), (int) ( $ask['expect_ms'] ?? 0 ) ) ) {
		// On a busy site it is nearly always a run that comes at such a time.
		take_snapshot( $db );
	}
}
