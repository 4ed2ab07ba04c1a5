<?php
/**
 * Processes of this host: which one this is, and whether another one still is the same.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/**
 * The name of this host.
 */
function host_name(): string {
	return (string) php_uname( 'n' );
}

/**
 * Which process has this number here: boot id, pid namespace, and its start in clock ticks (proc(5), /proc/PID/stat field
 * 22). '' where that is not to be known. Two containers of one name have two namespaces, and a number means nothing in the other.
 */
function process_start( int $pid ): string {
	$stat = @file_get_contents( "/proc/$pid/stat" ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
	$seen = pid_namespace();
	if ( ! $stat || '' === $seen ) {
		return '';
	}
	// The command's name, in parentheses, may contain anything; fields are counted behind its end.
	$fields = explode( ' ', substr( $stat, strrpos( $stat, ')' ) + 2 ) );
	return isset( $fields[19] ) ? "$seen:$fields[19]" : '';
}

/**
 * Boot id ("-" where it is hidden, as by ProcSubset=pid of systemd) and pid namespace of this process, or ''.
 */
function pid_namespace(): string {
	$boot = @file_get_contents( '/proc/sys/kernel/random/boot_id' ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
	$link = @readlink( '/proc/self/ns/pid' ); // phpcs:ignore WordPress.PHP.NoSilencedErrors
	return $link ? ( $boot ? substr( $boot, 0, 8 ) : '-' ) . ':' . preg_replace( '/\D/', '', $link ) : '';
}

/**
 * What is to be seen of a process that ran on $host: `here`, the same still; `gone`, another one by now or none; `hidden`, there is
 * one of that number, and /proc does not show which (hidepid of proc(5), and php-fpm's workers are not even shown to each other
 * there); `unknown` from another host or pid namespace.
 */
function process_seen( string $host, int $pid, string $start ): string {
	$then = explode( ':', $start );
	$here = explode( ':', pid_namespace() );
	if ( host_name() !== $host || 3 !== count( $then ) || 2 !== count( $here ) || $then[1] !== $here[1] ) {
		return 'unknown';
	}
	if ( $then[0] !== $here[0] && '-' !== $then[0] && '-' !== $here[0] ) {
		return 'gone'; // The host was started anew.
	}
	$now = explode( ':', process_start( $pid ) );
	if ( 3 === count( $now ) ) {
		return $now[2] === $then[2] ? 'here' : 'gone';
	}
	if ( function_exists( 'posix_kill' ) ) {
		// 3: ESRCH.
		return posix_kill( $pid, 0 ) || 3 !== posix_get_last_error() ? 'hidden' : 'gone';
	}
	return @file_exists( '/proc/1/stat' ) ? 'gone' : 'unknown'; // phpcs:ignore WordPress.PHP.NoSilencedErrors -- open_basedir.
}

/**
 * Is a process, which ran on $host, another one by now, or none? False also where that is not to be seen from here.
 */
function is_process_gone( string $host, int $pid, string $start ): bool {
	return 'gone' === process_seen( $host, $pid, $start );
}

/**
 * Waits until a process is gone, at most so many milliseconds.
 */
function wait_for_end( string $host, int $pid, string $start, int $ms ): void {
	for ( $i = 0; $i < $ms / 10 && ! is_process_gone( $host, $pid, $start ); $i++ ) {
		usleep( 10000 );
	}
}
