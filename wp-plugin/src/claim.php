<?php
/**
 * The claim: due events leave the `cron` option and enter the journal in one transaction, and the way back.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

const MOST_AT_ONCE    = 50;
const RESTART_TAKES_S = 120;

/** In the entry of an event that is tried once more: which try it is, and how many processes died of it in a row. */
const RETRY_MARK = 'wp_cron_runner';

/**
 * One `run` request, or one pass of page-load cron: who claims, for whom, with which locks.
 */
final class Batch {
	/**
	 * Its name: the nonce of the request.
	 *
	 * @var string
	 */
	public $id;
	/**
	 * The connection of our own.
	 *
	 * @var Connection
	 */
	public $db;
	/**
	 * Locks on that connection.
	 *
	 * @var Locks
	 */
	public $locks;
	/**
	 * The runner's epoch.
	 *
	 * @var int
	 */
	public $epoch;
	/**
	 * The runner's name.
	 *
	 * @var string
	 */
	public $runner;
	/**
	 * How PHP was reached: fastcgi, http, page-load.
	 *
	 * @var string
	 */
	public $trigger;
	/**
	 * Places for parallel runs that the runner has for this site.
	 *
	 * @var int
	 */
	public $lanes = 1;
	/**
	 * The longest time limit of an event, in seconds.
	 *
	 * @var int
	 */
	public $longest = 600;
	/**
	 * Policies for interrupted runs: [hook glob, hold, drop or retry].
	 *
	 * @var array
	 */
	public $policies = array();
	/**
	 * Recurring events that ended badly the last time, by bad_name(); null until somebody asks.
	 *
	 * @var array|null
	 */
	private $bad = null;
	/**
	 * Somebody asked for the events of this hook alone, due or not. As it is printed.
	 *
	 * @var string|null
	 */
	public $hook = null;
	/**
	 * Of that hook only the events with this key, which is to say with the same arguments.
	 *
	 * @var string|null
	 */
	public $key = null;
	/**
	 * And of those only the one of this time.
	 *
	 * @var int|null
	 */
	public $due_at = null;
	/**
	 * The event lock that is held, or ''.
	 *
	 * @var string
	 */
	public $holding = '';
	/**
	 * Has the nonce been used up in the database?
	 *
	 * @var bool
	 */
	public $nonce_used = false;

	/**
	 * Takes the batch lock.
	 *
	 * @throws Refused Where this kind of site cannot hold process locks, or the batch runs already.
	 */
	public function __construct( string $id, Connection $db, int $epoch, string $runner, string $trigger ) {
		$locks         = required_locks( $db );
		$this->id      = $id;
		$this->db      = $db;
		$this->locks   = $locks;
		$this->epoch   = $epoch;
		$this->runner  = substr( $runner, 0, 191 );
		$this->trigger = $trigger;
		if ( ! $locks->take( array( batch_lock( $id ) ) ) ) {
			throw new Refused( 409, 'E_REPLAY' );
		}
	}

	/**
	 * Takes the lock of this event, and frees the one of the event before.
	 */
	public function hold( string $lock ): bool {
		if ( $lock === $this->holding ) {
			return true;
		}
		$this->holding = $this->locks->swap( $this->holding, $lock ) ? $lock : '';
		return '' !== $this->holding;
	}

	/**
	 * Frees the lock of the event before.
	 */
	public function let_go(): void {
		if ( '' !== $this->holding ) {
			$this->locks->release( array( $this->holding ) );
			$this->holding = '';
		}
	}

	/**
	 * Did this recurring event end badly the last time? Asked of the database once.
	 */
	public function ended_badly_before( array $row ): bool {
		if ( null === $this->bad ) {
			try {
				$this->bad = (array) get_state( $this->db, 'bad' );
			} catch ( Database_Error $e ) {
				return false; // Whoever writes next finds out.
			}
		}
		return isset( $this->bad[ bad_name( $row ) ] );
	}

	/**
	 * A new connection, after the server dropped the old one with all its locks. A server that is restarted is waited for: an end
	 * that nobody writes down would be unknown for as long as this process lives.
	 *
	 * @throws Database_Error Where it stays away.
	 */
	public function reconnect(): void {
		$until = hrtime( true ) + RESTART_TAKES_S * 1000000000;
		while ( true ) {
			try {
				$this->db = own_connection();
				break;
			} catch ( Database_Error $e ) {
				// All others come back as well: there may be no connection left for a moment.
				if ( ! ( $e->is_gone() || $e->is_busy() ) || hrtime( true ) >= $until ) {
					throw $e;
				}
				sleep( 1 );
			}
		}
		$this->locks   = required_locks( $this->db );
		$this->holding = '';
	}

	/**
	 * Frees everything. From here on nothing of this batch may be open in the journal.
	 */
	public function close(): void {
		$this->let_go();
		$this->locks->release( array( batch_lock( $this->id ) ) );
	}
}

/**
 * Claims some of what is due.
 *
 * @return array rows (to be executed in this order), remaining (due events left in the option), next, busy.
 * @throws Refused        Stale epoch, a nonce that was used before, or a hook that has no event.
 * @throws Database_Error Busy, or the database is gone.
 */
function claim( Batch $batch ): array {
	$now    = time();
	$cron   = events_in( read_cron( $batch->db ) );
	$paused = paused_hooks( $batch->db );
	// Who names a hook gets it run, paused or not: somebody waits for it.
	$want = null === $batch->hook ? due_events( $cron, $now, $paused ) : events_of( $cron, $batch->hook, $batch->key, $batch->due_at );
	if ( null !== $batch->hook && ! $want ) {
		throw new Refused( 404, 'E_HOOK', array( 'message' => $batch->hook ) );
	}
	unset( $cron ); // It is read once more under the lock, and 100,000 events fill 150 MB.
	$plan = plan( $batch, $want, $now );
	$took = array();
	try {
		$took = change_cron(
			$batch->db,
			$batch->locks,
			static function ( array &$cron ) use ( $batch, $plan, $now, $paused ): array {
				if ( ! $batch->nonce_used && ! use_nonce( $batch->db, $batch->id ) ) {
					throw new Refused( 409, 'E_REPLAY' );
				}
				check_epoch( $batch->db, $batch->epoch );
				if ( PAGE_LOAD !== $batch->trigger ) {
					refuse_left( $batch->db );
				}
				$rows = take_out( $batch, $cron, $plan['take'] );
				insert_rows( $batch->db, $rows );
				return array( $rows, timetable( $cron, $now, $paused ) );
			}
		);
	} finally {
		// The first event of the batch starts at once and keeps its lock; the others take theirs when they start.
		$rows  = $took ? $took[0] : array();
		$first = $rows ? $rows[0]['lock'] : '';
		$batch->locks->release( array_diff( $plan['locks'], array( $first ) ) );
		$batch->holding = $first;
	}
	$batch->nonce_used = true;
	return array( 'rows' => $took[0], 'remaining' => $took[1]['due'], 'next' => $took[1]['next'], 'busy' => $plan['busy'] );
}

/**
 * Chooses events and takes their locks. Filters of other plugins run here, before the write lock is taken.
 *
 * @return array take: [timestamp, hook, key, next or null, lock]; locks; busy.
 */
function plan( Batch $batch, array $due, int $now ): array {
	$share     = null === $batch->hook ? 4 * $batch->lanes : 1;
	$want      = min( MOST_AT_ONCE, (int) ceil( count( $due ) / $share ) );
	$plan      = array( 'take' => array(), 'locks' => array(), 'busy' => array() );
	$blog      = get_current_blog_id();
	$schedules = $due ? wp_get_schedules() : array();
	$running   = $due ? running_events( $batch ) : array();
	while ( $due && count( $plan['take'] ) < $want ) {
		$some  = array_splice( $due, 0, $want - count( $plan['take'] ) );
		$names = array();
		foreach ( $some as $i => $one ) {
			$names[ $i ] = event_lock( $blog, $one[1], $one[2] );
		}
		$ours          = array_flip( $batch->locks->take( array_diff( array_unique( $names ), $plan['locks'] ) ) );
		$plan['locks'] = array_merge( $plan['locks'], array_keys( $ours ) );
		foreach ( $some as $i => $one ) {
			list( $timestamp, $hook, $key, $event ) = $one;
			$why_not                                = array( 'hook' => printable( $hook ), 'key' => $key, 'due_at' => $timestamp, 'run' => null );
			if ( isset( $running[ $names[ $i ] ] ) || ! in_array( $names[ $i ], $plan['locks'], true ) ) {
				$plan['busy'][] = array_merge( $why_not, array( 'run' => $running[ $names[ $i ] ] ?? null ) );
				continue;
			}
			if ( strlen( $key ) > 191 || ! preg_match( '//u', $key ) ) {
				$plan['busy'][] = array_merge( $why_not, array( 'key' => substr( printable( $key ), 0, 191 ), 'reason' => 'its key is none that WordPress makes' ) );
				continue;
			}
			$next = next_of( $timestamp, $hook, $event, $schedules, $now );
			if ( false === $next ) {
				$plan['busy'][] = array_merge( $why_not, array( 'reason' => 'its schedule is unknown and it has no interval of its own' ) );
			} else {
				$plan['take'][] = array( $timestamp, $hook, $key, $next, $names[ $i ] );
			}
		}
	}
	return $plan;
}

/**
 * Events that run, as the journal knows: name of the event lock => run id. Their locks say the same, unless the database was
 * restarted meanwhile and dropped them.
 */
function running_events( Batch $batch ): array {
	$running = array();
	foreach ( $batch->db->rows( 'SELECT ' . ROW_COLUMNS . ' FROM ' . journal_table() . " WHERE blog = ? AND state = 'running'", array( get_current_blog_id() ) ) as $row ) {
		if ( 'dead' !== process_state( $batch->db, $batch->locks, $row ) ) {
			$running[ event_lock( (int) $row['blog'], $row['hook'], $row['event_key'] ) ] = $row['run'];
		}
	}
	return $running;
}

/**
 * The next occurrence of an event, through the filters that core asks (wp_reschedule_event, wp_schedule_event).
 *
 * Core loses a recurring event whose schedule is gone; here its own interval goes on.
 *
 * @return array|null|false [timestamp, hook, key, entry]; null where there is none; false where it cannot be known.
 */
function next_of( int $timestamp, string $hook, array $event, array $schedules, int $now ) {
	if ( empty( $event['schedule'] ) ) {
		return null;
	}
	$args     = isset( $event['args'] ) ? (array) $event['args'] : array();
	$interval = (int) ( $schedules[ $event['schedule'] ]['interval'] ?? 0 );
	$interval = $interval > 0 ? $interval : (int) ( $event['interval'] ?? 0 );
	if ( $interval <= 0 ) {
		return false;
	}
	$next = (object) array( 'hook' => $hook, 'timestamp' => $timestamp, 'schedule' => $event['schedule'], 'args' => $args, 'interval' => $interval );
	// phpcs:disable WordPress.NamingConventions.PrefixAllGlobals -- core's own filters.
	if ( null !== apply_filters( 'pre_reschedule_event', null, $next, false ) ) {
		return null;
	}
	$next->timestamp = next_occurrence( $timestamp, $interval, $now );
	if ( null !== apply_filters( 'pre_schedule_event', null, $next, false ) ) {
		return null;
	}
	$next = apply_filters( 'schedule_event', $next );
	// phpcs:enable
	if ( ! $next ) {
		return null;
	}
	$entry = array( 'schedule' => $next->schedule, 'args' => $next->args, 'interval' => $next->interval );
	return array( (int) $next->timestamp, (string) $next->hook, md5( pack_args( $next->args ) ), $entry );
}

/**
 * Takes the chosen events out of the option, puts their next occurrences in, and makes the journal's rows.
 */
function take_out( Batch $batch, array &$cron, array $take ): array {
	$rows  = array();
	$pid   = (int) getmypid();
	$start = process_start( $pid );
	foreach ( $take as list( $timestamp, $hook, $key, $next, $lock ) ) {
		$event = $cron[ $timestamp ][ $hook ][ $key ] ?? null;
		if ( ! is_array( $event ) || ! remove_event( $cron, $timestamp, $hook, $key ) ) {
			continue; // Somebody was faster.
		}
		// A filter may have turned the next occurrence into another event: only one of the same hook and key is undone later.
		$added = $next && insert_event( $cron, $next[0], $next[1], $next[2], $next[3] );
		$same  = $next && $next[1] === $hook && $next[2] === $key;
		$rows[] = array(
			'run'         => run_id(),
			'blog'        => get_current_blog_id(),
			'state'       => 'claimed',
			'batch'       => $batch->id,
			'hook'        => $hook,
			'event_key'   => $key,
			'args'        => pack_args( isset( $event['args'] ) ? (array) $event['args'] : array() ),
			'due_at'      => $timestamp,
			'schedule'    => empty( $event['schedule'] ) ? null : (string) $event['schedule'],
			'every'       => isset( $event['interval'] ) ? (int) $event['interval'] : null,
			'next_at'     => $same ? $next[0] : null,
			'next_added'  => $same && $added ? 1 : 0,
			'epoch'       => $batch->epoch,
			'runner'      => $batch->runner,
			'run_trigger' => $batch->trigger,
			'host'        => host_name(),
			'pid'         => $pid,
			'pid_start'   => $start,
			'claimed_ms'  => now_ms(),
			'limit_s'     => $batch->longest,
			// Anybody can write anything into the option.
			'attempt'     => max( 1, min( 100, (int) ( $event[ RETRY_MARK ]['attempt'] ?? 1 ) ) ),
			'deaths'      => max( 0, min( 100, (int) ( $event[ RETRY_MARK ]['deaths'] ?? 0 ) ) ),
			'lock'        => $lock,
		);
	}
	return $rows;
}

/**
 * Writes the journal's rows with one statement.
 */
function insert_rows( Connection $db, array $rows ): void {
	if ( ! $rows ) {
		return;
	}
	$columns = array_diff( array_keys( $rows[0] ), array( 'lock' ) );
	$places  = '(' . implode( ', ', array_fill( 0, count( $columns ), '?' ) ) . ')';
	$values  = array();
	foreach ( $rows as $row ) {
		foreach ( $columns as $column ) {
			$values[] = $row[ $column ];
		}
	}
	$db->write(
		'INSERT INTO ' . journal_table() . ' (' . implode( ', ', $columns ) . ') VALUES ' . implode( ', ', array_fill( 0, count( $rows ), $places ) ),
		$values
	);
}

/**
 * Gives claimed rows back: their events stand in the option again as before the claim.
 *
 * A row whose next occurrence has vanished meanwhile was unscheduled by somebody: it is skipped, not given back.
 *
 * @param array $rows Rows with args, next_at and next_added.
 * @return array run => given_back or skipped, for the rows that this call decided.
 */
function give_back( Connection $db, Locks $locks, array $rows ): array {
	if ( ! $rows ) {
		return array();
	}
	return change_cron(
		$db,
		$locks,
		static function ( array &$cron ) use ( $db, $rows ): array {
			$decided = array();
			$before  = $cron; // Two occurrences of one event share their next: giving back the first must not make the second look unscheduled.
			foreach ( $rows as $row ) {
				$next = null === $row['next_at'] ? null : (int) $row['next_at'];
				if ( null !== $next && ! isset( $before[ $next ][ $row['hook'] ][ $row['event_key'] ] ) ) {
					$to = 'skipped';
				} else {
					$to = 'given_back';
				}
				if ( ! move_row( $db, $row['run'], 'claimed', $to, array( 'ended_ms' => now_ms(), 'reason' => 'skipped' === $to ? 'unscheduled' : null ) ) ) {
					continue;
				}
				$decided[ $row['run'] ] = $to;
				if ( 'given_back' === $to ) {
					if ( null !== $next && (int) $row['next_added'] ) {
						remove_event( $cron, $next, $row['hook'], $row['event_key'] );
					}
					insert_event( $cron, (int) $row['due_at'], $row['hook'], $row['event_key'], entry( $row ) );
				}
			}
			return $decided;
		}
	);
}

/**
 * The option's entry for a row of the journal.
 */
function entry( array $row ): array {
	$entry = array( 'schedule' => null === $row['schedule'] ? false : $row['schedule'], 'args' => unpack_args( $row['args'] ) );
	if ( null !== $row['every'] ) {
		$entry['interval'] = (int) $row['every'];
	}
	if ( (int) $row['attempt'] > 1 ) {
		$entry[ RETRY_MARK ] = array( 'attempt' => (int) $row['attempt'], 'deaths' => (int) $row['deaths'] );
	}
	return $entry;
}

/**
 * Arguments from the journal, objects asleep where that loses nothing.
 */
function unpack_args( string $bytes ): array {
	$args = @unserialize( $bytes, array( 'allowed_classes' => false ) ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.PHP.DiscouragedPHPFunctions
	if ( ! is_array( $args ) || pack_args( $args ) !== $bytes ) {
		$args = unserialize( $bytes ); // phpcs:ignore WordPress.PHP.DiscouragedPHPFunctions
	}
	return is_array( $args ) ? $args : array();
}
