// Read by in-wordpress.php: what the shop has planned for the next seconds.
$now  = time();
$post = wp_insert_post(
	array(
		'post_title'    => 'Hello from the future',
		'post_content'  => 'Published on time, with nobody looking.',
		'post_status'   => 'future',
		'post_date'     => get_date_from_gmt( gmdate( 'Y-m-d H:i:s', $now + 4 ) ),
		'post_date_gmt' => gmdate( 'Y-m-d H:i:s', $now + 4 ),
	)
);
// Core has scheduled it; the shop only notes it.
demo_write( 'planned', 'publish_future_post', array( $post ), $now + 4 );

demo_plan( $now + 5, 'demo_order_mail', array( 1041 ) );
demo_plan( $now + 6, 'demo_backup' );
demo_plan( $now + 7, 'demo_stats', array(), 'hourly' );
demo_plan( $now + 8, 'demo_payment_sync' );
demo_plan( $now + 9, 'demo_newsletter', array( 1 ) );
