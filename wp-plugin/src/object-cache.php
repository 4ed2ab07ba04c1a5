<?php
/**
 * Which Redis database WordPress's object cache fills. It is emptied at will, by a click in wp-admin: leases that a runner keeps
 * there would go with it.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The database, as far as the settings of the usual drop-ins tell; null without a drop-in, or with one that is not for Redis.
 */
function object_cache(): ?string {
	if ( ! file_exists( WP_CONTENT_DIR . '/object-cache.php' ) || ( defined( 'WP_REDIS_DISABLED' ) && WP_REDIS_DISABLED ) ) {
		return null;
	}
	$set = array();
	foreach ( array( 'scheme', 'host', 'port', 'path', 'database' ) as $name ) {
		$constant = 'WP_REDIS_' . strtoupper( $name );
		if ( defined( $constant ) ) {
			$set[ $name ] = constant( $constant );
		}
	}
	// Object Cache Pro and WP Redis have one array each.
	foreach ( array( defined( 'WP_REDIS_CONFIG' ) ? WP_REDIS_CONFIG : null, $GLOBALS['redis_server'] ?? null ) as $array ) {
		$set = is_array( $array ) ? array_merge( $set, $array ) : $set;
	}
	// Redis Object Cache works without a single setting. No other drop-in has this method.
	return $set || method_exists( 'WP_Object_Cache', 'redis_instance' ) ? redis_database( $set ) : null;
}

/**
 * The name of a Redis database: `tcp://host:port/db`, `tls://host:port/db` or `unix:/path/db`. Never a password.
 *
 * @param array $set scheme, host (also a path, or with a scheme of its own), port, path, database; and what else there is.
 */
function redis_database( array $set ): string {
	$set    = array_filter( $set, 'is_scalar' );
	$scheme = strtolower( (string) ( $set['scheme'] ?? 'tcp' ) );
	$host   = (string) preg_replace( '~^([a-z]+://)?.*@~is', '$1', trim( (string) ( $set['host'] ?? '' ) ) );
	$port   = (int) ( $set['port'] ?? 0 );
	$number = (int) ( $set['database'] ?? 0 );
	if ( preg_match( '~^(unix(?=:)|[a-z]+(?=://)):(?://)?([^?#]*)~i', $host, $part ) ) {
		$scheme = strtolower( $part[1] );
		$host   = 'unix' === $scheme ? $part[2] : (string) strtok( $part[2], '/' );
	}
	if ( 'unix' === $scheme || '/' === substr( $host, 0, 1 ) ) {
		$path = '/' === substr( $host, 0, 1 ) ? $host : (string) ( $set['path'] ?? '' );
		return "unix:$path/$number";
	}
	if ( preg_match( '~^(\[[^\]]*\]|[^:]*):(\d+)~', $host, $part ) ) {
		list( , $host, $port ) = $part;
	}
	$host = strtolower( '' === $host ? '127.0.0.1' : $host );
	$host = substr_count( $host, ':' ) > 1 && '[' !== $host[0] ? "[$host]" : $host;
	$port = (int) $port > 0 ? (int) $port : 6379;
	return ( in_array( $scheme, array( 'tls', 'ssl', 'rediss' ), true ) ? 'tls' : 'tcp' ) . "://$host:$port/$number";
}
