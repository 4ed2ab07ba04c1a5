<?php
/**
 * The history: runs that have ended, by hook, outcome and time.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Runs on a page. */
const RUNS_SHOWN = 50;

/**
 * The screen.
 */
function show_history(): void {
	$filter = history_filter();
	// One more than is shown: it says whether there is an older page, and where that begins.
	$history = report_history( $filter + array( 'n' => RUNS_SHOWN + 1 ) );
	echo '<h2>', esc_html__( 'History', 'wp-cron-runner' ), '</h2>';
	show_filter();
	show_source( $history );
	if ( ! $history['runs'] ) {
		echo '<p>', esc_html__( 'No run of that kind has ended.', 'wp-cron-runner' ), '</p>';
		return;
	}
	show_runs( __( 'Runs, the newest first', 'wp-cron-runner' ), array_slice( $history['runs'], 0, RUNS_SHOWN ) );
	$next = $history['runs'][ RUNS_SHOWN ] ?? null;
	echo '<p>';
	if ( '' !== asked( 'before' ) ) {
		echo screen_link( array( 'screen' => 'history' ) + asked_filter(), esc_html__( 'Newest', 'wp-cron-runner' ) ), ' '; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	if ( $next ) {
		// All that ended in the same millisecond come along.
		echo screen_link( array( 'screen' => 'history', 'before' => 1 + (int) ms_of( $next['ended'] ) ) + asked_filter(), esc_html__( 'Older', 'wp-cron-runner' ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo '</p>';
}

/**
 * The filter as it stands in the address.
 */
function asked_filter(): array {
	$asked = array();
	foreach ( array( 'hook', 'outcome', 'last', 'from', 'to' ) as $name ) {
		if ( '' !== asked( $name ) ) {
			$asked[ $name ] = asked( $name );
		}
	}
	return $asked;
}

/**
 * The same as report_history() takes it.
 */
function history_filter(): array {
	$filter  = array();
	$outcome = asked( 'outcome' );
	if ( '' !== asked( 'hook' ) ) {
		$filter['hook'] = asked( 'hook' );
	}
	if ( 'held' === $outcome ) {
		$filter['then'] = 'held';
	} elseif ( isset( outcome_choices()[ $outcome ] ) && '' !== $outcome ) {
		$filter['outcome'] = $outcome;
	}
	$hours = (int) ( array( '1h' => 1, '24h' => 24, '7d' => 168 )[ asked( 'last' ) ] ?? 0 );
	$since = site_time( asked( 'from' ) ) ?? ( $hours ? now_ms() - $hours * HOUR_IN_SECONDS * 1000 : null );
	$until = array_filter( array( site_time( asked( 'to' ) ), '' === asked( 'before' ) ? null : (int) asked( 'before' ) ) );
	return $filter + array_filter( array( 'since_ms' => $since, 'until_ms' => $until ? min( $until ) : null ) );
}

/**
 * What was typed into a field for a time, in the site's zone: unix milliseconds. Null where it is no time.
 */
function site_time( string $typed ): ?int {
	if ( ! preg_match( '/^[\d: T-]+\z/', $typed ) ) {
		return null;
	}
	foreach ( array( '!Y-m-d\TH:i', '!Y-m-d\TH:i:s', '!Y-m-d H:i' ) as $form ) {
		$time = date_create_immutable_from_format( $form, $typed, wp_timezone() );
		if ( $time ) {
			return $time->getTimestamp() * 1000;
		}
	}
	return null;
}

/**
 * The outcomes that can be asked for.
 */
function outcome_choices(): array {
	$words = outcome_words();
	$some  = array( '' => __( 'Every outcome', 'wp-cron-runner' ), 'bad' => __( 'not ok', 'wp-cron-runner' ) );
	return $some + array_intersect_key( $words, array_flip( array( 'ok', 'failed', 'timed_out', 'interrupted', 'skipped', 'held' ) ) );
}

/**
 * The form above the table.
 */
function show_filter(): void {
	$times = array(
		''    => __( 'Any time', 'wp-cron-runner' ),
		'1h'  => __( 'The last hour', 'wp-cron-runner' ),
		'24h' => __( 'The last 24 hours', 'wp-cron-runner' ),
		'7d'  => __( 'The last 7 days', 'wp-cron-runner' ),
	);
	echo '<form method="get" class="wpcr-filter"><input type="hidden" name="page" value="', esc_attr( PANEL ), '"><input type="hidden" name="screen" value="history">';
	echo '<div><label for="wpcr-filter-hook">', esc_html__( 'Hook', 'wp-cron-runner' ), '</label><input type="text" id="wpcr-filter-hook" name="hook" dir="ltr" value="', html( printable( asked( 'hook' ) ) ), '"></div>'; // phpcs:ignore WordPress.Security.EscapeOutput
	show_choice( 'outcome', __( 'Outcome', 'wp-cron-runner' ), outcome_choices() );
	show_choice( 'last', __( 'Ended', 'wp-cron-runner' ), $times );
	foreach ( array( 'from' => __( 'or from', 'wp-cron-runner' ), 'to' => __( 'to', 'wp-cron-runner' ) ) as $name => $label ) {
		echo '<div><label for="wpcr-', esc_attr( $name ), '">', html( $label ), '</label><input type="datetime-local" id="wpcr-', esc_attr( $name ), '" name="', esc_attr( $name ), '" value="', html( printable( asked( $name ) ) ), '"></div>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo '<button type="submit" class="button">', esc_html__( 'Filter', 'wp-cron-runner' ), '</button></form>';
}

/**
 * A list to choose from.
 */
function show_choice( string $name, string $label, array $choices ): void {
	echo '<div><label for="wpcr-', esc_attr( $name ), '">', html( $label ), '</label><select id="wpcr-', esc_attr( $name ), '" name="', esc_attr( $name ), '">'; // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( $choices as $value => $word ) {
		echo '<option value="', esc_attr( $value ), '"', selected( asked( $name ), (string) $value, false ), '>', html( $word ), '</option>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo '</select></div>';
}

/**
 * A table of runs.
 */
function show_runs( string $caption, array $runs ): void {
	echo table_head( $caption, array( __( 'Hook', 'wp-cron-runner' ), __( 'Outcome', 'wp-cron-runner' ), __( 'Due', 'wp-cron-runner' ), __( 'Late', 'wp-cron-runner' ), __( 'Took', 'wp-cron-runner' ), __( 'Ended', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( $runs as $run ) {
		$words = (string) ( $run['error']['message'] ?? $run['reason'] ?? '' );
		echo '<tr><td>', run_link( $run ), '</td><td>', shown_outcome( $run ), '' === $words ? '' : '<br>' . html( visible( $words ) ), '</td><td>', shown_time( ms_of( $run['due'] ?? null ), false ), '</td><td>', html( duration( $run['lateness_ms'] ?? null ) ), '</td><td>', html( duration( $run['ms'] ?? null ) ), '</td><td>', shown_time( ms_of( $run['ended'] ?? null ) ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * The way to a run's own page.
 */
function run_link( array $run ): string {
	return screen_link( array( 'screen' => 'run', 'run' => (string) $run['run'] ), shown( name_of_run( $run ) ) );
}

/**
 * The way to a hook's runs. Servers take no address of ten thousand bytes, and nobody means such a name.
 */
function history_of( string $hook ): array {
	$hook = printable( $hook );
	return array( 'screen' => 'history' ) + ( strlen( $hook ) > 1000 ? array() : array( 'hook' => $hook ) );
}

/**
 * The hook, or the job, that was run.
 */
function name_of_run( array $run ): string {
	return (string) ( empty( $run['job'] ) ? $run['hook'] ?? '' : $run['job'] );
}
