<?php
/**
 * Plugin Name:       WP Cron Runner
 * Description:       Hands due events to the WP Cron Runner daemon: on time, never twice at once, nothing lost in silence. Page-load cron comes back by itself when the daemon is gone.
 * Version:           0.1.0
 * Requires at least: 6.1
 * Requires PHP:      7.4
 * License:           GPL-2.0-or-later
 * License URI:       https://www.gnu.org/licenses/gpl-2.0.html
 * Text Domain:       wp-cron-runner
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

// Opened in a browser, without WordPress.
if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

// Loaded already: installed from mu-plugins and activated as a normal plugin as well.
if ( defined( __NAMESPACE__ . '\VERSION' ) ) {
	return;
}

require __DIR__ . '/src/settings.php';
require __DIR__ . '/src/protocol.php';
require __DIR__ . '/src/connection.php';
require __DIR__ . '/src/process.php';
require __DIR__ . '/src/locks.php';
require __DIR__ . '/src/cron-option.php';
require __DIR__ . '/src/write-lock.php';
require __DIR__ . '/src/merge.php';
require __DIR__ . '/src/journal.php';
require __DIR__ . '/src/owner.php';
require __DIR__ . '/src/page-load-cron.php';
require __DIR__ . '/src/claim.php';
require __DIR__ . '/src/ends.php';
require __DIR__ . '/src/settle.php';
require __DIR__ . '/src/notice.php';
require __DIR__ . '/src/bootstrap.php';

init_hooks();
