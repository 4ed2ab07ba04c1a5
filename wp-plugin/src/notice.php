<?php
/**
 * Notices: "something earlier is due now", told to the runner once, after the response is finished.
 *
 * Losing one is harmless: the runner looks again at its next rescan.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * An event was written that comes before all others. Inside a run the stream carries it; else a notice does.
 */
function notice_earlier( int $next ): void {
	if ( execution_is_reporting( $next ) || ! runner_is_alive() || ! keys() ) {
		return;
	}
	static $earliest = null;
	if ( null === $earliest ) {
		// Registered from within a shutdown function, it comes after all that were registered before.
		register_shutdown_function(
			static function () use ( &$earliest ): void {
				register_shutdown_function(
					static function () use ( &$earliest ): void {
						send_notice( (int) $earliest );
					}
				);
			}
		);
	}
	$earliest = null === $earliest ? $next : min( $earliest, $next );
}

/**
 * Does a run of ours go on in this process, and tell the runner in its stream?
 */
function execution_is_reporting( int $next ): bool {
	return class_exists( __NAMESPACE__ . '\Execution', false ) && Execution::$current && Execution::$current->tell_next( $next );
}

/**
 * A signed request to the runner, as it goes over the wire. Not by WordPress's HTTP functions: settings for the world outside
 * (proxies, blocked hosts, filters) mean nothing on the way to a neighbour.
 */
function request_text( string $path, string $listen, string $signature, string $body ): string {
	return "POST $path HTTP/1.1\r\nHost: $listen\r\n" . SIGNED_HEADER . ": $signature\r\nContent-Type: application/json\r\nContent-Length: " . strlen( $body ) . "\r\nConnection: close\r\n\r\n$body";
}

/**
 * Sends it. The visitor has his page by then; where PHP cannot finish the response first, the answer is not waited for.
 */
function send_notice( int $next ): void {
	$listen = (string) ( settings()['listen'] ?? '' );
	if ( '' === $listen ) {
		return;
	}
	$finished = false;
	foreach ( array( 'fastcgi_finish_request', 'litespeed_finish_request' ) as $finish ) {
		$finished = $finished || ( function_exists( $finish ) && $finish() );
	}
	$socket = @stream_socket_client( 'tcp://' . $listen, $code, $message, 0.2 ); // phpcs:ignore WordPress.PHP.NoSilencedErrors
	if ( ! $socket ) {
		return;
	}
	$path = '/v1/sites/' . site_name() . '/notice';
	$body = (string) wp_json_encode( array( 'install' => install_id(), 'blog' => get_current_blog_id(), 'next' => $next ) );
	stream_set_timeout( $socket, 0, 200000 );
	fwrite( $socket, request_text( $path, $listen, signed_header( $path, $listen, $body ), $body ) ); // phpcs:ignore WordPress.WP.AlternativeFunctions
	if ( $finished ) {
		fgets( $socket );
	}
	fclose( $socket ); // phpcs:ignore WordPress.WP.AlternativeFunctions
}
