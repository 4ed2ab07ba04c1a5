<?php
/**
 * SQL: on the connection that WordPress has open (page views), or on one of our own.
 *
 * Claims, the journal and process locks use a connection of our own: a hook may leave a transaction open on $wpdb, may
 * close or reconnect it, and $wpdb reconnects by itself, which would drop every lock without a word.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * A statement failed. The code is the server's own: 1205 a lock was not had in time, 2006 and 2013 connection lost.
 */
final class Database_Error extends \RuntimeException {
	/**
	 * Somebody else holds the lock, the row, or the last free connection (1040, 1203, 1226): nothing was changed, asking again
	 * later is safe.
	 */
	public function is_busy(): bool {
		return in_array( (int) $this->getCode(), array( 5, 6, 1040, 1203, 1205, 1213, 1226, 3572 ), true );
	}

	/**
	 * A table of ours is not there. The drop-in's own connection has no codes.
	 */
	public function is_missing_table(): bool {
		return 1146 === (int) $this->getCode() || false !== strpos( $this->getMessage(), 'no such table' );
	}

	/**
	 * The server went away; the locks of that connection are gone with it.
	 */
	public function is_gone(): bool {
		return in_array( (int) $this->getCode(), array( 1053, 1927, 2002, 2006, 2013, 4031 ), true );
	}
}

/**
 * What both connections have in common. A "?" in the SQL stands for a value.
 */
abstract class Connection {
	/**
	 * Seconds that whoever uses it may be silent: the longest event, and more.
	 *
	 * @var int
	 */
	public $patience = HOUR_IN_SECONDS;

	/**
	 * Quotes a string for this server.
	 */
	abstract protected function quote( string $value ): string;

	/**
	 * Sends finished SQL.
	 *
	 * @return array|int Rows of a SELECT, else the number of changed rows.
	 * @throws Database_Error When the statement failed.
	 */
	abstract protected function send( string $sql );

	/**
	 * Locks the rows that a SELECT reads until the end of the transaction, where the server can.
	 */
	public function for_update(): string {
		return is_sqlite() ? '' : ' FOR UPDATE';
	}

	/**
	 * Puts the values in.
	 */
	protected function fill( string $sql, array $values ): string {
		$parts  = explode( '?', $sql );
		$filled = array_shift( $parts );
		foreach ( array_values( $values ) as $i => $value ) {
			$text    = null === $value ? 'NULL' : ( is_int( $value ) ? (string) $value : $this->quote( (string) $value ) );
			$filled .= $text . $parts[ $i ];
		}
		return $filled;
	}

	/**
	 * All rows, as arrays by column.
	 */
	public function rows( string $sql, array $values = array() ): array {
		$result = $this->send( $this->fill( $sql, $values ) );
		return is_array( $result ) ? $result : array();
	}

	/**
	 * The first row, or null.
	 */
	public function row( string $sql, array $values = array() ): ?array {
		$rows = $this->rows( $sql, $values );
		return isset( $rows[0] ) ? $rows[0] : null;
	}

	/**
	 * The first column of the first row, or null.
	 */
	public function value( string $sql, array $values = array() ): ?string {
		$row = $this->row( $sql, $values );
		$one = $row ? reset( $row ) : null;
		return null === $one ? null : (string) $one;
	}

	/**
	 * Changes rows, and says how many.
	 */
	public function write( string $sql, array $values = array() ): int {
		$result = $this->send( $this->fill( $sql, $values ) );
		return is_int( $result ) ? $result : 0;
	}

	/**
	 * Begins a transaction that means to write.
	 */
	public function begin(): void {
		$this->send( is_sqlite() ? 'BEGIN IMMEDIATE' : 'START TRANSACTION' );
	}

	/**
	 * Makes it durable.
	 */
	public function commit(): void {
		$this->send( 'COMMIT' );
	}

	/**
	 * Undoes it. Says nothing when there is nothing to undo.
	 */
	public function rollback(): void {
		try {
			$this->send( 'ROLLBACK' );
		} catch ( Database_Error $e ) {
			return;
		}
	}
}

/**
 * The connection that WordPress has open anyway.
 */
final class Page_Connection extends Connection {
	/**
	 * Quotes as $wpdb does.
	 */
	protected function quote( string $value ): string {
		global $wpdb;
		return "'" . $wpdb->_real_escape( $value ) . "'";
	}

	/**
	 * Sends SQL through $wpdb, without its error page.
	 */
	protected function send( string $sql ) {
		global $wpdb;
		$suppressed = $wpdb->suppress_errors( true );
		$changed    = preg_match( '/^\s*(SELECT|SHOW)/i', $sql ) ? null : $wpdb->query( $sql ); // phpcs:ignore WordPress.DB -- filled by fill().
		$rows       = null === $changed ? $wpdb->get_results( $sql, ARRAY_A ) : null; // phpcs:ignore WordPress.DB -- filled by fill().
		$error      = $wpdb->last_error;
		$wpdb->suppress_errors( $suppressed );
		if ( '' !== $error || false === $changed ) {
			$code = $wpdb->dbh instanceof \mysqli ? mysqli_errno( $wpdb->dbh ) : 0;
			throw new Database_Error( '' === $error ? 'the statement failed' : $error, $code ); // phpcs:ignore WordPress.Security.EscapeOutput
		}
		return null === $changed ? (array) $rows : (int) $changed;
	}
}

/**
 * A connection of our own to MySQL or MariaDB, made as $wpdb makes its own.
 */
final class Mysql_Connection extends Connection {
	/**
	 * The connection.
	 *
	 * @var \mysqli
	 */
	private $link;

	/**
	 * Connects.
	 *
	 * @param int $idle Seconds that the connection may be silent: the longest event, and more.
	 * @throws Database_Error When it cannot.
	 */
	public function __construct( int $idle ) {
		global $wpdb;
		$this->patience = $idle;

		$at = $wpdb->parse_db_host( DB_HOST );
		if ( ! $at ) {
			$at = array( DB_HOST, null, null, false );
		}
		$host       = $at[3] && extension_loaded( 'mysqlnd' ) ? "[{$at[0]}]" : $at[0];
		$this->link = mysqli_init();
		mysqli_options( $this->link, MYSQLI_OPT_CONNECT_TIMEOUT, 5 );
		$flags = defined( 'MYSQL_CLIENT_FLAGS' ) ? MYSQL_CLIENT_FLAGS : 0;
		try {
			$connected = @mysqli_real_connect( $this->link, $host, DB_USER, DB_PASSWORD, DB_NAME, (int) $at[1], $at[2], $flags ); // phpcs:ignore WordPress.PHP.NoSilencedErrors
		} catch ( \mysqli_sql_exception $e ) {
			$connected = false;
		}
		if ( ! $connected ) {
			throw new Database_Error( 'no second connection to the database: ' . mysqli_connect_error(), mysqli_connect_errno() ); // phpcs:ignore WordPress.Security.EscapeOutput
		}
		if ( ! empty( $wpdb->charset ) ) {
			mysqli_set_charset( $this->link, $wpdb->charset );
		}
		// Strict: rather no write than one cut short. Locked rows are waited for as long as the write lock: a second. So are
		// tables that somebody locked as a whole (a backup, LOCK TABLES of a hook), for which the server has a day of patience.
		$this->send( "SET SESSION wait_timeout = {$idle}, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1, autocommit = 1, sql_mode = 'STRICT_ALL_TABLES'" );
	}

	/**
	 * Quotes a string.
	 */
	protected function quote( string $value ): string {
		return "'" . mysqli_real_escape_string( $this->link, $value ) . "'";
	}

	/**
	 * Sends SQL.
	 */
	protected function send( string $sql ) {
		try {
			$result = mysqli_query( $this->link, $sql );
		} catch ( \mysqli_sql_exception $e ) {
			$result = false;
		}
		if ( false === $result ) {
			throw new Database_Error( mysqli_error( $this->link ), mysqli_errno( $this->link ) ); // phpcs:ignore WordPress.Security.EscapeOutput
		}
		return true === $result ? (int) mysqli_affected_rows( $this->link ) : $result->fetch_all( MYSQLI_ASSOC );
	}
}

/**
 * A connection of our own to the drop-in's SQLite file.
 */
final class Sqlite_Connection extends Connection {
	/**
	 * The connection.
	 *
	 * @var \PDO
	 */
	private $link;

	/**
	 * Opens the file.
	 *
	 * @throws Database_Error When it cannot.
	 */
	public function __construct() {
		try {
			$this->link = new \PDO( 'sqlite:' . FQDB, null, null, array( \PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION, \PDO::ATTR_TIMEOUT => 1, \PDO::ATTR_STRINGIFY_FETCHES => true ) );
		} catch ( \PDOException $e ) {
			throw new Database_Error( $e->getMessage(), 14 ); // phpcs:ignore WordPress.Security.EscapeOutput
		}
	}

	/**
	 * Quotes a string; PDO's own quote stops at a NUL byte, and serialized objects have those.
	 */
	protected function quote( string $value ): string {
		return false === strpos( $value, "\0" ) ? $this->link->quote( $value ) : "CAST(X'" . bin2hex( $value ) . "' AS TEXT)";
	}

	/**
	 * Sends SQL.
	 */
	protected function send( string $sql ) {
		try {
			if ( preg_match( '/^\s*SELECT/i', $sql ) ) {
				return $this->link->query( $sql )->fetchAll( \PDO::FETCH_ASSOC );
			}
			return (int) $this->link->exec( $sql );
		} catch ( \PDOException $e ) {
			$code = isset( $e->errorInfo[1] ) ? (int) $e->errorInfo[1] : 1;
			throw new Database_Error( $e->getMessage(), $code ); // phpcs:ignore WordPress.Security.EscapeOutput
		}
	}
}

/**
 * The connection for reading and for page views.
 */
function page_connection(): Connection {
	static $connection;
	if ( ! $connection ) {
		$connection = new Page_Connection();
	}
	return $connection;
}

/**
 * A connection of our own.
 *
 * @param int $longest The longest time limit of an event, in seconds.
 */
function own_connection( int $longest = 600 ): Connection {
	return is_sqlite() ? new Sqlite_Connection() : new Mysql_Connection( $longest + HOUR_IN_SECONDS );
}
