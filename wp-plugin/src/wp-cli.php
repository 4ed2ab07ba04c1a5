<?php
/**
 * WP-CLI: commands for people, and the runner's way in, `wp cron-runner call CALL` with the request on stdin, signed and answered
 * as through every other door.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

if ( ! function_exists( __NAMESPACE__ . '\accept_call' ) ) {
	require __DIR__ . '/endpoint.php';
}

/**
 * Registers the commands, and prepares this process where it was started for one of them.
 */
function init_wp_cli(): void {
	$asked = (array) \WP_CLI::get_runner()->arguments;
	if ( array( 'cron-runner', 'call' ) !== array_slice( $asked, 0, 2 ) ) {
		if ( ! in_array( $asked[0] ?? '', array( 'cron-runner', 'help', 'cli' ), true ) ) {
			return; // Another command has no use for ours.
		}
		require_once __DIR__ . '/wp-cli/commands.php';
		\WP_CLI::add_command( 'cron-runner', __NAMESPACE__ . '\Commands' );
		return;
	}
	\WP_CLI::add_command(
		'cron-runner call',
		static function ( array $words ): void {
			answer_wp_cli( (string) ( $words[0] ?? '' ) );
		},
		array( 'shortdesc' => 'For the WP Cron Runner daemon: a signed call of its, read from standard input.' )
	);
	// Now, before another plugin reads what is on stdin.
	envelope();
	// As in wp-cron.php, and before the other plugins look.
	if ( in_array( $asked[2] ?? '', FULL_CALLS, true ) && ! defined( 'DOING_CRON' ) ) {
		define( 'DOING_CRON', true );
	}
	remove_action( 'init', 'wp_cron' );
}

/**
 * Answers one call, when WordPress is complete.
 */
function answer_wp_cli( string $call ): void {
	remove_action( 'shutdown', __NAMESPACE__ . '\action_spawn' ); // The runner is here: this is its call.
	$said   = envelope();
	$signed = asks_for( $said['path'], $call ) ? verified( $said['signature'], $said['path'], $said['host'], $said['body'], keys(), site_name() ) : null;
	if ( ! $signed ) {
		deny();
	}
	// WP-CLI takes every limit away, also the one it was started with.
	ini_restore( 'memory_limit' );
	// It also works on in maintenance mode.
	if ( ! in_array( $call, CALLS_AT_ANY_TIME, true ) && is_in_maintenance( ABSPATH ) ) {
		( new Frames( $signed['key'], $signed['nonce'] ) )->refuse( 503, 'E_MAINTENANCE', array( 'message' => 'the site is being updated' ) );
	}
	if ( 'run' === $call && method_exists( '\WP_CLI', 'get_logger' ) ) { // Older ones do not give it away.
		\WP_CLI::set_logger( new Attentive_Logger( \WP_CLI::get_logger() ) );
	}
	answer( $signed, $call, $said['body'] );
	exit;
}

/**
 * WP-CLI's logger, overheard: an event that ends in WP_CLI::error() has failed.
 */
final class Attentive_Logger {
	/**
	 * The logger that was there.
	 *
	 * @var object
	 */
	private $logger;

	/**
	 * Stands in front of it.
	 */
	public function __construct( object $logger ) {
		$this->logger = $logger;
	}

	/**
	 * Notes, and hands on.
	 */
	public function error( $message ) {
		if ( class_exists( __NAMESPACE__ . '\Death', false ) ) {
			Death::heard( is_scalar( $message ) ? (string) $message : '' );
		}
		return $this->logger->error( $message );
	}

	/**
	 * All else is none of our business.
	 */
	public function __call( string $name, array $arguments ) {
		return $this->logger->$name( ...$arguments );
	}
}
