<?php
/**
 * `lease-row`: locks as rows with a lease, for servers whose GET_LOCK is missing or means nothing (Galera, some proxies).
 *
 * The weakest kind. PHP cannot renew a lease while a hook runs, so it is given for as long as the connection may be silent:
 * the longest time limit and an hour. That a holder has died is seen at once on its own host, and only by the lease's end
 * from any other.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The locks of this process, as rows of the state table.
 */
final class Row_Locks extends Locks {
	/** The server's clock in unix milliseconds: all hosts share it. */
	const NOW = 'CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)';

	/**
	 * The connection that writes them.
	 *
	 * @var Connection
	 */
	private $db;
	/**
	 * What our rows hold: who we are. The process's, not the connection's, which may be another one after the server was away.
	 *
	 * @var string
	 */
	private static $mark = '';
	/**
	 * Locks that are ours: name => true.
	 *
	 * @var array
	 */
	private static $held = array();

	/**
	 * Locks of this process.
	 */
	public function __construct( Connection $db ) {
		$pid      = (int) getmypid();
		$this->db = $db;
		if ( '' === self::$mark ) {
			self::$mark = (string) wp_json_encode( array( 'by' => bin2hex( random_bytes( 8 ) ), 'host' => host_name(), 'pid' => $pid, 'start' => process_start( $pid ) ) );
		}
	}

	/**
	 * One insert each; the primary key lets one of many win.
	 */
	public function take( array $names ): array {
		$taken = array();
		foreach ( $names as $name ) {
			if ( isset( self::$held[ $name ] ) || $this->insert( $name ) || ( $this->remove_dead( $name ) && $this->insert( $name ) ) ) {
				self::$held[ $name ] = true;
				$taken[]             = $name;
			}
		}
		return $taken;
	}

	/**
	 * Takes our rows away; one that has become somebody else's after its lease stays.
	 */
	public function release( array $names ): void {
		foreach ( $names as $name ) {
			if ( isset( self::$held[ $name ] ) ) {
				$this->db->write( 'DELETE FROM ' . state_table() . ' WHERE blog = ? AND name = ? AND value = ?', array( get_current_blog_id(), $name, self::$mark ) );
				unset( self::$held[ $name ] );
			}
		}
	}

	/**
	 * Is there a row whose lease goes on and whose process is not known to be gone?
	 */
	public function is_held( string $name ): bool {
		$row = $this->row( $name );
		return $row && ! self::is_dead( $row );
	}

	/**
	 * The write lock is not held here: a page inside a transaction would keep its row from all others until it commits. Claims
	 * have the option's own row, and pages write only over what they have read.
	 */
	public function take_within( string $name, int $ms ): bool {
		return true;
	}

	/**
	 * Makes the row, unless there is one.
	 */
	private function insert( string $name ): bool {
		try {
			$sql = 'INSERT INTO ' . state_table() . ' (blog, name, value, updated_ms) VALUES (?, ?, ?, ' . self::NOW . ' + ?)';
			return 1 === $this->db->write( $sql, array( get_current_blog_id(), $name, self::$mark, 1000 * $this->db->patience ) );
		} catch ( Database_Error $e ) {
			// 1062: there is one. Busy: somebody is making one.
			if ( 1062 === (int) $e->getCode() || $e->is_busy() ) {
				return false;
			}
			throw $e;
		}
	}

	/**
	 * Removes the row of a process that is gone, or whose lease has ended; that very row, not what may follow it.
	 */
	private function remove_dead( string $name ): bool {
		$row = $this->row( $name );
		if ( ! $row ) {
			return true;
		}
		return self::is_dead( $row )
			&& 1 === $this->db->write( 'DELETE FROM ' . state_table() . ' WHERE blog = ? AND name = ? AND value = ?', array( get_current_blog_id(), $name, $row['value'] ) );
	}

	/**
	 * The row of a lock: value, and the milliseconds that are left of its lease.
	 */
	private function row( string $name ): ?array {
		return $this->db->row( 'SELECT value, updated_ms - ' . self::NOW . ' AS lease FROM ' . state_table() . ' WHERE blog = ? AND name = ?', array( get_current_blog_id(), $name ) );
	}

	/**
	 * Nobody holds it any more.
	 */
	private static function is_dead( array $row ): bool {
		$by   = array_merge( array( 'host' => '', 'pid' => 0, 'start' => '' ), (array) json_decode( $row['value'], true ) );
		$ours = array_merge( array( 'host' => '', 'pid' => 0, 'start' => '' ), (array) json_decode( self::$mark, true ) );
		// A row of this very process with another mark: of an earlier request, which ended without giving it back; or of another
		// thread, where there are threads.
		$is_left = ! PHP_ZTS && $row['value'] !== self::$mark && '' !== $ours['start'] && array( $by['host'], $by['pid'], $by['start'] ) === array( $ours['host'], $ours['pid'], $ours['start'] );
		return (int) $row['lease'] <= 0 || $is_left || is_process_gone( (string) $by['host'], (int) $by['pid'], (string) $by['start'] );
	}
}
