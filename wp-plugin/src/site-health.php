<?php
/**
 * Site Health: while the runner is alive, tests of our own stand in for core's test of scheduled events, which measures by what
 * page loads can do. And the notice on the dashboard, for what needs a person.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

require_once __DIR__ . '/reports.php';

/** Seconds of lateness, at the 95th percentile of a day, from where on something is wrong: a second is promised. */
const LATE_S = 10;

/**
 * The tests, in place of core's `scheduled_events` (WP_Site_Health::get_tests()).
 */
function own_tests( array $tests ): array {
	if ( is_multisite() && ! is_main_site() && ! isset( settings()['install'] ) ) {
		return $tests; // Of a network a runner may look after some blogs, and page loads after the others.
	}
	$own = array( 'cron_runner_alive' => array( __( 'Cron runner', 'wp-cron-runner' ), 'test_alive' ) );
	if ( runner_is_alive() ) {
		unset( $tests['direct']['scheduled_events'] );
		$own += array(
			'cron_runner_lateness'  => array( __( 'Lateness of scheduled events', 'wp-cron-runner' ), 'test_lateness' ),
			'cron_runner_failures'  => array( __( 'Failed events', 'wp-cron-runner' ), 'test_failures' ),
			'cron_runner_page_load' => array( __( 'Page-load cron', 'wp-cron-runner' ), 'test_page_load_cron' ),
			'cron_runner_versions'  => array( __( 'Versions of runner and plugin', 'wp-cron-runner' ), 'test_versions' ),
		);
	}
	foreach ( $own as $name => list( $label, $test ) ) {
		$tests['direct'][ $name ] = array( 'label' => $label, 'test' => __NAMESPACE__ . '\\' . $test );
	}
	return $tests;
}

/**
 * A result as Site Health wants it.
 *
 * @param string $status good, recommended or critical.
 * @param string $words  One or more sentences, plain text.
 */
function health( string $test, string $status, string $label, string $words ): array {
	return array(
		'label'       => $label,
		'status'      => $status,
		'badge'       => array(
			'label' => __( 'Scheduled events', 'wp-cron-runner' ),
			'color' => 'good' === $status ? 'blue' : ( 'critical' === $status ? 'red' : 'orange' ),
		),
		'description' => '<p>' . esc_html( $words ) . '</p>',
		'actions'     => '<p><a href="' . esc_url( admin_url( 'tools.php?page=wp-cron-runner' ) ) . '">' . esc_html__( 'See what the cron runner does', 'wp-cron-runner' ) . '</a></p>',
		'test'        => $test,
	);
}

/**
 * Is the runner alive?
 */
function test_alive(): array {
	$test     = 'cron_runner_alive';
	$settings = settings();
	if ( ! isset( $settings['install'] ) ) {
		return health( $test, 'recommended', __( 'No cron runner looks after this site yet', 'wp-cron-runner' ), __( 'The plugin is active and no runner has taken over this site, so page loads start its scheduled events. Start it on the server: `wp-cron-runner run`; `wp-cron-runner doctor` says what is missing.', 'wp-cron-runner' ) );
	}
	if ( ! is_original() ) {
		return health( $test, 'recommended', __( 'The cron runner does not look after this copy of the site', 'wp-cron-runner' ), __( 'This site is a copy of one that a runner looks after, or its address has changed. Page loads start its scheduled events. Where the site moved, `wp-cron-runner plugin install` on the server tells the runner so.', 'wp-cron-runner' ) );
	}
	if ( ! runner_is_alive() ) {
		$words = empty( $settings['seen'] )
			? __( 'It was stopped. Page loads start scheduled events meanwhile, so they are as late as the next visitor.', 'wp-cron-runner' )
			/* translators: %s: a length of time, such as "3 hours". */
			: sprintf( __( 'It was heard of last %s ago. Page loads start scheduled events meanwhile, so they are as late as the next visitor.', 'wp-cron-runner' ), human_time_diff( (int) $settings['seen'] ) );
		return health( $test, 'critical', __( 'The cron runner is silent', 'wp-cron-runner' ), $words . ' ' . __( 'On the server, `systemctl start wp-cron-runner` starts it and `wp-cron-runner doctor` says what is wrong.', 'wp-cron-runner' ) );
	}
	$status = report_status();
	if ( 'runner' !== $status['from'] ) {
		return health( $test, 'recommended', __( 'The cron runner does not answer', 'wp-cron-runner' ), $status['why'] . ' ' . __( 'It calls this site all the same: events are started. Its answers are missed by this page alone.', 'wp-cron-runner' ) );
	}
	$state   = (string) $status['site']['state'];
	$message = visible( (string) ( $status['site']['message'] ?? '' ), 1000 );
	if ( in_array( $state, array( 'misconfigured', 'unreachable', 'error' ), true ) ) {
		return health( $test, 'critical', __( 'The cron runner cannot look after this site', 'wp-cron-runner' ), '' === $message ? $state : $message );
	}
	if ( '' !== $message && ! in_array( $state, array( 'ok', 'standby' ), true ) ) {
		return health( $test, 'recommended', __( 'The cron runner is held up on this site', 'wp-cron-runner' ), $message );
	}
	if ( ! empty( $status['site']['paused'] ) ) {
		return health( $test, 'recommended', __( 'The site is paused: no scheduled event is started', 'wp-cron-runner' ), __( 'Somebody has paused it. It goes on when it is resumed, under Tools > Cron Runner or by `wp-cron-runner resume`.', 'wp-cron-runner' ) );
	}
	/* translators: 1: name of the runner, 2: its version. */
	return health( $test, 'good', __( 'The cron runner is alive', 'wp-cron-runner' ), sprintf( __( 'Runner %1$s, version %2$s, starts every scheduled event at its own second.', 'wp-cron-runner' ), visible( (string) $status['runner']['name'] ), visible( (string) $status['runner']['version'] ) ) );
}

/**
 * How late did events start today?
 */
function test_lateness(): array {
	$summary = report_summary();
	$late    = $summary['total']['lateness_ms'];
	if ( ! $late ) {
		return health( 'cron_runner_lateness', 'good', __( 'No event has run within a day', 'wp-cron-runner' ), __( 'There is nothing to measure yet.', 'wp-cron-runner' ) );
	}
	/* translators: 1, 2, 3: numbers of seconds. */
	$words = sprintf( __( 'Within the last day half of all events started at most %1$s seconds late, 95 of 100 at most %2$s, and the latest %3$s.', 'wp-cron-runner' ), seconds_text( $late['p50'] ), seconds_text( $late['p95'] ), seconds_text( $late['max'] ) );
	if ( $late['p95'] < LATE_S * 1000 ) {
		return health( 'cron_runner_lateness', 'good', __( 'Scheduled events start on time', 'wp-cron-runner' ), $words );
	}
	return health( 'cron_runner_lateness', 'recommended', __( 'Scheduled events start late', 'wp-cron-runner' ), $words . ' ' . __( 'Long events before them, too few lanes, or a pause are the usual reasons; the slowest hooks are listed under Tools > Cron Runner.', 'wp-cron-runner' ) );
}

/**
 * Milliseconds as seconds for people.
 */
function seconds_text( int $ms ): string {
	return number_format_i18n( $ms / 1000, $ms < 10000 ? 2 : 0 );
}

/**
 * What failed today, and what waits for a person?
 */
function test_failures(): array {
	$summary = report_summary();
	$bad     = array();
	foreach ( $summary['hooks'] as $hook ) {
		if ( $hook['bad'] > 0 ) {
			/* translators: 1: hook, 2: how often it failed, 3: how often it ran. */
			$bad[] = sprintf( __( '%1$s (%2$s of %3$s runs)', 'wp-cron-runner' ), visible( (string) $hook['hook'] ), number_format_i18n( $hook['bad'] ), number_format_i18n( $hook['runs'] ) );
		}
	}
	$held = (int) ( report_status()['site']['held'] ?? 0 );
	if ( $held > 0 ) {
		/* translators: %s: a number. */
		return health( 'cron_runner_failures', 'recommended', __( 'Events wait for your decision', 'wp-cron-runner' ), sprintf( _n( '%s run was cut off and is held: put it back to run once more, or let it go.', '%s runs were cut off and are held: put them back to run once more, or let them go.', $held, 'wp-cron-runner' ), number_format_i18n( $held ) ) );
	}
	if ( $bad ) {
		return health( 'cron_runner_failures', 'recommended', __( 'Some scheduled events have failed', 'wp-cron-runner' ), __( 'Within the last day:', 'wp-cron-runner' ) . ' ' . implode( ', ', array_slice( $bad, 0, 10 ) ) . '.' );
	}
	return health( 'cron_runner_failures', 'good', __( 'No scheduled event has failed', 'wp-cron-runner' ), __( 'Every event of the last day ended well.', 'wp-cron-runner' ) );
}

/**
 * Is page-load cron off, as it has to be while the runner is alive?
 */
function test_page_load_cron(): array {
	$test  = 'cron_runner_page_load';
	$hooks = has_action( 'init', 'wp_cron' ) || has_action( 'wp_loaded', '_wp_cron' );
	if ( $hooks ) {
		return health( $test, 'recommended', __( 'Page loads start events beside the runner', 'wp-cron-runner' ), __( 'Another plugin has hooked page-load cron again. No event runs twice for that, but visitors pay for it; `wp-cron-runner doctor` names who did it.', 'wp-cron-runner' ) );
	}
	$stray = report_status()['site']['stray'] ?? null;
	if ( $stray && now_ms() - (int) ( $stray['at_ms'] ?? 0 ) < DAY_IN_SECONDS * 1000 ) {
		/* translators: %s: address and program of who did it. */
		return health( $test, 'recommended', __( 'Somebody calls wp-cron.php', 'wp-cron-runner' ), sprintf( __( 'While the runner is alive that does nothing but cost time: remove the crontab line or the monitor that does it. The last caller: %s', 'wp-cron-runner' ), visible( (string) ( $stray['who'] ?? '' ) ) ) );
	}
	if ( defined( 'DISABLE_WP_CRON' ) && DISABLE_WP_CRON ) {
		return health( $test, 'good', __( 'Page-load cron is off', 'wp-cron-runner' ), __( 'The constant DISABLE_WP_CRON in wp-config.php is not needed any more: the plugin switches page-load cron off while the runner is alive, and on when it is not.', 'wp-cron-runner' ) );
	}
	return health( $test, 'good', __( 'Page-load cron is off', 'wp-cron-runner' ), __( 'It comes back by itself should the runner fall silent.', 'wp-cron-runner' ) );
}

/**
 * Do runner and plugin fit together?
 */
function test_versions(): array {
	$runner = report_status()['runner']['version'] ?? null;
	if ( null === $runner || VERSION === $runner ) {
		/* translators: %s: a version. */
		return health( 'cron_runner_versions', 'good', __( 'Runner and plugin have the same version', 'wp-cron-runner' ), sprintf( __( 'Version %s.', 'wp-cron-runner' ), VERSION ) );
	}
	/* translators: 1: version of the plugin, 2: version of the runner. */
	return health( 'cron_runner_versions', 'recommended', __( 'Runner and plugin have different versions', 'wp-cron-runner' ), sprintf( __( 'The plugin has version %1$s, the runner %2$s. On the server, `wp-cron-runner plugin install` puts the plugin of the runner here.', 'wp-cron-runner' ), VERSION, visible( (string) $runner ) ) );
}

/**
 * The section of Site Health > Info.
 */
function debug_section( array $info ): array {
	$status = report_status();
	$site   = $status['site'];
	$facts  = array(
		'state'     => array( __( 'State', 'wp-cron-runner' ), $site['state'] ),
		'message'   => array( __( 'Message', 'wp-cron-runner' ), $site['message'] ?? '' ),
		'runner'    => array( __( 'Runner', 'wp-cron-runner' ), $site['runner'] ?? '' ),
		'version'   => array( __( 'Version of the runner', 'wp-cron-runner' ), $status['runner']['version'] ?? '' ),
		'plugin'    => array( __( 'Version of the plugin', 'wp-cron-runner' ), VERSION ),
		'since'     => array( __( 'Up since', 'wp-cron-runner' ), $status['runner']['since'] ?? '' ),
		'trigger'   => array( __( 'Trigger', 'wp-cron-runner' ), $site['trigger'] ?? '' ),
		'lock_kind' => array( __( 'Lock kind', 'wp-cron-runner' ), $site['lock_kind'] ?? '' ),
		'epoch'     => array( __( 'Epoch', 'wp-cron-runner' ), $site['epoch'] ?? '' ),
		'install'   => array( __( 'Install', 'wp-cron-runner' ), install_id() ),
		'next'      => array( __( 'Next event', 'wp-cron-runner' ), $site['next'] ?? '' ),
		'due'       => array( __( 'Due now', 'wp-cron-runner' ), $site['due'] ?? 0 ),
		'held'      => array( __( 'Held runs', 'wp-cron-runner' ), $site['held'] ?? 0 ),
		'from'      => array( __( 'Read from', 'wp-cron-runner' ), $status['from'] . ( null === $status['why'] ? '' : ': ' . $status['why'] ) ),
	);
	$fields = array();
	foreach ( $facts as $name => list( $label, $value ) ) {
		$fields[ $name ] = array( 'label' => $label, 'value' => visible( (string) $value, 1000 ) );
	}
	$info['wp-cron-runner'] = array( 'label' => __( 'Cron runner', 'wp-cron-runner' ), 'fields' => $fields );
	return $info;
}

/**
 * On the dashboard, what needs a person: a runner that fell silent, or held runs. Known without a query.
 */
function dashboard_notice(): void {
	$settings = settings();
	if ( ! is_original() || ! current_user_can( is_multisite() ? 'manage_network' : 'manage_options' ) ) {
		return;
	}
	$held = (int) ( $settings['held'] ?? 0 );
	if ( ! empty( $settings['seen'] ) && ! runner_is_alive() ) {
		/* translators: %s: a length of time, such as "3 hours". */
		$words = sprintf( __( 'The cron runner has been silent for %s. Page loads start scheduled events meanwhile.', 'wp-cron-runner' ), human_time_diff( (int) $settings['seen'] ) );
	} elseif ( $held > 0 ) {
		/* translators: %s: a number. */
		$words = sprintf( _n( '%s scheduled event was cut off and waits for your decision.', '%s scheduled events were cut off and wait for your decision.', $held, 'wp-cron-runner' ), number_format_i18n( $held ) );
	} else {
		return;
	}
	printf(
		'<div class="notice notice-warning"><p>%s <a href="%s">%s</a></p></div>',
		esc_html( $words ),
		esc_url( admin_url( 'tools.php?page=wp-cron-runner' ) ),
		esc_html__( 'See what the cron runner does', 'wp-cron-runner' )
	);
}
