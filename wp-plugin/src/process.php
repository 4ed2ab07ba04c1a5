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
 * Boot id and pid namespace of this process, or ''.
 */
function pid_namespace(): string {
	$boot = @file_get_contents( '/proc/sys/kernel/random/boot_id' ); // phpcs:ignore WordPress.PHP.NoSilencedErrors,WordPress.WP.AlternativeFunctions
	$link = @readlink( '/proc/self/ns/pid' ); // phpcs:ignore WordPress.PHP.NoSilencedErrors
	return $boot && $link ? substr( $boot, 0, 8 ) . ':' . preg_replace( '/\D/', '', $link ) : '';
}

/**
 * Is a process, which ran on $host, another one by now, or none? False also where that is not to be seen from here.
 */
function is_process_gone( string $host, int $pid, string $start ): bool {
	if ( '' === $start || host_name() !== $host ) {
		return false;
	}
	$then = explode( ':', $start );
	$now  = explode( ':', pid_namespace() );
	if ( 3 !== count( $then ) || 2 !== count( $now ) ) {
		return false;
	}
	if ( $then[1] !== $now[1] ) {
		return false;
	}
	return process_start( $pid ) !== $start;
}

/**
 * Can a process, which ran on $host, be seen from here, and is it the same still?
 */
function is_process_here( string $host, int $pid, string $start ): bool {
	return '' !== $start && host_name() === $host && process_start( $pid ) === $start;
}

/**
 * Waits until a process is gone, at most so many milliseconds.
 */
function wait_for_end( int $pid, string $start, int $ms ): void {
	for ( $i = 0; $i < $ms / 10 && process_start( $pid ) === $start; $i++ ) {
		usleep( 10000 );
	}
}
