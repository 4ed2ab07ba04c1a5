<?php
/**
 * What an event may do to its process: end it, or leave something behind in it.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * Why the process ends while an event is running.
 */
final class Death {
	/**
	 * What wp_die() was called with: message, file, line, and who was called; or null.
	 *
	 * @var array|null
	 */
	private static $died = null;

	/**
	 * Begins to listen for wp_die().
	 */
	public static function watch(): void {
		foreach ( array( 'wp_die_handler', 'wp_die_ajax_handler', 'wp_die_json_handler', 'wp_die_xml_handler' ) as $filter ) {
			add_filter( $filter, array( __CLASS__, 'filter_wp_die_handler' ), PHP_INT_MAX );
		}
	}

	/**
	 * The next event begins: what was before is not its doing.
	 */
	public static function expect_none(): void {
		self::$died = null;
		error_clear_last();
	}

	/**
	 * Notes what wp_die() was called with, then lets it go on as it would.
	 */
	public static function filter_wp_die_handler( $handler ) {
		return static function ( $message = '', $title = '', $args = array() ) use ( $handler ) {
			$trace      = debug_backtrace( DEBUG_BACKTRACE_IGNORE_ARGS, 6 ); // phpcs:ignore WordPress.PHP.DevelopmentFunctions
			self::$died = array( 'message' => is_wp_error( $message ) ? $message->get_error_message() : ( is_scalar( $message ) ? (string) $message : '' ), 'file' => null, 'line' => null, 'by' => 'wp_die' );
			foreach ( $trace as $frame ) {
				if ( isset( $frame['function'], $frame['file'] ) && 'wp_die' === $frame['function'] ) {
					self::$died['file'] = $frame['file'];
					self::$died['line'] = $frame['line'];
				}
			}
			return call_user_func( $handler, $message, $title, $args );
		};
	}

	/**
	 * WP_CLI::error() speaks, and ends the process afterwards. Under it that is also how wp_die() ends, which said more.
	 */
	public static function heard( string $message ): void {
		if ( null !== self::$died ) {
			return;
		}
		self::$died = array( 'message' => $message, 'file' => null, 'line' => null, 'by' => 'WP_CLI::error' );
		foreach ( debug_backtrace( DEBUG_BACKTRACE_IGNORE_ARGS, 6 ) as $frame ) { // phpcs:ignore WordPress.PHP.DevelopmentFunctions
			if ( 'error' === $frame['function'] && 'WP_CLI' === ( $frame['class'] ?? '' ) && isset( $frame['file'] ) ) {
				self::$died['file'] = $frame['file'];
				self::$died['line'] = $frame['line'];
			}
		}
	}

	/**
	 * Outcome, error and note of an event that ended its process.
	 */
	public static function cause(): array {
		$last  = error_get_last();
		$fatal = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;
		if ( $last && ( $last['type'] & $fatal ) ) {
			$late    = 0 === strpos( $last['message'], 'Maximum execution time' );
			$message = strtok( $last['message'], "\n" );
			return array( $late ? 'timed_out' : 'failed', array( 'message' => $message, 'file' => $last['file'], 'line' => $last['line'] ), null );
		}
		$died = self::$died;
		$said = $died ? wp_strip_all_tags( $died['message'] ) : '';
		if ( '' !== trim( $said ) ) {
			return array( 'failed', array( 'message' => $said, 'file' => $died['file'], 'line' => $died['line'] ), $died['by'] );
		}
		return array( 'ok', null, $died && $died['file'] ? "exit at {$died['file']}:{$died['line']}" : 'exit' );
	}
}

/**
 * How many statements were sent over the connection of $wpdb, by whomever; null where nobody counts (mysqlnd does). Where a
 * hook has sent none, it has left nothing behind, and two round trips are saved.
 */
function statements_sent(): ?int {
	global $wpdb;
	if ( ! $wpdb->dbh instanceof \mysqli || ! function_exists( 'mysqli_get_connection_stats' ) ) {
		return null;
	}
	$stats = mysqli_get_connection_stats( $wpdb->dbh );
	$sent  = (int) ( $stats['com_query'] ?? 0 ) + (int) ( $stats['com_stmt_execute'] ?? 0 );
	return $sent > 0 ? $sent : null;
}

/**
 * The connection of $wpdb as the next event expects it, whatever the hook did to it.
 *
 * @return string What had to be done; '' where nothing had.
 */
function take_back_connection(): string {
	global $wpdb;
	if ( is_sqlite() || $wpdb->dbh instanceof \mysqli ) {
		return end_open_transaction();
	}
	// $wpdb->close(): without this the events behind it would run without a database.
	return $wpdb->db_connect( false ) ? 'closed the database connection: opened again' : 'closed the database connection';
}

/**
 * Takes back what a hook left behind on $wpdb: an open transaction, autocommit off, locked tables. Else it would hold its rows
 * until the process ends, and the next event of the batch would write into a transaction that nobody commits.
 *
 * @return string What there was, as far as the server tells; '' where there was nothing. (MySQL does not tell of a
 *                transaction, and neither of locked tables: there they end without a word.)
 */
function end_open_transaction(): string {
	global $wpdb;
	if ( is_sqlite() ) {
		return sqlite_rollback() ? 'left a transaction open: rolled back' : '';
	}
	$found = array();
	$tells = false !== stripos( $wpdb->db_server_info(), 'mariadb' );
	$state = send_as_is( 'SELECT ' . ( $tells ? '@@in_transaction' : '1' ) . ' AS opened, @@autocommit AS auto' );
	if ( ! $state instanceof \mysqli_result ) {
		return ''; // The connection is gone, and all that was left on it.
	}
	$state = (array) $state->fetch_assoc();
	if ( $state['opened'] ) {
		send_as_is( 'ROLLBACK' );
		$found[] = $tells ? 'left a transaction open: rolled back' : '';
	}
	if ( ! $state['auto'] ) {
		send_as_is( 'SET autocommit = 1' );
		$found[] = 'left autocommit off: on again';
	}
	send_as_is( 'UNLOCK TABLES' );
	return implode( ', ', array_filter( $found ) );
}

/**
 * A statement over the very connection that $wpdb has: $wpdb itself would open another one where this is gone, wait for it, and
 * end the process where there is none; and the event has ended well.
 *
 * @return \mysqli_result|bool
 */
function send_as_is( string $sql ) {
	global $wpdb;
	try {
		return @mysqli_query( $wpdb->dbh, $sql ); // phpcs:ignore WordPress.DB,WordPress.PHP.NoSilencedErrors
	} catch ( \mysqli_sql_exception $e ) {
		return false;
	}
}

/**
 * The same for the drop-in: a second connection could not write before it is over.
 */
function sqlite_rollback(): bool {
	global $wpdb;
	$driver = $wpdb->dbh;
	if ( ! is_object( $driver ) || ! method_exists( $driver, 'inTransaction' ) || ! $driver->inTransaction() ) {
		return false;
	}
	$driver->rollBack();
	return true;
}
