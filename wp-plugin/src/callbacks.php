<?php
/**
 * Who hooks into an action or a filter: the code behind it, by name and file.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The callbacks of an action or a filter: [name, file] of each, in the order in which they are called.
 */
function callbacks_of( string $hook ): array {
	global $wp_filter;
	$found = array();
	foreach ( isset( $wp_filter[ $hook ] ) ? (array) $wp_filter[ $hook ]->callbacks : array() as $callbacks ) {
		foreach ( (array) $callbacks as $callback ) {
			$found[] = described( $callback['function'] );
		}
	}
	return $found;
}

/**
 * A callback's name and, below the content folder, its file.
 */
function described( $callback ): array {
	try {
		if ( is_string( $callback ) && false !== strpos( $callback, '::' ) ) {
			$callback = explode( '::', $callback, 2 );
		}
		if ( is_array( $callback ) ) {
			$about = new \ReflectionMethod( $callback[0], (string) $callback[1] );
			$name  = ( is_object( $callback[0] ) ? get_class( $callback[0] ) : (string) $callback[0] ) . '::' . $callback[1];
		} elseif ( $callback instanceof \Closure || is_string( $callback ) ) {
			$about = new \ReflectionFunction( $callback );
			$name  = $callback instanceof \Closure ? 'a closure' : ltrim( $callback, '\\' );
		} else {
			$about = new \ReflectionMethod( $callback, '__invoke' );
			$name  = get_class( $callback );
		}
		$file = wp_normalize_path( (string) $about->getFileName() );
		$file = str_replace( wp_normalize_path( WP_CONTENT_DIR ) . '/', '', $file );
		return array( substr( printable( $name ), 0, 200 ), substr( printable( $file ), 0, 200 ) );
	} catch ( \ReflectionException $e ) {
		return array( is_string( $callback ) ? substr( printable( $callback ), 0, 200 ) : 'something', '' );
	}
}
