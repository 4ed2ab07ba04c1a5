<?php
/**
 * What runner and plugin say to each other: the signature of a request and the frames of an answer.
 *
 * The other half is src/protocol.rs of the runner; tests/vectors/signature.json is read by the tests of both.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

const PROTOCOL       = 1;
const SIGNED_HEADER  = 'X-WP-Cron-Runner';
const CONTENT_TYPE   = 'application/x-wp-cron-runner';
const WINDOW_MS      = 60000;
const LARGEST_BODY   = 65536;
const SIGNATURE_FORM = '/^v=(\d{1,3});site=([a-z0-9_-]{1,64});kid=([0-9a-f]{8});ts=(\d{1,16});nonce=([0-9a-f]{32});sig=([0-9a-f]{64})\z/';

/**
 * The bytes that are signed. Every part stands on its own line; none of them can contain a line break.
 *
 * The host is signed in lower case and without its port: servers hand the port on or not as they like (Debian's nginx does not).
 */
function string_to_sign( string $path, string $host, string $site, string $kid, string $ts, string $nonce, string $body ): string {
	return implode(
		"\n",
		array( 'wp-cron-runner/1', 'POST', $path, strtolower( (string) preg_replace( '/:\d+$/', '', $host ) ), $site, $kid, $ts, $nonce, hash( 'sha256', $body ) )
	);
}

/**
 * Checks the signature of a request. The answer is the same null for every cause: absent, garbled, unknown key, wrong.
 *
 * @return array|null site, kid, key, ts (int), nonce, version (int); null where the request is not ours.
 */
function verified( string $header, string $path, string $host, string $body, array $keys, string $site ): ?array {
	if ( ! preg_match( SIGNATURE_FORM, $header, $part ) || '' === $site || $part[2] !== $site || ! isset( $keys[ $part[3] ] ) ) {
		return null;
	}
	$key      = $keys[ $part[3] ];
	$expected = hash_hmac( 'sha256', string_to_sign( $path, $host, $site, $part[3], $part[4], $part[5], $body ), $key );
	if ( ! hash_equals( $expected, $part[6] ) ) {
		return null;
	}
	return array(
		'version' => (int) $part[1],
		'kid'     => $part[3],
		'key'     => $key,
		'ts'      => (int) $part[4],
		'nonce'   => $part[5],
	);
}

/**
 * The signed header for a request of our own.
 */
function signed_header( string $path, string $host, string $body ): string {
	$keys = keys();
	$kid  = (string) key( $keys );
	$ts   = (string) now_ms();
	$once = bin2hex( random_bytes( 16 ) );
	$sig  = hash_hmac( 'sha256', string_to_sign( $path, $host, site_name(), $kid, $ts, $once, $body ), reset( $keys ) );
	return sprintf( 'v=%d;site=%s;kid=%s;ts=%s;nonce=%s;sig=%s', PROTOCOL, site_name(), $kid, $ts, $once, $sig );
}

/**
 * The frames of one answer. What is not a frame is output of the hook that is running, so each frame carries a mark and
 * a MAC that only this request knows; a number tells the reader when some were swallowed.
 */
final class Frames {
	/**
	 * The raw key.
	 *
	 * @var string
	 */
	private $key;
	/**
	 * The nonce of the request.
	 *
	 * @var string
	 */
	private $nonce;
	/**
	 * The next frame's number.
	 *
	 * @var int
	 */
	private $seq = 0;
	/**
	 * When the work for this answer began, hrtime nanoseconds.
	 *
	 * @var int
	 */
	private $begun;

	/**
	 * Begins an answer.
	 */
	public function __construct( string $key, string $nonce ) {
		$this->key   = $key;
		$this->nonce = $nonce;
		$this->begun = hrtime( true );
	}

	/**
	 * The beginning of every frame of this answer.
	 */
	public function marker(): string {
		return 'wpcr1:' . substr( hash_hmac( 'sha256', "wp-cron-runner/1 frames\n" . $this->nonce, $this->key ), 0, 16 ) . ':';
	}

	/**
	 * One frame as it goes over the wire, without the line breaks around it.
	 */
	public function encode( string $json ): string {
		$mac = substr( hash_hmac( 'sha256', "wp-cron-runner/1 frame\n{$this->nonce}\n{$this->seq}\n{$json}", $this->key ), 0, 32 );
		return $this->marker() . $this->seq++ . ':' . $mac . ' ' . $json;
	}

	/**
	 * Sends one frame at once.
	 */
	public function send( array $frame ): void {
		if ( in_array( $frame['t'], array( 'due', 'settled', 'done', 'inspect', 'ended', 'doctor', 'error' ), true ) ) {
			$frame['php_ms'] = round( ( hrtime( true ) - $this->begun ) / 1e6, 2 );
		}
		$json = (string) json_encode( $frame, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR ); // phpcs:ignore WordPress.WP.AlternativeFunctions.json_encode_json_encode -- also without WordPress.
		echo "\n" . $this->encode( $json ) . "\n"; // phpcs:ignore WordPress.Security.EscapeOutput.OutputNotEscaped -- JSON, never HTML.
		flush();
	}

	/**
	 * Refuses the request and ends.
	 *
	 * @param int    $status HTTP status.
	 * @param string $error  The code the runner branches on.
	 * @param array  $more   What else it needs to know, "message" for a person.
	 */
	public function refuse( int $status, string $error, array $more = array() ): void {
		if ( ! headers_sent() ) {
			http_response_code( $status );
			if ( 503 === $status ) {
				header( 'Retry-After: 1' );
			}
		}
		$this->send( array_merge( array( 't' => 'error', 'error' => $error ), $more ) );
		exit;
	}
}

/**
 * Text of a site's code for people's eyes: what would steer a terminal or turn the direction of a line (C0, C1, the marks of
 * Unicode's bidirectional algorithm) becomes \xHH or \u{hhhh}, as the runner writes it, and what is too long is cut, its length
 * said.
 *
 * @param int $most Bytes.
 */
function visible( string $bytes, int $most = 256 ): string {
	$text = printable( $bytes );
	if ( strlen( $text ) > $most ) {
		$text = preg_replace( '/[\x80-\xbf]*\z/', '', substr( $text, 0, $most ) );
		$text = ( preg_match( '//u', $text ) ? $text : substr( $text, 0, -1 ) ) . '... (' . strlen( $bytes ) . ' bytes)';
	}
	return (string) preg_replace_callback(
		'/[\x{00}-\x{1f}\x{7f}-\x{9f}\x{61c}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2069}\x{feff}]/u',
		static function ( array $sign ): string {
			$names = array( "\n" => '\n', "\r" => '\r', "\t" => '\t' );
			if ( 1 === strlen( $sign[0] ) ) {
				return $names[ $sign[0] ] ?? sprintf( '\x%02X', ord( $sign[0] ) );
			}
			return '\u{' . ltrim( substr( (string) json_encode( $sign[0] ), 3, 4 ), '0' ) . '}'; // phpcs:ignore WordPress.WP.AlternativeFunctions -- also without WordPress.
		},
		$text
	);
}

/**
 * Milliseconds that a person can have meant: years of four digits. Anybody can schedule anything.
 */
function within_centuries( float $ms ): int {
	return (int) max( -253402300799999, min( 253402300799999, $ms ) );
}

/**
 * A hook name as it may travel in JSON: bytes that are not UTF-8 become \xHH.
 */
function printable( string $bytes ): string {
	if ( preg_match( '//u', $bytes ) ) {
		return $bytes;
	}
	return (string) preg_replace_callback(
		'/[\x80-\xff]/',
		static function ( array $byte ): string {
			return sprintf( '\x%02X', ord( $byte[0] ) );
		},
		$bytes
	);
}
