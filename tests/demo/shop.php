<?php
/**
 * Plugin Name: A small shop, for the demo of WP Cron Runner
 *
 * Events that anybody who runs a site will recognise. The shop keeps its own ledger of what was planned and of what
 * ran, so that the demo can hold the runner's history against it.
 */

const DEMO_EVENTS = array(
	'publish_future_post' => 'publish "Hello from the future"',
	'demo_order_mail'     => 'mail for order %s',
	'demo_backup'         => 'backup, takes two seconds',
	'demo_stats'          => 'hourly statistics',
	'demo_payment_sync'   => 'payments, whose gateway is down',
	'demo_newsletter'     => 'newsletter, part %s of 2',
);

function demo_write( $what, $hook, array $args, $due = null ) {
	$line = array(
		'what'  => $what,
		'hook'  => $hook,
		'key'   => md5( serialize( $args ) ),
		'due'   => $due,
		'title' => sprintf( DEMO_EVENTS[ $hook ], $args[0] ?? '' ),
	);
	file_put_contents( ABSPATH . '../demo.ledger', json_encode( $line ) . "\n", FILE_APPEND );
}

function demo_plan( $due, $hook, array $args = array(), $recurrence = null ) {
	demo_write( 'planned', $hook, $args, $due );
	return $recurrence
		? wp_schedule_event( $due, $recurrence, $hook, $args, true )
		: wp_schedule_single_event( $due, $hook, $args, true );
}

// Every event of the demo, as the site itself saw it run; before its own work, which may fail.
foreach ( array_keys( DEMO_EVENTS ) as $demo_hook ) {
	add_action(
		$demo_hook,
		static function ( ...$args ) use ( $demo_hook ) {
			demo_write( 'ran', $demo_hook, $args );
		},
		1,
		5
	);
}

add_action(
	'demo_order_mail',
	static function ( $order ) {
		echo "mail sent to the customer of order $order";
	}
);
add_action(
	'demo_backup',
	static function () {
		usleep( 2000000 );
		echo 'saved 412 files';
	}
);
add_action(
	'demo_stats',
	static function () {
		update_option( 'demo_stats', array( 'posts' => wp_count_posts()->publish ), false );
	}
);
add_action(
	'demo_payment_sync',
	static function () {
		throw new RuntimeException( 'the payment gateway answered 502' );
	}
);
add_action(
	'demo_newsletter',
	static function ( $part ) {
		if ( $part < 2 ) {
			demo_plan( time() + 2, 'demo_newsletter', array( $part + 1 ) );
		}
	}
);

// /?demo_order=NUMBER   a visitor buys something; the mail goes out two seconds later.
add_action(
	'init',
	static function () {
		if ( isset( $_GET['demo_order'] ) ) {
			demo_plan( time() + 2, 'demo_order_mail', array( (int) $_GET['demo_order'] ) );
			wp_die( 'Thank you for your order.', 'Order', array( 'response' => 200 ) );
		}
	}
);
