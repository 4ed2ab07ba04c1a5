<?php
/**
 * Leaves nothing behind: tables, option, lock files. Claimed events are back in the option since the deactivation.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

if ( ! defined( 'WP_UNINSTALL_PLUGIN' ) ) {
	exit;
}

foreach ( array( 'settings', 'connection', 'locks', 'journal' ) as $wp_cron_runner_file ) {
	require_once __DIR__ . "/src/$wp_cron_runner_file.php";
}
drop_tables();
delete_option( OPTION );
delete_lock_dir();
