<?php
/**
 * The first screen: is the runner alive, does it keep its times, what runs, what waits for a decision, which hooks are slow or fail.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * Does the runner answer?
 */
function is_runner_here(): bool {
	return 'runner' === report_status()['from'];
}

/**
 * What is wrong, before everything else; and whose word the rest is.
 */
function show_troubles(): void {
	$site  = report_status()['site'];
	$error = cron_now()[1];
	if ( isset( settings()['install'] ) && ! is_original() ) {
		echo notice( 'warning', html( __( 'This is a copy of a site that a runner looks after: its database has moved or its address is another. The runner does not touch it, and page loads start its events. To have it looked after, give it a name and a key of its own: `wp-cron-runner init`, on its server.', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	} elseif ( ! has_tables() ) {
		echo notice( 'warning', html( __( 'No runner has taken over this site yet; page loads start its events as ever. On the server, `wp-cron-runner init` finds the site and sets everything up, and `wp-cron-runner check --connect` says what is missing.', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	} elseif ( ! is_runner_here() ) {
		/* translators: %s: why, a sentence. */
		echo notice( 'warning', '<strong>' . html( __( 'The runner does not answer.', 'wp-cron-runner' ) ) . '</strong> ' . html( visible( (string) report_status()['why'], SHOWN_BYTES ) ) . ' ' . html( __( 'What follows is read from the site’s own journal, which has no output of events. Nothing can be run now, and the site cannot be paused, before the runner is back; all else works.', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	}
	if ( null !== $error ) {
		/* translators: 1: what is wrong, in English, 2: a command. */
		echo notice( 'error', html( sprintf( __( 'The schedule cannot be read: %1$s. On the server, `%2$s` lists what it can be put back to.', 'wp-cron-runner' ), visible( $error, SHOWN_BYTES ), 'wp-cron-runner restore ' . site_name() ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	}
	foreach ( (array) ( report_status()['runner']['not_ready'] ?? array() ) as $sentence ) {
		echo notice( 'error', html( visible( (string) $sentence, SHOWN_BYTES ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	}
	if ( is_runner_here() && ! in_array( $site['state'], array( 'ok', 'paused', 'starting' ), true ) ) {
		$kind = in_array( $site['state'], array( 'standby', 'maintenance', 'busy' ), true ) ? 'warning' : 'error';
		/* translators: 1: a word for the state, in English, 2: a sentence. */
		echo notice( $kind, html( sprintf( __( 'The runner has trouble with this site (%1$s). %2$s', 'wp-cron-runner' ), $site['state'], visible( (string) ( $site['message'] ?? '' ), SHOWN_BYTES ) ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	}
}

/**
 * The screen.
 */
function show_overview(): void {
	$status  = report_status();
	$summary = report_summary( 24 );
	show_state( $status );
	show_source( $summary );
	show_charts( $summary );
	show_running( $status['site'] );
	show_held();
	show_jobs( $status['jobs'] );
	show_hooks( (array) $summary['hooks'] );
}

/**
 * The runner and the site, as facts.
 */
function show_state( array $status ): void {
	$site   = $status['site'];
	$runner = $status['runner'];
	$facts  = array();
	if ( $runner ) {
		/* translators: 1: name of the runner, 2: version, 3: process number, 4: address. */
		$facts[ __( 'Runner', 'wp-cron-runner' ) ] = html( sprintf( __( '%1$s, version %2$s, process %3$s, on %4$s', 'wp-cron-runner' ), visible( $runner['name'] ), $runner['version'], (string) ( $runner['pid'] ?? '—' ), $runner['listen'] ) ) . '<br>' . html( __( 'alive since', 'wp-cron-runner' ) ) . ' ' . shown_time( ms_of( $runner['since'] ?? null ) );
		$facts[ __( 'State', 'wp-cron-runner' ) ]  = shown_state( $site );
	} else {
		$seen                                      = (int) ( settings()['seen'] ?? 0 );
		$facts[ __( 'Runner', 'wp-cron-runner' ) ] = '<span class="wpcr-bad"><span aria-hidden="true">✕</span> ' . html( __( 'does not answer', 'wp-cron-runner' ) ) . '</span>';
		if ( $seen ) {
			$facts[ __( 'Last seen', 'wp-cron-runner' ) ] = shown_time( $seen * 1000 ) . '<br>' . html( runner_is_alive() ? __( 'Page loads start events again if it stays away.', 'wp-cron-runner' ) : __( 'Page loads start events meanwhile.', 'wp-cron-runner' ) );
		}
	}
	/* translators: 1: name of a runner, 2: a number that grows with each change of hands. */
	$facts[ __( 'Lease', 'wp-cron-runner' ) ]        = empty( $site['runner'] ) ? '—' : html( sprintf( __( 'runner %1$s looks after this site, epoch %2$s', 'wp-cron-runner' ), visible( (string) $site['runner'] ), number_format_i18n( (int) ( $site['epoch'] ?? 0 ) ) ) );
	$facts[ __( 'Next event', 'wp-cron-runner' ) ]   = shown_time( ms_of( $site['next'] ?? null ) );
	$facts[ __( 'Due now', 'wp-cron-runner' ) ]      = html( number_format_i18n( (int) ( $site['due'] ?? 0 ) ) ) . ( empty( $site['oldest'] ) ? '' : ', ' . html( __( 'the oldest', 'wp-cron-runner' ) ) . ' ' . shown_time( ms_of( $site['oldest'] ) ) );
	$facts[ __( 'Reached over', 'wp-cron-runner' ) ] = html( (string) ( $site['trigger'] ?? '—' ) );
	$facts[ __( 'Locks', 'wp-cron-runner' ) ]        = html( (string) ( $site['lock_kind'] ?? '—' ) );
	$facts[ __( 'Plugin', 'wp-cron-runner' ) ]       = html( VERSION );
	if ( ! empty( $site['stray']['who'] ) && now_ms() - (int) ( $site['stray']['at_ms'] ?? 0 ) < DAY_IN_SECONDS * 1000 ) {
		$facts[ __( 'Called wp-cron.php', 'wp-cron-runner' ) ] = shown( (string) $site['stray']['who'] ) . ' ' . shown_time( (int) ( $site['stray']['at_ms'] ?? 0 ) ) . '<br>' . html( __( 'It has nothing to do any more and can be taken out of the crontab that calls it.', 'wp-cron-runner' ) );
	}
	$facts[ __( 'Pause', 'wp-cron-runner' ) ] = shown_pause( $site );
	echo '<h2>', esc_html__( 'State', 'wp-cron-runner' ), '</h2><p>', is_runner_here() ? esc_html__( 'Read from the runner.', 'wp-cron-runner' ) : esc_html__( 'Read from the site’s own journal.', 'wp-cron-runner' ), '</p><table class="widefat striped wpcr-facts"><caption class="screen-reader-text">', esc_html__( 'State of the runner and of this site', 'wp-cron-runner' ), '</caption><tbody>';
	foreach ( $facts as $name => $fact ) {
		echo '<tr><th scope="row">', html( $name ), '</th><td>', $fact, '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput -- made above.
	}
	echo '</tbody></table>';
}

/**
 * The site's state as a sign, a word, and since when.
 */
function shown_state( array $site ): string {
	$words = array(
		'ok'            => __( 'ok', 'wp-cron-runner' ),
		'starting'      => __( 'starting', 'wp-cron-runner' ),
		'standby'       => __( 'standing by: another runner looks after this site', 'wp-cron-runner' ),
		'degraded'      => __( 'degraded', 'wp-cron-runner' ),
		'paused'        => __( 'paused', 'wp-cron-runner' ),
		'misconfigured' => __( 'misconfigured', 'wp-cron-runner' ),
		'unreachable'   => __( 'cannot be reached', 'wp-cron-runner' ),
		'busy'          => __( 'busy', 'wp-cron-runner' ),
		'error'         => __( 'error', 'wp-cron-runner' ),
		'maintenance'   => __( 'being updated', 'wp-cron-runner' ),
	);
	$good  = in_array( $site['state'], array( 'ok', 'starting' ), true );
	$class = array( 'paused' => 'wpcr-note', 'standby' => 'wpcr-note', 'maintenance' => 'wpcr-note' )[ $site['state'] ] ?? ( $good ? 'wpcr-good' : 'wpcr-bad' );
	$html  = '<span class="' . $class . '"><span aria-hidden="true">' . ( $good ? '✓' : '!' ) . '</span> ' . html( $words[ $site['state'] ] ?? $site['state'] ) . '</span>';
	$since = ms_of( $site['since'] ?? null );
	/* translators: %s: a time. */
	return $html . ( null === $since ? '' : ' ' . sprintf( html( __( 'since %s', 'wp-cron-runner' ) ), shown_time( $since ) ) ) . ( empty( $site['message'] ) ? '' : '<br>' . html( visible( (string) $site['message'], SHOWN_BYTES ) ) );
}

/**
 * Is the whole site paused, and the form that changes it.
 */
function shown_pause( array $site ): string {
	$off   = ! is_runner_here();
	$words = $off ? ' <span class="wpcr-more">' . html( __( 'The runner has to be there for this.', 'wp-cron-runner' ) ) . '</span>' : '';
	$hooks = count( (array) ( $site['paused_hooks'] ?? array() ) );
	/* translators: %s: number of hooks. */
	$also = $hooks ? '<br>' . screen_link( array( 'screen' => 'events' ), html( sprintf( _n( '%s hook is paused', '%s hooks are paused', $hooks, 'wp-cron-runner' ), number_format_i18n( $hooks ) ) ) ) : '';
	if ( ! empty( $site['paused'] ) ) {
		$until = ms_of( $site['paused_until'] ?? null );
		/* translators: %s: a time. */
		$state = null === $until ? html( __( 'The whole site is paused: nothing is started.', 'wp-cron-runner' ) ) : sprintf( html( __( 'The whole site is paused until %s.', 'wp-cron-runner' ) ), shown_time( $until ) );
		return $state . '<br>' . button( 'resume-site', array(), __( 'Resume the site', 'wp-cron-runner' ), '', array( 'disabled' => $off, 'class' => 'button' ) ) . $words . $also;
	}
	return button( 'pause-site', array(), __( 'Pause the site', 'wp-cron-runner' ), '', array( 'disabled' => $off, 'class' => 'button', 'inside' => until_field( 'wpcr-site-until' ) ) ) . $words . $also;
}

/**
 * When a pause is to end.
 */
function until_field( string $id ): string {
	return '<label for="' . $id . '">' . html( __( 'Until (optional)', 'wp-cron-runner' ) ) . '</label> <input type="datetime-local" id="' . $id . '" name="until"> ';
}

/**
 * What runs now.
 */
function show_running( array $site ): void {
	$running = array_merge( (array) ( $site['running'] ?? array() ), (array) ( $site['open'] ?? array() ) );
	echo '<h2>', esc_html__( 'Running now', 'wp-cron-runner' ), '</h2>';
	if ( ! $running ) {
		echo '<p>', esc_html__( 'Nothing runs.', 'wp-cron-runner' ), '</p>';
		return;
	}
	echo table_head( __( 'Running now', 'wp-cron-runner' ), array( __( 'Hook', 'wp-cron-runner' ), __( 'Started', 'wp-cron-runner' ), __( 'Host and process', 'wp-cron-runner' ), __( 'Remarks', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( $running as $run ) {
		$started = ms_of( $run['started'] ?? null ) ?? ( $run['started_ms'] ?? null );
		$overdue = $run['overdue'] ?? null;
		$remark  = 'claimed' === ( $run['state'] ?? '' ) ? __( 'about to start', 'wp-cron-runner' ) : '';
		echo '<tr><td>', screen_link( array( 'screen' => 'run', 'run' => (string) $run['run'] ), shown( (string) $run['hook'] ) ), '</td><td>', shown_time( $started ), '</td><td>', html( visible( ( $run['host'] ?? '' ) . ' ' . ( $run['pid'] ?? '' ) ) ), '</td><td>', $overdue ? '<strong class="wpcr-bad">' . html( __( 'overdue', 'wp-cron-runner' ) ) . '</strong> ' . html( is_string( $overdue ) ? visible( $overdue, SHOWN_BYTES ) : '' ) : html( $remark ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * Runs that wait for a decision.
 */
function show_held(): void {
	$held = report_history( array( 'then' => 'held', 'n' => 20 ) )['runs'];
	echo '<h2 id="wpcr-held">', esc_html__( 'Held', 'wp-cron-runner' ), '</h2>';
	if ( ! $held ) {
		echo '<p>', esc_html__( 'No run waits for a decision.', 'wp-cron-runner' ), '</p>';
		return;
	}
	echo '<p>', esc_html__( 'These events were cut off, and may have done half of their work. Requeue runs one once more, at once; Drop lets it go for good.', 'wp-cron-runner' ), '</p>';
	echo table_head( __( 'Runs that wait for a decision', 'wp-cron-runner' ), array( __( 'Hook', 'wp-cron-runner' ), __( 'Outcome', 'wp-cron-runner' ), __( 'Ended', 'wp-cron-runner' ), __( 'Decide', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( $held as $run ) {
		echo '<tr><td>', run_link( $run ), '</td><td>', shown_outcome( $run ), '<br>', html( visible( (string) ( $run['error']['message'] ?? '' ) ) ), '</td><td>', shown_time( ms_of( $run['ended'] ?? null ) ), '</td><td class="wpcr-do">', decision_buttons( $run ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
	if ( count( $held ) > 19 ) {
		echo '<p>', screen_link( array( 'screen' => 'history', 'outcome' => 'held' ), esc_html__( 'All held runs', 'wp-cron-runner' ) ), '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
}

/**
 * Jobs of the runner's configuration that belong to this site.
 */
function show_jobs( array $jobs ): void {
	if ( ! $jobs ) {
		return;
	}
	echo '<h2>', esc_html__( 'Jobs', 'wp-cron-runner' ), '</h2>';
	echo table_head( __( 'Jobs of this site', 'wp-cron-runner' ), array( __( 'Job', 'wp-cron-runner' ), __( 'Schedule', 'wp-cron-runner' ), __( 'Next', 'wp-cron-runner' ), __( 'Last run', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( $jobs as $job ) {
		$last = $job['last'] ?? null;
		echo '<tr><td>', shown( (string) $job['job'] ), empty( $job['paused'] ) ? '' : ' ' . esc_html__( '(paused)', 'wp-cron-runner' ), '</td><td><code dir="ltr">', html( ( $job['schedule'] ?? '' ) . ' ' . ( $job['timezone'] ?? '' ) ), '</code></td><td>', shown_time( ms_of( $job['next'] ?? null ) ), '</td><td>', $last ? shown_outcome( $last ) . ' ' . shown_time( ms_of( $last['ended'] ?? null ) ) : '—', '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * The hooks that take longest, and those that fail most often.
 */
function show_hooks( array $hooks ): void {
	$top = static function ( array $list, callable $measure ): array {
		$list = array_filter( $list, $measure );
		usort(
			$list,
			static function ( array $a, array $b ) use ( $measure ): int {
				return $measure( $b ) <=> $measure( $a );
			}
		);
		return array_slice( $list, 0, 5 );
	};
	$slow = $top(
		$hooks,
		static function ( array $hook ): int {
			return (int) ( $hook['ms']['p95'] ?? 0 );
		}
	);
	$bad  = $top(
		$hooks,
		static function ( array $hook ): int {
			return (int) $hook['bad'];
		}
	);
	show_hook_table( __( 'Slowest hooks of the last 24 hours', 'wp-cron-runner' ), $slow );
	if ( $bad ) {
		show_hook_table( __( 'Hooks that failed most often in the last 24 hours', 'wp-cron-runner' ), $bad );
	}
}

/**
 * Hooks with their numbers.
 */
function show_hook_table( string $title, array $hooks ): void {
	echo '<h2>', html( $title ), '</h2>';
	if ( ! $hooks ) {
		echo '<p>', esc_html__( 'No run has ended yet.', 'wp-cron-runner' ), '</p>';
		return;
	}
	echo table_head( $title, array( __( 'Hook', 'wp-cron-runner' ), __( 'Runs', 'wp-cron-runner' ), __( 'Not ok', 'wp-cron-runner' ), __( 'Took, median', 'wp-cron-runner' ), __( '95 % within', 'wp-cron-runner' ), __( 'At most', 'wp-cron-runner' ), __( 'Late, median', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	foreach ( $hooks as $hook ) {
		$name = (string) ( $hook['hook'] ?? $hook['job'] ?? '' );
		echo '<tr><td>', isset( $hook['hook'] ) ? screen_link( history_of( $name ), shown( $name ) ) : shown( $name ), '</td><td>', html( number_format_i18n( (int) $hook['runs'] ) ), '</td><td>', html( number_format_i18n( (int) $hook['bad'] ) ), '</td><td>', html( duration( $hook['ms']['p50'] ?? null ) ), '</td><td>', html( duration( $hook['ms']['p95'] ?? null ) ), '</td><td>', html( duration( $hook['ms']['max'] ?? null ) ), '</td><td>', html( duration( $hook['lateness_ms']['p50'] ?? null ) ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
}
