<?php
/**
 * What the panel's forms do. Each is sent by POST with a nonce that is good for one action on one object, and comes back to a
 * screen that says what became of it, in the words of whoever refused.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Seconds that a run is waited for before its page is shown. */
const RUN_WAITS = 5.0;

/**
 * The actions: each takes what the form was about, and gives array( query of the screen or null for where it came from, what to say:
 * text or \WP_Error ).
 */
function panel_actions(): array {
	return array(
		'run'         => 'do_run',
		'requeue'     => 'do_requeue',
		'drop'        => 'do_drop',
		'pause-hook'  => 'do_pause_hook',
		'resume-hook' => 'do_resume_hook',
		'pause-site'  => 'do_pause_site',
		'resume-site' => 'do_resume_site',
		'delete'      => 'do_delete',
	);
}

/**
 * A form was sent: is it one of ours, by somebody who may, and meant by him?
 */
function answer_form(): void {
	$action = posted( 'do' );
	$of     = posted( 'of' );
	if ( ! current_user_can( panel_capability() ) ) {
		wp_die( esc_html__( 'You are not allowed to change scheduled events.', 'wp-cron-runner' ), '', array( 'response' => 403 ) );
	}
	if ( 'POST' !== ( $_SERVER['REQUEST_METHOD'] ?? '' ) || ! isset( panel_actions()[ $action ] ) ) {
		wp_die( esc_html__( 'Nothing was changed: that is no form of this panel.', 'wp-cron-runner' ), '', array( 'response' => 400, 'back_link' => true ) );
	}
	if ( ! wp_verify_nonce( posted( '_wpnonce' ), nonce_of( $action, $of ) ) ) {
		wp_die( esc_html__( 'Nothing was changed: the page was too old. Go back, load it again, and try once more.', 'wp-cron-runner' ), '', array( 'response' => 403, 'back_link' => true ) );
	}
	parse_str( $of, $object );
	list( $query, $said ) = call_user_func( __NAMESPACE__ . '\\' . panel_actions()[ $action ], array_filter( $object, 'is_string' ) );
	$url                  = null === $query ? came_from() : panel_url( $query );
	if ( null !== $said ) {
		remember_answer( $said );
		$url = add_query_arg( 'said', '1', $url );
	}
	wp_redirect( $url ); // phpcs:ignore WordPress.Security.SafeRedirect -- our own; wp-admin may have another host than the site.
	exit;
}

/**
 * A field of the form.
 */
function posted( string $name ): string {
	$value = $_POST[ $name ] ?? ''; // phpcs:ignore WordPress.Security
	return is_string( $value ) ? wp_unslash( $value ) : '';
}

/**
 * The screen that the form stood on.
 */
function came_from(): string {
	$from = (string) wp_get_raw_referer(); // Whatever it is, only the panel's own addresses count.
	return 0 === strpos( $from, panel_url() ) ? remove_query_arg( 'said', $from ) : panel_url();
}

/**
 * Keeps the answer for the page that comes now. Not in its address: whoever makes a link must not put words into our mouth.
 *
 * @param string|\WP_Error $said What to say.
 */
function remember_answer( $said ): void {
	$answer = is_wp_error( $said ) ? array( 'error', $said->get_error_message() ) : array( 'success', $said );
	set_transient( answer_name(), $answer, MINUTE_IN_SECONDS );
}

/**
 * Where it is kept.
 */
function answer_name(): string {
	return 'wp_cron_runner_said_' . get_current_user_id();
}

/**
 * Shows it, once.
 */
function show_answer(): void {
	$answer = '' === asked( 'said' ) ? false : get_transient( answer_name() );
	if ( is_array( $answer ) ) {
		delete_transient( answer_name() );
		echo '<div role="', 'error' === $answer[0] ? 'alert' : 'status', '">', notice( $answer[0], html( visible( (string) $answer[1], SHOWN_BYTES ) ) ), '</div>'; // phpcs:ignore WordPress.Security.EscapeOutput
	}
}

/**
 * Runs one event now, due or not.
 */
function do_run( array $of ): array {
	$hook  = $of['hook'] ?? '';
	$key   = $of['key'] ?? '';
	$since = now_ms();
	if ( ! event_in_option( $hook, $key ) ) {
		return array( null, new \WP_Error( 'event', __( 'There is no such event any more; nothing was run.', 'wp-cron-runner' ) ) );
	}
	$runs = ask_of_site( 'run', array( 'hook' => printable( $hook ), 'key' => $key, 'due_at' => (int) ( $of['due'] ?? 0 ) ), RUN_WAITS );
	if ( is_wp_error( $runs ) ) {
		$query = array( 'screen' => 'waiting', 'since' => $since ) + history_of( $hook );
		return 'late' === $runs->get_error_code() && isset( $query['hook'] ) ? array( $query, null ) : array( null, $runs );
	}
	if ( ! $runs ) {
		return array( null, new \WP_Error( 'none', __( 'Nothing was run: the event was gone, or runs already.', 'wp-cron-runner' ) ) );
	}
	$query = 1 === count( $runs ) && isset( $runs[0]['run'] ) ? array( 'screen' => 'run', 'run' => (string) $runs[0]['run'] ) : history_of( $hook );
	/* translators: %s: number of events. */
	return array( $query, sprintf( _n( '%s event was run.', '%s events were run.', count( $runs ), 'wp-cron-runner' ), number_format_i18n( count( $runs ) ) ) );
}

/**
 * Puts the event of a run back.
 */
function do_requeue( array $of ): array {
	$done = decide_run( $of['run'] ?? '', 'requeue' );
	return array( null, true === $done ? __( 'The event was put back and is due now.', 'wp-cron-runner' ) : $done );
}

/**
 * Lets the event of a run go.
 */
function do_drop( array $of ): array {
	$done = decide_run( $of['run'] ?? '', 'drop' );
	return array( null, true === $done ? __( 'The event was dropped.', 'wp-cron-runner' ) : $done );
}

/**
 * Pauses the hook of a row, or the one that was typed.
 */
function do_pause_hook( array $of ): array {
	$hook  = $of['hook'] ?? trim( posted( 'hook' ) );
	$until = asked_until();
	if ( is_wp_error( $until ) ) {
		return array( null, $until );
	}
	$done = is_hook_known( $hook );
	$done = true === $done ? pause_hook( $hook, $until ) : $done;
	/* translators: %s: name of a hook. */
	return array( null, true === $done ? sprintf( __( 'The hook %s is paused.', 'wp-cron-runner' ), visible( $hook ) ) : $done );
}

/**
 * Lets a hook go on.
 */
function do_resume_hook( array $of ): array {
	$done = resume_hook( $of['hook'] ?? '' );
	/* translators: %s: name of a hook. */
	return array( null, true === $done ? sprintf( __( 'The hook %s runs again.', 'wp-cron-runner' ), visible( $of['hook'] ?? '' ) ) : $done );
}

/**
 * Pauses the whole site.
 */
function do_pause_site(): array {
	$until = asked_until();
	$done  = is_wp_error( $until ) ? $until : ask_of_site( 'pause', array( 'until_ms' => $until ) );
	return array( null, is_wp_error( $done ) ? $done : __( 'The site is paused.', 'wp-cron-runner' ) );
}

/**
 * Lets it go on.
 */
function do_resume_site(): array {
	$done = ask_of_site( 'resume' );
	return array( null, is_wp_error( $done ) ? $done : __( 'The site runs again.', 'wp-cron-runner' ) );
}

/**
 * Deletes an event.
 */
function do_delete( array $of ): array {
	$done = delete_event( (int) ( $of['due'] ?? 0 ), $of['hook'] ?? '', $of['key'] ?? '' );
	return array( array( 'screen' => 'events' ), true === $done ? __( 'The event was deleted.', 'wp-cron-runner' ) : $done );
}

/**
 * The end of a pause: unix milliseconds, null where none was named.
 *
 * @return int|null|\WP_Error
 */
function asked_until() {
	$typed = trim( posted( 'until' ) );
	$until = site_time( $typed );
	if ( '' !== $typed && ( null === $until || $until <= now_ms() ) ) {
		return new \WP_Error( 'until', __( 'The end of a pause has to be a time that is ahead; nothing was changed.', 'wp-cron-runner' ) );
	}
	return $until;
}
