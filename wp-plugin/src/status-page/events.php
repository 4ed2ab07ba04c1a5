<?php
/**
 * What is coming up: the events of the `cron` option with what can be done to them, and the hooks that are paused.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Events on a page. */
const EVENTS_SHOWN = 50;
/** Bytes of arguments in the table; the rest unfolds. */
const ARGS_SHOWN = 80;

/**
 * The screen.
 */
function show_events(): void {
	$search = asked( 'search' );
	$page   = max( 1, (int) asked( 'paged' ) );
	$found  = report_events( array( 'search' => $search, 'offset' => ( $page - 1 ) * EVENTS_SHOWN, 'n' => EVENTS_SHOWN ) );
	echo '<h2>', esc_html__( 'Coming up', 'wp-cron-runner' ), '</h2>';
	show_search( $search );
	if ( ! $found['total'] ) {
		echo '<p>', '' === $search ? esc_html__( 'Nothing is scheduled.', 'wp-cron-runner' ) : esc_html__( 'No scheduled event has a hook of that name.', 'wp-cron-runner' ), '</p>';
	} else {
		show_pages( $found['total'], $page, $search );
		echo table_head( __( 'Scheduled events, the soonest first', 'wp-cron-runner' ), array( __( 'Hook', 'wp-cron-runner' ), __( 'Due', 'wp-cron-runner' ), __( 'Repeats', 'wp-cron-runner' ), __( 'Arguments', 'wp-cron-runner' ), __( 'Belongs to', 'wp-cron-runner' ), __( 'Do', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
		foreach ( $found['events'] as $event ) {
			show_event( $event );
		}
		echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
		show_pages( $found['total'], $page, $search );
	}
	show_paused_hooks();
}

/**
 * The field to search by hook.
 */
function show_search( string $search ): void {
	echo '<form method="get" class="wpcr-filter"><input type="hidden" name="page" value="', esc_attr( PANEL ), '"><input type="hidden" name="screen" value="events">';
	echo '<div><label for="wpcr-search">', esc_html__( 'Part of the hook’s name', 'wp-cron-runner' ), '</label><input type="search" id="wpcr-search" name="search" value="', html( printable( $search ) ), '"></div>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<button type="submit" class="button">', esc_html__( 'Search', 'wp-cron-runner' ), '</button></form>';
}

/**
 * How many there are, and the way to the others.
 */
function show_pages( int $total, int $page, string $search ): void {
	$pages = (int) ceil( $total / EVENTS_SHOWN );
	/* translators: %s: number of events. */
	echo '<p>', html( sprintf( _n( '%s event', '%s events', $total, 'wp-cron-runner' ), number_format_i18n( $total ) ) );
	if ( $pages > 1 ) {
		$query = array_filter( array( 'screen' => 'events', 'search' => $search ), 'strlen' );
		/* translators: 1: this page, 2: number of pages. */
		echo ', ', html( sprintf( __( 'page %1$s of %2$s', 'wp-cron-runner' ), number_format_i18n( $page ), number_format_i18n( $pages ) ) ), ' ';
		echo $page > 1 ? screen_link( $query + array( 'paged' => $page - 1 ), esc_html__( 'Sooner', 'wp-cron-runner' ) ) . ' ' : ''; // phpcs:ignore WordPress.Security.EscapeOutput
		echo $page < $pages ? screen_link( $query + array( 'paged' => $page + 1 ), esc_html__( 'Later', 'wp-cron-runner' ) ) : ''; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo '</p>';
}

/**
 * One event.
 */
function show_event( array $event ): void {
	$hook  = $event['hook'];
	$about = visible( $hook );
	$args  = (string) $event['args'];
	echo '<tr><td>', screen_link( history_of( $hook ), shown( $hook ) ), $event['paused'] ? '<br><strong>' . esc_html__( 'paused', 'wp-cron-runner' ) . '</strong>' : '', '</td>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<td>', shown_time( $event['due_at'] * 1000 ), '</td><td>', shown_schedule( $event['schedule'], $event['interval'] ), '</td>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<td>', strlen( $args ) > ARGS_SHOWN ? '<details><summary>' . shown( $args, ARGS_SHOWN ) . '</summary>' . shown( $args, SHOWN_BYTES ) . '</details>' : shown( $args ), '</td><td>', owner_names( $hook ), '</td><td class="wpcr-do">'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo button( 'run', array( 'hook' => $hook, 'key' => $event['key'], 'due' => $event['due_at'] ), __( 'Run now', 'wp-cron-runner' ), $about, array( 'disabled' => ! is_runner_here() ) ); // phpcs:ignore WordPress.Security.EscapeOutput
	echo $event['paused'] ? button( 'resume-hook', array( 'hook' => $hook ), __( 'Resume', 'wp-cron-runner' ), $about ) : button( 'pause-hook', array( 'hook' => $hook ), __( 'Pause', 'wp-cron-runner' ), $about ); // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<a class="button button-small" href="', esc_url( panel_url( array( 'screen' => 'delete', 'hook' => md5( $hook ), 'key' => $event['key'], 'due' => $event['due_at'] ) ) ), '">', esc_html__( 'Delete', 'wp-cron-runner' ), '<span class="screen-reader-text"> ', html( $about ), '</span></a></td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * A schedule as the site names it.
 */
function shown_schedule( ?string $schedule, ?int $interval ): string {
	if ( null === $schedule ) {
		return html( __( 'once', 'wp-cron-runner' ) );
	}
	$known = wp_get_schedules()[ $schedule ]['display'] ?? null;
	if ( is_string( $known ) ) {
		return html( visible( $known ) );
	}
	/* translators: %s: a length of time. */
	return shown( $schedule ) . ( $interval ? ', ' . html( sprintf( __( 'every %s', 'wp-cron-runner' ), human_time_diff( 0, $interval ) ) ) : '' );
}

/**
 * The paused hooks, and the form that pauses one for a while.
 */
function show_paused_hooks(): void {
	echo '<h2>', esc_html__( 'Paused hooks', 'wp-cron-runner' ), '</h2>';
	try {
		$paused = has_tables() ? paused_hooks( page_connection() ) : array();
	} catch ( Database_Error $e ) {
		$paused = array();
	}
	if ( $paused ) {
		echo table_head( __( 'Paused hooks', 'wp-cron-runner' ), array( __( 'Hook', 'wp-cron-runner' ), __( 'Until', 'wp-cron-runner' ), __( 'Do', 'wp-cron-runner' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput
		foreach ( $paused as $hook => $pause ) {
			$hook = (string) $hook;
			echo '<tr><td>', shown( $hook ), '</td><td>', isset( $pause['until_ms'] ) ? shown_time( (int) $pause['until_ms'] ) : esc_html__( 'somebody resumes it', 'wp-cron-runner' ), '</td><td>', button( 'resume-hook', array( 'hook' => $hook ), __( 'Resume', 'wp-cron-runner' ), visible( $hook ) ), '</td></tr>'; // phpcs:ignore WordPress.Security.EscapeOutput
		}
		echo TABLE_END; // phpcs:ignore WordPress.Security.EscapeOutput
	}
	echo '<p>', esc_html__( 'Events of a paused hook stay scheduled and are not started, neither by the runner nor by page loads.', 'wp-cron-runner' ), '</p>';
	$inside = '<label for="wpcr-hook">' . esc_html__( 'Hook', 'wp-cron-runner' ) . '</label> <input type="text" id="wpcr-hook" name="hook" required dir="ltr"> ' . until_field( 'wpcr-hook-until' );
	echo button( 'pause-hook', array(), __( 'Pause a hook', 'wp-cron-runner' ), '', array( 'inside' => $inside, 'class' => 'button' ) ); // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * Deleting cannot be undone, so it is asked once more, on a page of its own.
 */
function show_delete(): void {
	$event = event_due_at( (int) asked( 'due' ), asked( 'hook' ), asked( 'key' ) );
	$back  = screen_link( array( 'screen' => 'events' ), esc_html__( 'Back to the events', 'wp-cron-runner' ) );
	echo '<h2>', esc_html__( 'Delete this event?', 'wp-cron-runner' ), '</h2>';
	if ( ! $event ) {
		echo '<p>', esc_html__( 'There is no such event any more.', 'wp-cron-runner' ), '</p><p>', $back, '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
		return;
	}
	$hook = $event['hook'];
	echo '<p>', shown( $hook ), ', ', shown_time( $event['due_at'] * 1000 ), ', ', shown_schedule( $event['schedule'], $event['interval'] ), '</p><p>', shown( $event['args'], SHOWN_BYTES ), '</p>'; // phpcs:ignore WordPress.Security.EscapeOutput
	echo '<p>', null === $event['schedule'] ? esc_html__( 'It will not run, and its arguments are gone with it. This cannot be undone.', 'wp-cron-runner' ) : esc_html__( 'It will not run any more. This cannot be undone; but the plugin that scheduled it will most likely schedule it again. To stop a hook for a while, pause it.', 'wp-cron-runner' ), '</p>';
	echo button( 'delete', array( 'hook' => $hook, 'key' => $event['key'], 'due' => $event['due_at'] ), __( 'Delete the event', 'wp-cron-runner' ), '', array( 'class' => 'button button-primary' ) ), ' ', $back; // phpcs:ignore WordPress.Security.EscapeOutput
}

/**
 * The scheduled event of this time, key, and hash of a hook: a name can be too long for an address.
 */
function event_due_at( int $due_at, string $hash, string $key ): ?array {
	return find_event(
		static function ( int $timestamp, string $hook, string $of ) use ( $due_at, $hash, $key ): bool {
			return $timestamp === $due_at && $of === $key && md5( $hook ) === $hash;
		}
	);
}

/**
 * The next scheduled event of this hook and key; null where there is none.
 */
function event_in_option( string $hook, string $key ): ?array {
	return find_event(
		static function ( int $timestamp, string $name, string $of ) use ( $hook, $key ): bool {
			return $name === $hook && $of === $key;
		}
	);
}
