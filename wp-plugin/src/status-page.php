<?php
/**
 * The panel, Tools > Cron Runner: its entry in the menu, its screens, and where its forms are sent.
 *
 * Read on every page of wp-admin, so it does nothing there but register. What a screen needs is in status-page/.
 *
 * @package WP_Cron_Runner
 */

namespace WP_Cron_Runner;

/** The page in its address, and the action of all its forms. */
const PANEL      = 'wp-cron-runner';
const PANEL_FORM = 'wp_cron_runner';

/**
 * What wp-admin is told on each of its pages.
 */
function init_status_page(): void {
	add_action( 'admin_menu', __NAMESPACE__ . '\action_admin_menu' );
	add_action( 'admin_post_' . PANEL_FORM, __NAMESPACE__ . '\action_admin_post' );
	add_action( 'admin_post_nopriv_' . PANEL_FORM, __NAMESPACE__ . '\action_logged_out' );
}

/**
 * Who may see and use the panel. An event may do anything to the site, and on a network anything to all of it.
 */
function panel_capability(): string {
	return is_multisite() ? 'manage_network' : 'manage_options';
}

/**
 * The address of a screen.
 */
function panel_url( array $query = array() ): string {
	return admin_url( 'tools.php' ) . '?' . http_build_query( array( 'page' => PANEL ) + $query, '', '&' );
}

/**
 * The entry in the menu.
 */
function action_admin_menu(): void {
	if ( is_multisite() && ! is_main_site() && ! isset( settings()['install'] ) ) {
		return; // Of a network a runner may look after some blogs, and page loads after the others.
	}
	$page = add_management_page( __( 'Cron Runner', 'wp-cron-runner' ), __( 'Cron Runner', 'wp-cron-runner' ), panel_capability(), PANEL, __NAMESPACE__ . '\show_panel' );
	if ( $page ) {
		add_action( "load-$page", __NAMESPACE__ . '\action_load_panel' );
	}
}

/**
 * What the panel is made of.
 */
function require_panel(): void {
	require_once __DIR__ . '/reports.php';
	require_once __DIR__ . '/callbacks.php';
	foreach ( array( 'show', 'overview', 'charts', 'events', 'history', 'run', 'owners', 'actions' ) as $file ) {
		require_once __DIR__ . "/status-page/$file.php";
	}
}

/**
 * Before the page begins: whoever waited for a run that is over is sent to it.
 */
function action_load_panel(): void {
	require_panel();
	$run = 'waiting' === asked( 'screen' ) ? run_waited_for() : null;
	if ( null !== $run ) {
		wp_redirect( panel_url( array( 'screen' => 'run', 'run' => $run ) ) ); // phpcs:ignore WordPress.Security.SafeRedirect -- our own; wp-admin may have another host than the site.
		exit;
	}
}

/**
 * The screens, by their name in the address: title where it has a tab, function. The first one is shown where none is named.
 */
function screens(): array {
	return array(
		'overview' => array( __( 'Overview', 'wp-cron-runner' ), 'show_overview' ),
		'events'   => array( __( 'Coming up', 'wp-cron-runner' ), 'show_events' ),
		'history'  => array( __( 'History', 'wp-cron-runner' ), 'show_history' ),
		'run'      => array( null, 'show_run' ),
		'waiting'  => array( null, 'show_waiting' ),
		'delete'   => array( null, 'show_delete' ),
	);
}

/**
 * A word of the address, as it was typed. Looking changes nothing, so it needs no nonce.
 */
function asked( string $name ): string {
	$value = $_GET[ $name ] ?? ''; // phpcs:ignore WordPress.Security
	return is_string( $value ) ? wp_unslash( $value ) : '';
}

/**
 * The page.
 */
function show_panel(): void {
	$screens = screens();
	$asked   = isset( $screens[ asked( 'screen' ) ] ) ? asked( 'screen' ) : 'overview';
	show_style();
	echo '<div class="wrap wpcr"><h1>', esc_html__( 'Cron Runner', 'wp-cron-runner' ), '</h1><hr class="wp-header-end">';
	echo '<nav class="nav-tab-wrapper" aria-label="', esc_attr__( 'Screens of Cron Runner', 'wp-cron-runner' ), '">';
	foreach ( $screens as $name => list( $title ) ) {
		if ( null !== $title ) {
			$current = $name === $asked;
			echo '<a href="', esc_url( panel_url( array( 'screen' => $name ) ) ), '" class="nav-tab', $current ? ' nav-tab-active" aria-current="page' : '', '">', esc_html( $title ), '</a>';
		}
	}
	echo '</nav>';
	show_answer();
	show_troubles();
	call_user_func( __NAMESPACE__ . '\\' . $screens[ $asked ][1] );
	echo '</div>';
}

/**
 * A form was sent by somebody whose login is over: nothing is done, and he comes to the panel after it.
 */
function action_logged_out(): void {
	wp_redirect( wp_login_url( panel_url() ) ); // phpcs:ignore WordPress.Security.SafeRedirect
	exit;
}

/**
 * One of the panel's forms was sent.
 */
function action_admin_post(): void {
	require_panel();
	answer_form();
}
