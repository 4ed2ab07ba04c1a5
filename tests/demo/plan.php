// Read by in-wordpress.php: what the shop has planned for the next seconds.
$now  = time();
$post = wp_insert_post(
	array(
		'post_title'   => 'Hello from the future',
		'post_content' => 'Published on time, with nobody looking.',
		'post_status'  => 'future',
		'post_date'    => get_date_from_gmt( gmdate( 'Y-m-d H:i:s', $now + HOUR_IN_SECONDS ) ),
	)
);
// Core publishes at once what is less than a minute ahead, so the post's time is moved once it is scheduled.
$soon = gmdate( 'Y-m-d H:i:s', $now + 4 );
$GLOBALS['wpdb']->update(
	$GLOBALS['wpdb']->posts,
	array(
		'post_date'     => get_date_from_gmt( $soon ),
		'post_date_gmt' => $soon,
	),
	array( 'ID' => $post )
);
clean_post_cache( $post );
wp_clear_scheduled_hook( 'publish_future_post', array( $post ) );
demo_plan( $now + 4, 'publish_future_post', array( $post ) );

demo_plan( $now + 5, 'demo_order_mail', array( 1041 ) );
demo_plan( $now + 6, 'demo_backup' );
demo_plan( $now + 7, 'demo_stats', array(), 'hourly' );
demo_plan( $now + 8, 'demo_payment_sync' );
demo_plan( $now + 9, 'demo_newsletter', array( 1 ) );
