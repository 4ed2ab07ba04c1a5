<?php
/**
 * The write lock: one short lock, by site, that every write of the `cron` option takes.
 *
 * A row lock alone does not serialise update_option(): it reads, thinks, and writes much later. Claims wait a second for the
 * lock; a page waits a fifth of one, and then writes only where the row has not changed since it was read.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

const CLAIM_WAITS_MS = 1000;
const PAGE_WAITS_MS  = 200;

/**
 * The write lock's name.
 */
function write_lock( int $blog ): string {
	return 'wpcr-w:' . substr( hash( 'sha256', install_id() . "\n" . $blog ), 0, 40 );
}

/**
 * Does something in one transaction, under the write lock.
 *
 * @param callable $work function (): mixed.
 * @return mixed What $work returned.
 * @throws Database_Error Busy (1205) where the lock was not had in time; nothing was changed then.
 */
function in_write_lock( Connection $db, Locks $locks, callable $work ) {
	$lock = write_lock( get_current_blog_id() );
	if ( ! $locks->take_within( $lock, CLAIM_WAITS_MS ) ) {
		throw new Database_Error( 'another request is writing the cron option', 1205 );
	}
	try {
		$db->begin();
		$result = $work();
		$db->commit();
	} catch ( \Throwable $e ) {
		$db->rollback();
		throw $e;
	} finally {
		$locks->release( array( $lock ) );
	}
	return $result;
}

/**
 * Writes the option's row, where there is one, or makes it.
 */
function write_cron( Connection $db, bool $is_there, string $text ): void {
	global $wpdb;
	$sql = $is_there ? "UPDATE {$wpdb->options} SET option_value = ? WHERE option_name = 'cron'" : "INSERT INTO {$wpdb->options} (option_name, option_value, autoload) VALUES ('cron', ?, 'yes')";
	$db->write( $sql, array( $text ) );
}

/**
 * Changes the `cron` option and the journal in one transaction, under the write lock.
 *
 * @param Connection $db     A connection of our own.
 * @param Locks      $locks  The locks of this process.
 * @param callable   $change function ( array &$cron ): mixed. It gets the option as the row has it now. No foreign code may run in it.
 * @return mixed What $change returned.
 * @throws Database_Error Busy (1205) where the lock was not had in time; nothing was changed then.
 * @throws Corrupt_Cron   Where the option cannot be read: writing would lose what it holds.
 */
function change_cron( Connection $db, Locks $locks, callable $change ) {
	list( $result, $is_changed ) = in_write_lock(
		$db,
		$locks,
		static function () use ( $db, $change ): array {
			$text   = read_cron( $db, true );
			$cron   = events_in( $text );
			$result = $change( $cron );
			sort_cron( $cron );
			$after = pack_args( $cron );
			if ( null === $text && $cron ) {
				$cron['version'] = 2;
				write_cron( $db, false, pack_args( $cron ) );
			} elseif ( null !== $text && $after !== $text ) {
				write_cron( $db, true, $after );
			}
			return array( $result, $after !== $text );
		}
	);
	if ( $is_changed ) {
		forget_cached_cron();
	}
	return $result;
}
