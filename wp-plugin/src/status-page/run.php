<?php
/**
 * One run: how it ended, all that is known of it, and what can be done now. And the page on which one is waited for.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The screen.
 */
function show_run(): void {
	$run = run_of_id( asked( 'run' ) );
	if ( ! $run ) {
		echo '<h2>', esc_html__( 'There is no such run', 'wp-cron-runner' ), '</h2><p>', esc_html__( 'It may have ended so long ago that it was forgotten.', 'wp-cron-runner' ), '</p>';
		return;
	}
	$hook = name_of_run( $run );
	/* translators: %s: name of a hook. */
	echo '<h2>', sprintf( esc_html__( 'A run of %s', 'wp-cron-runner' ), shown( $hook ) ), '</h2>'; // phpcs:ignore WordPress.Security.EscapeOutput
	$event = empty( $run['job'] ) ? event_in_option( $hook, (string) ( $run['key'] ?? '' ) ) : null;
	show_run_facts( $run );
	show_run_actions( $run, $event );
	show_output( $run );
	if ( empty( $run['job'] ) ) {
		show_hook_of_run( $run, $event );
	}
}

/**
 * A run that has ended, or one that has not, from the journal.
 */
function run_of_id( string $id ): ?array {
	if ( ! is_run_id( $id ) ) {
		return null;
	}
	$report = report_history( array( 'run' => $id, 'n' => 1 ) );
	if ( $report['runs'] || ! has_tables() ) {
		return $report['runs'] ? array( 'from' => $report['from'] ) + $report['runs'][0] : null;
	}
	try {
		$row = journal_row( page_connection(), $id );
		return $row ? array( 'from' => 'journal' ) + run_of_row( $row ) : null;
	} catch ( Database_Error $e ) {
		return null;
	}
}

/**
 * The numbers.
 */
function show_run_facts( array $run ): void {
	$error = $run['error'] ?? null;
	$facts = array( __( 'Outcome', 'wp-cron-runner' ) => shown_outcome( $run ) );
	if ( is_array( $error ) ) {
		$where = empty( $error['file'] ) ? '' : '<br>' . shown( $error['file'] . ( empty( $error['line'] ) ? '' : ':' . $error['line'] ), 1000 );
		$facts[ __( 'Error', 'wp-cron-runner' ) ] = '<span class="wpcr-error">' . nl2br( html( visible_lines( (string) ( $error['message'] ?? '' ) ) ) ) . '</span>' . $where;
	}
	foreach ( array( 'note' => __( 'Note', 'wp-cron-runner' ), 'reason' => __( 'Reason', 'wp-cron-runner' ) ) as $name => $label ) {
		if ( ! empty( $run[ $name ] ) ) {
			$facts[ $label ] = html( visible( (string) $run[ $name ], SHOWN_BYTES ) );
		}
	}
	$facts += array(
		__( 'Due', 'wp-cron-runner' )     => shown_time( ms_of( $run['due'] ?? null ) ),
		__( 'Started', 'wp-cron-runner' ) => shown_time( ms_of( $run['started'] ?? null ), false ),
		__( 'Ended', 'wp-cron-runner' )   => shown_time( ms_of( $run['ended'] ?? null ), false ),
		__( 'Late', 'wp-cron-runner' )    => html( duration( $run['lateness_ms'] ?? null ) ),
		__( 'Took', 'wp-cron-runner' )    => html( duration( $run['ms'] ?? null ) ),
		__( 'Memory', 'wp-cron-runner' )  => isset( $run['peak_memory'] ) ? html( (string) size_format( (int) $run['peak_memory'], 1 ) ) : '—',
		__( 'Queries', 'wp-cron-runner' ) => isset( $run['queries'] ) ? html( number_format_i18n( (int) $run['queries'] ) ) : '—',
		__( 'Host', 'wp-cron-runner' )    => html( visible( (string) ( $run['host'] ?? '—' ) ) ),
		__( 'Process', 'wp-cron-runner' ) => html( (string) ( $run['pid'] ?? '—' ) ),
		__( 'Trigger', 'wp-cron-runner' ) => html( visible( (string) ( $run['trigger'] ?? '—' ) ) ),
		__( 'Attempt', 'wp-cron-runner' ) => html( number_format_i18n( (int) ( $run['attempt'] ?? 1 ) ) ),
		__( 'Run', 'wp-cron-runner' )     => shown( (string) $run['run'] ),
	);
	echo '<table class="widefat striped wpcr-facts"><caption class="screen-reader-text">', esc_html__( 'What is known of this run', 'wp-cron-runner' ), '</caption><tbody>';
	foreach ( $facts as $name => $fact ) {
		echo '<tr><th scope="row">', html( $name ), '</th><td>', $fact, '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput -- made above.
	}
	echo '</tbody></table>';
}

/**
 * Requeue and drop, where they are still to be decided.
 */
function decision_buttons( array $run ): string {
	$open = in_array( $run['outcome'] ?? '', array( 'failed', 'timed_out', 'interrupted' ), true ) && in_array( $run['then'] ?? 'none', array( 'none', 'held' ), true );
	if ( ! $open || ! empty( $run['job'] ) ) {
		return '';
	}
	$about = visible( (string) $run['hook'] );
	return button( 'requeue', array( 'run' => $run['run'] ), __( 'Requeue', 'wp-cron-runner' ), $about ) . button( 'drop', array( 'run' => $run['run'] ), __( 'Drop', 'wp-cron-runner' ), $about );
}

/**
 * All that can be done now.
 *
 * @param array|null $event The next event of this hook and arguments.
 */
function show_run_actions( array $run, ?array $event ): void {
	$buttons = decision_buttons( $run );
	if ( $event ) {
		$buttons .= button( 'run', array( 'hook' => $event['hook'], 'key' => $event['key'], 'due' => $event['due_at'] ), __( 'Run now', 'wp-cron-runner' ), visible( $event['hook'] ), array( 'disabled' => ! is_runner_here() ) );
	}
	echo '' === $buttons ? '' : '<p>' . $buttons . '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * What it printed.
 */
function show_output( array $run ): void {
	$output  = (string) ( $run['output'] ?? '' );
	$dropped = (int) ( $run['output_dropped'] ?? 0 );
	echo '<h3 id="wpcr-output">', esc_html__( 'Output', 'wp-cron-runner' ), '</h3>';
	if ( '' === $output && ! $dropped ) {
		$words = __( 'It printed nothing.', 'wp-cron-runner' );
		if ( 'journal' === $run['from'] ) {
			$words = is_runner_here() ? __( 'The runner does not have it any more.', 'wp-cron-runner' ) : __( 'Only the runner has it.', 'wp-cron-runner' );
		}
		if ( in_array( $run['outcome'], array( 'claimed', 'running' ), true ) ) {
			$words = __( 'It has not ended yet.', 'wp-cron-runner' );
		}
		echo '<p>', html( $words ), '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
		return;
	}
	echo '<pre tabindex="0" role="region" aria-labelledby="wpcr-output" dir="auto">', html( visible_lines( $output ) ), '</pre>'; // phpcs:ignore WordPress.Security.EscapeOutput
	if ( $dropped ) {
		/* translators: 1, 2: sizes, such as "64 KB". */
		echo '<p>', html( sprintf( __( 'Cut: the first %1$s are here, and %2$s more were not kept.', 'wp-cron-runner' ), (string) size_format( strlen( $output ) ), (string) size_format( $dropped ) ) ), '</p>';
	}
}

/**
 * Whose hook it is, when it comes again, and how it went before.
 */
function show_hook_of_run( array $run, ?array $event ): void {
	$hook  = (string) $run['hook'];
	$names = owner_names( $hook, true );
	echo '<h3>', esc_html__( 'The hook', 'wp-cron-runner' ), '</h3><table class="widefat striped wpcr-facts"><caption class="screen-reader-text">', esc_html__( 'What is known of the hook', 'wp-cron-runner' ), '</caption><tbody>';
	echo '<tr><th scope="row">', esc_html__( 'Belongs to', 'wp-cron-runner' ), '</th><td>', $names, '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<tr><th scope="row">', esc_html__( 'Repeats', 'wp-cron-runner' ), '</th><td>', shown_schedule( $run['schedule'] ?? null, $event['interval'] ?? null ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<tr><th scope="row">', esc_html__( 'Due next', 'wp-cron-runner' ), '</th><td>', $event ? shown_time( $event['due_at'] * 1000 ) : esc_html__( 'not scheduled', 'wp-cron-runner' ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '</tbody></table>';
	$others = array_filter(
		report_history( array( 'hook' => $hook, 'n' => 6 ) )['runs'],
		static function ( array $other ) use ( $run ): bool {
			return $other['run'] !== $run['run'];
		}
	);
	if ( $others ) {
		echo '<h3>', esc_html__( 'Other runs of this hook', 'wp-cron-runner' ), '</h3>';
		show_runs( __( 'Other runs of this hook', 'wp-cron-runner' ), array_slice( $others, 0, 5 ) );
	}
	echo '<p>', screen_link( history_of( $hook ), esc_html__( 'All runs of this hook', 'wp-cron-runner' ) ), '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * The run that is waited for, as soon as it has ended.
 */
function run_waited_for(): ?string {
	$since = (int) asked( 'since' );
	foreach ( report_history( array( 'hook' => asked( 'hook' ), 'since_ms' => $since, 'n' => 20 ) )['runs'] as $run ) {
		if ( ms_of( $run['started'] ?? null ) >= $since ) {
			return (string) $run['run'];
		}
	}
	return null;
}

/**
 * The page on which a run is waited for. It looks again by itself; without scripts by a reload, and there is a link in any case.
 * After ten minutes it waits no longer: nobody may be there to read it.
 */
function show_waiting(): void {
	$since = (int) asked( 'since' );
	$again = panel_url( array( 'screen' => 'waiting', 'hook' => asked( 'hook' ), 'since' => $since ) );
	$until = $since + 10 * MINUTE_IN_SECONDS * 1000;
	/* translators: %s: name of a hook. */
	echo '<h2>', sprintf( esc_html__( '%s is running …', 'wp-cron-runner' ), shown( asked( 'hook' ) ) ), '</h2>'; // phpcs:ignore WordPress.Security.EscapeOutput
	/* translators: %s: a time. */
	echo '<p role="status">', sprintf( esc_html__( 'Asked for at %s. Its result is shown here as soon as it has ended.', 'wp-cron-runner' ), shown_time( $since, false ) ), '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<p><a href="', esc_url( $again ), '">', esc_html__( 'Look again', 'wp-cron-runner' ), '</a> ', screen_link( history_of( asked( 'hook' ) ), esc_html__( 'All runs of this hook', 'wp-cron-runner' ) ), '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
	if ( now_ms() < $until ) {
		echo '<noscript><meta http-equiv="refresh" content="2"></noscript>';
		echo '<script>(function look(){setTimeout(function(){fetch(location.href,{credentials:"same-origin"}).then(function(answer){if(answer.redirected){location.replace(answer.url)}else if(Date.now()<', (int) $until, '){look()}}).catch(look)},2000)})()</script>';
	}
}
