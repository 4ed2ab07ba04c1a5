<?php
/**
 * The plugin's half of tests/vectors/signature.json, which the runner's tests read as well.
 */

require_once __DIR__ . '/../../wp-plugin/src/protocol.php';

foreach ( json_decode( file_get_contents( __DIR__ . '/../vectors/signature.json' ), true ) as $vector ) {
	test(
		"signature of {$vector['name']}",
		static function () use ( $vector ) {
			$key  = hex2bin( $vector['key'] );
			$keys = array( $vector['kid'] => $key );
			same( $vector['kid'], substr( hash( 'sha256', $key ), 0, 8 ), 'key id' );
			$text = WP_Cron_Runner\string_to_sign( $vector['path'], $vector['host'], $vector['site'], $vector['kid'], (string) $vector['ts'], $vector['nonce'], $vector['body'] );
			same( $vector['string_to_sign'], $text, 'what is signed' );
			same( $vector['sig'], hash_hmac( 'sha256', $text, $key ), 'signature' );

			$verified = WP_Cron_Runner\verified( $vector['header'], $vector['path'], $vector['host'], $vector['body'], $keys, $vector['site'] );
			same( $vector['nonce'], $verified['nonce'] );
			same( $vector['ts'], $verified['ts'] );
		}
	);

	test(
		"every changed part of {$vector['name']} is refused",
		static function () use ( $vector ) {
			$keys = array( $vector['kid'] => hex2bin( $vector['key'] ) );
			$good = array( $vector['header'], $vector['path'], $vector['host'], $vector['body'], $keys, $vector['site'] );
			foreach ( array( 0, 1, 2, 3, 5 ) as $part ) {
				// The protocol's version is compared after the signature, to be refused with a reason.
				for ( $place = 0 === $part ? strlen( 'v=1' ) : 0; $place < strlen( $good[ $part ] ); $place++ ) {
					$bad                    = $good;
					$bad[ $part ][ $place ] = chr( ord( $bad[ $part ][ $place ] ) ^ 1 );
					if ( 2 === $part && false !== strpos( substr( $good[2], 0, $place + 1 ), ':' ) ) {
						continue; // The port is not signed.
					}
					same( null, WP_Cron_Runner\verified( ...$bad ), "part $part with byte $place changed" );
				}
			}
			$other    = $good;
			$other[4] = array( $vector['kid'] => str_repeat( 'k', 32 ) );
			same( null, WP_Cron_Runner\verified( ...$other ), 'another key under the same id' );
			$other[4] = array();
			same( null, WP_Cron_Runner\verified( ...$other ), 'no key' );
		}
	);

	test(
		"frames in the answer to {$vector['name']}",
		static function () use ( $vector ) {
			foreach ( $vector['frames'] as $frame ) {
				$frames = new WP_Cron_Runner\Frames( hex2bin( $vector['key'] ), $vector['nonce'] );
				same( $vector['marker'], $frames->marker(), 'marker' );
				for ( $seq = 0; $seq < $frame['seq']; $seq++ ) {
					$frames->encode( '{}' );
				}
				same( $frame['wire'], "\n" . $frames->encode( $frame['json'] ) . "\n", 'frame on the wire' );
			}
		}
	);
}
