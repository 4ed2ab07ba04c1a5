<?php
/**
 * The three-way merge: concurrent scheduling loses nothing, and an event that has run does not come back.
 *
 * Core reads the whole option when a request begins, changes its copy, and writes it all back, over whatever others wrote in
 * between. At the last step of update_option( 'cron' ) this file reads the row again under the write lock and applies only what
 * this request added and removed. The lock is freed after the write, or at once where update_option() will write nothing.
 *
 * Nobody waits long for the lock, so it is never alone: every write goes through only where the row still is what was read.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * One write of the option in this request, from the filter to the end of update_option().
 */
final class Merge {
	/**
	 * The lock that is held, and its holder: array( Locks, name ), or null.
	 *
	 * @var array|null
	 */
	private static $lock = null;
	/**
	 * The text of the row that was read; the write may replace this and nothing else.
	 *
	 * @var string|null
	 */
	private static $over = null;
	/**
	 * What this request did: array( its copy before, its copy after ).
	 *
	 * @var array
	 */
	private static $change = array();
	/**
	 * Has the UPDATE gone out?
	 *
	 * @var bool
	 */
	private static $written = false;
	/**
	 * Was the lock not had in time?
	 *
	 * @var bool
	 */
	private static $unlocked = false;
	/**
	 * The earliest event that this write adds, if it is earlier than all others to come.
	 *
	 * @var int|null
	 */
	private static $earliest = null;

	/**
	 * Replaces the value that core is about to write.
	 *
	 * @param mixed  $value  The option as this request wants it.
	 * @param string $option Its name.
	 * @param mixed  $old    The option as this request knew it.
	 * @return mixed The merged option; $old where nothing is left to write.
	 */
	public static function filter_pre_update_option( $value, $option, $old ) {
		if ( 'cron' !== $option || ! is_array( $value ) || ! self::begin() ) {
			return $value;
		}
		self::$change = array( is_array( $old ) ? $old : array(), $value );
		$text         = read_cron( page_connection() );
		if ( null === $text ) {
			return $value; // The row is missing: core goes the way of add_option().
		}
		$row = unpack_cron( $text );
		if ( null === $row ) {
			// Whatever it holds, core would overwrite it with what little it understood.
			self::end();
			return $old;
		}
		list( $merged, $added ) = merge_cron( self::$change[0], $value, $row );
		if ( pack_args( $merged ) === $text ) {
			if ( pack_args( self::$change[0] ) !== $text ) {
				forget_cached_cron();
			}
			self::end();
			return $old;
		}
		self::$earliest = self::earliest( $added, $row );
		self::$over     = $text;
		add_filter( 'query', array( __CLASS__, 'filter_query' ) );
		return $merged;
	}

	/**
	 * Takes the lock, or notes that it was not had. False where this kind of site has no write lock.
	 */
	private static function begin(): bool {
		self::end();
		$settings = settings();
		$kind     = isset( $settings['lock_kind'] ) ? $settings['lock_kind'] : '';
		$locks    = locks( page_connection(), $kind );
		if ( ! $locks || ! is_original() ) {
			return false;
		}
		$name           = write_lock( get_current_blog_id() );
		self::$written  = false;
		self::$unlocked = false;
		self::$lock     = $locks->take_within( $name, PAGE_WAITS_MS ) ? array( $locks, $name ) : null;
		return true;
	}

	/**
	 * Watches for the one UPDATE of the option, and lets it replace only what was read. With the next statement, whatever came
	 * of it, the lock goes back: update_option() fires nothing when 0 rows changed.
	 */
	public static function filter_query( $query ) {
		global $wpdb;
		if ( self::$written ) {
			self::release();
			return $query;
		}
		if ( 0 !== strpos( $query, "UPDATE `{$wpdb->options}` SET `option_value` = " ) || ! preg_match( "/ WHERE `option_name` = 'cron'\$/", $query ) ) {
			return $query;
		}
		self::$written = true;
		if ( self::$lock ) {
			return $query . " AND MD5(`option_value`) = '" . md5( self::$over ) . "'";
		}
		self::$unlocked = true;
		return self::write_unlocked() ? self::counting_query() : $query . ' AND 1 = 0';
	}

	/**
	 * Without the lock: reads, merges and writes until nobody came in between, a tenth of a second at most.
	 */
	private static function write_unlocked(): bool {
		global $wpdb;
		remove_filter( 'query', array( __CLASS__, 'filter_query' ) );
		$done = false;
		for ( $i = 0; $i < 50 && ! $done; $i++ ) {
			$text = (string) read_cron( page_connection() );
			$row  = unpack_cron( $text );
			if ( null === $row ) {
				break;
			}
			list( $merged ) = merge_cron( self::$change[0], self::$change[1], $row );
			$sql            = "UPDATE {$wpdb->options} SET option_value = ? WHERE option_name = 'cron' AND MD5(option_value) = ?";
			$done           = pack_args( $merged ) === $text || 0 < page_connection()->write( $sql, array( pack_args( $merged ), md5( $text ) ) );
			usleep( $done ? 0 : random_int( 200, 2000 ) );
		}
		add_filter( 'query', array( __CLASS__, 'filter_query' ) );
		return $done;
	}

	/**
	 * Core's UPDATE would find nothing left to change and report a failure. This takes its place: it changes one row, and it
	 * counts how often the lock was not had.
	 */
	private static function counting_query(): string {
		return 'UPDATE ' . state_table() . ' SET updated_ms = updated_ms + 1 WHERE blog = ' . (int) get_current_blog_id() . " AND name = 'unlocked'";
	}

	/**
	 * The option was written.
	 */
	public static function action_written(): void {
		$earliest = self::$earliest;
		if ( self::$unlocked ) {
			forget_cached_cron(); // Core has cached its first merge, the row has the last.
		}
		self::end();
		if ( null !== $earliest ) {
			notice_earlier( $earliest );
		}
	}

	/**
	 * The write is over, whatever came of it. Also the backstop at shutdown.
	 */
	public static function end(): void {
		self::release();
		self::$over     = null;
		self::$change   = array();
		self::$earliest = null;
	}

	/**
	 * Frees the lock; harmless when there is none.
	 */
	private static function release(): void {
		remove_filter( 'query', array( __CLASS__, 'filter_query' ) );
		$lock          = self::$lock;
		self::$lock    = null;
		self::$written = false;
		if ( $lock ) {
			try {
				$lock[0]->release( array( $lock[1] ) );
			} catch ( Database_Error $e ) {
				return; // The connection is gone, and the lock with it.
			}
		}
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
