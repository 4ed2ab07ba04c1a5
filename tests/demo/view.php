<?php
/**
 * What happens in the demo: a table that is redrawn on a terminal, else one line for each event that ended.
 *
 *   php view.php LEDGER URL SECONDS RUNNER
 *
 * SECONDS 0 means until Ctrl-C. The exit status is 0 only if every planned event ran exactly once: by the site's own
 * ledger and by the runner's history.
 */

list( , $ledger_file, $url, $seconds, $runner ) = $argv;

$is_terminal = stream_isatty( STDOUT );
$has_colour  = $is_terminal && false === getenv( 'NO_COLOR' );
$started     = microtime( true );
$drawn       = 0;
$told        = array();
$has_ordered = false;
$is_over     = false;

// From here on Ctrl-C ends the view with its summary.
if ( function_exists( 'pcntl_signal' ) ) {
	pcntl_async_signals( true );
	pcntl_signal(
		SIGINT,
		static function () use ( &$is_over ) {
			$is_over = true;
		}
	);
}

/** The planned events in the order of their due times, with what the site saw and what the runner recorded. */
function events( $ledger_file, $runner ) {
	$events = array();
	$ran    = array();
	foreach ( file( $ledger_file, FILE_IGNORE_NEW_LINES ) as $text ) {
		$line = json_decode( $text, true );
		$id   = $line['hook'] . ' ' . $line['key'];
		if ( 'planned' === $line['what'] ) {
			$events[ $id ] = $line + array( 'runs' => array() );
		} else {
			$ran[ $id ] = ( $ran[ $id ] ?? 0 ) + 1;
		}
	}
	foreach ( history( $runner ) as $run ) {
		foreach ( $events as $id => $event ) {
			if ( $run['hook'] === $event['hook'] && strtotime( $run['due'] ) === $event['due'] ) {
				$events[ $id ]['runs'][] = $run;
			}
		}
	}
	foreach ( $events as $id => $event ) {
		$events[ $id ]['ran'] = $ran[ $id ] ?? 0;
	}
	uasort(
		$events,
		static function ( $a, $b ) {
			return $a['due'] <=> $b['due'];
		}
	);
	return $events;
}

function history( $runner ) {
	exec( escapeshellarg( $runner ) . ' history shop --json 2>/dev/null', $output, $status );
	$history = 0 === $status ? json_decode( implode( "\n", $output ), true ) : null;
	return is_array( $history ) ? $history : array();
}

function row( array $event, $now, $has_colour ) {
	$run = $event['runs'][0] ?? null;
	if ( null === $run ) {
		$wait  = $event['due'] - $now;
		$cells = array( $wait > 0 ? sprintf( 'in %.0f s', ceil( $wait ) ) : 'now', '', '', $event['ran'] > 0 ? 'running' : 'waiting' );
	} else {
		$cells = array(
			gmdate( 'H:i:s', $event['due'] ),
			$run['lateness_ms'] . ' ms',
			$run['ms'] . ' ms',
			$run['outcome'] . ( empty( $run['error'] ) ? '' : ': ' . error_text( $run['error'] ) ),
		);
	}
	$text = sprintf( '%-20s %-32s %8s %8s %8s  %s', $event['hook'], $event['title'], ...$cells );
	if ( $has_colour && null !== $run ) {
		$text = ( 'ok' === $run['outcome'] ? "\e[32m" : "\e[31m" ) . $text . "\e[0m";
	}
	return $text;
}

function error_text( $error ) {
	return is_array( $error ) ? $error['message'] : $error;
}

const HEAD = "event                what it is                            due     late     took  outcome";

function draw( array $events, $now, &$drawn, $has_colour ) {
	// A line that is longer than the terminal is cut, not wrapped: the next drawing counts lines.
	// The ^C that a terminal echoes has moved the cursor.
	echo "\r\e[?7l", $drawn > 0 ? "\e[{$drawn}A" : '';
	echo "\e[K", HEAD, "\n";
	foreach ( $events as $event ) {
		echo "\e[K", row( $event, $now, $has_colour ), "\n";
	}
	echo "\e[?7h";
	$drawn = count( $events ) + 1;
}

function tell_new( array $events, $now, array &$told ) {
	foreach ( $events as $id => $event ) {
		if ( array() !== $event['runs'] && ! isset( $told[ $id ] ) ) {
			echo array() === $told ? HEAD . "\n" : '', row( $event, $now, false ), "\n";
			$told[ $id ] = true;
		}
	}
}

function summary( array $events ) {
	$wrong = array();
	$late  = array();
	foreach ( $events as $event ) {
		$expected = 'demo_payment_sync' === $event['hook'] ? 'failed' : 'ok';
		$outcomes = array_column( $event['runs'], 'outcome' );
		if ( 1 !== $event['ran'] || array( $expected ) !== $outcomes ) {
			$wrong[] = sprintf(
				'%s (%s): the site saw %d runs, the history has %s; expected one run that ended %s',
				$event['hook'],
				$event['title'],
				$event['ran'],
				$outcomes ? implode( ', ', $outcomes ) : 'none',
				$expected
			);
		}
		array_push( $late, ...array_column( $event['runs'], 'lateness_ms' ) );
	}
	sort( $late );
	echo "\n";
	if ( array() === $wrong && count( $events ) >= 8 ) {
		printf(
			"%d events, each ran exactly once, one of them failed as it should; late by %d ms at the median, %d ms at most.\n",
			count( $events ),
			$late[ intdiv( count( $late ), 2 ) ],
			end( $late )
		);
		return 0;
	}
	printf( "%d of %d events did not end as they should:\n  %s\n", count( $wrong ), max( 8, count( $events ) ), implode( "\n  ", $wrong ) );
	return 1;
}

echo "\n";
while ( true ) {
	// A visitor orders something while the runner sleeps: it learns of the new event at once, not at its next look.
	if ( ! $has_ordered && microtime( true ) - $started > 5 ) {
		$has_ordered = true;
		file_get_contents( "$url/?demo_order=1042" );
	}
	$events = events( $ledger_file, $runner );
	if ( $is_terminal ) {
		draw( $events, microtime( true ), $drawn, $has_colour );
	} else {
		tell_new( $events, microtime( true ), $told );
	}
	if ( $is_over || ( $seconds > 0 && microtime( true ) - $started >= $seconds ) ) {
		exit( summary( $events ) );
	}
	usleep( 250000 );
}
