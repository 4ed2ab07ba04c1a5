<?php
/**
 * What wp-admin, Site Health and WP-CLI show: from the runner where it answers, from the site's own journal where it does not.
 *
 * The answers have the runner's names and forms either way, and `from` and `why` say whose word it is.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

require_once __DIR__ . '/runner.php';
require_once __DIR__ . '/pauses.php';

/** So many runs of the journal make a summary at most. */
const SUMMARY_ROWS = 20000;

/**
 * Asks the runner, or the journal in its stead.
 *
 * @param callable $journal function (): array.
 */
function runner_or_journal( string $what, array $body, callable $journal ): array {
	static $away = null;
	// One silence is enough for a page.
	$answer = null === $away ? ask_of_site( $what, $body ) : $away;
	if ( ! is_wp_error( $answer ) ) {
		return array( 'from' => 'runner', 'why' => null, 'answer' => $answer );
	}
	$why    = $answer->get_error_message();
	$away   = 'refused' === $answer->get_error_code() ? null : $answer;
	$answer = array();
	if ( has_tables() ) {
		try {
			$answer = $journal();
		} catch ( Database_Error $e ) {
			$why .= ' ' . database_words( $e );
		}
	}
	return array( 'from' => 'journal', 'why' => visible( $why, 1000 ), 'answer' => $answer );
}

/**
 * What a database says, for people: the drop-in for SQLite says it in HTML, with the query and where it was made.
 */
function database_words( Database_Error $e ): string {
	return visible( trim( (string) preg_replace( '/\s+/', ' ', wp_strip_all_tags( $e->getMessage() ) ) ), 300 );
}

/**
 * The runner, this site, and its jobs: from, why, runner, site, jobs.
 */
function report_status(): array {
	static $status = null;
	$status        = $status ?? status_now();
	return $status;
}

/**
 * The same, asked anew.
 */
function status_now(): array {
	$said   = runner_or_journal( 'view', array(), __NAMESPACE__ . '\site_in_journal' );
	$none   = array( 'runner' => null, 'site' => array( 'state' => 'no runner', 'running' => array(), 'open' => array(), 'paused_hooks' => array() ), 'jobs' => array() );
	$status = array( 'from' => $said['from'], 'why' => $said['why'] ) + $said['answer'] + $none;
	if ( has_tables() ) {
		// The runner knows them since its last look; here they are.
		try {
			$status['site']['held']         = held_runs( page_connection() );
			$status['site']['paused_hooks'] = array_map( 'strval', array_keys( paused_hooks( page_connection() ) ) );
		} catch ( Database_Error $e ) {
			$status['why'] = database_words( $e );
		}
	}
	return $status;
}

/**
 * This site as its own database knows it.
 */
function site_in_journal(): array {
	$db    = page_connection();
	$owner = owner( $db );
	$table = array( 'next' => null, 'due' => 0, 'oldest' => null );
	$error = null;
	try {
		$table = timetable( events_in( read_cron( $db ) ), time(), paused_hooks( $db ) );
	} catch ( Corrupt_Cron $e ) {
		$error = $e->getMessage();
	}
	return array(
		'site' => array(
			'site'         => site_name(),
			'state'        => 'no runner',
			'runner'       => '' === $owner['name'] ? null : $owner['name'],
			'message'      => $error,
			'next'         => rfc3339( null === $table['next'] ? null : $table['next'] * 1000 ),
			'due'          => $table['due'],
			'oldest'       => rfc3339( null === $table['oldest'] ? null : $table['oldest'] * 1000 ),
			'paused'       => false,
			'running'      => array(),
			'open'         => array_map( __NAMESPACE__ . '\report_row', open_rows( $db ) ),
			'lock_kind'    => settings()['lock_kind'] ?? null,
			'epoch'        => $owner['epoch'],
			'install'      => install_id(),
			'plugin'       => VERSION,
			'stray'        => get_state( $db, 'stray' ),
		),
	);
}

/**
 * Runs that have ended, newest first: from, why, runs.
 *
 * @param array $filter hook, outcome (one of them, or `bad`: neither ok nor skipped), then, since_ms, until_ms (ended before), run, n.
 */
function report_history( array $filter = array() ): array {
	$filter['n'] = max( 1, min( 500, (int) ( $filter['n'] ?? 50 ) ) );
	$body        = $filter;
	if ( isset( $body['hook'] ) ) {
		$body['hook'] = printable( (string) $body['hook'] );
	}
	$said = runner_or_journal(
		'history',
		$body,
		static function () use ( $filter ): array {
			return runs_in_journal( $filter );
		}
	);
	return array( 'from' => $said['from'], 'why' => $said['why'], 'runs' => array_values( $said['answer'] ) );
}

/**
 * The same from the journal, which keeps a week of what went well and four of what did not.
 */
function runs_in_journal( array $filter ): array {
	$where  = array( 'blog = ?', 'state IN ' . FINAL_STATE );
	$values = array( get_current_blog_id() );
	$sql    = array( 'hook' => 'hook = ?', 'outcome' => 'state = ?', 'then' => '`then` = ?', 'since_ms' => 'ended_ms >= ?', 'until_ms' => 'ended_ms < ?', 'run' => 'run = ?' );
	foreach ( array_intersect_key( $sql, $filter ) as $name => $condition ) {
		if ( 'outcome' === $name && 'bad' === $filter['outcome'] ) {
			$where[] = "state NOT IN ('ok','skipped')";
		} else {
			$where[]  = $condition;
			$values[] = $filter[ $name ];
		}
	}
	$rows = page_connection()->rows( 'SELECT ' . ROW_COLUMNS . ' FROM ' . journal_table() . ' WHERE ' . implode( ' AND ', $where ) . ' ORDER BY ended_ms DESC, id DESC LIMIT ' . (int) ( $filter['n'] ?? 50 ), $values );
	return array_map( __NAMESPACE__ . '\run_of_row', $rows );
}

/**
 * A row of the journal in the form that the runner's history has.
 */
function run_of_row( array $row ): array {
	$run = report_row( $row );
	return array(
		'due'            => rfc3339( $run['due_at'] * 1000 ),
		'started'        => rfc3339( $run['started_ms'] ),
		'ended'          => rfc3339( $run['ended_ms'] ),
		'lateness_ms'    => null === $run['started_ms'] ? null : $run['started_ms'] - $run['due_at'] * 1000,
		'outcome'        => $run['state'],
		'output'         => null,
		'output_dropped' => 0,
	) + $run;
}

/**
 * Numbers of the last hours: from, why, since_ms, until_ms, width_ms, buckets, marks, total, hooks.
 */
function report_summary( int $hours = 24 ): array {
	static $known = array();
	$known[ $hours ] = $known[ $hours ] ?? summary_now( $hours );
	return $known[ $hours ];
}

/**
 * The same, asked anew.
 */
function summary_now( int $hours ): array {
	$since = now_ms() - $hours * HOUR_IN_SECONDS * 1000;
	$said  = runner_or_journal(
		'summary',
		array( 'since_ms' => $since ),
		static function () use ( $since ): array {
			return summary_of_journal( $since, now_ms() );
		}
	);
	return array( 'from' => $said['from'], 'why' => $said['why'] ) + $said['answer'] + summary_of( array(), $since, now_ms() );
}

/**
 * The same from the journal.
 */
function summary_of_journal( int $since, int $until ): array {
	$sql = 'SELECT hook, state, due_at, started_ms, ended_ms, took_ms FROM ' . journal_table() . ' WHERE blog = ? AND ended_ms >= ? AND state IN ' . FINAL_STATE . ' ORDER BY ended_ms DESC LIMIT ' . SUMMARY_ROWS;
	return summary_of( page_connection()->rows( $sql, array( get_current_blog_id(), $since ) ), $since, $until );
}

/**
 * Counts rows of the journal, in 48 parts of the time and by hook.
 */
function summary_of( array $rows, int $since, int $until ): array {
	$width = max( 1, intdiv( $until - $since, 48 ) );
	$parts = array();
	$hooks = array();
	foreach ( $rows as $row ) {
		$parts[ min( 47, intdiv( (int) $row['ended_ms'] - $since, $width ) ) ][] = $row;
		$hooks[ printable( $row['hook'] ) ][]                                     = $row;
	}
	$buckets = array();
	for ( $i = 0; $i < 48; $i++ ) {
		$buckets[] = array( 'at_ms' => $since + $i * $width ) + figures( $parts[ $i ] ?? array() );
	}
	$by_hook = array();
	foreach ( $hooks as $hook => $some ) {
		$by_hook[] = array( 'hook' => (string) $hook ) + figures( $some );
	}
	return array( 'since_ms' => $since, 'until_ms' => $until, 'width_ms' => $width, 'buckets' => $buckets, 'marks' => array(), 'total' => figures( $rows ), 'hooks' => $by_hook );
}

/**
 * How many runs, how many of them bad, and the middle, the 95th percentile and the most of lateness and duration.
 */
function figures( array $rows ): array {
	$bad  = 0;
	$late = array();
	$took = array();
	foreach ( $rows as $row ) {
		$bad += in_array( $row['state'], array( 'ok', 'skipped' ), true ) ? 0 : 1;
		if ( null !== $row['started_ms'] ) {
			$late[] = max( 0, (int) $row['started_ms'] - (int) $row['due_at'] * 1000 );
		}
		if ( null !== $row['took_ms'] ) {
			$took[] = (int) $row['took_ms'];
		}
	}
	return array( 'runs' => count( $rows ), 'bad' => $bad, 'lateness_ms' => quantiles( $late ), 'ms' => quantiles( $took ) );
}

/**
 * By the nearest rank, as the runner does it.
 */
function quantiles( array $values ): ?array {
	if ( ! $values ) {
		return null;
	}
	sort( $values );
	$rank = static function ( float $part ) use ( $values ): int {
		return $values[ max( 0, (int) ceil( $part * count( $values ) ) - 1 ) ];
	};
	return array( 'p50' => $rank( 0.5 ), 'p95' => $rank( 0.95 ), 'max' => end( $values ) );
}

/**
 * The option, and null or why it cannot be read. Not kept: 100,000 events are most of the memory that wp-admin has.
 *
 * @return array cron, error.
 */
function cron_now(): array {
	try {
		return array( events_in( read_cron( page_connection() ) ), null );
	} catch ( Corrupt_Cron $e ) {
		return array( array(), $e->getMessage() );
	} catch ( Database_Error $e ) {
		return array( array(), database_words( $e ) );
	}
}

/**
 * Every event, soonest first: [timestamp, hook, key, event].
 */
function events_by_time( array $cron ): \Generator {
	$times = array_filter( array_keys( $cron ), 'is_numeric' );
	sort( $times, SORT_NUMERIC );
	foreach ( $times as $timestamp ) {
		foreach ( each_event( array( $timestamp => $cron[ $timestamp ] ) ) as $one ) {
			yield $one;
		}
	}
}

/**
 * The soonest event of which `$is_it( timestamp, hook, key )` says so, as report_events() tells it; null where there is none.
 */
function find_event( callable $is_it ): ?array {
	foreach ( events_by_time( cron_now()[0] ) as $one ) {
		if ( $is_it( $one[0], $one[1], $one[2] ) ) {
			return event_as_told( $one, array() );
		}
	}
	return null;
}

/**
 * Is there anything to this name, or is it a slip of the finger?
 *
 * @return true|\WP_Error
 */
function is_hook_known( string $hook ) {
	$of_hook = static function ( int $timestamp, string $name ) use ( $hook ): bool {
		return $name === $hook;
	};
	return '' === $hook || has_action( $hook ) || find_event( $of_hook )
		? true
		: new \WP_Error( 'hook', __( 'No event of this hook is scheduled and nothing listens to it; nothing was changed.', 'wp-cron-runner' ) );
}

/**
 * One event in the form of the reports.
 */
function event_as_told( array $one, array $paused ): array {
	list( $timestamp, $hook, $key, $event ) = $one;
	$schedule = $event['schedule'] ?? false;
	return array(
		'due_at'   => $timestamp,
		'hook'     => $hook,
		'key'      => $key,
		'schedule' => is_scalar( $schedule ) && $schedule ? printable( (string) $schedule ) : null,
		'interval' => isset( $event['interval'] ) && is_scalar( $event['interval'] ) ? (int) $event['interval'] : null,
		'args'     => args_text( $event ),
		'paused'   => isset( $paused[ printable( $hook ) ] ),
	);
}

/**
 * The events of the option, soonest first: total, error, events.
 *
 * @param array $filter search (a part of the hook's name), offset, n.
 */
function report_events( array $filter = array() ): array {
	list( $cron, $error ) = cron_now();
	$search = (string) ( $filter['search'] ?? '' );
	$first  = max( 0, (int) ( $filter['offset'] ?? 0 ) );
	$last   = $first + max( 1, (int) ( $filter['n'] ?? 50 ) );
	$total  = 0;
	$events = array();
	try {
		$paused = paused_hooks( page_connection() );
	} catch ( Database_Error $e ) {
		$paused = array();
	}
	foreach ( events_by_time( $cron ) as $one ) {
		if ( '' === $search || false !== stripos( printable( $one[1] ), $search ) ) {
			if ( $total >= $first && $total < $last ) {
				$events[] = event_as_told( $one, $paused );
			}
			++$total;
		}
	}
	return array( 'total' => $total, 'error' => $error, 'events' => $events );
}

/**
 * Unix milliseconds as the runner writes a time.
 */
function rfc3339( ?float $ms ): ?string {
	if ( null === $ms ) {
		return null;
	}
	$ms = within_centuries( max( 0, $ms ) );
	return gmdate( 'Y-m-d\TH:i:s', intdiv( $ms, 1000 ) ) . ( $ms % 1000 ? sprintf( '.%03dZ', $ms % 1000 ) : 'Z' );
}
