<?php
/**
 * The three-way merge: concurrent scheduling loses nothing, and an event that has run does not come back.
 *
 * Core reads the whole option when a request begins, changes its copy, and writes it all back, over whatever others wrote in
 * between. The last filter of update_option( 'cron' ) notes what this request added and removed; where core then sends its
 * UPDATE, the row is read again under the write lock, the change is applied to it, and that is written instead.
 *
 * A page waits a fifth of a second for the lock and then goes on without it, so the lock alone is not enough: a write goes
 * through only where the row still is what was read, and is merged again where it is not.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * One write of the option in this request, from the filter to core's UPDATE or INSERT.
 */
final class Merge {
	const TRIES = 50;

	/**
	 * What this request does: array( its copy before, its copy after ), the last one begun at the end. More than one only where
	 * a hook of core's `update_option` writes the option in its turn.
	 *
	 * @var array
	 */
	private static $changes = array();
	/**
	 * The option as it was written, serialized; null where it was not.
	 *
	 * @var string|null
	 */
	private static $written = null;
	/**
	 * The earliest event that was added, if it is earlier than all others to come.
	 *
	 * @var int|null
	 */
	private static $earliest = null;

	/**
	 * Notes the change that core is about to write.
	 *
	 * @param mixed  $value  The option as this request wants it.
	 * @param string $option Its name.
	 * @param mixed  $old    The option as this request knew it; false where it knew of none.
	 * @return mixed $value; or $old, so that core writes nothing, where writing would lose what the row holds.
	 */
	public static function filter_pre_update_option( $value, $option, $old ) {
		if ( 'cron' !== $option ) {
			return $value;
		}
		if ( ! doing_action( 'update_option' ) && ! doing_action( 'add_option' ) ) {
			self::forget();
		}
		// Where core will find nothing to write, there is nothing to watch for.
		if ( ! is_array( $value ) || ( is_array( $old ) && pack_args( $value ) === pack_args( $old ) ) || ! self::is_wanted() ) {
			return $value;
		}
		if ( ! is_array( $old ) && ! self::is_row_readable() ) {
			return $old;
		}
		self::$changes[] = array( is_array( $old ) ? $old : array(), $value );
		add_filter( 'query', array( __CLASS__, 'filter_query' ), PHP_INT_MAX );
		return $value;
	}

	/**
	 * Is there somebody whose work a plain write would undo? A request may have begun before a runner took the site over for the
	 * first time: one query, for a site that no runner looks after, and only where it schedules something.
	 */
	private static function is_wanted(): bool {
		if ( can_stand_in() ) {
			return true;
		}
		if ( '' === site_name() || isset( settings()['install'] ) ) {
			return false;
		}
		try {
			$now = settings_in_row( page_connection() );
		} catch ( Database_Error $e ) {
			return false;
		}
		if ( isset( $now['install'] ) ) {
			settings( $now );
		}
		return can_stand_in();
	}

	/**
	 * Core took what it read for no events at all. Is that so? It would write its own few over a row that is only cut short.
	 */
	private static function is_row_readable(): bool {
		try {
			events_in( read_cron( page_connection() ) );
			return true;
		} catch ( Database_Error $e ) {
			return false;
		} catch ( Corrupt_Cron $e ) {
			return false;
		}
	}

	/**
	 * Takes the place of core's write of the option.
	 *
	 * @param string $query What core is about to send.
	 * @return string The same; or, where the merged option is written already, a SELECT of one row, which $wpdb counts as one
	 *                row changed; of no row where it could not be written.
	 */
	public static function filter_query( $query ) {
		global $wpdb;
		if ( ! self::$changes || ! self::is_write( $query ) ) {
			return $query;
		}
		$change = array_pop( self::$changes );
		if ( ! self::$changes ) {
			remove_filter( 'query', array( __CLASS__, 'filter_query' ), PHP_INT_MAX );
		}
		try {
			$is_written = self::write_locked( $change );
		} catch ( Database_Error $e ) {
			$is_written = false; // Core tells its caller: could_not_set. Nothing was written, nothing is lost in silence.
		} catch ( Corrupt_Cron $e ) {
			$is_written = false;
		}
		return $is_written ? 'SELECT 1' : "SELECT 1 FROM {$wpdb->options} WHERE 1 = 0";
	}

	/**
	 * Is this core's UPDATE of the option, or its INSERT where it knew of no row (a cache may say so of one that is there)?
	 */
	private static function is_write( string $query ): bool {
		global $wpdb;
		return ( 0 === strpos( $query, "UPDATE `{$wpdb->options}` SET `option_value` = " ) && preg_match( "/ WHERE `option_name` = 'cron'\$/", $query ) )
			|| 0 === strpos( $query, "INSERT INTO `{$wpdb->options}` (`option_name`, `option_value`, `autoload`) VALUES ('cron', " );
	}

	/**
	 * Writes under the write lock, or without it where it is not to be had in time.
	 */
	private static function write_locked( array $change ): bool {
		$locks = site_locks( page_connection() );
		$name  = write_lock( get_current_blog_id() );
		$ours  = $locks && $locks->take_within( $name, PAGE_WAITS_MS );
		try {
			return self::write( $change );
		} finally {
			if ( $ours ) {
				$locks->release( array( $name ) );
			}
		}
	}

	/**
	 * Reads, merges and writes until nobody came in between.
	 */
	private static function write( array $change ): bool {
		for ( $try = 0; $try < self::TRIES; $try++ ) {
			list( $text, $hash ) = self::read_latest();
			$row                 = events_in( $text ); // Where that fails, core would overwrite it with what little it understood.
			list( $merged, $added ) = merge_cron( $change[0], $change[1], $row );
			$after                  = pack_args( $merged );
			if ( $after === $text || self::replace( $text, $hash, $after ) ) {
				self::$written  = $after;
				self::$earliest = self::earliest( $added, $row );
				return true;
			}
			usleep( random_int( 200, 2000 ) );
		}
		return false;
	}

	/**
	 * Writes where the row still is what was read. The hash is the server's: the column may have another character set than the
	 * connection.
	 */
	private static function replace( ?string $text, string $hash, string $after ): bool {
		global $wpdb;
		if ( null !== $text ) {
			return 0 < page_connection()->write( "UPDATE {$wpdb->options} SET option_value = ? WHERE option_name = 'cron' AND MD5(option_value) = ?", array( $after, $hash ) );
		}
		try {
			return 0 < page_connection()->write( "INSERT INTO {$wpdb->options} (option_name, option_value, autoload) VALUES ('cron', ?, 'yes')", array( $after ) );
		} catch ( Database_Error $e ) {
			if ( null === read_cron( page_connection() ) ) {
				throw $e;
			}
			return false; // Somebody else has made it meanwhile.
		}
	}

	/**
	 * The row's text and its hash. Inside a transaction of the page a plain SELECT shows an old state of the row; a locking one
	 * shows the latest. It does not wait for a page that has the row in a long transaction: not longer than for the lock.
	 */
	private static function read_latest(): array {
		global $wpdb;
		$db    = page_connection();
		$sql   = "SELECT option_value, MD5(option_value) AS hash FROM {$wpdb->options} WHERE option_name = 'cron'";
		$until = hrtime( true ) + PAGE_WAITS_MS * 1000000;
		$lock  = $db->for_update();
		while ( true ) {
			try {
				$row = $db->row( $sql . ( '' === $lock ? '' : $lock . ' NOWAIT' ) );
				break;
			} catch ( Database_Error $e ) {
				if ( 1064 === (int) $e->getCode() ) {
					$row = self::read_waiting( $sql . $lock );
					break;
				}
				if ( ! $e->is_busy() || hrtime( true ) >= $until ) {
					throw $e;
				}
				usleep( 5000 );
			}
		}
		return $row ? array( (string) $row['option_value'], (string) $row['hash'] ) : array( null, '' );
	}

	/**
	 * MySQL 5.7 and MariaDB 10.2 know no NOWAIT; a second is the least that they can be told to wait.
	 */
	private static function read_waiting( string $sql ): ?array {
		$db     = page_connection();
		$before = (int) $db->value( 'SELECT @@innodb_lock_wait_timeout' );
		$db->write( 'SET innodb_lock_wait_timeout = 1' );
		try {
			return $db->row( $sql );
		} finally {
			$db->write( 'SET innodb_lock_wait_timeout = ' . $before );
		}
	}

	/**
	 * The option was written: core has cached its own copy, the row has the merged one.
	 */
	public static function action_written(): void {
		$written  = self::$written;
		$earliest = self::$earliest;
		// Not the changes: this write may have been made from within another that is still to come.
		self::$written  = null;
		self::$earliest = null;
		if ( null !== $written && wp_using_ext_object_cache() ) {
			// Shared by all requests: a claim may have been made since, and has let the cache forget.
			forget_cached_cron();
		} elseif ( null !== $written ) {
			$all = wp_load_alloptions();
			if ( isset( $all['cron'] ) ) {
				$all['cron'] = $written;
				wp_cache_set( 'alloptions', $all, 'options' );
			} else {
				wp_cache_set( 'cron', $written, 'options' );
			}
		}
		if ( null !== $earliest ) {
			notice_earlier( $earliest );
		}
	}

	/**
	 * Nothing is under way any more.
	 */
	private static function forget(): void {
		remove_filter( 'query', array( __CLASS__, 'filter_query' ), PHP_INT_MAX );
		self::$changes  = array();
		self::$written  = null;
		self::$earliest = null;
	}

	/**
	 * The earliest added event, where it comes before everything that is still to come: then the runner has to know.
	 */
	private static function earliest( array $added, array $row ): ?int {
		if ( ! $added ) {
			return null;
		}
		$earliest = min( $added );
		$next     = timetable( $row, time() )['next'];
		return null === $next || $earliest < $next ? $earliest : null;
	}
}
