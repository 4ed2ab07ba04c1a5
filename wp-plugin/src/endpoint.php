<?php
/**
 * The way in for the runner. Two doors, one room:
 *
 * - the front door, POST /?wp-cron-runner=CALL, recognised when the plugin's main file is loaded;
 * - this very file, named to php-fpm over FastCGI: calls that only look are answered without loading all of WordPress.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Calls that need no plugin and no theme. */
const SHORT_CALLS = array( 'due', 'inspect', 'end' );
const FULL_CALLS  = array( 'run', 'settle' );

if ( ! defined( 'ABSPATH' ) ) {
	// Named directly. Without the header there is nothing to look at, and WordPress is not loaded for it.
	if ( ! isset( $_SERVER['HTTP_X_WP_CRON_RUNNER'], $_GET['wp-cron-runner'] ) ) {
		deny();
	}
	define( in_array( $_GET['wp-cron-runner'], SHORT_CALLS, true ) ? 'SHORTINIT' : 'DOING_CRON', true );
	require wordpress_root() . '/wp-load.php';
	if ( defined( 'SHORTINIT' ) && SHORTINIT ) {
		foreach ( array( 'settings', 'protocol', 'connection', 'locks', 'cron-option', 'write-lock', 'journal', 'owner', 'claim', 'settle' ) as $file ) {
			require_once __DIR__ . "/$file.php";
		}
		accept_call();
	}
	// WordPress was loaded and the call not answered: the plugin is not active.
	deny( 503, 'E_INACTIVE' );
}

/**
 * Where wp-load.php is: the runner says so (in a parameter that no visitor can send), else above this file.
 */
function wordpress_root(): string {
	// Not HTTP_*: only the server that speaks FastCGI can set it.
	$root = isset( $_SERVER['WP_CRON_RUNNER_ROOT'] ) ? (string) $_SERVER['WP_CRON_RUNNER_ROOT'] : __DIR__;
	while ( ! file_exists( $root . '/wp-load.php' ) ) {
		if ( dirname( $root ) === $root ) {
			deny( 500, 'E_NO_WORDPRESS' );
		}
		$root = dirname( $root );
	}
	return $root;
}

/**
 * Ends a request that is not ours to answer: one answer for every cause, and no frame, for there is no common key.
 */
function deny( int $status = 401, string $error = 'E_AUTH' ): void {
	http_response_code( $status );
	header( 'Content-Type: application/json' );
	header( 'Cache-Control: no-store' );
	if ( 405 === $status ) {
		header( 'Allow: POST' );
	}
	echo json_encode( array( 'error' => $error ) ); // phpcs:ignore WordPress.WP.AlternativeFunctions, WordPress.Security.EscapeOutput
	exit;
}

/**
 * Checks the signature now, before any other plugin runs; answers now or, where WordPress has to be complete, at wp_loaded.
 */
function accept_call(): void {
	// phpcs:disable WordPress.Security -- every byte is covered by the signature.
	$method = (string) ( $_SERVER['REQUEST_METHOD'] ?? '' );
	$call   = (string) $_GET['wp-cron-runner'];
	$header = (string) $_SERVER['HTTP_X_WP_CRON_RUNNER'];
	$path   = (string) ( $_SERVER['REQUEST_URI'] ?? '' );
	$host   = (string) ( $_SERVER['HTTP_HOST'] ?? '' );
	// phpcs:enable
	if ( 'POST' !== $method ) {
		deny( 405, 'E_METHOD' );
	}
	$body = (string) file_get_contents( 'php://input', false, null, 0, LARGEST_BODY + 1 );
	if ( strlen( $body ) > LARGEST_BODY ) {
		deny( 413, 'E_TOO_LARGE' );
	}
	$signed = verified( $header, $path, $host, $body, keys(), site_name() );
	if ( ! $signed ) {
		deny();
	}
	if ( ! defined( 'DOING_CRON' ) && in_array( $call, FULL_CALLS, true ) ) {
		define( 'DOING_CRON', true );
	}
	remove_action( 'init', 'wp_cron' );
	$answer = static function () use ( $signed, $call, $body ): void {
		answer( $signed, $call, $body );
		exit;
	};
	if ( in_array( $call, FULL_CALLS, true ) ) {
		add_action( 'wp_loaded', $answer, PHP_INT_MAX );
	} else {
		$answer();
	}
}

/**
 * Answers a signed call.
 */
function answer( array $signed, string $call, string $body ): void {
	while ( ob_get_level() > 0 && ob_end_clean() ) {
		continue;
	}
	@ini_set( 'zlib.output_compression', '0' ); // phpcs:ignore WordPress.PHP
	ignore_user_abort( true );
	header( 'Content-Type: ' . CONTENT_TYPE );
	header( 'Cache-Control: no-store' );
	header( 'X-Accel-Buffering: no' );
	$frames = new Frames( $signed['key'], $signed['nonce'] );
	$ask    = json_decode( $body, true );
	check_call( $frames, $signed, $call, $ask );
	try {
		$answers = array( 'due' => 'answer_due', 'inspect' => 'answer_inspect', 'end' => 'answer_end', 'settle' => 'answer_settle', 'run' => 'answer_run' );
		call_user_func( __NAMESPACE__ . '\\' . $answers[ $call ], $frames, $ask, $signed['nonce'] );
	} catch ( Refused $e ) {
		$frames->refuse( $e->status, $e->error, $e->more );
	} catch ( Corrupt_Cron $e ) {
		$frames->refuse( 500, 'E_CORRUPT', array( 'message' => $e->getMessage() ) );
	} catch ( Database_Error $e ) {
		$busy = $e->is_busy();
		$frames->refuse( $busy ? 503 : 500, $busy ? 'busy' : 'E_DATABASE', array( 'message' => $e->getMessage() ) );
	}
}

/**
 * Refuses what is signed and still cannot be answered.
 */
function check_call( Frames $frames, array $signed, string $call, $ask ): void {
	if ( PROTOCOL !== $signed['version'] ) {
		$frames->refuse( 426, 'E_VERSION', array( 'supported' => array( PROTOCOL, PROTOCOL ), 'message' => 'the plugin speaks version ' . PROTOCOL ) );
	}
	if ( abs( now_ms() - $signed['ts'] ) > WINDOW_MS ) {
		$frames->refuse( 401, 'E_CLOCK', array( 'server_ms' => now_ms(), 'message' => 'the clocks differ by ' . round( abs( now_ms() - $signed['ts'] ) / 1000 ) . ' s' ) );
	}
	if ( ! is_array( $ask ) || ! in_array( $call, array_merge( SHORT_CALLS, FULL_CALLS ), true ) ) {
		$frames->refuse( 400, 'E_BAD', array( 'message' => 'expected one of the calls due, run, inspect, settle, end with a JSON object' ) );
	}
	if ( isset( $ask['install'] ) && install_id() !== $ask['install'] ) {
		$frames->refuse( 409, 'wrong_install', array( 'install' => install_id(), 'message' => 'this is another WordPress than the one the runner knows: a copy, or its address has changed' ) );
	}
	if ( isset( $ask['blog'] ) && get_current_blog_id() !== (int) $ask['blog'] ) {
		$frames->refuse( 400, 'E_BAD', array( 'message' => 'blog ' . (int) $ask['blog'] . ' is not the blog of this address' ) );
	}
}

/**
 * Are the tables there? Known without a query.
 */
function has_tables(): bool {
	return SCHEMA === ( settings()['schema'] ?? 0 );
}

/**
 * `due`: the timetable, and who looks after it.
 */
function answer_due( Frames $frames, array $ask ): void {
	global $wp_version;
	$db   = page_connection();
	$text = read_cron( $db );
	$cron = null === $text ? array() : unpack_cron( $text );
	if ( null === $cron ) {
		throw new Corrupt_Cron();
	}
	if ( ! empty( $ask['list'] ) ) {
		list_events( $frames, $cron );
	}
	$tables = has_tables();
	$owner  = null;
	if ( $tables ) {
		owner_was_here( $db, (string) ( $ask['owner'] ?? '' ), (int) ( $ask['expect_ms'] ?? 0 ) );
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
		'held'            => $tables ? (int) $db->value( 'SELECT COUNT(*) FROM ' . journal_table() . " WHERE blog = ? AND `then` = 'held'", array( get_current_blog_id() ) ) : 0,
		'tables'          => $tables,
	);
	$frames->send( array_merge( $about, timetable( $cron, time() ) ) );
}

/**
 * Every event, one frame each.
 */
function list_events( Frames $frames, array $cron ): void {
	foreach ( each_event( $cron ) as list( $timestamp, $hook, $key, $event ) ) {
		$args = (string) json_encode( $event['args'] ?? array(), JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR ); // phpcs:ignore WordPress.WP.AlternativeFunctions
		$frames->send(
			array(
				't'        => 'event',
				'hook'     => printable( $hook ),
				'key'      => $key,
				'due_at'   => $timestamp,
				'schedule' => empty( $event['schedule'] ) ? null : (string) $event['schedule'],
				'interval' => isset( $event['interval'] ) ? (int) $event['interval'] : null,
				'args'     => strlen( $args ) > 4096 ? substr( $args, 0, 4096 ) . '...' : $args,
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
	$locks = locks( $db, (string) ( settings()['lock_kind'] ?? '' ) );
	$state = $row && $locks ? process_state( $db, $locks, $row ) : 'unknown';
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
	$pid    = (int) $row['pid'];
	$signal = 'none';
	$reason = null;
	if ( host_name() !== $row['host'] || '' === $row['pid_start'] || process_start( $pid ) !== $row['pid_start'] ) {
		$reason = "process $pid of {$row['host']} is not to be seen from here";
	} elseif ( ! function_exists( 'posix_kill' ) ) {
		$reason = 'PHP has no posix_kill()';
	} else {
		// The worker may have gone on to another request meanwhile: the lock says whether it still is this one.
		$locks = locks( $db, (string) settings()['lock_kind'] );
		foreach ( array( 'TERM' => 15, 'KILL' => 9 ) as $name => $number ) {
			if ( $locks && $locks->is_held( batch_lock( $row['batch'] ) ) && posix_kill( $pid, $number ) ) {
				$signal = $name;
				wait_for_end( $pid, $row['pid_start'], 15 === $number ? 2000 : 1000 );
			}
		}
	}
	$frames->send( array( 't' => 'ended', 'run' => $run, 'alive' => '' !== $row['pid_start'] && process_start( $pid ) === $row['pid_start'], 'signal' => $signal, 'reason' => $reason ) );
}

/**
 * Waits until a process is gone, at most so many milliseconds.
 */
function wait_for_end( int $pid, string $start, int $ms ): void {
	for ( $i = 0; $i < $ms / 10 && process_start( $pid ) === $start; $i++ ) {
		usleep( 10000 );
	}
}

/**
 * `settle`: take over, settle what died, give back, requeue, drop, leave.
 */
function answer_settle( Frames $frames, array $ask, string $nonce ): void {
	$id = (string) ( $ask['owner'] ?? '' );
	if ( ! empty( $ask['take'] ) ) {
		prepare_site( $ask );
	} elseif ( ! has_tables() ) {
		throw new Refused( 409, 'unknown_epoch', array( 'epoch' => 0, 'message' => 'no runner has taken over this site yet' ) );
	}
	$db    = own_connection();
	$locks = locks( $db, (string) ( settings()['lock_kind'] ?? '' ) );
	if ( ! $locks ) {
		throw new Refused( 500, 'E_LOCKS', array( 'message' => 'this database can hold no session lock, and this version has no other kind for it' ) );
	}
	if ( ! use_nonce( $db, $nonce ) ) {
		throw new Refused( 409, 'E_REPLAY' );
	}
	$extra = decide( $db, $locks, $ask, $id );
	if ( ! empty( $ask['leave'] ) ) {
		owner_leaves( $db, $id ); // Before the rest is given back, or it would be claimed again.
	}
	$frames->send( array_merge( settled( $db, $locks, $ask ), $extra ) );
	if ( ! empty( $ask['uninstall'] ) ) {
		drop_tables();
		delete_option( OPTION );
		delete_lock_dir();
	} else {
		prune( $db );
	}
}

/**
 * Makes the site ready for a runner: tables, lock kind, and what page views have to know.
 */
function prepare_site( array $ask ): void {
	$now = settings();
	if ( ! has_tables() ) {
		create_tables();
		set_state( page_connection(), 'unlocked', array() );
		page_connection()->write( 'UPDATE ' . state_table() . " SET updated_ms = 0 WHERE blog = ? AND name = 'unlocked'", array( get_current_blog_id() ) );
	}
	$kind = VERSION === ( $now['lock_version'] ?? '' ) && ! empty( $now['lock_kind'] ) ? $now['lock_kind'] : prove_lock_kind();
	$want = array(
		'install'      => install_id(),
		'schema'       => SCHEMA,
		'lock_kind'    => $kind,
		'lock_version' => VERSION,
		'listen'       => preg_match( '/^[\w.:\[\]-]{1,80}$/', (string) ( $ask['url'] ?? '' ) ) ? (string) $ask['url'] : '',
		'grace'        => (int) ( $ask['grace_s'] ?? 600 ),
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
		notice_earlier( time() ); // Who asked is not always who looks after the site.
		return array( 'requeued' => report_row( $row ) );
	}
	if ( isset( $ask['drop'] ) ) {
		return array( 'dropped' => report_row( drop_run( $db, (string) $ask['drop'] ) ) );
	}
	if ( ! empty( $ask['take'] ) ) {
		take_over( $db, $id, (string) ( $ask['runner'] ?? '' ), (int) ( $ask['expect_ms'] ?? 0 ), (int) ( $ask['epoch'] ?? 0 ) );
		save_settings( array( 'seen' => time(), 'settled' => false ) );
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
			'leave'     => ! empty( $ask['leave'] ),
			'timed_out' => (array) ( $ask['timed_out'] ?? array() ),
			'policies'  => (array) ( $ask['policies'] ?? array() ),
		)
	);
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
	$cron = unpack_cron( (string) read_cron( $db ) );
	return array_merge(
		array(
			't'         => 'settled',
			'epoch'     => owner( $db )['epoch'],
			'lock_kind' => settings()['lock_kind'] ?? null,
			'install'   => install_id(),
			'settled'   => array_slice( array_values( $rows ), 0, 500 ),
			'more'      => count( $rows ) > 500,
			'open'      => array_map( __NAMESPACE__ . '\report_open', open_rows( $db ) ),
			'now_ms'    => now_ms(),
		),
		timetable( (array) $cron, time() )
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
	( new Execution( $batch, $frames ) )->work( (int) ( $ask['budget_ms'] ?? 60000 ) );
	owner_was_here( $db, (string) ( $ask['owner'] ?? '' ), (int) ( $ask['expect_ms'] ?? 0 ) );
}

/**
 * Removes the directory of file locks, as far as no lock is held.
 */
function delete_lock_dir(): void {
	if ( is_sqlite() && is_dir( lock_dir() ) ) {
		array_map( 'unlink', (array) glob( lock_dir() . '/*.lock' ) );
		@rmdir( lock_dir() ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
	}
}
