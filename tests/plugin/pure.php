<?php
/**
 * The plugin's pure parts, without WordPress: signature and frames, the cron option as data, keys and names.
 *
 * php tests/plugin/pure.php, on PHP 7.4 to 8.4. Ends with "N passed, N failed", and with status 1 where any failed.
 */

namespace WP_Cron_Runner;

error_reporting( E_ALL );
set_error_handler(
	static function ( int $level, string $message, string $file, int $line ): bool {
		if ( error_reporting() & $level ) {
			throw new \ErrorException( $message, 0, $level, $file, $line );
		}
		return true;
	}
);

// What the pure files need of WordPress.
function did_action( string $action ): int {
	return 0;
}
function get_current_blog_id(): int {
	return 1;
}

define( 'WEEK_IN_SECONDS', 604800 );
define( 'HOUR_IN_SECONDS', 3600 );
$plugin = __DIR__ . '/../../wp-plugin';
foreach ( array( 'settings', 'protocol', 'connection', 'process', 'locks', 'cron-option', 'write-lock', 'merge', 'journal', 'owner', 'claim', 'ends', 'settle', 'notice', 'page-load-cron', 'bootstrap', 'execute', 'object-cache', 'doctor' ) as $file ) {
	require "$plugin/src/$file.php";
}

$GLOBALS['passed'] = 0;
$GLOBALS['failed'] = 0;

function same( string $what, $expected, $found ): void {
	if ( $expected === $found ) {
		++$GLOBALS['passed'];
		return;
	}
	++$GLOBALS['failed'];
	echo "FAILED: $what\n  expected ", var_export( $expected, true ), "\n  found    ", var_export( $found, true ), "\n";
}

function event( $schedule = false, ?int $interval = null, array $args = array() ): array {
	$event = array( 'schedule' => $schedule, 'args' => $args );
	return null === $interval ? $event : $event + array( 'interval' => $interval );
}

// --- What doctor tells. ---
same( 'a long list is cut and counted', array( 'count' => 12, 'first' => range( 1, 10 ) ), some( range( 1, 12 ) ) );
same( 'names that are numbers stay text', array( array( '123', '2' ) ), pairs( array( '123' => 2 ) ) );
same( 'a long name is cut', 200, strlen( pairs( array( str_repeat( 'x', 900 ) => 1 ) )[0][0] ) );

// --- The command line's door. ---
define( 'ABSPATH', sys_get_temp_dir() . '/' );
require "$plugin/src/endpoint.php";
same( 'a look is asked for', true, asks_for( '/blog/?wp-cron-runner=due', 'due' ) );
same( 'another call is not', false, asks_for( '/?wp-cron-runner=due', 'run' ) );
same( 'nor one with more behind it', false, asks_for( '/?wp-cron-runner=due&x=1', 'due' ) );
same( 'nor a path alone', false, asks_for( '/due', 'due' ) );
$root = sys_get_temp_dir() . '/wpcr-pure-' . getmypid() . '-';
same( 'no mark, no maintenance', false, is_in_maintenance( $root ) );
foreach ( array( '$upgrading = ' . time() . ';' => true, '$upgrading = time() - 599;' => true, '$upgrading = time() - 601;' => false, '' => false ) as $mark => $expected ) {
	file_put_contents( $root . '.maintenance', "<?php $mark" );
	same( "maintenance by `$mark`", $expected, is_in_maintenance( $root ) );
	unlink( $root . '.maintenance' );
}

// --- The signature: the same vectors as the runner's tests read. ---
$vectors = json_decode( (string) file_get_contents( __DIR__ . '/../vectors/signature.json' ), true );
same( 'there are vectors', true, is_array( $vectors ) && count( $vectors ) >= 3 );
foreach ( $vectors as $v ) {
	$name = $v['name'];
	$key  = hex2bin( $v['key'] );
	same( "$name: kid", $v['kid'], key_id( $key ) );
	same( "$name: string", $v['string_to_sign'], string_to_sign( $v['path'], $v['host'], $v['site'], $v['kid'], (string) $v['ts'], $v['nonce'], $v['body'] ) );
	same( "$name: sig", $v['sig'], hash_hmac( 'sha256', $v['string_to_sign'], $key ) );
	$keys = array( $v['kid'] => $key );
	$good = verified( $v['header'], $v['path'], $v['host'], $v['body'], $keys, $v['site'] );
	same( "$name: verified", array( 1, $v['kid'], $v['ts'], $v['nonce'] ), $good ? array( $good['version'], $good['kid'], $good['ts'], $good['nonce'] ) : null );
	$wrong = array(
		'another path'  => array( $v['header'], $v['path'] . '&x', $v['host'], $v['body'], $keys, $v['site'] ),
		'another host'  => array( $v['header'], $v['path'], 'evil.' . $v['host'], $v['body'], $keys, $v['site'] ),
		'another body'  => array( $v['header'], $v['path'], $v['host'], $v['body'] . ' ', $keys, $v['site'] ),
		'another site'  => array( $v['header'], $v['path'], $v['host'], $v['body'], $keys, $v['site'] . 'x' ),
		'no site'       => array( $v['header'], $v['path'], $v['host'], $v['body'], $keys, '' ),
		'no key'        => array( $v['header'], $v['path'], $v['host'], $v['body'], array(), $v['site'] ),
		'another key'   => array( $v['header'], $v['path'], $v['host'], $v['body'], array( $v['kid'] => random_bytes( 32 ) ), $v['site'] ),
		'no header'     => array( '', $v['path'], $v['host'], $v['body'], $keys, $v['site'] ),
		'twice'         => array( $v['header'] . ', ' . $v['header'], $v['path'], $v['host'], $v['body'], $keys, $v['site'] ),
		'a line behind' => array( $v['header'] . "\n", $v['path'], $v['host'], $v['body'], $keys, $v['site'] ),
	);
	foreach ( $wrong as $how => $arguments ) {
		same( "$name: $how", null, verified( ...$arguments ) );
	}
	// Every byte of time, nonce and signature counts.
	foreach ( array( 'ts', 'nonce', 'sig' ) as $part ) {
		$at      = (int) strpos( $v['header'], "$part=" ) + strlen( $part ) + 1;
		$changed = $v['header'];
		$changed[ $at ] = '1' === $changed[ $at ] ? '2' : '1';
		same( "$name: $part changed", null, verified( $changed, $v['path'], $v['host'], $v['body'], $keys, $v['site'] ) );
	}
	$frames = new Frames( $key, $v['nonce'] );
	same( "$name: marker", $v['marker'], $frames->marker() );
	$numbered = array();
	foreach ( $v['frames'] as $frame ) {
		$numbered[ $frame['seq'] ] = $frame;
	}
	for ( $seq = 0; $seq <= max( array_keys( $numbered ) ); $seq++ ) {
		$line = $frames->encode( $numbered[ $seq ]['json'] ?? '{}' );
		if ( isset( $numbered[ $seq ] ) ) {
			same( "$name: frame $seq", $numbered[ $seq ]['wire'], "\n$line\n" );
		}
	}
}

// --- Keys. ---
define( 'WP_CRON_RUNNER_KEYS', str_repeat( '0123456789abcdef', 4 ) . '  ' . str_repeat( 'ab', 32 ) . ' changeme ' . strtoupper( str_repeat( '1f2e3d4c5b6a7988', 4 ) ) . "\n" . str_repeat( 'f', 63 ) );
same( 'only real keys are keys', array( 32, 32 ), array_values( array_map( 'strlen', keys() ) ) );
same( 'the first key signs', hex2bin( str_repeat( '0123456789abcdef', 4 ) ), current( keys() ) );

// --- Names and numbers. ---
same( 'a run id', 1, preg_match( '/^[0-9A-HJKMNP-TV-Z]{26}$/', run_id() ) );
same( 'run ids differ', true, run_id() !== run_id() );
same( 'UTF-8 stays', "caf\u{e9}", printable( "caf\u{e9}" ) );
same( 'other bytes are shown', 'a\xE9\xFFb', printable( "a\xE9\xFFb" ) );
same( 'grace has a default', 600, grace( array() ) );
same( 'seen is written four times in a grace', 2, seen_every( array( 'grace' => 8 ) ) );
same( 'but seldom', 150, seen_every( array() ) );

// --- The object cache's database. ---
foreach ( array(
	array( array(), 'tcp://127.0.0.1:6379/0', 'nothing said' ),
	array( array( 'host' => 'Redis.Example', 'port' => '6380', 'database' => '3' ), 'tcp://redis.example:6380/3', 'numbers as text' ),
	array( array( 'scheme' => 'unix', 'path' => '/run/redis.sock', 'database' => 2 ), 'unix:/run/redis.sock/2', 'a socket by path' ),
	array( array( 'host' => '/run/redis.sock', 'port' => 0 ), 'unix:/run/redis.sock/0', 'a socket by host' ),
	array( array( 'host' => 'unix:///run/redis.sock' ), 'unix:/run/redis.sock/0', 'a socket by address' ),
	array( array( 'scheme' => 'rediss', 'host' => 'r' ), 'tls://r:6379/0', 'TLS by scheme' ),
	array( array( 'host' => 'tls://user:secret@r:7000/5?auth=secret', 'port' => 6379 ), 'tls://r:7000/0', 'TLS by address, and no password' ),
	array( array( 'host' => 'tcp://r?auth=secret' ), 'tcp://r:6379/0', 'no password behind it' ),
	array( array( 'host' => 'user:secret@r' ), 'tcp://r:6379/0', 'nor before it' ),
	array( array( 'host' => 'redis:6380' ), 'tcp://redis:6380/0', 'a port behind the host' ),
	array( array( 'host' => '::1' ), 'tcp://[::1]:6379/0', 'IPv6' ),
	array( array( 'host' => 'fe80::1', 'port' => 1 ), 'tcp://[fe80::1]:1/0', 'IPv6 that begins like a scheme' ),
	array( array( 'host' => array( 'a' ), 'password' => 'secret', 'database' => null ), 'tcp://127.0.0.1:6379/0', 'what is no text' ),
) as list( $set, $expected, $why ) ) {
	same( "object cache: $why", $expected, redis_database( $set ) );
}

// --- The option as data. ---
$cron = array(
	100       => array( 'a' => array( 'k1' => event(), 'k2' => event() ) ),
	200       => array( 123 => array( 'k' => event( 'hourly', 3600 ) ) ),
	'300'     => array( 'b' => array( 'k' => event() ), 'junk' => 'no events' ),
	'version' => 2,
	'foreign' => 'another plugin',
);
same( 'every event', 4, iterator_count( each_event( $cron ) ) );
same( 'nothing due yet', array( 'next' => 100, 'due' => 0, 'oldest' => null ), timetable( $cron, 99 ) );
same( 'due in its second', array( 'next' => 200, 'due' => 2, 'oldest' => 100 ), timetable( $cron, 100 ) );
same( 'all due', array( 'next' => null, 'due' => 4, 'oldest' => 100 ), timetable( $cron, 300 ) );
same( 'a hook that looks like a number is a string', '123', due_events( $cron, 250 )[2][1] );
same( 'empty', array( 'next' => null, 'due' => 0, 'oldest' => null ), timetable( array( 'version' => 2 ), 5 ) );
$hooks = array( 100 => array( 'b' => array( 'k' => event() ), str_repeat( 'x', 257 ) => array( 'k' => event() ) ), 150 => array( 'a' => array(), 'b' => array( 'k' => event() ) ), 200 => array( 'a' => array( 'k' => event() ), 7 => array( 'k' => event() ), "\xff" => array( 'k' => event() ) ), 'version' => 2 );
same( 'the next of each hook', array( array( 'b', 100 ), array( 'a', 200 ), array( '7', 200 ), array( '\xFF', 200 ) ), next_of_hooks( $hooks ) );
same( 'the next of the first hooks', array( array( 'b', 100 ), array( 'a', 200 ) ), next_of_hooks( $hooks, array(), 2 ) );
same( 'the next of a paused hook', array( array( 'a', 200 ) ), next_of_hooks( $hooks, array( 'b' => array( 'until_ms' => null ) ), 1 ) );

// Paused hooks.
$two = array( 100 => array( 'a' => array( 'k' => array( 'schedule' => false ) ), '123' => array( 'k' => array( 'schedule' => false ) ) ) );
same( 'a pause without an end', array( 'next' => null, 'due' => 1, 'oldest' => 100 ), timetable( $two, 100, array( 'a' => array( 'until_ms' => null ) ) ) );
same( 'a pause with an end', array( 'next' => 151, 'due' => 1, 'oldest' => 100 ), timetable( $two, 100, array( 'a' => array( 'until_ms' => 150001 ) ) ) );
same( 'at its end', array( 'next' => null, 'due' => 2, 'oldest' => 100 ), timetable( $two, 151, array( 'a' => array( 'until_ms' => 150001 ) ) ) );
same( 'a hook that looks like a number', array( array( 100, 'a', 'k', array( 'schedule' => false ) ) ), due_events( $two, 100, array( 123 => array( 'until_ms' => null ) ) ) );

// Text for people's eyes, as the runner writes it.
same( 'what steers a terminal', 'a\x1B[31mb\n\u{202e}\u{85}\x00', visible( "a\x1b[31mb\n\u{202e}\u{85}\0" ) );
same( 'what is long', str_repeat( 'x', 256 ) . '... (10000 bytes)', visible( str_repeat( 'x', 10000 ) ) );
same( 'a cut between the bytes of a letter', true, (bool) preg_match( '/^é+\.\.\. \(400 bytes\)$/u', visible( str_repeat( 'é', 200 ), 255 ) ) );

$copy = $cron;
same( 'removed', true, remove_event( $copy, 100, 'a', 'k1' ) );
same( 'removed once', false, remove_event( $copy, 100, 'a', 'k1' ) );
same( 'its neighbour stays', true, isset( $copy[100]['a']['k2'] ) );
remove_event( $copy, 100, 'a', 'k2' );
same( 'an empty second goes', false, isset( $copy[100] ) );
same( 'put back', true, insert_event( $copy, 100, 'a', 'k1', event() ) );
same( 'put back once', false, insert_event( $copy, 100, 'a', 'k1', event() ) );
sort_cron( $copy );
same( 'in core\'s order', array( 100, 200, 300, 'version' ), array_values( array_diff( array_keys( $copy ), array( 'foreign' ) ) ) );

// --- Next occurrences: core's rule. ---
foreach ( array(
	array( 1000, 60, 1000, 1060, 'on time' ),
	array( 1000, 60, 1001, 1060, 'a second late keeps its phase' ),
	array( 1000, 60, 1060, 1120, 'a whole interval late' ),
	array( 1000, 60, 1125, 1180, 'two missed: once, then its phase' ),
	array( 2000, 60, 1000, 1060, 'ahead of time' ),
	array( 1000, 1, 5000, 5001, 'every second' ),
) as list( $at, $interval, $now, $expected, $why ) ) {
	same( "next: $why", $expected, next_occurrence( $at, $interval, $now ) );
}

// --- The merge. ---
$a = array( 100 => array( 'a' => array( 'k' => event() ) ), 'version' => 2 );
$b = array( 200 => array( 'b' => array( 'k' => event() ) ), 'version' => 2 );
$ab = array( 100 => $a[100], 200 => $b[200], 'version' => 2 );
same( 'two requests add: both stay', array( array( 100, 200, 'version' ), array( 200 ) ), merged( array( 'version' => 2 ), $b, $a ) );
same( 'what has run does not come back', array( array( 300, 'version' ), array( 300 ) ), merged( $a, $a + array( 300 => array( 'c' => array( 'k' => event() ) ) ), array( 'version' => 2 ) ) );
same( 'a removal removes, and no more', array( array( 200, 'version' ), array() ), merged( $a, array( 'version' => 2 ), $ab ) );
same( 'removing what is gone', array( array( 200, 'version' ), array() ), merged( $a, array( 'version' => 2 ), $b ) );
same( 'nothing done: the row', array( array( 200, 'version' ), array() ), merged( $a, $a, $b ) );
same( 'an empty old copy', array( array( 100, 200, 'version' ), array( 100 ) ), merged( array(), $a, $b ) );
$hourly = array( 100 => array( 'a' => array( 'k' => event( 'hourly', 3600 ) ) ), 'version' => 2 );
$daily  = array( 100 => array( 'a' => array( 'k' => event( 'daily', 86400 ) ) ), 'version' => 2 );
same( 'a changed schedule is a change', 'daily', merge_cron( $hourly, $daily, $hourly )[0][100]['a']['k']['schedule'] );
same( 'foreign keys stay', 'another plugin', merge_cron( $a, $a, $cron )[0]['foreign'] );

function merged( array $old, array $new, array $row ): array {
	list( $merged, $added ) = merge_cron( $old, $new, $row );
	return array( array_keys( $merged ), $added );
}

// --- Objects stay asleep. ---
class Sleeper {
	private $inside = array( 1, "\0" );
	public $self;
	public function __wakeup() {
		throw new \LogicException( 'woken up' );
	}
}
$sleeper       = new Sleeper();
$sleeper->self = $sleeper;
$text          = serialize( array( 100 => array( 'a' => array( 'k' => event( false, null, array( $sleeper, $sleeper ) ) ) ), 'version' => 2 ) );
$unpacked      = unpack_cron( $text );
same( 'objects are not woken up', true, is_array( $unpacked ) );
same( 'and come out as they went in', $text, pack_args( (array) $unpacked ) );
same( 'a cut text is no option', null, unpack_cron( substr( $text, 0, -8 ) ) );
same( 'nor is a string', null, unpack_cron( 's:4:"cron";' ) );
if ( PHP_VERSION_ID >= 80100 ) {
	$enum = 'a:2:{i:100;a:1:{s:1:"a";a:1:{s:1:"k";a:2:{s:8:"schedule";b:0;s:4:"args";a:1:{i:0;E:14:"Gone\Suit:Hear";}}}}s:7:"version";i:2;}';
	same( 'an enum of a plugin that is not loaded hides nothing', 1, iterator_count( each_event( (array) unpack_cron( $enum ) ) ) );
}

// --- Policies. ---
function ended_row( string $hook, ?string $schedule = null, array $more = array() ): array {
	return $more + array( 'hook' => $hook, 'schedule' => $schedule, 'next_at' => null, 'attempt' => 1, 'deaths' => 0 );
}
$policy = static function ( array $row, array $policies = array(), string $outcome = 'interrupted' ): string {
	return what_then( $row, $outcome, $policies );
};
same( 'a single event is held', 'held', $policy( ended_row( 'h' ) ) );
same( 'a recurring one is dropped', 'dropped', $policy( ended_row( 'h', 'hourly' ) ) );
same( 'the operator decides', 'dropped', $policy( ended_row( 'wc_import_7' ), array( array( 'wc_*', 'drop' ) ) ) );
same( 'also for a name that no path could have', 'dropped', $policy( ended_row( str_repeat( 'h', 10240 ) ), array( array( 'x*', 'hold' ), array( '*', 'drop' ) ) ) );
same( 'the first match counts', 'held', $policy( ended_row( 'wc_x', 'hourly' ), array( array( 'wc_x', 'hold' ), array( '*', 'drop' ) ) ) );
$retry = array( array( 'wc_*', 'retry' ) );
same( 'tried once more', 'requeued', $policy( ended_row( 'wc_x' ), $retry ) );
same( 'core\'s own that may be repeated are', 'requeued', $policy( ended_row( 'publish_future_post' ) ) );
same( 'unless the operator says otherwise', 'held', $policy( ended_row( 'publish_future_post' ), array( array( 'publish_*', 'hold' ) ) ) );
same( 'a second death in a row is held', 'held', $policy( ended_row( 'wc_x', null, array( 'attempt' => 2, 'deaths' => 1 ) ), $retry ) );
same( 'a time limit is no death', 'requeued', $policy( ended_row( 'wc_x', null, array( 'attempt' => 2, 'deaths' => 1 ) ), $retry, 'timed_out' ) );
same( 'a third try is followed by a fourth', 'requeued', $policy( ended_row( 'wc_x', null, array( 'attempt' => 3 ) ), $retry, 'timed_out' ) );
same( 'and that by none', 'held', $policy( ended_row( 'wc_x', null, array( 'attempt' => 4 ) ), $retry, 'timed_out' ) );
same( 'the next occurrence is the next try', 'dropped', $policy( ended_row( 'wc_x', 'every', array( 'next_at' => time() + 5 ) ), $retry ) );
same( 'unless it is far', 'requeued', $policy( ended_row( 'wc_x', 'hourly', array( 'next_at' => time() + 3000 ) ), $retry ) );

// --- How the panel shows things. ---
function __( string $text ): string {
	return $text;
}
function number_format_i18n( $number, int $decimals = 0 ): string {
	return number_format( $number, $decimals );
}
require "$plugin/src/status-page/show.php";
require "$plugin/src/status-page/charts.php";
same( 'a name is only a name', '<code dir="ltr">&lt;b&gt; &amp;amp; &quot;\u{202e}</code>', shown( "<b> &amp; \"\u{202e}" ) );
same( 'lines stay lines', "a\n\tb\\x1B[1m\nc\\xFF", visible_lines( "a\r\n\tb\x1b[1m\nc\xff" ) );
foreach ( array( '0 ms' => 0, '999 ms' => 999, '1 s' => 1000, '1.5 s' => 1500, '1 min 1 s' => 61000, '2 h 5 min' => 7500000, '3 s early' => -3000 ) as $words => $ms ) {
	same( "$ms ms in words", str_replace( ' ', "\u{a0}", $words ), duration( $ms ) );
}
same( 'no length of time', '—', duration( null ) );
$figures = static function ( int $p50, int $max ): array {
	return array( 'ms' => array( 'p50' => $p50, 'p95' => $max, 'max' => $max ) );
};
same( 'a scale holds the least and the most', array( 10, 100, 1000, 10000 ), ticks_for( $figures( 60, 1500 )['ms'], array( $figures( 30, 40 ), array( 'ms' => null ), $figures( 60, 1500 ) ), 'ms' ) );
same( 'a scale for nothing', array( 1, 10 ), ticks_for( $figures( 0, 0 )['ms'], array( $figures( 0, 0 ) ), 'ms' ) );
same( 'a scale of days', array( 36000000, 360000000 ), ticks_for( $figures( 90000000, 90000000 )['ms'], array( $figures( 90000000, 90000000 ) ), 'ms' ) );
same( 'a nonce is good for one thing', false, nonce_of( 'drop', 'run=1' ) === nonce_of( 'requeue', 'run=1' ) );

echo "{$GLOBALS['passed']} passed, {$GLOBALS['failed']} failed\n";
exit( $GLOBALS['failed'] ? 1 : 0 );
