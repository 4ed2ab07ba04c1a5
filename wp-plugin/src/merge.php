<?php
/**
 * The three-way merge: concurrent scheduling loses nothing, and an event that has run does not come back.
 *
 * Core reads the whole option when a request begins, changes its copy, and writes it all back, over whatever others wrote in
 * between. At the last step of update_option( 'cron' ) this file reads the row again under the write lock and applies only what
 * this request added and removed. The lock is freed after the write, or at once where update_option() will write nothing.
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
	 * The text of the row that must still stand there when the lock was not had; null where the lock is held.
	 *
	 * @var string|null
	 */
	private static $only_over = null;
	/**
	 * Has the UPDATE gone out?
	 *
	 * @var bool
	 */
	private static $written = false;
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
		$text = read_cron( page_connection() );
		if ( null === $text ) {
			// The row is missing: core takes the way of add_option(), which writes $value as it is.
			self::$only_over = null;
			return $value;
		}
		$row = unpack_cron( $text );
		if ( null === $row ) {
			// Whatever it holds, core would overwrite it with what little it understood.
			self::end();
			return $old;
		}
		list( $merged, $added ) = merge_cron( is_array( $old ) ? $old : array(), $value, $row );
		if ( pack_args( $merged ) === $text ) {
			if ( is_array( $old ) && pack_args( $old ) !== $text ) {
				forget_cached_cron();
			}
			self::end();
			return $old;
		}
		self::$earliest  = self::earliest( $added, $row );
		self::$only_over = self::$lock ? null : $text;
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
		$name          = write_lock( get_current_blog_id() );
		self::$written = false;
		self::$lock    = $locks->take_within( $name, PAGE_WAITS_MS ) ? array( $locks, $name ) : null;
		return true;
	}

	/**
	 * Watches for the one UPDATE of the option: without the lock it may only replace what was read; after it, whatever
	 * comes of it, the lock goes back with the next statement (update_option() fires nothing when 0 rows changed).
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
		if ( null !== self::$only_over ) {
			$query .= " AND MD5(`option_value`) = '" . md5( self::$only_over ) . "'";
			self::count_unlocked();
		}
		return $query;
	}

	/**
	 * The option was written.
	 */
	public static function action_written(): void {
		$earliest = self::$earliest;
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
		self::$only_over = null;
		self::$earliest  = null;
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
	 * How often a page had to write without the lock, shown by the status page.
	 */
	private static function count_unlocked(): void {
		$GLOBALS['wp_cron_runner_unlocked'] = 1 + ( isset( $GLOBALS['wp_cron_runner_unlocked'] ) ? $GLOBALS['wp_cron_runner_unlocked'] : 0 );
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
