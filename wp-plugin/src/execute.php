<?php
/**
 * Executes claimed events, one after the other, each in its own hands: what one does ends that one alone.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

require_once __DIR__ . '/death.php';
require_once __DIR__ . '/pauses.php';

/**
 * One pass: claim, execute, report, until nothing is due, the budget is spent, or an event ended the process.
 */
final class Execution {
	/**
	 * The batch.
	 *
	 * @var Batch
	 */
	private $batch;
	/**
	 * Where to report; null in a pass of page-load cron.
	 *
	 * @var Frames|null
	 */
	private $frames;
	/**
	 * Claimed rows that were not started yet.
	 *
	 * @var array
	 */
	private $waiting = array();
	/**
	 * The row whose hook is being called, with started_at (hrtime) and queries (before).
	 *
	 * @var array|null
	 */
	private $running = null;
	/**
	 * An end that is not in the journal yet: array( row, outcome, columns ).
	 *
	 * @var array|null
	 */
	private $ended = null;
	/**
	 * The earliest time that the runner was told.
	 *
	 * @var int|null
	 */
	private $told_next = null;
	/**
	 * An earlier time that could not be told yet.
	 *
	 * @var int|null
	 */
	private $untold = null;
	/**
	 * Did the database go away, and our locks with it?
	 *
	 * @var bool
	 */
	private $is_lockless = false;
	/**
	 * How many were executed.
	 *
	 * @var int
	 */
	private $ran = 0;
	/**
	 * Given free when memory ran out, so that the end can still be written.
	 *
	 * @var string
	 */
	private $reserve;

	/**
	 * The pass that runs in this process, for the notice of a hook that schedules something.
	 *
	 * @var Execution|null
	 */
	public static $current = null;

	/**
	 * A pass.
	 */
	public function __construct( Batch $batch, ?Frames $frames ) {
		$this->batch   = $batch;
		$this->frames  = $frames;
		$this->reserve = str_repeat( 'x', 65536 );
	}

	/**
	 * Works until nothing is due or so many milliseconds are over.
	 */
	public function work( int $budget_ms ): void {
		self::$current = $this;
		$until         = hrtime( true ) + $budget_ms * 1000000;
		$busy          = array();
		ignore_user_abort( true );
		if ( function_exists( 'set_time_limit' ) ) {
			set_time_limit( 0 ); // The runner has limits of its own, and some hosts take this function away.
		}
		wp_raise_memory_limit( 'cron' );
		register_shutdown_function( array( $this, 'shutdown' ) );
		Death::watch();
		do {
			$claimed = $this->claim_more();
			if ( is_string( $claimed ) ) {
				$why = $claimed;
				break;
			}
			$busy = $claimed['busy'];
			$this->report_claim( $claimed );
			$this->waiting = $claimed['rows'];
			while ( $this->waiting && ! $this->is_lockless && ! $this->is_short_of_memory() ) {
				$row = array_shift( $this->waiting );
				if ( $this->start( $row ) ) {
					$this->call( $row );
				}
			}
			$this->write_end( null );
			$this->batch->let_go();
			$why = $this->reason_to_stop( $claimed, $until );
		} while ( '' === $why );
		give_back( $this->batch->db, $this->batch->locks, $this->waiting );
		$this->waiting = array();
		$this->batch->close();
		$this->done( $why, $busy );
		self::$current = null;
	}

	/**
	 * Claims. Once something has run, a refusal is no error any more: it ends the pass, and is its reason.
	 *
	 * @return array|string
	 * @throws \Throwable What claim() throws, at the first claim of a pass.
	 */
	private function claim_more() {
		try {
			return claim( $this->batch );
		} catch ( Refused $e ) {
			if ( 0 === $this->ran ) {
				throw $e;
			}
			return $e->error;
		} catch ( Database_Error $e ) {
			if ( 0 === $this->ran || ! $e->is_busy() ) {
				throw $e;
			}
			return 'busy';
		}
	}

	/**
	 * Why this pass ends here; '' to go on.
	 */
	private function reason_to_stop( array $claimed, int $until ): string {
		if ( $this->is_lockless ) {
			return 'the database was restarted';
		}
		if ( $this->waiting ) {
			return 'memory';
		}
		if ( null !== $this->batch->hook ) {
			return 'asked for once'; // Its next occurrence would be claimed as well, due or not, and so on for ever.
		}
		if ( ! $claimed['rows'] ) {
			return $claimed['busy'] ? 'busy' : 'nothing due';
		}
		return hrtime( true ) >= $until ? 'budget' : '';
	}

	/**
	 * Tells the runner what is ours now.
	 */
	private function report_claim( array $claimed ): void {
		$this->told_next = $claimed['next'];
		if ( ! $this->frames || ! $claimed['rows'] ) {
			return;
		}
		$events = array();
		foreach ( $claimed['rows'] as $row ) {
			$events[] = array( 'run' => $row['run'], 'hook' => printable( $row['hook'] ), 'key' => $row['event_key'], 'due_at' => $row['due_at'], 'schedule' => $row['schedule'] );
		}
		$this->frames->send(
			array( 't' => 'claimed', 'batch' => $this->batch->id, 'events' => $events, 'remaining' => $claimed['remaining'], 'next' => $claimed['next'], 'busy' => $claimed['busy'], 'now_ms' => now_ms(), 'pid' => getmypid(), 'host' => host_name() )
		);
	}

	/**
	 * Marks the row as running, durably, before its hook is called. The end before it goes into the same commit.
	 */
	private function start( array &$row ): bool {
		try {
			return $this->hold_and_start( $row );
		} catch ( Database_Error $e ) {
			array_unshift( $this->waiting, $row );
			if ( ! $e->is_gone() || $this->is_lockless ) {
				throw $e;
			}
			$this->lose_locks();
			return false;
		}
	}

	/**
	 * The same, as long as the database answers.
	 */
	private function hold_and_start( array &$row ): bool {
		if ( ! $this->batch->hold( $row['lock'] ) ) {
			// The same event, from another occurrence, has just begun elsewhere.
			$this->write_end( null );
			$decided = give_back( $this->batch->db, $this->batch->locks, array( $row ) );
			$this->report_given_back( $row, $decided[ $row['run'] ] ?? 'given_back' );
			return false;
		}
		$row['started_ms'] = now_ms();
		if ( ! $this->write_end( $row ) ) {
			if ( $this->is_lockless ) {
				// Nobody knows whether its start was still committed; that its hook was not called, we do.
				move_row( $this->batch->db, $row['run'], 'running', 'claimed' );
				array_unshift( $this->waiting, $row );
				return false;
			}
			// Somebody decided meanwhile: the runner gave it back, or it was unscheduled.
			$now = journal_row( $this->batch->db, $row['run'] );
			$this->report_given_back( $row, $now ? $now['state'] : 'given_back' );
			return false;
		}
		$this->report( array( 't' => 'start', 'run' => $row['run'], 'hook' => printable( $row['hook'] ), 'at_ms' => $row['started_ms'] ) );
		return true;
	}

	/**
	 * Calls the hook, as wp-cron.php does.
	 */
	private function call( array $row ): void {
		global $wpdb;
		$error                   = null;
		$note                    = false === has_action( $row['hook'] ) && false === has_action( 'all' ) ? 'no callback' : null;
		$this->running           = $row;
		$this->running['queries'] = (int) $wpdb->num_queries;
		$this->running['since']  = hrtime( true );
		$this->running['sent']   = statements_sent();
		Death::expect_none();
		if ( function_exists( 'memory_reset_peak_usage' ) ) {
			memory_reset_peak_usage();
		}
		try {
			// Objects in the arguments come to life here and not before.
			$args = unserialize( $row['args'] ); // phpcs:ignore WordPress.PHP.DiscouragedPHPFunctions
			do_action_ref_array( $row['hook'], is_array( $args ) ? $args : array() ); // phpcs:ignore WordPress.NamingConventions.PrefixAllGlobals
		} catch ( \Throwable $e ) {
			$error = array( 'message' => get_class( $e ) . ': ' . $e->getMessage(), 'file' => $e->getFile(), 'line' => $e->getLine() );
		}
		$this->end( $error ? 'failed' : 'ok', $error, $this->tidy( $note ) );
	}

	/**
	 * Puts back what a hook may have left behind for the next one.
	 */
	private function tidy( ?string $note ): ?string {
		while ( ob_get_level() > 0 && @ob_end_flush() ) { // phpcs:ignore WordPress.PHP.NoSilencedErrors
			continue;
		}
		$this->tell_untold();
		$sent = statements_sent();
		$left = null !== $sent && ( $this->running['sent'] ?? null ) === $sent ? '' : take_back_connection();
		if ( '' !== $left ) {
			$note = trim( "$note $left" );
		}
		while ( is_multisite() && ms_is_switched() ) {
			restore_current_blog();
		}
		wp_set_current_user( 0 );
		return $note;
	}

	/**
	 * The hook has ended; the journal learns it with the next start, or at the end of the batch.
	 */
	private function end( string $outcome, ?array $error, ?string $note ): void {
		global $wpdb;
		$row           = $this->running;
		$this->running = null;
		$now           = now_ms();
		++$this->ran;
		$is_cut_off  = in_array( $outcome, array( 'timed_out', 'interrupted' ), true );
		$then        = $is_cut_off ? cut_off( $row, $outcome, $this->batch->policies, $note ) : array( 'then' => 'none', 'note' => $note );
		$this->ended = array(
			$row,
			$outcome,
			$then + array(
				'ended_ms'    => $now,
				'took_ms'     => (int) round( ( hrtime( true ) - $row['since'] ) / 1e6 ),
				'peak_memory' => memory_get_peak_usage(),
				'queries'     => max( 0, (int) $wpdb->num_queries - $row['queries'] ),
				'error'       => $error ? json_encode( $error, JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR ) : null, // phpcs:ignore WordPress.WP.AlternativeFunctions.json_encode_json_encode
			),
			$error,
		);
	}

	/**
	 * One durable commit: the end of the event before, and the start of the next.
	 *
	 * @param array|null $next The row to start.
	 * @return bool Was $next started?
	 * @throws Database_Error Where the database is gone for good.
	 */
	private function write_end( ?array $next ): bool {
		try {
			return $this->commit_end( $next );
		} catch ( Database_Error $e ) {
			if ( ! $e->is_gone() || $this->is_lockless ) {
				throw $e;
			}
			$this->lose_locks();
			return false;
		}
	}

	/**
	 * The database was restarted while a hook ran: our locks are gone. The end is still ours to tell; nothing is started any more.
	 */
	private function lose_locks(): void {
		$this->is_lockless = true;
		$this->batch->reconnect();
		$this->commit_end( null );
	}

	/**
	 * The commit itself.
	 */
	private function commit_end( ?array $next ): bool {
		$ended = $this->ended;
		if ( ! $ended && ! $next ) {
			return false;
		}
		$db      = $this->batch->db;
		$started = false;
		$counted = true;
		if ( $ended && 'requeued' === $ended[2]['then'] ) {
			// Together with the option, so not with the next start. Only at the end of a process does this happen.
			$this->ended = null;
			if ( end_run( $db, $this->batch->locks, $ended[0], $ended[1], $ended[2] ) ) {
				$this->report_end( $ended );
			}
			return $next ? $this->commit_end( $next ) : false;
		}
		$is_both = $ended && $next; // One statement alone is a transaction by itself.
		try {
			$is_both && $db->begin();
			if ( $ended ) {
				$counted = move_row( $db, $ended[0]['run'], 'running', $ended[1], $ended[2] );
			}
			if ( $next ) {
				$started = move_row( $db, $next['run'], 'claimed', 'running', array( 'started_ms' => $next['started_ms'] ) );
			}
			$is_both && $db->commit();
		} catch ( \Throwable $e ) {
			$is_both && $db->rollback();
			throw $e;
		}
		$this->ended = null;
		if ( $ended && $counted ) {
			$this->report_end( $this->with_bad_count( $ended ) );
		}
		return $started;
	}

	/**
	 * Counts the end of a recurring event among the bad ones in a row. Who ends well, and did so before, costs one query a pass.
	 */
	private function with_bad_count( array $ended ): array {
		list( $row, $outcome, $set ) = $ended;
		if ( null !== $row['schedule'] && ( 'ok' !== $outcome || $this->batch->ended_badly_before( $row ) ) ) {
			$said = count_bad( $this->batch->db, $this->batch->locks, $row, $outcome );
			if ( '' !== $said ) {
				$ended[2]['note'] = trim( "{$set['note']} $said" );
			}
		}
		return $ended;
	}

	/**
	 * Reports an end that is in the journal.
	 */
	private function report_end( array $ended ): void {
		list( $row, $outcome, $set, $error ) = $ended;
		$this->report(
			array( 't' => 'end', 'run' => $row['run'], 'outcome' => $outcome, 'then' => $set['then'], 'at_ms' => $set['ended_ms'], 'ms' => $set['took_ms'], 'peak_memory' => $set['peak_memory'], 'queries' => $set['queries'], 'error' => $error, 'note' => $set['note'], 'reason' => null )
		);
	}

	/**
	 * Reports a claimed row that was not started.
	 */
	private function report_given_back( array $row, string $state ): void {
		if ( 'skipped' === $state ) {
			$this->report( array( 't' => 'end', 'run' => $row['run'], 'outcome' => 'skipped', 'then' => 'none', 'at_ms' => now_ms(), 'ms' => 0, 'peak_memory' => null, 'queries' => null, 'error' => null, 'note' => null, 'reason' => 'unscheduled' ) );
		} else {
			$this->report( array( 't' => 'given_back', 'run' => $row['run'] ) );
		}
	}

	/**
	 * Sends a frame, if anybody listens.
	 */
	private function report( array $frame ): void {
		if ( $this->frames ) {
			$this->frames->send( $frame );
		}
	}

	/**
	 * A hook has scheduled something that comes before all that the runner knows of.
	 */
	public function tell_next( int $next ): bool {
		if ( $this->frames && ( null === $this->told_next || $next < $this->told_next ) ) {
			$this->told_next = $next;
			$this->untold    = $next;
			// A hook that collects its output (a cached page, a mail) must not find our frame in it.
			if ( 0 === ob_get_level() ) {
				$this->tell_untold();
			}
		}
		return null !== $this->frames;
	}

	/**
	 * Says it, once nobody collects output any more.
	 */
	private function tell_untold(): void {
		if ( null !== $this->untold ) {
			$this->report( array( 't' => 'next', 'next' => $this->untold ) );
			$this->untold = null;
		}
	}

	/**
	 * The last frame.
	 */
	private function done( string $why, array $busy ): void {
		if ( ! $this->frames ) {
			return;
		}
		$at = timetable( events_in( read_cron( $this->batch->db ) ), time(), paused_hooks( $this->batch->db ) );
		$this->report( array( 't' => 'done', 'next' => $at['next'], 'due' => $at['due'], 'busy' => $busy, 'ran' => $this->ran, 'why' => $why, 'now_ms' => now_ms() ) );
	}

	/**
	 * Less than a fifth of the memory is left: the rest goes to a fresh process.
	 */
	private function is_short_of_memory(): bool {
		$limit = wp_convert_hr_to_bytes( (string) ini_get( 'memory_limit' ) );
		return $limit > 0 && memory_get_usage() > 0.8 * $limit;
	}

	/**
	 * The process ends. If an event is running, it was that event's doing: exit, a fatal error, no memory, no time.
	 */
	public function shutdown(): void {
		if ( self::$current !== $this ) {
			return;
		}
		$this->reserve = '';
		ini_set( 'memory_limit', '-1' ); // phpcs:ignore WordPress.PHP.IniSet,Squiz.PHP.DiscouragedFunctions
		try {
			$event_did_it = null !== $this->running;
			if ( $event_did_it ) {
				list( $outcome, $error, $note ) = Death::cause();
				$this->end( $outcome, $error, $this->tidy( $note ) );
			}
			$this->write_end( null );
			$this->batch->let_go();
			give_back( $this->batch->db, $this->batch->locks, $this->waiting );
			$this->waiting = array();
			$this->batch->close();
			if ( $event_did_it ) {
				$this->done( 'an event ended the process', array() );
			}
		} catch ( \Throwable $e ) {
			// Without `done` the runner asks the journal, which has all that was committed.
			error_log( 'wp-cron-runner: ' . $e->getMessage() ); // phpcs:ignore WordPress.PHP.DevelopmentFunctions
		}
		self::$current = null;
	}
}
