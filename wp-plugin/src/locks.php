<?php
/**
 * Process locks: held by the PHP process that runs an event, for as long as it lives.
 *
 * Two names. The *event lock* (install, blog, hook, arguments) is held while that event runs: it keeps the same event from
 * overlapping itself. The *batch lock* (one `run` request) is held from claim to the end of the request: while it is held, the
 * rows of that batch have a living process; once it is free, what was claimed can be given back and what was running is dead.
 *
 * The kind is chosen by the server's identity and proven, never because a call succeeded: the SQLite drop-in answers
 * GET_LOCK with success and protects nothing.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The name of an event's lock. 64 characters are the most that GET_LOCK takes.
 */
function event_lock( int $blog, string $hook, string $key ): string {
	return 'wpcr-e:' . substr( hash( 'sha256', install_id() . "\n{$blog}\n{$hook}\n{$key}" ), 0, 40 );
}

/**
 * The name of a request's lock.
 */
function batch_lock( string $batch ): string {
	return 'wpcr-b:' . substr( hash( 'sha256', install_id() . "\n" . $batch ), 0, 40 );
}

/**
 * The locks of this process, by one kind.
 */
abstract class Locks {
	/**
	 * Takes those of the named locks that are free, without waiting.
	 *
	 * @return array The names that are ours now.
	 */
	abstract public function take( array $names ): array;

	/**
	 * Gives locks back.
	 */
	abstract public function release( array $names ): void;

	/**
	 * Gives one lock back (or none: '') and takes another.
	 */
	public function swap( string $old, string $new ): bool {
		$this->release( array_filter( array( $old ) ) );
		return (bool) $this->take( array( $new ) );
	}

	/**
	 * Is the lock held by any process?
	 */
	abstract public function is_held( string $name ): bool;

	/**
	 * Takes one lock, waiting at most so many milliseconds.
	 */
	public function take_within( string $name, int $ms ): bool {
		$until = hrtime( true ) + $ms * 1000000;
		while ( ! $this->take( array( $name ) ) ) {
			if ( hrtime( true ) >= $until ) {
				return false;
			}
			usleep( 500 );
		}
		return true;
	}
}

/**
 * `session-lock`: GET_LOCK on a connection. The server frees it within milliseconds of the connection's end.
 */
final class Session_Locks extends Locks {
	/**
	 * The connection that holds them.
	 *
	 * @var Connection
	 */
	private $db;

	/**
	 * Locks of this connection.
	 */
	public function __construct( Connection $db ) {
		$this->db = $db;
	}

	/**
	 * One round trip for all of them.
	 */
	public function take( array $names ): array {
		return $this->ask( 'GET_LOCK(?, 0)', $names );
	}

	/**
	 * One round trip for all of them.
	 */
	public function release( array $names ): void {
		$this->ask( 'RELEASE_LOCK(?)', $names );
	}

	/**
	 * One round trip for both: between two events of a batch it is the dearest part.
	 */
	public function swap( string $old, string $new ): bool {
		if ( '' === $old ) {
			return (bool) $this->take( array( $new ) );
		}
		$row = (array) $this->db->row( 'SELECT RELEASE_LOCK(?) AS old, GET_LOCK(?, 0) AS new', array( $old, $new ) );
		return '1' === (string) ( $row['new'] ?? '' );
	}

	/**
	 * Asks the server who uses it.
	 */
	public function is_held( string $name ): bool {
		return null !== $this->db->value( 'SELECT IS_USED_LOCK(?)', array( $name ) );
	}

	/**
	 * Lets the server wait, in the order of arrival.
	 */
	public function take_within( string $name, int $ms ): bool {
		global $wpdb;
		// MySQL rounds the seconds, MariaDB takes fractions; elsewhere a page's 200 ms are asked for in steps.
		if ( 0 !== $ms % 1000 && ( ! $wpdb->dbh instanceof \mysqli || false === stripos( (string) $wpdb->db_server_info(), 'mariadb' ) ) ) {
			return parent::take_within( $name, $ms );
		}
		return '1' === $this->db->value( sprintf( 'SELECT GET_LOCK(?, %.3F)', $ms / 1000 ), array( $name ) );
	}

	/**
	 * SELECT f(a), f(b), ...: the names for which the answer was 1.
	 */
	private function ask( string $call, array $names ): array {
		if ( ! $names ) {
			return array();
		}
		$names = array_values( $names );
		$row   = $this->db->row( 'SELECT ' . implode( ', ', array_map( static function ( int $i ) use ( $call ): string {
			return "$call AS l$i";
		}, array_keys( $names ) ) ), $names );
		$held  = array();
		foreach ( array_values( (array) $row ) as $i => $answer ) {
			if ( '1' === (string) $answer ) {
				$held[] = $names[ $i ];
			}
		}
		return $held;
	}
}

/**
 * `file-lock`: flock beside the SQLite file. The kernel frees it with the process.
 */
final class File_Locks extends Locks {
	/**
	 * Open files by name.
	 *
	 * @var array
	 */
	private $held = array();

	/**
	 * A lock file is removed by the process that holds it, so after opening one must be sure that it still is the
	 * file of that name.
	 */
	public function take( array $names ): array {
		$taken = array();
		foreach ( $names as $name ) {
			if ( isset( $this->held[ $name ] ) ) {
				$taken[] = $name;
				continue;
			}
			$file = $this->open( $name );
			if ( $file ) {
				$this->held[ $name ] = $file;
				$taken[]             = $name;
			}
		}
		return $taken;
	}

	/**
	 * Unlocks and removes the files.
	 */
	public function release( array $names ): void {
		foreach ( $names as $name ) {
			if ( isset( $this->held[ $name ] ) ) {
				@unlink( $this->path( $name ) ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
				fclose( $this->held[ $name ] ); // phpcs:ignore WordPress.WP.AlternativeFunctions
				unset( $this->held[ $name ] );
			}
		}
	}

	/**
	 * Tries to take it, and gives it back.
	 */
	public function is_held( string $name ): bool {
		if ( isset( $this->held[ $name ] ) || ! file_exists( $this->path( $name ) ) ) {
			return isset( $this->held[ $name ] );
		}
		$got = $this->take( array( $name ) );
		$this->release( $got );
		return ! $got;
	}

	/**
	 * Opens and locks, without waiting. "e" closes the file in programs that a hook starts, or they would keep the lock.
	 *
	 * @return resource|null
	 */
	private function open( string $name ) {
		$path = $this->path( $name );
		for ( $try = 0; $try < 3; $try++ ) {
			$file = @fopen( $path, 'c+e' ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
			if ( ! $file || ! flock( $file, LOCK_EX | LOCK_NB ) ) {
				return null;
			}
			clearstatcache( true, $path );
			$now = @stat( $path ); // phpcs:ignore WordPress.PHP.NoSilencedErrors
			if ( $now && fstat( $file )['ino'] === $now['ino'] ) {
				return $file;
			}
			fclose( $file ); // phpcs:ignore WordPress.WP.AlternativeFunctions
		}
		return null;
	}

	/**
	 * Where the lock of this name lies: in the database's own directory, which the drop-in keeps from the web.
	 */
	private function path( string $name ): string {
		return lock_dir() . '/' . strtr( $name, ':', '-' ) . '.lock';
	}
}

/**
 * The directory of file locks; made when it is missing.
 */
function lock_dir(): string {
	$dir = dirname( FQDB ) . '/wp-cron-runner-locks';
	if ( ! is_dir( $dir ) ) {
		@mkdir( $dir, 0700 ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
	}
	return $dir;
}

/**
 * The locks that a connection can hold, by the kind that was proven.
 *
 * @return Locks|null Null where the kind is none that this version can hold.
 */
function locks( Connection $db, string $kind ): ?Locks {
	if ( 'session-lock' === $kind ) {
		return new Session_Locks( $db );
	}
	if ( 'lease-row' === $kind ) {
		require_once __DIR__ . '/row-locks.php';
		return new Row_Locks( $db );
	}
	return 'file-lock' === $kind ? new File_Locks() : null;
}

/**
 * The locks of this site, or null where its kind is not known or none that this version can hold.
 */
function site_locks( Connection $db ): ?Locks {
	return locks( $db, (string) ( settings()['lock_kind'] ?? '' ) );
}

/**
 * The locks of this site.
 *
 * @throws Refused Where there are none.
 */
function required_locks( Connection $db ): Locks {
	$locks = site_locks( $db );
	if ( ! $locks ) {
		$kind = (string) ( settings()['lock_kind'] ?? '' );
		throw new Refused( 500, 'E_LOCKS', array( 'message' => "the lock kind of this site is `$kind`; expected `session-lock`, `file-lock` or `lease-row`" ) );
	}
	return $locks;
}

/**
 * Which kind of lock protects here. Asked once per plugin version.
 *
 * SQLite is known by its drop-in. A server is believed only after two connections: what the first holds, the second must be
 * refused, for two locks at once (before MySQL 5.7 a second GET_LOCK freed the first). Where that is not so, because the server
 * has no such locks or because something in between gives both one session, a row with a lease is what is left.
 */
function prove_lock_kind(): string {
	if ( is_sqlite() ) {
		return 'file-lock';
	}
	$a     = own_connection();
	$b     = own_connection();
	$names = array( 'wpcr-p:' . bin2hex( random_bytes( 8 ) ), 'wpcr-p:' . bin2hex( random_bytes( 8 ) ) );
	try {
		$first  = ( new Session_Locks( $a ) )->take( $names );
		$second = ( new Session_Locks( $b ) )->take( $names );
	} catch ( Database_Error $e ) {
		if ( $e->is_gone() || $e->is_busy() ) {
			throw $e; // Says nothing about the server's locks.
		}
		// Galera answers 1235 here, some proxies something of their own.
		return 'lease-row';
	}
	return $names === $first && array() === $second ? 'session-lock' : 'lease-row';
}

/**
 * Removes the directory of file locks. Nothing is claimed any more, so nobody needs them.
 */
function delete_lock_dir(): void {
	if ( is_sqlite() && is_dir( lock_dir() ) ) {
		array_map( 'unlink', (array) glob( lock_dir() . '/*.lock' ) );
		@rmdir( lock_dir() ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
	}
}
