<?php
/**
 * The `cron` option as data: read it without waking objects, count what is due, merge two changes of it. No I/O but the one read.
 *
 * Its form: array( timestamp => array( hook => array( md5 of the serialized arguments => event ) ), 'version' => 2 ).
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** An option of more bytes is not read: a process has no memory for what is in it. 100,000 events are about 15 million. */
const LARGEST_CRON = 33554432;

/**
 * The option's text as the row has it now; never through the object cache. Null where there is no row.
 *
 * @throws Corrupt_Cron Where it is too large to be read.
 */
function read_cron( Connection $db, bool $for_update = false ): ?string {
	global $wpdb;
	$limit = LARGEST_CRON;
	$row   = $db->row( "SELECT CASE WHEN LENGTH(option_value) > $limit THEN NULL ELSE option_value END AS found, LENGTH(option_value) AS size FROM {$wpdb->options} WHERE option_name = 'cron'" . ( $for_update ? $db->for_update() : '' ) );
	if ( $row && null === $row['found'] ) {
		throw new Corrupt_Cron( "has {$row['size']} bytes, and more than $limit are not read" );
	}
	if ( $row && strlen( $row['found'] ) > MB_IN_BYTES ) {
		wp_raise_memory_limit( 'cron' );
	}
	return $row ? (string) $row['found'] : null;
}

/**
 * The events of the option's text.
 *
 * @param string|null $text Null: there is no row, and there are none.
 * @throws Corrupt_Cron Where it is not an array of events.
 */
function events_in( ?string $text ): array {
	if ( null === $text ) {
		return array();
	}
	$cron = unpack_cron( $text );
	if ( null === $cron ) {
		throw new Corrupt_Cron( 'cannot be read as an array of events' );
	}
	return $cron;
}

/**
 * The `cron` option holds something that cannot be read; writing would lose it.
 */
final class Corrupt_Cron extends \RuntimeException {
	/**
	 * Says what is wrong, and what to do.
	 */
	public function __construct( string $what ) {
		parent::__construct( "the option `cron` $what; nothing was written" );
	}
}

/**
 * Unserializes the option, objects asleep where that loses nothing.
 *
 * Asleep (`allowed_classes` false), plain objects come out of serialize() again as they went in, but enums and classes with
 * a serializer of their own do not. Where the round trip is not exact, and WordPress with its plugins is loaded, the option is
 * read as core itself reads it on every page.
 *
 * @return array|null Null where it is not an array of events.
 */
function unpack_cron( string $text ): ?array {
	$cron = @unserialize( $text, array( 'allowed_classes' => false ) ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.PHP.DiscouragedPHPFunctions
	if ( is_array( $cron ) && serialize( $cron ) === $text ) { // phpcs:ignore WordPress.PHP.DiscouragedPHPFunctions
		return $cron;
	}
	if ( did_action( 'plugins_loaded' ) ) {
		$cron = @unserialize( $text ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.PHP.DiscouragedPHPFunctions
	} elseif ( ! is_array( $cron ) ) {
		// Only to look at: an enum in the arguments of one event must not hide all the others.
		$cron = @unserialize( (string) preg_replace( '/\bE:\d+:"[^"]*";/', 'N;', $text ), array( 'allowed_classes' => false ) ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.PHP.DiscouragedPHPFunctions
	}
	return is_array( $cron ) ? $cron : null;
}

/**
 * Arguments of one event, as bytes that hold objects asleep.
 */
function pack_args( array $args ): string {
	return serialize( $args ); // phpcs:ignore WordPress.PHP.DiscouragedPHPFunctions
}

/**
 * The arguments of an entry for people: JSON, cut where nobody would read on.
 */
function args_text( array $event ): string {
	$args = (string) json_encode( $event['args'] ?? array(), JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR ); // phpcs:ignore WordPress.WP.AlternativeFunctions
	return strlen( $args ) > 4096 ? substr( $args, 0, 4096 ) . '...' : $args;
}

/**
 * Every event of the option, in the order of the option: [timestamp, hook, key, event].
 *
 * Hooks such as "123" come out of PHP's arrays as integers; entries that are no events (other plugins' keys) are passed over.
 */
function each_event( array $cron ): \Generator {
	foreach ( $cron as $timestamp => $hooks ) {
		if ( ! is_numeric( $timestamp ) || ! is_array( $hooks ) ) {
			continue;
		}
		foreach ( $hooks as $hook => $events ) {
			foreach ( is_array( $events ) ? $events : array() as $key => $event ) {
				if ( is_array( $event ) ) {
					yield array( (int) $timestamp, (string) $hook, (string) $key, $event );
				}
			}
		}
	}
}

/**
 * When an event may start at the earliest: at its time, or at the end of its hook's pause; null where that has no end.
 *
 * @param array $paused As paused_hooks() gives them.
 */
function starts_at( int $timestamp, string $hook, array $paused ): ?int {
	$pause = $paused ? ( $paused[ printable( $hook ) ] ?? null ) : null;
	if ( null === $pause ) {
		return $timestamp;
	}
	return isset( $pause['until_ms'] ) ? max( $timestamp, intdiv( (int) $pause['until_ms'] + 999, 1000 ) ) : null;
}

/**
 * What is due now, oldest first: [timestamp, hook, key, event].
 *
 * @param array $paused As paused_hooks() gives them.
 */
function due_events( array $cron, int $now, array $paused = array() ): array {
	$due = array();
	foreach ( each_event( $cron ) as $one ) {
		$at = $one[0] <= $now ? starts_at( $one[0], $one[1], $paused ) : null;
		if ( null !== $at && $at <= $now ) {
			$due[] = $one;
		}
	}
	usort(
		$due,
		static function ( array $a, array $b ): int {
			return $a[0] <=> $b[0];
		}
	);
	return $due;
}

/**
 * The events of one hook, due or not, oldest first. The hook as it is printed: the runner has no other name for it.
 *
 * @param string|null $key    Only those with these arguments.
 * @param int|null    $due_at Only the one of this time.
 */
function events_of( array $cron, string $hook, ?string $key = null, ?int $due_at = null ): array {
	$of_hook = static function ( array $one ) use ( $hook, $key, $due_at ): bool {
		return printable( $one[1] ) === $hook && ( null === $key || $one[2] === $key ) && ( null === $due_at || $one[0] === $due_at );
	};
	return array_values( array_filter( due_events( $cron, PHP_INT_MAX ), $of_hook ) );
}

/**
 * The timetable in three numbers: next (the earliest in the future, or null), due (how many), oldest (of those, or null).
 *
 * @param array $paused As paused_hooks() gives them: nothing of theirs counts.
 */
function timetable( array $cron, int $now, array $paused = array() ): array {
	$table = array( 'next' => null, 'due' => 0, 'oldest' => null );
	foreach ( each_event( $cron ) as list( $timestamp, $hook ) ) {
		$timestamp = starts_at( $timestamp, $hook, $paused );
		if ( null === $timestamp ) {
			continue;
		}
		if ( $timestamp <= $now ) {
			++$table['due'];
			$table['oldest'] = null === $table['oldest'] ? $timestamp : min( $table['oldest'], $timestamp );
		} else {
			$table['next'] = null === $table['next'] ? $timestamp : min( $table['next'], $timestamp );
		}
	}
	return $table;
}

/**
 * When the next event of each hook is due: [hook, timestamp], soonest first, at most $most of them.
 *
 * In the order of the option, which core keeps by time: the first of a hook is its earliest. No event is looked into, and
 * a name that nobody could read is left out.
 *
 * @param array $paused As paused_hooks() gives them: what is started later has that time.
 */
function next_of_hooks( array $cron, array $paused = array(), int $most = 200 ): array {
	$times = array();
	foreach ( $cron as $timestamp => $hooks ) {
		if ( ! is_numeric( $timestamp ) || ! is_array( $hooks ) ) {
			continue;
		}
		foreach ( $hooks as $hook => $events ) {
			if ( isset( $times[ $hook ] ) || ! is_array( $events ) || ! $events || strlen( (string) $hook ) > 256 ) {
				continue;
			}
			$at = starts_at( (int) $timestamp, (string) $hook, $paused );
			if ( null === $at ) {
				continue;
			}
			$times[ $hook ] = array( printable( (string) $hook ), $at );
			if ( count( $times ) === $most ) {
				break 2;
			}
		}
	}
	return array_values( $times );
}

/**
 * Puts an event in; sort_cron() comes afterwards, once. False where that very event is there already.
 */
function insert_event( array &$cron, int $timestamp, string $hook, string $key, array $event ): bool {
	if ( isset( $cron[ $timestamp ][ $hook ][ $key ] ) ) {
		return false;
	}
	$cron[ $timestamp ][ $hook ][ $key ] = $event;
	return true;
}

/**
 * Puts the option into core's order: by time, and behind that what is no time. Sorting 100,000 takes a while, looking does not.
 */
function sort_cron( array &$cron ): void {
	$last = PHP_INT_MIN;
	foreach ( $cron as $timestamp => $hooks ) {
		$at = is_int( $timestamp ) ? $timestamp : PHP_INT_MAX;
		if ( $at < $last ) {
			uksort( $cron, 'strnatcasecmp' );
			return;
		}
		$last = $at;
	}
}

/**
 * Takes an event out. False where it was not there.
 */
function remove_event( array &$cron, int $timestamp, string $hook, string $key ): bool {
	if ( ! isset( $cron[ $timestamp ][ $hook ][ $key ] ) ) {
		return false;
	}
	unset( $cron[ $timestamp ][ $hook ][ $key ] );
	if ( ! $cron[ $timestamp ][ $hook ] ) {
		unset( $cron[ $timestamp ][ $hook ] );
	}
	if ( ! $cron[ $timestamp ] ) {
		unset( $cron[ $timestamp ] );
	}
	return true;
}

/**
 * Applies what one request did to its copy of the option (old to new) to the row as it is now.
 *
 * Events are told apart by timestamp, hook and key; the key is the hash of the arguments, so those need no comparing.
 *
 * @return array The merged option and the timestamps of the events that the request added.
 */
function merge_cron( array $old, array $new, array $row ): array {
	$added = array();
	foreach ( each_event( $old ) as list( $timestamp, $hook, $key ) ) {
		if ( ! isset( $new[ $timestamp ][ $hook ][ $key ] ) ) {
			remove_event( $row, $timestamp, $hook, $key );
		}
	}
	foreach ( each_event( $new ) as list( $timestamp, $hook, $key, $event ) ) {
		$was = isset( $old[ $timestamp ][ $hook ][ $key ] ) ? $old[ $timestamp ][ $hook ][ $key ] : null;
		if ( null === $was || same_terms( $was, $event ) === false ) {
			$row[ $timestamp ][ $hook ][ $key ] = $event;
			$added[]                           = $timestamp;
		}
	}
	$row['version'] = isset( $new['version'] ) ? $new['version'] : 2;
	sort_cron( $row );
	return array( $row, $added );
}

/**
 * Do two entries of one key repeat in the same way?
 */
function same_terms( array $a, array $b ): bool {
	return ( $a['schedule'] ?? false ) === ( $b['schedule'] ?? false ) && ( $a['interval'] ?? null ) === ( $b['interval'] ?? null );
}

/**
 * When a recurring event that is taken out now comes again, by core's rule (wp_reschedule_event): the first time of its
 * own phase that lies in the future.
 */
function next_occurrence( int $timestamp, int $interval, int $now ): int {
	return $timestamp >= $now ? $now + $interval : $now + ( $interval - ( ( $now - $timestamp ) % $interval ) );
}

/**
 * Lets WordPress forget the copies it has of the option: this process, and a persistent object cache.
 */
function forget_cached_cron(): void {
	wp_cache_delete( 'cron', 'options' );
	wp_cache_delete( 'alloptions', 'options' );
}
