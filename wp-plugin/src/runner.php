<?php
/**
 * Asking the runner: for wp-admin and WP-CLI, never on a visitor's page.
 *
 * Both sides sign. A program that has taken the runner's port can neither read a secret nor make wp-admin show what it likes.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Bytes of an answer that are read. */
const LONGEST_ANSWER = 16777216;

/**
 * Asks the runner that looks after this site.
 *
 * @param string $path    Such as `/v1/sites/NAME/view`.
 * @param float  $seconds How long to wait for the answer.
 * @return array|\WP_Error Codes: `away` (nobody is there), `late` (no answer in time; it may still be done), `stranger` (who answers
 *                         does not know our key), `refused` (its message is for people; data has the HTTP status).
 */
function ask_runner( string $path, array $body = array(), float $seconds = 3.0 ) {
	$listen = (string) ( settings()['listen'] ?? '' );
	if ( isset( settings()['install'] ) && ! is_original() ) {
		// It has the key and the address of the site that it is a copy of, and steers nothing there.
		return new \WP_Error( 'away', __( 'This is a copy of a site that a runner looks after, or its address has changed: the runner is not asked.', 'wp-cron-runner' ) );
	}
	if ( '' === $listen || ! keys() ) {
		return new \WP_Error( 'away', __( 'No runner has taken over this site yet.', 'wp-cron-runner' ) );
	}
	$until  = hrtime( true ) + (int) ( $seconds * 1e9 );
	$socket = @stream_socket_client( 'tcp://' . $listen, $code, $message, 0.5 ); // phpcs:ignore WordPress.PHP.NoSilencedErrors
	if ( ! $socket ) {
		/* translators: 1: address and port, 2: what the system says. */
		return new \WP_Error( 'away', sprintf( __( 'No runner answers on %1$s: %2$s.', 'wp-cron-runner' ), $listen, $message ) );
	}
	$json      = $body ? (string) wp_json_encode( $body ) : '{}';
	$signature = signed_header( $path, $listen, $json );
	fwrite( $socket, request_text( $path, $listen, $signature, $json ) ); // phpcs:ignore WordPress.WP.AlternativeFunctions
	$text = read_until( $socket, $until );
	fclose( $socket ); // phpcs:ignore WordPress.WP.AlternativeFunctions
	if ( null === $text || '' === $text ) {
		/* translators: %s: address and port. */
		return new \WP_Error( 'late', sprintf( __( 'The runner on %s has not answered yet. What was asked may still be done: look again in a moment.', 'wp-cron-runner' ), $listen ) );
	}
	return answer_in( $text, $signature, $listen );
}

/**
 * Asks it about this site, or to do something with it.
 *
 * @param string $what Such as `view` or `pause`.
 * @return array|\WP_Error As ask_runner().
 */
function ask_of_site( string $what, array $body = array(), float $seconds = 3.0 ) {
	return ask_runner( '/v1/sites/' . site_name() . "/$what", $body, $seconds );
}

/**
 * All that comes until the other side closes; null where that takes too long.
 */
function read_until( $socket, int $until ): ?string {
	$text = '';
	while ( ! feof( $socket ) && strlen( $text ) < LONGEST_ANSWER ) {
		$left = $until - hrtime( true );
		if ( $left <= 0 ) {
			return null;
		}
		stream_set_timeout( $socket, intdiv( $left, 1000000000 ), intdiv( $left % 1000000000, 1000 ) );
		$text .= (string) fread( $socket, 65536 ); // phpcs:ignore WordPress.WP.AlternativeFunctions
	}
	return $text;
}

/**
 * What an answer says, where it is the runner's.
 *
 * @return array|\WP_Error
 */
function answer_in( string $text, string $signature, string $listen ) {
	list( $head, $body ) = array_pad( explode( "\r\n\r\n", $text, 2 ), 2, '' );
	$status              = preg_match( '~^HTTP/1\.[01] (\d{3})~', $head, $found ) ? (int) $found[1] : 0;
	$said                = preg_match( '/^x-wp-cron-runner-answer: ([0-9a-f]{64})\s*$/mi', $head, $found ) ? strtolower( $found[1] ) : '';
	if ( ! hash_equals( answer_mac( $signature, $status, $body ), $said ) ) {
		/* translators: %s: address and port. */
		return new \WP_Error( 'stranger', sprintf( __( 'What answers on %s does not know the key of this site: another program has that port, or the keys differ (`wp-cron-runner plugin status` tells).', 'wp-cron-runner' ), $listen ) );
	}
	$answer = json_decode( $body, true );
	if ( $status >= 200 && $status < 300 ) {
		return is_array( $answer ) ? $answer : array();
	}
	return new \WP_Error( 'refused', refusal_sentence( is_array( $answer['error'] ?? null ) ? $answer['error'] : array() ), array( 'status' => $status ) );
}

/**
 * What the runner's answer to the request of this signature has to be marked with.
 */
function answer_mac( string $signature, int $status, string $body ): string {
	preg_match( SIGNATURE_FORM, $signature, $part );
	$keys = keys();
	return hash_hmac( 'sha256', "wp-cron-runner/1 answer\n{$part[5]}\n$status\n" . hash( 'sha256', $body ), $keys[ $part[3] ] );
}

/**
 * The runner's refusals have one shape: what failed, what was found, what was expected, what to do.
 */
function refusal_sentence( array $stop ): string {
	$words = (string) ( $stop['failed'] ?? __( 'The runner refused.', 'wp-cron-runner' ) );
	if ( isset( $stop['found'] ) ) {
		$words .= ": {$stop['found']}";
	}
	foreach ( array( $stop['expected'] ?? '', $stop['next'] ?? '' ) as $i => $more ) {
		if ( '' !== $more ) {
			/* translators: %s: what was expected, in English. */
			$words .= '; ' . ( 0 === $i ? sprintf( __( 'expected %s', 'wp-cron-runner' ), $more ) : $more );
		}
	}
	return $words;
}

/**
 * Puts the event of a held or failed run back, or lets it go: through the runner, whose history learns of it then; without one by
 * ourselves.
 *
 * @param string $decision `requeue` or `drop`.
 * @return true|\WP_Error
 */
function decide_run( string $run, string $decision ) {
	if ( ! is_run_id( $run ) ) {
		return new \WP_Error( 'run', __( 'This is no run id.', 'wp-cron-runner' ) );
	}
	$answer = ask_runner( "/v1/runs/$run/$decision", array(), 10.0 );
	if ( is_wp_error( $answer ) && in_array( $answer->get_error_code(), array( 'away', 'stranger' ), true ) ) {
		$answer = decide_here( $run, $decision );
	}
	return is_wp_error( $answer ) ? $answer : true;
}

/**
 * The same without a runner.
 *
 * @return true|\WP_Error
 */
function decide_here( string $run, string $decision ) {
	return with_option(
		static function ( Connection $db, Locks $locks ) use ( $run, $decision ): void {
			if ( 'requeue' === $decision ) {
				requeue( $db, $locks, $run );
			} else {
				drop_run( $db, $run );
			}
			note_held( $db );
		}
	);
}

/**
 * Takes one event out of the option. What it is for may schedule it anew.
 *
 * @return true|\WP_Error
 */
function delete_event( int $due_at, string $hook, string $key ) {
	return with_option(
		static function ( Connection $db, Locks $locks ) use ( $due_at, $hook, $key ): void {
			$is_gone = change_cron(
				$db,
				$locks,
				static function ( array &$cron ) use ( $due_at, $hook, $key ): bool {
					return remove_event( $cron, $due_at, $hook, $key );
				}
			);
			if ( ! $is_gone ) {
				throw new Refused( 404, 'E_EVENT', array( 'message' => __( 'There is no such event any more; nothing was changed.', 'wp-cron-runner' ) ) );
			}
		}
	);
}

/**
 * Does something with the `cron` option or the journal, on a connection of our own.
 *
 * @return true|\WP_Error
 */
function with_option( callable $work ) {
	try {
		$db = own_connection();
		$work( $db, required_locks( $db ) );
		notice_earlier( time() );
		return true;
	} catch ( Refused $e ) {
		return new \WP_Error( 'refused', (string) ( $e->more['message'] ?? $e->error ), array( 'status' => $e->status ) );
	} catch ( Corrupt_Cron $e ) {
		return new \WP_Error( 'corrupt', $e->getMessage() );
	} catch ( Database_Error $e ) {
		return new \WP_Error( 'database', $e->getMessage() );
	}
}
