<?php
/**
 * The way in for the runner. Several doors, one room:
 *
 * - the front door, POST /?wp-cron-runner=CALL, recognised when the plugin's main file is loaded;
 * - this very file, named to php-fpm over FastCGI: calls that only look are answered without loading all of WordPress;
 * - this very file, `php endpoint.php CALL ROOT` with the request on stdin: the same looks beside `wp cron-runner call CALL`.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** Calls that need no plugin and no theme. */
const SHORT_CALLS = array( 'due', 'inspect', 'end' );
const FULL_CALLS  = array( 'run', 'settle', 'doctor' );
/** Whether a process lives may be asked, and one be ended, also while the site is updated. The front door is core's, and shut. */
const CALLS_AT_ANY_TIME = array( 'inspect', 'end' );

if ( ! defined( 'ABSPATH' ) ) {
	if ( 'cli' === PHP_SAPI ) {
		accept_command_line( array_slice( (array) $argv, 1 ) );
	}
	// Named directly. Without the header there is nothing to look at, and WordPress is not loaded for it.
	if ( ! isset( $_SERVER['HTTP_X_WP_CRON_RUNNER'], $_GET['wp-cron-runner'] ) ) {
		deny();
	}
	define( in_array( $_GET['wp-cron-runner'], SHORT_CALLS, true ) ? 'SHORTINIT' : 'DOING_CRON', true );
	if ( in_array( $_GET['wp-cron-runner'], CALLS_AT_ANY_TIME, true ) ) {
		// Core's way for those that are no web page: a filter from before its first file. It has to be there by then.
		$GLOBALS['wp_filter']['enable_maintenance_mode'][10][] = array(
			'function'      => static function (): bool {
				return false;
			},
			'accepted_args' => 1,
		);
	}
	require wordpress_root() . '/wp-load.php';
	if ( defined( 'SHORTINIT' ) && SHORTINIT ) {
		foreach ( array( 'settings', 'protocol', 'connection', 'process', 'locks', 'cron-option', 'write-lock', 'journal', 'owner', 'claim', 'ends', 'settle' ) as $file ) {
			require_once __DIR__ . "/$file.php";
		}
		accept_call();
	}
	// WordPress was loaded and the call not answered: the plugin is not active.
	deny( 503, 'E_INACTIVE' );
}

/**
 * What is on stdin of a command line: three lines (the signature, the path and query, the host), then the body.
 *
 * @return array signature, path, host, body.
 */
function envelope(): array {
	static $envelope = null;
	if ( null === $envelope ) {
		$text     = (string) stream_get_contents( STDIN, LARGEST_BODY + 4096 );
		$lines    = array_pad( explode( "\n", $text, 4 ), 4, '' );
		$envelope = array_combine( array( 'signature', 'path', 'host', 'body' ), $lines );
	}
	return $envelope;
}

/**
 * Does this path and query, which the signature covers, ask for this call?
 */
function asks_for( string $path, string $call ): bool {
	return '?wp-cron-runner=' . $call === strstr( $path, '?' );
}

/**
 * Makes a command line look like the request that its envelope tells of. Only calls that look: the others need all of WordPress.
 *
 * @param array $words CALL and ROOT.
 */
function accept_command_line( array $words ): void {
	require_once __DIR__ . '/protocol.php';
	$said = envelope();
	$call = (string) ( $words[0] ?? '' );
	if ( ! in_array( $call, SHORT_CALLS, true ) || ! asks_for( $said['path'], $call ) ) {
		deny();
	}
	if ( isset( $words[1] ) ) {
		$_SERVER['WP_CRON_RUNNER_ROOT'] = (string) $words[1];
	}
	$_SERVER['HTTP_X_WP_CRON_RUNNER'] = $said['signature'];
	$_SERVER['REQUEST_METHOD']        = 'POST';
	$_SERVER['REQUEST_URI']           = $said['path'];
	$_SERVER['HTTP_HOST']             = $said['host'];
	$_SERVER['SERVER_PROTOCOL']       = 'HTTP/1.1';
	$_GET['wp-cron-runner']           = $call;
	// Core would print a page for people, and end.
	if ( ! in_array( $call, CALLS_AT_ANY_TIME, true ) && is_in_maintenance( wordpress_root() . '/' ) ) {
		deny( 503, 'E_MAINTENANCE' );
	}
}

/**
 * Is the site being updated? Core's own rule: a mark that is ten minutes old was forgotten.
 */
function is_in_maintenance( string $root ): bool {
	if ( ! file_exists( $root . '.maintenance' ) ) {
		return false;
	}
	$upgrading = 0;
	include $root . '.maintenance';
	return time() - (int) $upgrading < 600;
}

/**
 * Where wp-load.php is: the runner says so (in a parameter that no visitor can send), else above this file.
 */
function wordpress_root(): string {
	// Not HTTP_*: only the server that speaks FastCGI can set it.
	$root = isset( $_SERVER['WP_CRON_RUNNER_ROOT'] ) ? (string) $_SERVER['WP_CRON_RUNNER_ROOT'] : __DIR__;
	while ( ! file_exists( $root . '/wp-load.php' ) ) {
		if ( dirname( $root ) === $root ) {
			deny( 500, 'E_NO_WORDPRESS' );
		}
		$root = dirname( $root );
	}
	return $root;
}

/**
 * Ends a request that is not ours to answer: one answer for every cause, and no frame, for there is no common key.
 */
function deny( int $status = 401, string $error = 'E_AUTH' ): void {
	if ( 'cli' !== PHP_SAPI ) {
		http_response_code( $status );
		header( 'Content-Type: application/json' );
		header( 'Cache-Control: no-store' );
	}
	if ( 405 === $status ) {
		header( 'Allow: POST' );
	}
	echo json_encode( array( 'error' => $error ) ); // phpcs:ignore WordPress.WP.AlternativeFunctions, WordPress.Security.EscapeOutput
	exit;
}

/**
 * Checks the signature now, before any other plugin runs; answers now or, where WordPress has to be complete, at wp_loaded.
 */
function accept_call(): void {
	// phpcs:disable WordPress.Security -- every byte is covered by the signature.
	$method = (string) ( $_SERVER['REQUEST_METHOD'] ?? '' );
	$call   = is_string( $_GET['wp-cron-runner'] ) ? $_GET['wp-cron-runner'] : '';
	$header = (string) $_SERVER['HTTP_X_WP_CRON_RUNNER'];
	$path   = (string) ( $_SERVER['REQUEST_URI'] ?? '' );
	$host   = (string) ( $_SERVER['HTTP_HOST'] ?? '' );
	// phpcs:enable
	if ( 'POST' !== $method ) {
		deny( 405, 'E_METHOD' );
	}
	$body = 'cli' === PHP_SAPI ? envelope()['body'] : (string) file_get_contents( 'php://input', false, null, 0, LARGEST_BODY + 1 );
	if ( strlen( $body ) > LARGEST_BODY ) {
		deny( 413, 'E_TOO_LARGE' );
	}
	$signed = verified( $header, $path, $host, $body, keys(), site_name() );
	if ( ! $signed ) {
		deny();
	}
	if ( ! defined( 'DOING_CRON' ) && in_array( $call, FULL_CALLS, true ) ) {
		define( 'DOING_CRON', true );
	}
	remove_action( 'init', 'wp_cron' );
	$answer = static function () use ( $signed, $call, $body ): void {
		answer( $signed, $call, $body );
		exit;
	};
	if ( in_array( $call, FULL_CALLS, true ) ) {
		add_action( 'wp_loaded', $answer, PHP_INT_MAX );
	} else {
		$answer();
	}
}

/**
 * Answers a signed call.
 */
function answer( array $signed, string $call, string $body ): void {
	require_once __DIR__ . '/calls.php';
	if ( 'doctor' === $call ) {
		require_once __DIR__ . '/doctor.php';
	}
	while ( ob_get_level() > 0 && ob_end_clean() ) {
		continue;
	}
	@ini_set( 'zlib.output_compression', '0' ); // phpcs:ignore WordPress.PHP
	ignore_user_abort( true );
	if ( 'cli' !== PHP_SAPI ) {
		header( 'Content-Type: ' . CONTENT_TYPE );
		header( 'Cache-Control: no-store' );
		header( 'X-Accel-Buffering: no' );
	}
	$frames = new Frames( $signed['key'], $signed['nonce'] );
	$ask    = json_decode( $body, true );
	check_call( $frames, $signed, $call, $body, $ask );
	try {
		$answers = array( 'due' => 'answer_due', 'inspect' => 'answer_inspect', 'end' => 'answer_end', 'settle' => 'answer_settle', 'run' => 'answer_run', 'doctor' => 'answer_doctor' );
		call_user_func( __NAMESPACE__ . '\\' . $answers[ $call ], $frames, $ask, $signed['nonce'] );
	} catch ( Refused $e ) {
		$frames->refuse( $e->status, $e->error, $e->more );
	} catch ( Corrupt_Cron $e ) {
		$frames->refuse( 500, 'E_CORRUPT', array( 'message' => $e->getMessage() ) );
	} catch ( Database_Error $e ) {
		if ( $e->is_missing_table() && has_tables() ) {
			// Somebody took them away, a restored backup perhaps: the next take-over makes them anew.
			save_settings( array( 'schema' => 0 ) );
			$frames->refuse( 409, 'unknown_epoch', array( 'epoch' => 0, 'message' => "the plugin's tables are gone: " . $e->getMessage() ) );
		}
		$busy = $e->is_busy();
		$frames->refuse( $busy ? 503 : 500, $busy ? 'busy' : 'E_DATABASE', array( 'message' => $e->getMessage() ) );
	}
}

/**
 * Refuses what is signed and still cannot be answered.
 */
function check_call( Frames $frames, array $signed, string $call, string $body, $ask ): void {
	if ( PROTOCOL !== $signed['version'] ) {
		$frames->refuse( 426, 'E_VERSION', array( 'supported' => array( PROTOCOL, PROTOCOL ), 'message' => 'the plugin speaks version ' . PROTOCOL ) );
	}
	if ( abs( now_ms() - $signed['ts'] ) > WINDOW_MS ) {
		$frames->refuse( 401, 'E_CLOCK', array( 'server_ms' => now_ms(), 'message' => 'the clocks differ by ' . round( abs( now_ms() - $signed['ts'] ) / 1000 ) . ' s' ) );
	}
	if ( ! is_array( $ask ) || '{' !== substr( ltrim( $body ), 0, 1 ) || ! in_array( $call, array_merge( SHORT_CALLS, FULL_CALLS ), true ) ) {
		$frames->refuse( 400, 'E_BAD', array( 'message' => 'expected one of the calls due, run, inspect, settle, end, doctor with a JSON object' ) );
	}
	$wrong = wrong_field( $ask );
	if ( null !== $wrong ) {
		$frames->refuse( 400, 'E_BAD', array( 'message' => "`$wrong` does not hold what it must: " . FIELDS[ $wrong ] ) );
	}
	if ( isset( $ask['install'] ) && install_id() !== $ask['install'] ) {
		$frames->refuse( 409, 'wrong_install', array( 'install' => install_id(), 'message' => 'this is another WordPress than the one the runner knows: a copy, or its address has changed' ) );
	}
	if ( isset( $ask['blog'] ) && get_current_blog_id() !== $ask['blog'] ) {
		$frames->refuse( 400, 'E_BAD', array( 'message' => "blog {$ask['blog']} is not the blog of this address" ) );
	}
}
